"""Case 26: what a batch handler returns decides what is committed: all, a part, nothing yet, nothing until later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import elsa

from .waiting import Log, Seen, stays

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def _run(app: elsa.App, name: str, log: Log, answer: Any) -> Seen[list[int]]:
    """A batch handler that starts at offset 13 of a log with the offsets 0 to 14."""
    seen: Seen[list[int]] = Seen()

    @app.handler(name, batch=2, batch_wait=0.2, retry=elsa.Retry(max_attempts=2, base=0))
    def handle(bodies: list[str], ctx: elsa.Context) -> Any:
        offsets = [message.offset for message in ctx.messages]
        seen(offsets)
        return answer(offsets)

    app.produce(name, [str(n) for n in range(15)])
    log.commit(app.name, name, 13)
    app.start()
    return seen


def test_ack_commits_past_the_batch(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()
    seen = _run(app, name, log, lambda _: elsa.ACK)

    log.wait_committed(app.name, name, 15)
    assert seen.items == [[13, 14]]


def test_ack_through_commits_a_part_and_the_rest_comes_back(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()
    seen = _run(app, name, log, lambda offsets: elsa.ack_through(13) if offsets[0] == 13 else elsa.DEFER)

    log.wait_committed(app.name, name, 14)
    assert seen.wait(2) == [[13, 14], [14]]
    stays(lambda: len(seen) == 2 and log.committed(app.name, name) == 14, 1.5, "the deferred rest")


def test_defer_commits_nothing(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()
    seen = _run(app, name, log, lambda _: elsa.DEFER)

    assert seen.wait(1) == [[13, 14]]
    stays(lambda: log.committed(app.name, name) == 13, 1.5, "the committed offset")


def test_continue_commits_nothing_and_later_messages_keep_coming(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()
    seen = _run(app, name, log, lambda offsets: elsa.ACK if offsets[-1] >= 17 else elsa.CONTINUE)

    seen.wait(1)
    app.produce(name, ["15", "16"])
    seen.wait_for(lambda items: items[-1][-1] == 16, "later messages")
    stays(lambda: log.committed(app.name, name) == 13, 1.2, "the committed offset")
    app.produce(name, "17")
    log.wait_committed(app.name, name, 18)


def test_an_offset_outside_the_batch_is_an_error(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()
    seen = _run(app, name, log, lambda _: elsa.ack_through(99))

    dead = log.wait_for(f"{name}.{app.name}.dlq", 2)
    log.wait_committed(app.name, name, 15)
    assert b"ack_through(99)" in (dead[0].header("elsa-error-message") or b"")
    assert seen.items[0] == [13, 14]


def test_standalone_results_move_the_position_only(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()
    seen: Seen[int] = Seen()

    @app.handler(name, group=None, start="earliest", batch=10, batch_wait=0)
    def handle(bodies: list[str], ctx: elsa.Context) -> Any:
        seen(len(bodies))
        return elsa.ack_through(ctx.messages[0].offset)

    app.produce(name, ["a", "b", "c"])
    with app:
        seen.wait_for(lambda items: sum(1 for _ in items) >= 3, "one call per message")
        assert log.committed(f"{app.name}-standalone", name) is None
        assert log.committed(app.name, name) is None
