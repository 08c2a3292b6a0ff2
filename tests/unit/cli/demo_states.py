"""States of a demo, for the tests of its command and views."""

from __future__ import annotations

from pathlib import Path

from elsa.demo.results import Standing, Totals
from elsa.demo.run import Snapshot, Stage

STAGE = Stage("127.0.0.1:9092", False, "http://127.0.0.1:8000/metrics", 41, Path("worker.log"), 1_000)
MOCK = Stage("127.0.0.1:9092", True, "http://127.0.0.1:8000/metrics", 41, Path("worker.log"), 1_000)


def snapshot(counted: int, *, seconds: float = 10.0, lag: int | None = 7) -> Snapshot:
    """A demo of 1,000 flights, all published, of which `counted` were counted by process 42."""
    totals = Totals(flights=counted, cancelled=counted // 10, late=counted // 2, late_again=counted // 4, delay=counted)
    standing = Standing([("UA", totals)], {42: counted, 40: 0}, counted, 3, 5)
    return Snapshot(seconds, 1_000, 1_000, 1_000, standing, 50.0, {42: 50.0, 40: 0.0}, lag)
