"""One worker process as its supervisor sees it: how it is started, told things, watched and ended.

Called by the supervisor's loop alone. A `Child` is one life of a process; a `Place` is one of the N places that the
supervisor keeps filled, with what survives a life: slot, count of short lives.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from elsa import exits
from elsa.clock import SYSTEM
from elsa.worker.control import FD_VARIABLE, ControlChannel

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from elsa.worker.backoff import RespawnBackoff
    from elsa.worker.control import Message

#: what a worker process is started with; the spec follows over the control channel
COMMAND = (sys.executable, "-m", "elsa.worker.process")
#: between the stacks of one that is overdue and its end
_STACKS_SECONDS = 0.5
#: one that has loaded the app and lives on for so long works, though it may wait for Kafka or topics before it is ready
_PROVED_SECONDS = 5.0
#: reasons of `finished` after which a place stays empty
LASTING = frozenset({"burst", "max_messages"})


class State(StrEnum):
    """Where a process is in its life; the values are the label values of `elsa_worker_processes`."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


@dataclass(slots=True, eq=False)
class Child:
    """One running process and what it has reported."""

    process: subprocess.Popen[bytes]
    channel: ControlChannel
    started_at: float
    state: State = State.STARTING
    #: what the process has said about itself
    banner: Mapping[str, Any] | None = None
    #: when that came, monotonic; and whether it has ever been ready
    greeted_at: float = 0.0
    was_ready: bool = False
    failure: Message | None = None
    finished: str | None = None
    blocked: Sequence[Any] = ()
    #: when it is killed, None while nothing asks for its end
    kill_at: float | None = None
    is_silence_told: bool = False
    #: what it last said of its health, by probe; and when it was heard of, monotonic
    checks: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    heard_at: float = 0.0
    #: it ends by itself, and is not expected to say anything before, monotonic
    ends_by: float = 0.0
    #: whether it was told to end
    is_dismissed: bool = False
    was_killed: bool = False

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    @property
    def has_greeted(self) -> bool:
        """Whether it has imported the app; before, it holds no partitions and has no signal handlers."""
        return self.banner is not None

    @property
    def has_worked(self) -> bool:
        """Whether it was ready, or has lived on for a while with its app loaded: it is no start that failed."""
        return self.was_ready or (self.has_greeted and SYSTEM.monotonic() - self.greeted_at >= _PROVED_SECONDS)

    @property
    def error(self) -> str:
        """The text of its failure, empty without one."""
        return str((self.failure or {}).get("error", ""))

    @property
    def has_refused_to_end(self) -> bool:
        """Whether it was told to end, and did so badly or by force."""
        ended_badly = self.process.returncode != exits.OK and self.has_greeted
        return self.is_dismissed and (self.was_killed or ended_badly)

    def why_it_failed(self, index: int) -> str:
        """The reason that it gave, or how it ended without one."""
        return self.error or f"worker process {index} {how_it_ended(self.process.returncode)} before it had started"

    def lived(self) -> float:
        """Seconds since its start."""
        return SYSTEM.monotonic() - self.started_at

    def silent_at(self, after: float) -> float | None:
        """When its silence since the start is to be told; None when it has spoken or that has been told."""
        return None if self.has_greeted or self.is_silence_told else self.started_at + after

    def note(self, message: Message) -> None:
        """Keep what it says about its end; a type of a later version is ignored."""
        match message["type"]:
            case "failed":
                self.failure = message
            case "blocked":
                self.blocked = message.get("calls") or ()
            case "finished":
                self.finished = str(message.get("reason"))

    def stop(self, *, within: float, grace: float, leave: bool) -> None:
        """Ask it to end within so many seconds; it is due to be killed `grace` seconds later. Idempotent."""
        if self.state is State.STOPPING:
            return
        self.state, self.is_dismissed = State.STOPPING, True
        self.kill_at = SYSTEM.monotonic() + within + grace
        self.channel.send({"type": "stop", "deadline": within, "leave": leave})
        if not self.has_greeted:
            # it may be deep in an import and read this much later; there is nothing to drain yet
            self.signal(signal.SIGTERM)

    def give_up(self, *, grace: float) -> None:
        """Tell it to end at once, and have it killed `grace` seconds later."""
        self.state, self.is_dismissed = State.STOPPING, True
        self.channel.send({"type": "now"})
        due = SYSTEM.monotonic() + grace
        self.kill_at = due if self.kill_at is None else min(due, self.kill_at)

    def overdue(self) -> None:
        """Its time is over and it has not said why: it writes its stacks, and is killed a moment later.

        That works also for one in which no thread of Python runs any more: a call into C keeps the interpreter's lock.
        """
        if self.was_killed or not self.has_greeted:
            self.kill()
            return
        self.was_killed = True
        self.kill_at = SYSTEM.monotonic() + _STACKS_SECONDS
        self.signal(signal.SIGUSR1)

    def kill(self) -> None:
        """End it by force."""
        self.was_killed = True
        self.kill_at = None
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process has ended."""
        # the supervisor reaps in the same thread, so the id can't belong to another process yet
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)


@dataclass(slots=True, eq=False)
class Place:
    """One of the supervisor's places, `index` of N, and the process in it."""

    index: int
    backoff: RespawnBackoff
    child: Child | None = None
    #: that the last process held and the next one asks for
    slot: int | None = None
    #: how many processes were started here
    generation: int = 0
    #: whether any of them has served: from then on a failing start is retried
    has_served: bool = False
    #: when its last process that worked was gone, or the first one was wanted, monotonic
    unserved_since: float = 0.0
    #: how many have died since then, one after the other, before they worked
    failed_starts: int = 0
    #: when the next process starts, None when one runs or none will
    due_at: float | None = None
    #: it finished for good, or is one too many
    is_done: bool = False
    #: it is one too many: wanted again when their number grows
    is_surplus: bool = False

    def spawn(self, command: Sequence[str]) -> Child:
        """Start a process here; the spec is the caller's to send. Raises OSError when the system refuses."""
        if self.due_at is None and not self.failed_starts:
            self.unserved_since = SYSTEM.monotonic()
        ours, theirs = socket.socketpair()
        try:
            process = subprocess.Popen(  # noqa: S603 - this interpreter and a module of this package
                command,
                env={**os.environ, FD_VARIABLE: str(theirs.fileno())},
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                # a session of its own: the terminal's ctrl-C and hang-up reach the supervisor alone, which counts them
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.child = Child(process, ControlChannel(ours), SYSTEM.monotonic())
        self.generation += 1
        self.due_at = None
        return self.child

    def bereaved_of(self, child: Child) -> None:
        """This process has died here, and nobody had asked it to end."""
        if child.has_worked:
            self.unserved_since, self.failed_starts = SYSTEM.monotonic(), 0
        else:
            self.failed_starts += 1

    def want_nothing(self) -> None:
        """No process is due here, and the next one will be the first of its row."""
        self.due_at, self.failed_starts = None, 0


def merge(into: dict[str, Any], new: Mapping[str, Any]) -> None:
    """Keep reported positions; a report may hold all of them or only those that moved."""
    for key, value in new.items():
        old = into.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            merge(old, value)
        else:
            into[key] = value


def how_it_ended(code: int) -> str:
    """An exit code of Popen in words.

    >>> how_it_ended(-9), how_it_ended(3)
    ('was killed by SIGKILL', 'ended with exit code 3')
    """
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def reap_orphans(own: Collection[int]) -> None:
    """Take the exit codes of processes that users' programs left to this one, the first of a container.

    It ends at one of the supervisor's `own`, which its loop waits for.
    """
    with contextlib.suppress(ChildProcessError):  # there is no child at all
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid not in own:
            os.waitpid(ended.si_pid, 0)
