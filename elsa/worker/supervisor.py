"""The supervisor: starts worker processes, replaces the dead, stops them within a deadline, owns the signals.

`elsa worker` and `elsa dev` make one and run it in their main thread. It imports neither the user's app nor
confluent_kafka.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from logging import DEBUG, ERROR, INFO, WARNING
from typing import TYPE_CHECKING, Any, Self

from elsa import exits
from elsa.clock import SYSTEM
from elsa.worker.backoff import LONGEST_SECONDS, MIN_LIFE_SECONDS
from elsa.worker.child import COMMAND, Child, Place, State, how_it_ended, reap_orphans
from elsa.worker.crew import Crew
from elsa.worker.ends import End, judge
from elsa.worker.events import Reporter
from elsa.worker.questions import Questions
from elsa.worker.reload import forget_bytecode
from elsa.worker.roll import Roll
from elsa.worker.switchboard import Switchboard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from elsa.worker.control import Message
    from elsa.worker.events import Event, Telemetry
    from elsa.worker.spec import WorkerSpec

#: after its deadline a process has this long to name what blocks it, then it is killed
KILL_GRACE_SECONDS = 3.0
#: what is left to the processes after a second signal
NOW_SECONDS = 1.0
#: an INT from the terminal and a TERM from a process manager within this time are one wish
SAME_WISH_SECONDS = 0.25


class Supervisor:
    """Keeps `processes` worker processes running until it is told to stop or all of them have finished.

    With `waits_for_code` a process that can't start is no end: what is wrong is told, the others are ended, and
    nothing runs until `reload` or `restart`. Durations are seconds.

    `start` and `run` belong to the main thread, whose loop owns all state and calls `on_event`; `stop`, `quiet`,
    `restart`, `reload`, `call` and `questions.ask` may be called from any thread and only wake the loop.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        *,
        processes: int = 1,
        stop_timeout: float = 25.0,
        on_event: Callable[[Event], None] = lambda _: None,
        command: Sequence[str] = COMMAND,
        min_life: float = MIN_LIFE_SECONDS,
        longest_backoff: float = LONGEST_SECONDS,
        silent_after: float = 60.0,
        ready_timeout: float = 60.0,
        waits_for_code: bool = False,
    ) -> None:
        self.stop_timeout = stop_timeout
        self._board = Switchboard()
        #: have the loop call a function; from any thread, also before `start`
        self.call = self._board.call
        #: whether the loop comes round within so many seconds; for other threads
        self.is_answering = self._board.is_answering
        self.questions = Questions(self.call, lambda: self.places)
        self.telemetry: Telemetry | None = None
        #: no process is replaced any more
        self.is_stopping = False
        #: monotonic
        self.started_at = SYSTEM.monotonic()
        #: worker processes replaced, by how they ended
        self.restarts: Counter[str] = Counter()
        self._crew = Crew(
            spec, processes, self._board, command=command, min_life=min_life, longest_backoff=longest_backoff
        )
        #: the places of the worker processes
        self.places: Sequence[Place] = self._crew.places
        self._tell = Reporter(on_event).tell
        self._silent_after = silent_after
        self._ready_timeout = ready_timeout
        self._waits_for_code = waits_for_code
        self._is_broken = False
        self._changed: set[str] = set()
        self._roll: Roll | None = None
        self._wished_at = 0.0
        self._is_forced = False
        self._code = exits.OK

    @property
    def processes(self) -> int:
        """How many worker processes there should be."""
        return self._crew.processes

    @property
    def is_rolling(self) -> bool:
        """Whether the processes are being renewed one by one."""
        return self._roll is not None

    @property
    def is_ready(self) -> bool:
        """Whether every place is served."""
        children = [place.child for place in self.places if not place.is_done]
        return bool(children) and not self.is_stopping and all(c and c.state is State.RUNNING for c in children)

    def quiet(self) -> None:
        """Have every process take no more messages; idempotent."""
        self.call(self._crew.quiet)

    def stop(self) -> None:
        """End every process within the deadline, and `run`; idempotent."""
        self.call(self._do_stop)

    def restart(self) -> None:
        """Renew the processes one by one."""
        self.call(self._do_roll)

    def reload(self, files: Sequence[str]) -> None:
        """Renew the processes one by one, because these files have changed."""
        self.call(lambda: self._do_reload(files))

    def start(self) -> Self:
        """Take over the signals and start the processes; `run` is called next."""
        self._board.__enter__()
        self._resize(self.processes)
        return self

    def run(self) -> int:
        """Serve until the end; the exit code: 0, FORCED when one was killed, or that of a process that failed."""
        try:
            while not self._is_over():
                self._turn()
        finally:
            for place, child in self._crew.children():
                # an error in the loop: they see the end of the stream and stop by themselves
                self._crew.let_go(place, child)
            self._board.__exit__()
        return self._code

    def _turn(self) -> None:
        for place, child in self._board.wait(self._seconds_until_due()):
            self._listen(place, child)
        for number in self._board.wishes():
            self._obey(number)
        for place, child in self._crew.children():
            if child.process.poll() is not None:
                self._bury(place, child)
        if os.getpid() == 1:
            reap_orphans({child.pid for _, child in self._crew.children()})
        self._act_on_time()
        self._advance_roll()

    def _is_over(self) -> bool:
        if any(place.child for place in self.places):
            return False
        return self.is_stopping or all(place.is_done for place in self.places)

    def _resize(self, processes: int) -> None:
        """Have so many places: more are filled, surplus ones emptied."""
        for place in self._crew.resize(processes):
            self._spawn(place)
        for place, child in self._crew.children():
            if place.is_done:
                self._end(child, leave=True)

    def _spawn(self, place: Place) -> None:
        # here, and not when they change: until now another process may have been compiling an older version
        forget_bytecode(self._changed)
        try:
            child = self._crew.spawn(place)
        except OSError as error:
            self._spawn_failed(place, error)
            return
        self._tell("started", DEBUG, "worker process started", worker=place.index, pid=child.pid)

    def _spawn_failed(self, place: Place, error: OSError) -> None:
        if place.generation == 0:
            self._fail(exits.WORKER_FAILED, place, f"the system refused to start a process: {error.strerror}")
            return
        delay = place.backoff.after(0.0) or 1.0
        place.due_at = SYSTEM.monotonic() + delay
        text = "a worker process could not be started, retrying"
        self._tell("spawn_failed", ERROR, text, worker=place.index, error=str(error), seconds=round(delay, 1))

    def _listen(self, place: Place, child: Child) -> None:
        for message in child.channel.receive():
            self._hear(place, child, message)
        if not child.channel.is_open and self._board.watches(child):
            self._board.drop(child)
            if child.kill_at is None and child.process.poll() is None:
                # it believes that this supervisor is gone, and is stopping; or it can't be told anything any more
                child.state = State.STOPPING
                child.kill_at = SYSTEM.monotonic() + self.stop_timeout + KILL_GRACE_SECONDS

    def _hear(self, place: Place, child: Child, message: Message) -> None:
        kind = message["type"]
        child.heard_at = SYSTEM.monotonic()
        if kind == "hello":
            child.greeted_at, child.banner = child.heard_at, message.get("banner") or {}
            settings: dict[str, Any] = message.get("settings") or {}
            facts = {"worker": place.index, "pid": child.pid, "settings": settings}
            self._tell("hello", DEBUG, "worker process loaded the app", **facts, banner=child.banner)
            if not child.is_dismissed:
                self._adopt(settings)
        elif kind == "ready":
            place.slot, place.has_served, child.was_ready = message.get("slot"), True, True
            if child.state is State.STARTING:
                child.state = State.RUNNING
            facts = {"worker": place.index, "pid": child.pid, "slot": place.slot}
            self._tell("ready", INFO, "worker process is ready", **facts, seconds=round(child.lived(), 2))
        elif kind == "beat":
            child.checks = message.get("checks") or {}
        elif kind == "ending":
            child.ends_by = child.heard_at + float(message.get("seconds") or 0.0)
        elif kind == "positions":
            self._crew.remember(message.get("positions") or {})
        elif kind == "wish":
            self._grant(place, message)
        elif kind in ("samples", "status"):
            if kind == "samples" and self.telemetry is not None:
                self.telemetry.update(place.index, message["snapshot"])
            self.questions.take(place, child, message)
        else:
            child.note(message)

    def _grant(self, place: Place, message: Message) -> None:
        """An operator has told one process what all of them are to do; several were told the same."""
        if message.get("wish") == "quiet":
            self._crew.quiet()
        elif message.get("wish") == "stop" and not self.is_stopping:
            self._tell("stopping", INFO, "stopping, as commanded", worker=place.index, seconds=self.stop_timeout)
            self._do_stop()

    def _adopt(self, settings: Mapping[str, Any]) -> None:
        """The App's own settings, which only a process that imported it knows."""
        self.stop_timeout = float(settings.get("stop_timeout", self.stop_timeout))
        self._resize(int(settings.get("processes", self.processes)))

    def _bury(self, place: Place, child: Child) -> None:
        """A process has ended: hear its last words, then replace it, or not."""
        self._listen(place, child)
        self._crew.let_go(place, child)
        self.questions.forget(child)
        if self.telemetry is not None:
            self.telemetry.ended(place.index)
        code = child.process.returncode
        facts = {"worker": place.index, "pid": child.pid, "code": code, "seconds": round(child.lived(), 1)}
        end = judge(
            place,
            child,
            self._roll,
            is_stopping=self.is_stopping,
            waits_for_code=self._waits_for_code,
            is_broken=self._is_broken,
        )
        if end is not End.DIED:
            place.want_nothing()
        if end is not End.LAST and child.has_refused_to_end:
            self._tell("forced", WARNING, "worker process did not end well", **facts, blocked=child.blocked)
        if end is End.LAST:
            place.is_done = True
            self._close_account(child, facts)
        elif end is End.RENEWED:
            self._succeed(place, child)
        elif end is End.WANTED:
            self._spawn(place)
        elif end is End.BROKEN:
            self._wait_for_code(child.why_it_failed(place.index))
        elif end is End.FATAL:
            code = (child.failure or {}).get("code") or exits.WORKER_FAILED
            self._fail(code, place, child.why_it_failed(place.index))
        elif end is End.DIED:
            self._replace(place, child, facts)

    def _close_account(self, child: Child, facts: Mapping[str, Any]) -> None:
        """The last process of its place has ended, well or badly."""
        code = child.process.returncode
        if child.was_killed or code == exits.FORCED:
            self._raise_code(exits.FORCED)
            text = "worker process was stopped by force"
            self._tell("forced", ERROR, text, **facts, blocked=list(child.blocked))
        elif code == exits.OK or not child.has_greeted:
            reason = child.finished or "stopped"
            self._tell("ended", INFO, "worker process ended", **facts, reason=reason)
        else:
            self._raise_code(code if code > 0 else exits.WORKER_FAILED)
            self._tell("ended_badly", ERROR, "worker process failed while it stopped", **facts, error=child.error)

    def _succeed(self, place: Place, child: Child) -> None:
        """The roll's turn: start the successor."""
        place.backoff.reset()
        # from now on a failing start stops the roll, not the supervisor
        place.has_served = place.has_served or child.has_greeted
        self._count_restart("recycle")
        self._spawn(place)
        if self._roll is not None:
            self._roll.succeeded_by(place)

    def _replace(self, place: Place, child: Child, facts: Mapping[str, Any]) -> None:
        code = child.process.returncode
        place.bereaved_of(child)
        self._count_restart("signal" if code < 0 else "exit")
        delay = place.backoff.after(child.lived())
        how = {"how": how_it_ended(code), "error": child.error}
        if delay <= 0:
            self._tell("replaced", WARNING, "worker process died, replacing it at once", **facts, **how)
            self._spawn(place)
        else:
            place.due_at = SYSTEM.monotonic() + delay
            text = "worker process died again, replacing it later"
            self._tell("replaced", ERROR, text, **facts, **how, wait=round(delay, 1))

    def _count_restart(self, reason: str) -> None:
        self.restarts[reason] += 1
        if self.telemetry is not None:
            self.telemetry.restarted(reason)

    def _raise_code(self, code: int) -> None:
        """The first bad end decides."""
        if self._code == exits.OK:
            self._code = code

    def _fail(self, code: int, place: Place, text: str) -> None:
        place.is_done = True
        if self._code == exits.OK:
            self._tell("failed", ERROR, "a worker process could not start", worker=place.index, error=text)
        self._raise_code(code)
        self._do_stop()

    def _obey(self, number: signal.Signals) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._do_stop(number)
        elif number == signal.SIGHUP and self._board.lost_its_terminal():
            self._tell("stopping", INFO, "the terminal was closed, stopping", seconds=self.stop_timeout)
            self._do_stop()
        elif number == signal.SIGHUP:
            self._do_roll()
        elif number == signal.SIGUSR1:
            self._crew.signal(number)

    def _do_roll(self) -> None:
        if not self.is_stopping:
            self._tell("rolling", INFO, "restarting the worker processes one by one", processes=self.processes)
            self._renew()

    def _do_reload(self, files: Sequence[str]) -> None:
        if not self.is_stopping:
            self._changed.update(files)
            self._tell("reloading", INFO, "files have changed, reloading", files=list(files))
            self._renew()

    def _renew(self) -> None:
        self._is_broken = False
        for place in self.places:
            place.backoff.reset()
        self._roll = Roll(self.places, ready_timeout=self._ready_timeout)

    def _wait_for_code(self, error: str) -> None:
        """Tell once what is wrong, and run nothing rather than a part: no process of the code before either."""
        self._is_broken, self._roll = True, None
        self._tell("broken", ERROR, "the code can not be run, waiting for a change of it", error=error)
        self._end_all(leave=False)

    def _do_stop(self, number: signal.Signals | None = None) -> None:
        now = SYSTEM.monotonic()
        if self.is_stopping:
            if number is not None and now - self._wished_at >= SAME_WISH_SECONDS:
                self._wished_at = now
                self._do_now(number)
            return
        self.is_stopping, self._wished_at = True, now
        self._roll = None
        if number is not None:
            self._tell("stopping", INFO, "stopping", signal=number.name, seconds=self.stop_timeout)
        self._end_all(leave=True)

    def _do_now(self, number: signal.Signals) -> None:
        """A second signal gives the processes a second, a third one nothing."""
        self._raise_code(exits.FORCED)
        self._tell("now", WARNING, "stopping by force", signal=number.name)
        for _, child in self._crew.children():
            if self._is_forced:
                child.kill()
            else:
                child.give_up(grace=NOW_SECONDS)
        self._is_forced = True

    def _end(self, child: Child, *, leave: bool) -> None:
        child.stop(within=self.stop_timeout, grace=KILL_GRACE_SECONDS, leave=leave)

    def _end_all(self, *, leave: bool) -> None:
        for place in self.places:
            place.want_nothing()
        for _, child in self._crew.children():
            self._end(child, leave=leave)

    def _advance_roll(self) -> None:
        if self._roll is not None and not self._roll.advance(
            stop=lambda child: self._end(child, leave=False), spawn=self._spawn, tell=self._tell
        ):
            self._roll = None

    def _seconds_until_due(self) -> float | None:
        moments = (self._crew.due_at(self._silent_after), None if self._roll is None else self._roll.due_at)
        due = min((moment for moment in moments if moment is not None), default=None)
        return None if due is None else max(0.0, due - SYSTEM.monotonic())

    def _act_on_time(self) -> None:
        now = SYSTEM.monotonic()
        for place in self.places:
            if place.due_at is not None and now >= place.due_at:
                self._spawn(place)
        for place, child in self._crew.children():
            if child.kill_at is not None and now >= child.kill_at:
                child.overdue()
            if (silent_at := child.silent_at(self._silent_after)) is not None and now >= silent_at:
                child.is_silence_told = True
                text = "worker process is silent since its start: the import of the app hangs or is very slow"
                self._tell("silent", WARNING, text, worker=place.index, pid=child.pid, seconds=round(child.lived()))
