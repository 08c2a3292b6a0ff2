"""What becomes of the messages of tasks that share a topic is told to each task's own observer, and to no other."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.observe.metrics import PrometheusObserver
from elsa.observer import HandlerObserver
from elsa.worker.accounts import Accounts

from .parts import Around, Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TOTAL = "elsa_messages_processed_total"


class Ear(HandlerObserver):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.running = 0
        self.calls = 0
        self.outcomes: Counter[str] = Counter()
        self.errors: list[str] = []
        self.waits = 0
        self.ages = 0

    # whoever looks for an observer by equality finds the wrong one
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ear)

    __hash__ = None  # type: ignore[assignment]  # as with every class that says what is equal

    def started(self, messages: int) -> None:
        self.running += messages

    def ended(self, messages: int) -> None:
        self.running -= messages
        assert self.running >= 0

    def finished(self, durations: Sequence[float], outcomes: Mapping[str, int]) -> None:
        self.calls += len(durations)
        self.outcomes.update(outcomes)

    def exception(self, error: BaseException, attempt: int) -> None:
        self.errors.append(type(error).__name__)

    def waited(self, waits: Sequence[tuple[float, int]]) -> None:
        self.waits += sum(count for _, count in waits)

    def aged(self, ages: Sequence[tuple[float, int]]) -> None:
        self.ages += sum(count for _, count in ages)

    @property
    def heard(self) -> tuple[int, dict[str, int]]:
        """Calls, and messages by what came of them."""
        return self.calls, {outcome: count for outcome, count in self.outcomes.items() if count}


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-accounts")
    yield app
    app.stop()


def declare(app: elsa.App, *, is_async: bool = False, **options: Any) -> tuple[Ear, dict[str, Ear], list[Any]]:
    """Two tasks that do as they are told; the topic's observer, theirs, and who was at work in each call."""
    whole, tasks = Ear(), {"one": Ear(), "two": Ear()}
    working: list[Any] = []

    def work(do: str) -> Any:
        ears = {"topic": whole, **tasks}
        working.append({name: ear.running for name, ear in ears.items() if ear.running})
        raised = {"fail": ValueError, "skip": elsa.Skip, "exit": SystemExit}
        if do in raised:
            raise raised[do]
        return elsa.DEFER if do == "defer" else None

    for name in tasks:
        if is_async:

            @app.task(topic="t", name=name, retry=None, **options)
            async def task_async(do: str) -> Any:
                return work(do)
        else:

            @app.task(topic="t", name=name, retry=None, **options)
            def task(do: str) -> Any:
                return work(do)

    return whole, tasks, working


def calls(raw: Any, *wanted: tuple[str | None, str], **fields: Any) -> list[Any]:
    """Messages that call tasks, from offset 0 on."""
    return [
        raw(
            offset,
            b'[["%s"],{}]' % do.encode(),
            headers=[("elsa-task", name.encode())] if name else None,
            timestamp=1,
            **fields,
        )
        for offset, (name, do) in enumerate(wanted)
    ]


MIXED = (
    ("one", "well"),
    ("two", "fail"),
    ("two", "well"),
    (None, "well"),
    ("one", "skip"),
    ("three", "well"),
    ("one", "well"),
    ("two", "defer"),
)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("ordering", ["partition", "key", "none"])
def test_each_call_is_told_to_its_own(app: elsa.App, raw: Any, ordering: str, *, is_async: bool) -> None:
    whole, tasks, working = declare(app, is_async=is_async, ordering=ordering)
    around = Around()
    worker = around.make(app, observer=whole, task_observers=tasks)
    raws = calls(raw, *MIXED)
    worker.arrivals.came(raws[-1].offset(), 0.0)
    worker.put(raws)
    around.run(worker)

    assert tasks["one"].heard == (3, {"ok": 2, "skipped": 1})
    assert tasks["two"].heard == (3, {"ok": 1, "dead": 1, "deferred": 1})
    assert tasks["two"].errors == ["ValueError"]
    # the two that nobody wants; what comes to the topic waits and ages there
    assert whole.heard == (0, {"dead": 2})
    assert (whole.waits, whole.ages, tasks["one"].waits, tasks["one"].ages) == (len(MIXED), 3, 0, 0)
    assert working == [{name: 1} for name, _ in MIXED if name in tasks]
    assert [ear.running for ear in (whole, *tasks.values())] == [0, 0, 0]


def test_what_is_harvested_before_the_turn_ends_is_its_own_as_well(app: elsa.App, raw: Any) -> None:
    ears = {"one": Ear(), "two": Ear()}

    @app.task(topic="t", name="one")
    def one() -> None:
        """Done at once."""

    @app.task(topic="t", name="two")
    def two() -> None:
        harvested.extend(worker.underway.harvest())

    harvested: list[int] = []
    around = Around()
    worker = around.make(app, task_observers=ears)
    names = ["one", "one", "two", "one", "two", "two"]
    worker.put([raw(n, b"[[],{}]", headers=[("elsa-task", name.encode())]) for n, name in enumerate(names)])
    around.run(worker, turns=1)

    assert harvested == [0, 1, 2, 3, 4]
    assert (ears["one"].heard, ears["two"].heard) == ((3, {"ok": 3}), (3, {"ok": 3}))


@pytest.mark.parametrize("first", ["one", "two"])
def test_a_crash_is_the_one_of_whoever_ran(app: elsa.App, raw: Any, first: str) -> None:
    whole, tasks, _ = declare(app)
    around = Around()
    worker = around.make(app, observer=whole, task_observers=tasks)
    worker.put(calls(raw, (first, "well"), ("two", "exit"), ("one", "well")))
    around.run(worker)

    assert len(around.crashes) == 1
    outcomes = {"one": Counter[str](), "two": Counter({"failed": 1})}
    outcomes[first]["ok"] += 1
    assert {name: ear.heard[1] for name, ear in tasks.items()} == outcomes
    assert [ear.running for ear in (whole, *tasks.values())] == [0, 0, 0]


def test_a_topic_with_one_task_in_a_turn_needs_no_accounts(app: elsa.App, raw: Any) -> None:
    whole, tasks, _ = declare(app)
    around = Around()
    worker = around.make(app, observer=whole, task_observers=tasks)
    worker.put(calls(raw, ("two", "well"), ("two", "well")))
    turn = worker.begin(around.place)
    assert turn is not None
    around.play(worker, turn)

    assert turn.accounts is None
    assert (tasks["two"].heard, whole.heard) == ((2, {"ok": 2}), (0, {}))


def test_poison_is_the_one_of_the_task_that_it_calls(app: elsa.App, raw: Any) -> None:
    whole, tasks, _ = declare(app)
    around = Around()
    worker = around.make(app, observer=whole, task_observers=tasks, poison={1, 2})
    worker.put(calls(raw, ("one", "well"), ("two", "well"), (None, "well")))

    assert (tasks["one"].heard, tasks["two"].heard, whole.heard) == ((0, {}), (0, {"dead": 1}), (0, {"dead": 1}))


def test_tasks_that_run_in_different_places(app: elsa.App, raw: Any) -> None:
    whole, tasks, working = declare(app, ordering="none")
    around = Around()
    around.places = {"two": Place()}
    worker = around.make(app, observer=whole, task_observers=tasks)
    worker.put(calls(raw, ("one", "well"), ("two", "skip"), ("one", "fail")))
    around.run(worker, around.places["two"])
    around.run(worker)

    assert (tasks["one"].heard, tasks["two"].heard) == ((2, {"ok": 1, "dead": 1}), (1, {"skipped": 1}))
    assert working == [{"two": 1}, {"one": 1}, {"one": 1}]


def test_a_handler_alone_on_its_topic_has_one_observer(app: elsa.App, raw: Any) -> None:
    ear = Ear()

    @app.handler("t", retry=None)
    def handle(body: int) -> None:
        if body:
            raise ValueError(body)

    around = Around()
    worker = around.make(app, observer=ear)
    # what its headers say of tasks is nothing to it
    worker.put([raw(n, b"%d" % n, headers=[("elsa-task", b"one")]) for n in range(3)])
    around.run(worker)

    assert ear.heard == (3, {"ok": 1, "dead": 2})
    assert worker.handler_of([raw(0, headers=[("elsa-task", b"one")])]) == handle.name


def test_what_is_new_since_the_last_time_belongs_to_the_one_that_is_named() -> None:
    one, two, accounts = Ear(), Ear(), Accounts()
    accounts.put_down(one, [0.1, 0.2], {"dead": 1}, 1)
    accounts.put_down(two, [0.1, 0.2, 0.3], {}, 2)
    accounts.put_down(one, [0.1, 0.2, 0.3, 0.4], {"retried": 1, "ok": 2}, 2)
    assert one.heard == two.heard == (0, {})
    accounts.tell()

    assert one.heard == (3, {"ok": 3, "dead": 1, "retried": 1})
    assert two.heard == (1, {"ok": 1})


# -- the metrics, in the whole engine on a stand-in for Kafka ----------------------------------------------


@pytest.fixture
def metrics(app: elsa.App) -> PrometheusObserver:
    app.observer = PrometheusObserver()
    return app.observer


def by_handler(metrics: PrometheusObserver, name: str, **labels: str) -> dict[str, float]:
    """What is above 0, by handler; of histograms their counts."""
    found: defaultdict[str, float] = defaultdict(float)
    for family, _, _, samples in metrics.families():
        for sample, pairs, value, _ in samples:
            given = dict(pairs)
            if family == name and sample in (name, f"{name}_count") and labels.items() <= given.items():
                found[given["handler"]] += value
    return {handler: value for handler, value in found.items() if value}


def test_what_comes_back_through_a_topic_and_dies_is_its_tasks(app: elsa.App, metrics: PrometheusObserver) -> None:
    @app.task(topic="jobs", name="good")
    def good() -> None:
        """Succeeds."""

    @app.task(topic="jobs", name="bad", retry=elsa.Retry(max_attempts=3, base=1.0, jitter=False, where="topic"))
    def bad() -> None:
        raise ValueError

    with app.test(raise_errors=False) as t:
        for task in (good, bad, good):
            task.send()
        app.send("jobs", b"[[], {}]", headers={"elsa-task": "nobody"})
        t.advance(30)
        assert sorted(letter.handler for letter in t.dead_letters()) == ["bad", "tasks of jobs"]

    assert by_handler(metrics, TOTAL, outcome="ok") == {"good": 2}
    assert by_handler(metrics, TOTAL, outcome="moved") == {"bad": 2}
    assert by_handler(metrics, TOTAL, outcome="dead") == {"bad": 1, "tasks of jobs": 1}
    assert by_handler(metrics, "elsa_dead_letters_total", reason="exhausted") == {"bad": 1}
    assert by_handler(metrics, "elsa_dead_letters_total", reason="unknown") == {"tasks of jobs": 1}
    assert by_handler(metrics, "elsa_handler_exceptions_total") == {"bad": 3}
    assert by_handler(metrics, "elsa_process_duration_seconds") == {"good": 2, "bad": 3}
    assert by_handler(metrics, "elsa_messages_in_progress") == {}


def test_what_is_too_old_or_was_handled_before_is_its_tasks(app: elsa.App, metrics: PrometheusObserver) -> None:
    ids: dict[str, Any] = {"idempotent_by": lambda message: message.value}

    @app.task(topic="jobs", name="one", expires=10.0, retry=elsa.Retry(base=20, jitter=False), **ids)
    def one(number: int) -> None:
        raise OSError(number)

    @app.task(topic="jobs", name="two", **ids)
    def two(number: int) -> None:
        """Succeeds."""

    with app.test(raise_errors=False) as t:
        two.send(1)
        two.send(1)
        one.send(2)
        t.advance(60)

    assert by_handler(metrics, "elsa_messages_expired_total") == {"one": 1}
    assert by_handler(metrics, TOTAL, outcome="skipped") == {"one": 1, "two": 1}
    assert by_handler(metrics, TOTAL, outcome="retried") == {"one": 1}
    assert by_handler(metrics, TOTAL, outcome="ok") == {"two": 1}


def test_transactional_tasks_are_told_apart(app: elsa.App, metrics: PrometheusObserver) -> None:
    @app.task(topic="jobs", name="one", transactional=True)
    def one() -> None:
        app.send("out", b"x")

    @app.task(topic="jobs", name="two", transactional=True, retry=None)
    def two() -> None:
        raise ValueError

    with app.test(raise_errors=False):
        for task in (one, two, one):
            task.send()

    assert by_handler(metrics, TOTAL) == {"one": 2, "two": 1}
    assert by_handler(metrics, "elsa_dead_letters_total") == {"two": 1}


def test_what_a_task_is_called_in_its_context_and_where_it_is_shown(app: elsa.App) -> None:
    seen: list[str] = []

    @app.middleware
    def watch(call_next: Any, ctx: elsa.Context) -> Any:
        seen.append(ctx.handler)
        return call_next()

    for name in ("one", "two"):

        @app.task(topic="jobs", name=name)
        def task() -> None:
            seen.append(elsa.current().handler)

    with app.test():
        for name in ("one", "two"):
            app.send("jobs", b"[[], {}]", headers={"elsa-task": name})

    assert seen == ["one", "one", "two", "two"]
