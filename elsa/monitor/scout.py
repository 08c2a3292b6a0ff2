"""Looks at consumer groups through a process of its own, so that no fault of the Kafka client ends the program.

librdkafka 2.16 ends its process (an assertion) when a broker goes away while groups are described, and crashes when
committed offsets are asked of a coordinator that moves. `elsa monitor`, `elsa lag` and `elsa top` have to live through
just that: they hold no Kafka client, and ask `survey` over a socketpair.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import traceback
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Self, cast

from elsa.errors import BrokerUnavailable, ConfigError, ElsaError, NotStarted

if TYPE_CHECKING:
    from elsa.config import Settings
    from elsa.monitor.look import Look, Request

#: a look that takes longer than this hangs: its requests have limits of their own, far below
LOOK_SECONDS = 60.0
#: how long the process may take to end by itself
_END_SECONDS = 2.0


class Scout:
    """Looks, one at a time, from one thread; `close` it, from any, or use it in `with`.

    The process is started with the first look, and again when it has died. `quiet` keeps what the Kafka client writes
    to stderr off the screen.

    ```python
    with Scout(Settings(brokers="localhost:9092")) as scout:
        look = scout.look(Request(groups=("billing",)))
        print(look.groups[0].lag)
    ```
    """

    def __init__(self, settings: Settings, *, quiet: bool = True) -> None:
        self._settings = settings
        self._quiet = quiet
        self._child: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """Of the process that looks; None before the first look."""
        return self._child.pid if self._child is not None else None

    def look(self, request: Request) -> Look:
        """What there is now; raises what the cluster refuses, BrokerUnavailable also where the process died twice.

        NotStarted when it is closed meanwhile.
        """
        for is_last in (False, True):
            try:
                connection = self._connection or self._start()
                connection.send(request)
                if not connection.poll(LOOK_SECONDS):
                    self._end()
                    raise BrokerUnavailable(f"Kafka has not answered within {LOOK_SECONDS:g} s", code="_TIMED_OUT")
                answer = connection.recv()
            except (EOFError, OSError) as error:
                code = self._end()
                if self._is_closed:
                    raise NotStarted("the scout was closed while it looked") from error
                if is_last:
                    raise BrokerUnavailable(
                        f"the Kafka client has crashed while it asked (exit code {code})",
                        code="_FAIL",
                        hint="librdkafka 2.16 does so while a coordinator moves: look again in a moment",
                    ) from error
                continue
            if isinstance(answer, BaseException):
                raise answer
            return cast("Look", answer)
        raise AssertionError("unreachable")

    def _start(self) -> Connection:
        if self._is_closed:
            raise NotStarted("the scout is closed")
        try:
            settings = pickle.dumps(self._settings)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"the settings can't be handed to another process: {error}",
                hint="functions in `kafka` (oauth_cb) have to be importable: define them at the top of a module",
            ) from error
        ours, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            self._child = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "elsa.monitor.scout", str(number)],
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL if self._quiet else None,
            )
        if self._is_closed:  # meanwhile, by another thread
            self._child.kill()
        self._connection = Connection(ours.detach())
        self._connection.send_bytes(settings)
        return self._connection

    def _end(self) -> int | None:
        """End the process; its exit code."""
        connection, self._connection = self._connection, None
        child, self._child = self._child, None
        if connection is not None:
            connection.close()
        if child is None:
            return None
        try:
            return child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()

    def close(self) -> None:
        """End the process, also in the middle of a look; idempotent."""
        self._is_closed = True
        if (child := self._child) is not None:
            child.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._end()


def serve(connection: Connection) -> None:
    """The other side: answer each request with a look, or with the error; ends when nobody asks any more."""
    from elsa.monitor.survey import Survey  # noqa: PLC0415 - only this side has a Kafka client

    survey = Survey(pickle.loads(connection.recv_bytes()))  # noqa: S301 - from our own parent, over a socketpair
    with contextlib.suppress(EOFError, OSError):
        while True:
            request = connection.recv()
            answer: Any
            try:
                answer = survey.look(request)
            except ElsaError as error:
                answer = error
            except Exception as error:  # the border to the other process, which has to go on
                traceback.print_exc()
                answer = ElsaError(f"the look has failed: {type(error).__name__}: {error}")
            connection.send(answer)


if __name__ == "__main__":
    # ctrl-C is for the program that asks; when that ends, so does this
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(Connection(int(sys.argv[1])))
    # nothing is left to be done, and a client that waits for a broker would hold it up
    os._exit(0)
