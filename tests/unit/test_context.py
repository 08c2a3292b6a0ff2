"""What a handler can know while a message runs."""

from __future__ import annotations

from typing import Any

import pytest

from elsa.context import Context, NoContext
from elsa.errors import EncodeError
from elsa.message import Message, TopicPartition


class Site:
    """Where the calls of these tests run."""

    partition = TopicPartition("orders", 3)
    group = "billing"
    generation = 7
    is_stopping = False

    def __init__(self) -> None:
        self.app: Any = type("App", (), {"name": "shop", "send": lambda _, topic, value, **options: (topic, value)})()
        self.acked: list[Message] = []
        self.progress: dict[int, Any] = {}

    def handler_of(self, raws: Any) -> str:
        return f"shop.bill of {[raw.offset for raw in raws]}"

    def ack(self, messages: Any) -> None:
        self.acked += messages

    def heartbeat(self, offsets: Any, progress: Any) -> None:
        self.progress.update(dict.fromkeys(offsets, progress))


class Raw:
    """A message as the client gives it out, as far as heartbeats look at it."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def offset(self) -> int:
        return self._offset


def message(offset: int) -> Message:
    return Message("orders", 3, offset, b"k", b"v", (("a", b"1"), ("a", b"2")), 5.0)


def test_the_context_tells_where_the_message_is() -> None:
    ctx = Context(Site(), (message(4),), lambda raw: raw, 2)

    assert (ctx.topic, ctx.partition, ctx.offset, ctx.key, ctx.timestamp) == ("orders", 3, 4, b"k", 5.0)
    assert (ctx.connection, ctx.handler, ctx.group, ctx.generation, ctx.attempt) == (
        "shop",
        "shop.bill of [4]",
        "billing",
        7,
        2,
    )
    assert ctx.headers == (("a", b"1"), ("a", b"2"))
    assert ctx.message.header("a") == b"2"
    assert ctx.send("invoices", b"x") == ("invoices", b"x")


def test_in_setup_there_is_a_partition_and_no_message() -> None:
    ctx = Context(Site(), (), lambda raw: raw, 1)

    assert (ctx.topic, ctx.partition, ctx.messages) == ("orders", 3, [])
    with pytest.raises(NoContext, match="no message in setup"):
        _ = ctx.offset


def test_ack_finishes_the_calls_messages_or_the_named_ones() -> None:
    site = Site()
    ctx = Context(site, (message(1), message(2)), lambda raw: raw, 1)
    ctx.ack(ctx.messages[1])
    ctx.ack()

    assert [m.offset for m in site.acked] == [2, 1, 2]


def test_progress_is_kept_as_json_says_it_and_as_it_was() -> None:
    site = Site()
    ctx = Context(site, (Raw(1), Raw(2)), lambda raw: message(raw.offset()), 1)
    pages: dict[str, Any] = {"page": 1, "seen": (1, 2)}
    ctx.heartbeat(pages)
    pages["page"] = 2

    assert site.progress == {1: {"page": 1, "seen": [1, 2]}, 2: {"page": 1, "seen": [1, 2]}}
    assert ctx.progress == {"page": 1, "seen": [1, 2]}


@pytest.mark.parametrize("progress", [object(), {"e": ValueError("no")}, "\ud800"])
def test_progress_that_json_cannot_say_is_refused(progress: Any) -> None:
    """Whoever shows it would fail, and not only this call."""
    ctx = Context(Site(), (Raw(1),), lambda raw: message(raw.offset()), 1)

    with pytest.raises(EncodeError, match=r"ctx\.heartbeat takes what JSON can say, not a"):
        ctx.heartbeat(progress)
    assert ctx.progress is None
