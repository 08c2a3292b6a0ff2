"""The same handlers on the harness and on a real broker: calls, outcomes on the topics, and offsets are equal.

The harness is worth something only as far as it comes to what a worker comes to. Each scenario declares
handlers, sends, waits until everything is committed and compares with one expectation for both.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.errors import UnknownTopic
from elsa.kafka import probe
from elsa.message import TopicPartition
from elsa.testing.kafka import unique_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

#: header names in their order, as settlement writes them
DEAD = ["elsa-origin", "elsa-handler", "elsa-reason", "elsa-attempt", "elsa-error-type", "elsa-error-message"]
AGAIN = elsa.Retry(max_attempts=3, base=0.01, jitter=False)


class OnHarness:
    """Runs a scenario without a broker."""

    def __init__(self) -> None:
        self.app = elsa.App(unique_name("harness"))
        self.orders = "orders"

    def run(self, send: Callable[[], Any], committed: Mapping[str, int]) -> None:
        with self.app.test(raise_errors=False) as t:
            send()
            t.advance(60)
            self._t = t
            assert {topic: t.committed(topic) for topic in committed} == committed

    def records(self, topic: str) -> list[elsa.Message]:
        return list(self._t.sent(topic))

    def close(self) -> None:
        self.app.stop()


class OnBroker:
    """Runs a scenario in a real worker on a real broker."""

    def __init__(self, brokers: str, folder: Path) -> None:
        self._brokers = brokers
        self.app = elsa.App(unique_name("broker"), brokers=brokers, runtime_dir=str(folder), metadata_refresh=1.0)
        self.orders = unique_name("orders")

    def run(self, send: Callable[[], Any], committed: Mapping[str, int]) -> None:
        names = {b.topic for b in self.app.registry.bindings()} | {self.orders}
        for name in names:
            self.app.topics.create(name, exist_ok=True)
        send()
        self.app.start()
        places = {TopicPartition(topic, 0): offset for topic, offset in committed.items()}
        end = time.monotonic() + 30
        while not places.items() <= (found := self.app.groups.committed(self.app.name)).items():
            if time.monotonic() > end:
                pytest.fail(f"committed {found}, not {committed}")
            time.sleep(0.02)

    def records(self, topic: str) -> list[elsa.Message]:
        try:
            return list(self.app.stream(topic))
        except UnknownTopic:
            return []

    def close(self) -> None:
        self.app.stop(5)
        mine = (self.orders, self.app.name)
        probe.delete_topics(self._brokers, [n for n in probe.list_topics(self._brokers) if n.startswith(mine)])
        probe.delete_groups(self._brokers, [self.app.name])


World = OnHarness | OnBroker


@pytest.fixture(params=["harness", pytest.param("broker", marks=pytest.mark.broker)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """An App with a topic `orders`, and a way to run its handlers to their end."""
    found: World
    found = OnHarness() if request.param == "harness" else OnBroker(request.getfixturevalue("brokers"), tmp_path)
    yield found
    found.close()


def names(message: elsa.Message) -> list[str]:
    return [name for name, _ in message.headers]


def text(message: elsa.Message, name: str) -> str:
    return (message.header(name) or b"").decode()


class TestHarnessAndWorkerAgree:
    @pytest.mark.parametrize("kind", ["sync", "async"])
    def test_retry_then_success(self, world: World, kind: str) -> None:
        calls: list[tuple[int, int]] = []

        def handle(n: int, ctx: elsa.Context) -> None:
            calls.append((n, ctx.attempt))
            if n == 1 and ctx.attempt < 3:
                raise ValueError(n)

        async def handle_async(n: int, ctx: elsa.Context) -> None:
            handle(n, ctx)

        world.app.handler(world.orders, retry=AGAIN)(handle if kind == "sync" else handle_async)
        world.run(lambda: world.app.produce(world.orders, [b"1", b"2"]), {world.orders: 2})

        assert calls == [(1, 1), (1, 2), (1, 3), (2, 1)]
        assert world.records(f"{world.orders}.{world.app.name}.dlq") == []

    def test_exhausted_messages_are_dead_letters_with_the_same_headers(self, world: World) -> None:
        @world.app.handler(world.orders, retry=AGAIN, name="bill")
        def bill(n: int) -> None:
            raise ValueError(f"order {n}")

        record = elsa.Record(b"7", key=b"k", headers=[("mine", b"1"), ("mine", b"2")])
        world.run(lambda: world.app.produce(world.orders, record), {world.orders: 1})

        (letter,) = world.records(f"{world.orders}.{world.app.name}.dlq")
        assert names(letter) == ["mine", "mine", *DEAD, "elsa-traceback"]
        assert (letter.key, letter.value) == (b"k", b"7")
        assert [text(letter, name) for name in DEAD] == [
            f"{world.orders}:0:0",
            "bill",
            "exhausted",
            "3",
            "builtins.ValueError",
            "order 7",
        ]
        assert text(letter, "elsa-traceback").endswith("ValueError: order 7\n")

    def test_reject_skip_and_undecodable(self, world: World) -> None:
        @world.app.handler(world.orders)
        def bill(n: int) -> None:
            if n == 1:
                raise elsa.Reject("no")
            if n == 2:
                raise elsa.Skip("not ours")

        world.run(lambda: world.app.produce(world.orders, [b"1", b"2", b"{", b"4"]), {world.orders: 4})

        # they have no key: the two run, and are given up, side by side
        letters = sorted(world.records(f"{world.orders}.{world.app.name}.dlq"), key=lambda one: one.value or b"")
        assert [(one.value, text(one, "elsa-reason")) for one in letters] == [(b"1", "rejected"), (b"{", "decode")]
        assert [names(one) for one in letters] == [[*DEAD, "elsa-traceback"]] * 2

    def test_a_part_of_a_batch(self, world: World) -> None:
        batches: list[list[int]] = []

        @world.app.handler(world.orders, batch=4, batch_wait=0.2)
        def store(bodies: list[int], ctx: elsa.Context) -> Any:
            batches.append(bodies)
            return elsa.ack_through(ctx.messages[1].offset) if len(bodies) == 4 else None

        world.run(lambda: world.app.produce(world.orders, [b"1", b"2", b"3", b"4"]), {world.orders: 4})

        assert batches == [[1, 2, 3, 4], [3, 4]]

    def test_the_failing_member_of_a_batch_dies_alone(self, world: World) -> None:
        calls: list[list[int]] = []

        @world.app.handler(world.orders, batch=3, batch_wait=0.2, retry=None)
        def store(bodies: list[int]) -> None:
            calls.append(bodies)
            if 2 in bodies:
                raise ValueError("two")

        world.run(lambda: world.app.produce(world.orders, [b"1", b"2", b"3"]), {world.orders: 3})

        assert calls == [[1, 2, 3], [1], [2], [3]]
        letters = world.records(f"{world.orders}.{world.app.name}.dlq")
        assert [(one.value, text(one, "elsa-reason")) for one in letters] == [(b"2", "exhausted")]

    def test_chained_sends(self, world: World) -> None:
        seen: list[tuple[str, Any]] = []
        middle, last = f"{world.orders}-b", f"{world.orders}-c"

        @world.app.handler(world.orders)
        async def first(n: int, ctx: elsa.Context) -> None:
            await ctx.send(middle, n + 1, key=ctx.key, headers={"via": "first"})

        @world.app.handler(middle)
        def second(n: int, ctx: elsa.Context) -> None:
            seen.append((text(ctx.message, "via"), n))
            ctx.send(last, n + 1, key=ctx.key)

        @world.app.handler(last)
        def third(n: int, ctx: elsa.Context) -> None:
            seen.append(((ctx.key or b"").decode(), n))

        world.run(lambda: world.app.produce(world.orders, ("ann", "1")), {world.orders: 1, middle: 1, last: 1})

        assert seen == [("first", 2), ("ann", 3)]

    def test_tasks_and_an_unknown_one(self, world: World) -> None:
        calls: list[Any] = []

        @world.app.task(topic=world.orders, name="add")
        def add(a: int, b: int = 2) -> int:
            calls.append(a + b)
            return a + b

        @world.app.task(topic=world.orders, name="later")
        async def later(what: str) -> None:
            calls.append(what)

        def send() -> None:
            add.send(1).result(10)
            later.send(what="x").result(10)
            world.app.send(world.orders, "[[], {}]", headers={"elsa-task": "nope"}).result(10)
            add.send(1, b=4).result(10)

        world.run(send, {world.orders: 4})

        assert calls == [3, "x", 5]
        (letter,) = world.records(f"{world.orders}.{world.app.name}.dlq")
        assert names(letter) == ["elsa-task", *DEAD, "elsa-traceback"]
        assert (text(letter, "elsa-reason"), text(letter, "elsa-task")) == ("unknown", "nope")

    def test_continue_and_a_late_acknowledgement(self, world: World) -> None:
        @world.app.handler(world.orders)
        def bill(n: int, ctx: elsa.Context) -> Any:
            if n == 1:
                ctx.ack()
                return elsa.DEFER
            return elsa.CONTINUE if n == 2 else None

        world.run(lambda: world.app.produce(world.orders, [b"1", b"2", b"3"]), {world.orders: 3})
