"""Several observers as one; none of them can hurt the work."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from elsa.errors import DeclarationError
from elsa.message import Message
from elsa.observe.compound import Compound, events, unknown_events
from elsa.observe.grouped import GroupMetrics
from elsa.observe.handled import HandlerMetrics
from elsa.observe.metrics import PrometheusObserver, _ScheduleMetrics
from elsa.observe.spans import TracingObserver
from elsa.observer import GroupObserver, HandlerObserver, MoverObserver, Observer, ScheduleObserver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MESSAGE = Message("orders", 0, 1, None, b"{}")


def no_queue() -> tuple[int, int]:
    return 0, 10


#: one call of every event, by seam
FACTS: dict[type, dict[str, tuple[Any, ...]]] = {
    HandlerObserver: {
        "received": (2, 20),
        "started": (2,),
        "ended": (2,),
        "finished": ([0.1], {"ok": 1}),
        "sampled": (0.1, "a" * 32),
        "waited": ([(0.1, 2)],),
        "aged": ([(1.5, 2)],),
        "batched": (2,),
        "exception": (ValueError(), 1),
        "expired": (2,),
        "dead_letter": ("decode",),
    },
    MoverObserver: {
        "moved": ({"delivered": 2}, [0.1, 0.2]),
        "due": (3,),
        "aborted": ("_TRANSPORT",),
    },
    GroupObserver: {
        "assigned": ([("orders", 0)],),
        "revoked": ([("orders", 0)], 0.1),
        "lost": ([("orders", 0)],),
        "committed": ("ok", 0.1, {("orders", 0): 1}),
        "metadata_cut": (2,),
        "metadata_ignored": (3,),
        "polled": (1.0,),
        "spent": ({"poll": 0.1},),
        "slots": ({"shop.bill": {"threads": 8}},),
        "restarted": ("group", "boom"),
        "stale": (1,),
        "halted": (("orders", 0), "poison"),
        "error": ("_TRANSPORT", "away"),
        "fetched": ([object()], 0.1),
        "statistics": ({},),
    },
    ScheduleObserver: {"fired": ([0.1],), "missed": (2,), "held": (1,)},
    Observer: {
        "sent": ("orders", "ok", 0.1, None),
        "throttled": ("producer", "1", 0.5),
        "watch": (list,),
        "commanded": ("ok",),
        "statistics": ("producer", {}),
        "loop_lagged": (0.1,),
        "watch_queue": ("producer", no_queue),
    },
}


def recorder(seam: type, heard: list[Any], error: Exception | None = None) -> Any:
    """An observer of that seam that writes down (or raises at) every event."""

    def make(event: str) -> Callable[..., None]:
        def hear(self: object, *facts: Any) -> None:
            heard.append((event, facts))
            if error is not None:
                raise error

        return hear

    return type("Recorder", (seam,), {event: make(event) for event in FACTS[seam]})()


class Whole(Observer):
    """An observer whose parts are given."""

    def __init__(self, handler: HandlerObserver | None = None, group: GroupObserver | None = None) -> None:
        self._handler = handler or HandlerObserver()
        self._group = group or GroupObserver()
        self.failures: list[tuple[str, str]] = []

    def handler(self, group: str | None, topic: str, handler: str) -> HandlerObserver:
        return self._handler

    def group(self, group: str | None) -> GroupObserver:
        return self._group

    def observer_failed(self, observer: str, event: str, error: BaseException) -> None:
        self.failures.append((observer, event))


def test_the_facts_of_this_test_are_all_events() -> None:
    assert FACTS[HandlerObserver].keys() == events(HandlerObserver) - {"span"}
    assert FACTS[GroupObserver].keys() == events(GroupObserver)
    assert FACTS[MoverObserver].keys() == events(MoverObserver)
    assert FACTS[Observer].keys() == events(Observer) - {
        "handler",
        "group",
        "mover",
        "schedule",
        "trace_send",
        "observer_failed",
    }
    assert FACTS[ScheduleObserver].keys() == events(ScheduleObserver)


def parts(heard: list[Any], error: Exception | None = None) -> Observer:
    whole = recorder(Observer, heard, error)
    whole.handler = lambda *_: recorder(HandlerObserver, heard, error)
    whole.group = lambda *_: recorder(GroupObserver, heard, error)
    whole.mover = lambda: recorder(MoverObserver, heard, error)
    whole.schedule = lambda *_: recorder(ScheduleObserver, heard, error)
    return whole  # type: ignore[no-any-return]  # made by type()


def tell_everything(compound: Observer) -> list[Any]:
    told = []
    seams = {
        HandlerObserver: compound.handler("g", "t", "h"),
        GroupObserver: compound.group("g"),
        MoverObserver: compound.mover(),
        ScheduleObserver: compound.schedule("s"),
        Observer: compound,
    }
    for seam, target in seams.items():
        for event, facts in FACTS[seam].items():
            getattr(target, event)(*facts)
            told.append((event, facts))
    return told


@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_event_reaches_every_observer(count: int) -> None:
    heard: list[list[Any]] = [[] for _ in range(count)]

    told = tell_everything(Compound(None, *(parts(each) for each in heard)))

    assert heard == [told] * count


def test_a_raising_observer_is_logged_once_per_event_counted_and_not_fatal(
    caplog: pytest.LogCaptureFixture, value: Callable[..., Any]
) -> None:
    heard: list[Any] = []
    metrics = PrometheusObserver()
    compound = Compound(parts([], RuntimeError("mine")), parts(heard), metrics)

    tell_everything(compound)
    told = tell_everything(compound)

    events_told = {event for event, _ in told}
    assert len(told) * 2 == len(heard)
    assert len(events_told) == len(caplog.records)
    assert len(told) * 2 == value(metrics.families(), "elsa_observer_errors_total", observer="Recorder")


def test_an_observer_that_can_not_make_its_parts_is_left_out() -> None:
    class Broken(Whole):
        def handler(self, group: str | None, topic: str, handler: str) -> HandlerObserver:
            raise RuntimeError("no")

    heard: list[Any] = []
    other = Whole(recorder(HandlerObserver, heard))

    Compound(Broken(), other).handler("g", "t", "h").received(1, 2)

    assert heard == [("received", (1, 2))]
    assert len(other.failures) == 1
    assert other.failures[0][1] == "handler"


def test_events_nobody_implements_stay_the_seams_no_op() -> None:
    compound = Compound(Whole(), Whole())

    assert "finished" not in vars(compound.handler("g", "t", "h"))
    assert "polled" not in vars(compound.group("g"))
    assert compound.trace_send is None
    assert compound.handler("g", "t", "h").span is None


def test_the_producer_can_see_that_somebody_listens() -> None:
    heard: list[Any] = []
    compound = Compound(recorder(Observer, heard))
    assert type(compound).sent is not Observer.sent

    sent = compound.sent
    sent("orders", "ok", 0.1, None)

    assert heard == [("sent", ("orders", "ok", 0.1, None))]


class _Span:
    def __init__(self, name: str, heard: list[str], fails: str = "") -> None:
        self.name, self.heard, self.fails = name, heard, fails

    def _do(self, what: str) -> None:
        self.heard.append(f"{self.name} {what}")
        if what == self.fails:
            raise RuntimeError(what)

    def outcome(self, name: str, error: BaseException | None = None) -> None:
        self._do(f"outcome {name}")

    def maker(self) -> HandlerObserver:
        @contextmanager
        def span(messages: Any, attempt: int) -> Iterator[_Span]:
            self._do("enter")
            try:
                yield self
            finally:
                self._do("exit")

        observer = HandlerObserver()
        observer.span = span
        return observer


@pytest.mark.parametrize("fails", ["", "enter", "exit", "outcome failed"])
def test_spans_nest_and_the_handlers_error_passes_whatever_a_span_does(fails: str) -> None:
    heard: list[str] = []
    first, second = Whole(_Span("a", heard, fails).maker()), Whole(_Span("b", heard).maker())
    span = Compound(first, second).handler("g", "t", "h").span
    assert span is not None

    with pytest.raises(KeyError), span([MESSAGE], 1) as running:
        running.outcome("failed")
        raise KeyError

    inner = [f"b {what}" for what in ("enter", "outcome failed", "exit")]
    if fails == "enter":
        assert heard == ["a enter", *inner]
    else:
        assert heard == ["a enter", "b enter", "a outcome failed", "b outcome failed", "b exit", "a exit"]
    assert len(first.failures) == bool(fails)


def test_send_traces_pass_headers_on_and_all_are_ended() -> None:
    ended: list[Any] = []

    def tracer(name: str) -> Observer:
        observer = Observer()
        observer.trace_send = lambda topic, headers: (
            (*headers, (name, topic.encode())),
            lambda metadata, error: ended.append((name, metadata, error)),
        )
        return observer

    def broken(*_: Any) -> Any:
        raise RuntimeError("no")

    failing, ending_badly = Observer(), Observer()
    failing.trace_send = broken
    ending_badly.trace_send = lambda _, headers: (headers, broken)
    trace_send = Compound(tracer("a"), failing, ending_badly, tracer("b")).trace_send
    assert trace_send is not None

    headers, end = trace_send("orders", (("own", b"1"),))
    end("metadata", None)

    assert headers == (("own", b"1"), ("a", b"orders"), ("b", b"orders"))
    assert ended == [("a", "metadata", None), ("b", "metadata", None)]


@pytest.mark.parametrize(
    ("observer", "seam", "own"),
    [
        (PrometheusObserver, Observer, {"families", "collect", "describe", "tallies"}),
        (TracingObserver, Observer, set()),
        (Compound, Observer, set()),
        (HandlerMetrics, HandlerObserver, {"collect", "tally"}),
        (GroupMetrics, GroupObserver, {"collect"}),
        (_ScheduleMetrics, ScheduleObserver, {"collect"}),
    ],
)
def test_what_ships_listens_to_events_that_exist(observer: type, seam: type, own: set[str]) -> None:
    assert set(unknown_events(observer, seam)) == own


def test_a_misspelt_event_is_refused_with_the_right_name() -> None:
    class Misspelt(Observer):
        def sents(self) -> None: ...

    with pytest.raises(DeclarationError, match=r"has a method 'sents', which is no event\n  hint: did you mean 'sent'"):
        Compound(Misspelt())


def test_a_misspelt_event_of_a_part_is_refused_when_it_is_made() -> None:
    class Misspelt(HandlerObserver):
        def recieved(self, messages: int, size: int) -> None: ...

    with pytest.raises(DeclarationError, match="did you mean 'received'"):
        Compound(Whole(Misspelt())).handler("g", "t", "h")


def test_what_is_no_observer_is_refused() -> None:
    with pytest.raises(DeclarationError, match="dict is not an Observer"):
        Compound({})  # type: ignore[arg-type]  # the point of the test
