"""Tells systemd how `elsa worker` is (sd_notify): one datagram for each state, over the socket of NOTIFY_SOCKET."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from elsa.clock import SYSTEM
from elsa.worker.endpoint import groups
from elsa.worker.probes import Probes

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from elsa.worker.supervisor import Supervisor

#: how often the state is looked at, where the watchdog does not want it more often
LOOK_SECONDS = 1.0
#: how often the status line is made anew
STATUS_SECONDS = 5.0
#: a worker that has loaded its app and waits so long for Kafka or topics counts as started: an outage is no reason
#: to start it again and again
WAITING_SECONDS = 30.0
#: how much longer systemd is asked to wait for the end, each time
EXTEND_SECONDS = 10.0
#: how long the processes may take to answer
_ASK_SECONDS = 0.3


class Notifier:
    """The socket: a path, or an abstract one (`@name`); `send` never blocks and never fails.

    >>> Notifier.from_environment({}) is None
    True
    """

    def __init__(self, address: str, watchdog_seconds: float | None = None) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        #: how often systemd wants to hear from a worker that is well; None: it does not watch
        self.watchdog_seconds = watchdog_seconds
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> Self | None:
        """What systemd has asked for, None when it did not start this process.

        The variables are taken out: worker processes and what they start speak to nobody.
        """
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        if not address.startswith(("/", "@")):
            return None
        is_watched = microseconds.isdecimal() and int(microseconds) > 0 and pid in ("", str(os.getpid()))
        return cls(address, int(microseconds) / 1_000_000 if is_watched else None)

    def send(self, **fields: Any) -> None:
        """Send some fields as one message."""
        text = "\n".join(f"{name}={value}" for name, value in fields.items())
        with contextlib.suppress(OSError):  # nobody reads it: that is not the worker's trouble
            self._socket.sendto(text.encode(), self._address)

    def close(self) -> None:
        """Say nothing more."""
        self._socket.close()


class Announcer:
    """Looks at a supervisor on a thread of its own and tells what has changed; `__enter__` to `__exit__`.

    READY=1 comes with the first assignment, or once a started worker has waited `WAITING_SECONDS` for Kafka.
    WATCHDOG=1 comes twice within systemd's time, only while the worker is live. `poke` has it look at once.
    """

    def __init__(self, supervisor: Supervisor, notifier: Notifier) -> None:
        self._supervisor = supervisor
        self._notifier = notifier
        self._probes = Probes(supervisor)
        watchdog = notifier.watchdog_seconds
        self._pause = LOOK_SECONDS if watchdog is None else min(LOOK_SECONDS, watchdog / 2)
        self._watchdog = None if watchdog is None else watchdog / 2
        self._fed_at = self._asked_at = float("-inf")
        self._started_at: float | None = None
        self._is_ready = self._is_reloading = self._is_stopping = False
        self._status = self._numbers = ""
        self._awake, self._is_over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="elsa-notify", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self._awake.set()
        self._thread.join()
        if not self._is_stopping:
            self._notifier.send(STOPPING=1, STATUS="ended")
        self._notifier.close()

    def poke(self) -> None:
        """Something has happened; from any thread."""
        self._awake.set()

    def _run(self) -> None:
        while not self._is_over.is_set():
            self._awake.clear()
            self._look(SYSTEM.monotonic())
            self._awake.wait(self._pause)

    def _look(self, now: float) -> None:
        live = self._probes.live()
        if live.ok and self._watchdog is not None and now - self._fed_at >= self._watchdog - self._pause / 2:
            self._fed_at = now
            self._notifier.send(WATCHDOG=1)
        if self._supervisor.is_stopping:
            self._stop()
            return
        if not self._is_ready:
            self._await_ready(now)
        self._reload()
        if not live.ok:
            self._say(f"not live: {_summary(live.failed)}")
            return
        ready = self._probes.ready()
        self._say(self._partitions(now) if ready.ok else f"not ready: {_summary(ready.failed)}")

    def _stop(self) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self._notifier.send(STOPPING=1, STATUS="stopping: running handlers finish")
        # the supervisor kills what does not end within `stop_timeout`, so this does not go on for ever
        self._notifier.send(EXTEND_TIMEOUT_USEC=int(EXTEND_SECONDS * 1_000_000))

    def _await_ready(self, now: float) -> None:
        if self._started_at is None and self._probes.started().ok:
            self._started_at = now
        has_waited = self._started_at is not None and now - self._started_at >= WAITING_SECONDS
        if self._supervisor.is_ready or has_waited:
            self._is_ready = True
            self._notifier.send(READY=1)

    def _reload(self) -> None:
        """A rolling restart: systemd shows it, and waits for its end."""
        is_rolling = self._supervisor.is_rolling
        if is_rolling == self._is_reloading or not self._is_ready:
            return
        self._is_reloading = is_rolling
        if is_rolling:
            self._notifier.send(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000)
        else:
            self._notifier.send(READY=1)

    def _partitions(self, now: float) -> str:
        if now - self._asked_at >= STATUS_SECONDS:
            self._asked_at = now
            answers = self._supervisor.questions.ask("status", _ASK_SECONDS)
            # one that loads its app is not asked
            asked = [place for place in list(self._supervisor.places) if place.child and place.child.has_greeted]
            silent = sum(1 for place in asked if answers.get(place.index) is None)
            self._numbers = describe([answer for answer in answers.values() if answer is not None], silent=silent)
        return self._numbers

    def _say(self, status: str) -> None:
        if status != self._status:
            self._status = status
            self._notifier.send(STATUS=status)


def describe(statuses: list[Mapping[str, Any]], *, silent: int = 0) -> str:
    """The status line of a worker that serves; of processes that do not answer, `silent` ones, nothing else is known.

    >>> describe([{"groups": ["billing"], "partitions": [{"group": "billing", "lag": 3}]}])
    '1 process, 1 partition, lag 3 (billing 3)'
    """
    unheard = f"{_count(silent, 'process', 'es')} {'does' if silent == 1 else 'do'} not answer" if silent else ""
    if unheard and not statuses:
        return unheard
    partitions = [each for status in statuses for each in status.get("partitions", ())]
    lag = sum(each["lag"] or 0 for each in partitions)
    by_group = ", ".join(f"{name} {each['lag']}" for name, each in groups(statuses).items())
    text = f"{_count(len(statuses), 'process', 'es')}, {_count(len(partitions), 'partition', 's')}, lag {lag}"
    text = f"{text} ({by_group})" if by_group else text
    return f"{text}; {unheard}" if unheard else text


def _count(number: int, what: str, ending: str) -> str:
    return f"{number} {what}{'' if number == 1 else ending}"


def _summary(failed: list[Mapping[str, Any]]) -> str:
    """What is wrong, in one line: a line break would end the field."""
    parts = [" ".join(filter(None, (check["name"], check.get("about", "")))) for check in failed]
    return ", ".join(dict.fromkeys(parts))
