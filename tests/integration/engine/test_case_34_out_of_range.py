"""Case 34: the committed offset is gone from the log; `on_out_of_range` says whether to go on, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from elsa.message import Message  # noqa: TC001 - annotations of handlers are read at run time

from .waiting import Log, Seen, delete_records, stays, until

if TYPE_CHECKING:
    import elsa
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def _prepared(app: elsa.App, name: str, log: Log, brokers: str, **options: Any) -> Seen[int]:
    """Committed 3, thirteen messages, those below 8 deleted."""
    seen: Seen[int] = Seen()

    @app.handler(name, **options)
    def handle(message: Message) -> None:
        seen(message.offset)

    app.produce(name, [str(n) for n in range(13)])
    log.commit(app.name, name, 3)
    delete_records(brokers, name, 8)
    return seen


def test_earliest_goes_on_at_the_first_that_is_left(app: elsa.App, topic: Topics, log: Log, brokers: str) -> None:
    name = topic()
    seen = _prepared(app, name, log, brokers)
    with app:
        assert seen.wait(5) == [8, 9, 10, 11, 12]
        log.wait_committed(app.name, name, 13)


def test_latest_takes_only_what_comes_now(app: elsa.App, topic: Topics, log: Log, brokers: str) -> None:
    name = topic()
    seen = _prepared(app, name, log, brokers, on_out_of_range="latest")
    with app:
        log.wait_committed(app.name, name, 13)
        app.produce(name, "new")
        assert seen.wait(1) == [13]
        log.wait_committed(app.name, name, 14)


def test_fail_ends_the_work_and_says_why(app: elsa.App, topic: Topics, log: Log, brokers: str) -> None:
    name = topic()
    seen = _prepared(app, name, log, brokers, on_out_of_range="fail")
    app.start()
    runtime = app._runtime
    until(runtime.ended.is_set, "the work has ended")

    assert "offset 3 is out of range" in runtime.failure
    assert runtime.reason == "failed"
    assert seen.items == []
    app.stop()
    assert log.committed(app.name, name) == 3


@pytest.mark.parametrize("is_standalone", [False, True])
def test_a_start_far_beyond_an_empty_log_heals(app: elsa.App, topic: Topics, log: Log, *, is_standalone: bool) -> None:
    name = topic()
    seen: Seen[str] = Seen()

    @app.handler(name, start=1_000_000, **({"group": None} if is_standalone else {}))
    def handle(body: str) -> None:
        seen(body)

    with app:
        assert app.wait_ready()
        stays(lambda: not app._runtime.ended.is_set(), 0.5, "the worker")
        app.produce(name, "first")
        assert seen.wait(1) == ["first"]
        if not is_standalone:
            log.wait_committed(app.name, name, 1)
