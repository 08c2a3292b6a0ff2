"""Asks a running `elsa worker` how it is, once or about every second; used by the tests of its probes."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from .driver import until

if TYPE_CHECKING:
    from .driver import Tree

#: seconds between two samples
PACE = 1.0


def base_of(tree: Tree) -> str:
    """Where the worker answers, without a path."""
    started = until(lambda: tree.events("worker_started"), "the worker tells where its port is")
    return str(started[0]["worker"]["metrics"]).removesuffix("/metrics")


def ask(base: str, path: str) -> tuple[int, dict[str, Any]]:
    """The status and the body of one answer."""
    try:
        with urllib.request.urlopen(f"{base}{path}", timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def failed(base: str, path: str) -> list[str]:
    """The names of the checks that do not hold."""
    return _names(ask(base, path)[1])


def _names(body: dict[str, Any]) -> list[str]:
    return sorted({check["name"] for check in body["checks"] if not check["ok"]})


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer; `status` is 0 when there was none, and `body` says why."""

    #: seconds since the sampling began
    at: float
    status: int
    body: dict[str, Any]

    @property
    def failed(self) -> list[str]:
        """The names of the checks that do not hold."""
        return _names(self.body)

    def __str__(self) -> str:
        checks = [check for check in self.body.get("checks", ()) if not check["ok"]]
        return f"{self.at:6.1f} s: {self.status} {checks or self.body}"


class Watch:
    """Samples `/livez` and `/readyz` on a thread of its own while it is entered."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.live: list[Sample] = []
        self.ready: list[Sample] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def lasts(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def _run(self) -> None:
        while not self._ended.wait(PACE):
            self.live.append(self._sample("/livez"))
            self.ready.append(self._sample("/readyz"))

    def _sample(self, path: str) -> Sample:
        at = self.lasts()
        try:
            return Sample(at, *ask(self._base, path))
        except OSError as error:
            return Sample(at, 0, {"error": repr(error), "seconds": round(self.lasts() - at, 1)})
