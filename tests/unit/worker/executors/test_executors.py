"""Which handlers share an executor, and that all of them are stopped together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.worker.executors import DEFAULT_TASKS, DEFAULT_THREADS, Executors, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator

WEIGHTS = {"a": 3.0, "b": 1.0}


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-executors")
    yield app
    app.stop()


def found_in_other_processes(body: int) -> None:
    """Never called."""


def declare(app: elsa.App, topic: str, *, is_async: bool = False, is_task: bool = False, **options: Any) -> Any:
    """A handler or task that is never called."""

    async def coroutine(body: int) -> None: ...

    def function(body: int) -> None: ...

    chosen = coroutine if is_async else function
    name = f"{topic}-{len(app.registry)}"
    if is_task:
        return app.task(topic=topic, name=name, **options)(chosen)
    return app.handler(topic, name=name, **options)(chosen)


@pytest.mark.parametrize("is_async", [False, True])
def test_each_handler_has_places_of_its_own_and_tasks_of_a_topic_share_them(app: elsa.App, *, is_async: bool) -> None:
    executors = Executors(app.settings)
    one, two = declare(app, "a", is_async=is_async), declare(app, "b", is_async=is_async)
    tasks = [declare(app, "c", is_async=is_async, is_task=True) for _ in range(2)]
    busy = declare(app, "c", is_async=is_async, is_task=True, concurrency=3)

    assert executors.of(one) is executors.of(one)
    assert executors.of(one) is not executors.of(two)
    assert executors.of(tasks[0]) is executors.of(tasks[1])
    assert executors.of(busy) is not executors.of(tasks[0])
    assert [executors.of(one).limit, executors.of(busy).limit] == [DEFAULT_TASKS if is_async else DEFAULT_THREADS, 3]
    assert executors.stop(5)


@pytest.mark.parametrize("is_async", [False, True])
def test_with_weights_all_of_a_kind_share_but_those_that_ask_for_their_own(app: elsa.App, *, is_async: bool) -> None:
    executors = Executors(app.settings, WEIGHTS)
    one, two = declare(app, "a", is_async=is_async), declare(app, "b", is_async=is_async)
    other = declare(app, "a2", is_async=not is_async)
    limited = declare(app, "c", is_async=is_async, rate="5/s")
    busy = declare(app, "d", is_async=is_async, concurrency=3)

    assert executors.of(one) is executors.of(two)
    assert len({executors.of(handler) for handler in (one, other, limited, busy)}) == 4
    assert executors.stop(5)


def test_the_settings_concurrency_is_for_those_without_their_own(app: elsa.App) -> None:
    app.configure(concurrency=5)
    executors = Executors(app.settings)
    plain, own = declare(app, "a"), declare(app, "b", concurrency=2)

    assert [executors.concurrency(handler) for handler in (plain, own)] == [5, 2]


def test_places_are_told_by_handler_with_the_pools_that_give_them(app: elsa.App) -> None:
    declare(app, "a")
    declare(app, "b")
    declare(app, "d", concurrency=3)
    for concurrency in (None, None, 2):
        declare(app, "c", is_task=True, concurrency=concurrency)
    bindings = app.registry.bindings()

    apart = Executors(app.settings).slots(bindings)
    assert [sum(pools.values()) for pools in apart.values()] == [
        DEFAULT_THREADS,
        DEFAULT_THREADS,
        3,
        DEFAULT_THREADS + 2,
    ]
    assert list(apart)[-1] == "tasks of c"
    assert not apart["a-0"].keys() & apart["b-1"].keys()
    shared = Executors(app.settings, WEIGHTS).slots(bindings)
    assert shared["a-0"] == shared["b-1"]
    assert not shared["a-0"].keys() & shared["d-2"].keys()


def test_kinds(app: elsa.App) -> None:
    in_processes = app.handler("c", executor="process")(found_in_other_processes)
    handlers = [declare(app, "a"), declare(app, "b", is_async=True), in_processes]

    assert [kind_of(handler) for handler in handlers] == ["threads", "event loop", "processes"]


class Slow:
    """Writes down how it is stopped."""

    def __init__(self, name: str, stops: list[tuple[str, float]]) -> None:
        self._name = name
        self._stops = stops

    def stop(self, timeout: float) -> bool:
        self._stops.append((self._name, timeout))
        return self._name != "stuck"


@pytest.mark.parametrize(("last", "is_clean"), [("fine", True), ("stuck", False)])
def test_all_are_told_to_stop_before_one_is_waited_for(app: elsa.App, last: str, *, is_clean: bool) -> None:
    executors, stops = Executors(app.settings), list[tuple[str, float]]()
    made: Any = {name: Slow(name, stops) for name in ("first", last)}
    executors._made = made

    assert executors.stop(2.0) is is_clean
    assert stops == [("first", 0.0), (last, 0.0), ("first", 2.0), (last, 2.0)]
