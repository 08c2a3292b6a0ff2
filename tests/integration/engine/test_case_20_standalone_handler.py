"""Case 20: a standalone handler reads partitions by itself, without a group: all or some, from where it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import elsa

from .waiting import Seen, stays, until

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def _values(app: elsa.App, topic: str | list[str], **options: Any) -> Seen[str]:
    seen: Seen[str] = Seen()

    @app.handler(topic, group=None, **options)
    def handle(body: str, ctx: elsa.Context) -> None:
        assert ctx.group is None
        assert ctx.generation is None
        seen(body)

    return seen


def test_earliest_in_one_partition(app: elsa.App, topic: Topics) -> None:
    name = topic()
    seen = _values(app, name, start="earliest", partitions=0)
    app.produce(name, "value1")

    with app:
        assert seen.wait(1, 5) == ["value1"]


def test_only_the_partitions_that_are_asked_for(app: elsa.App, topic: Topics) -> None:
    name = topic(3)
    seen = _values(app, name, start="earliest", partitions=[1])
    app.produce(name, [elsa.Record(value, partition=p) for p, value in enumerate(["zero", "one", "two"])])

    with app:
        seen.wait(1)
        stays(lambda: seen.items == ["one"], 0.5, "only partition 1 is read")


def test_all_partitions_when_none_is_named(app: elsa.App, topic: Topics) -> None:
    name = topic(2)
    seen = _values(app, name, start="earliest")
    app.produce(name, [elsa.Record("a", partition=0), elsa.Record("b", partition=1)])

    with app:
        assert sorted(seen.wait(2)) == ["a", "b"]


def test_latest_is_the_default_and_skips_what_lies_there(app: elsa.App, topic: Topics) -> None:
    name = topic()
    seen = _values(app, name)
    app.produce(name, ["one", "two"])

    with app:
        assert app.wait_ready()
        app.produce(name, "three")
        seen.wait(1)
        stays(lambda: seen.items == ["three"], 0.5, "what lay there before is not read")


def test_a_number_is_the_first_offset(app: elsa.App, topic: Topics) -> None:
    name = topic()
    seen = _values(app, name, start=1)
    app.produce(name, ["a", "b", "c"])

    with app:
        seen.wait(2)
        stays(lambda: seen.items == ["b", "c"], 0.3, "the first message is not read")


def test_several_topics_and_a_pattern(app: elsa.App, topic: Topics) -> None:
    first, second = topic(), topic()
    seen = _values(app, [first, second], start="earliest")
    by_pattern: Seen[str] = Seen()

    @app.handler(f"^{first}", group=None, start="earliest")
    def match(body: str) -> None:
        by_pattern(body)

    app.produce(first, "a")
    app.produce(second, "b")
    with app:
        assert sorted(seen.wait(2)) == ["a", "b"]
        assert by_pattern.wait(1) == ["a"]
        runtime = app._runtime

        def positions() -> dict[str, int]:
            found: dict[str, int] = runtime.positions()[app.registry.standalone()[0].name]
            return found

        # what a supervisor hands to the successor: both topics of one handler
        until(lambda: positions() == {f"{first}[0]": 1, f"{second}[0]": 1}, "both positions are reported")
