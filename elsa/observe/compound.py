"""Several observers as one: the worker gives the engine a Compound, so no observer can hurt it.

Only events that an observer really implements are called. One that raises is logged once per event and
counted (`elsa_observer_errors_total`), and the others still hear of it.
"""

from __future__ import annotations

import difflib
import inspect
import logging
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

from elsa.errors import DeclarationError
from elsa.observer import GroupObserver, HandlerObserver, LastingSpan, MoverObserver, Observer, ScheduleObserver

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from elsa.message import Message
    from elsa.observer import Span

_log = logging.getLogger(__name__)


def events(seam: type) -> frozenset[str]:
    """The names of everything that `seam` (Observer or one of those it makes) can be told.

    >>> "sent" in events(Observer)
    True
    """
    return frozenset(name for name in vars(seam) if not name.startswith("_"))


def unknown_events(observer: type, seam: type) -> list[str]:
    """Public methods of `observer` that the engine will never call."""
    known = events(seam)
    public = {name for name, value in inspect.getmembers(observer, callable) if not name.startswith("_")}
    return sorted(public - known)


class Compound(Observer):
    """Passes every event on to all `observers`; None (as from `tracing_observer`) is left out.

    Raises DeclarationError for an observer with a method that looks like a misspelt event.

    >>> class Slow(Observer):
    ...     def sent(self, topic, outcome, seconds, error):
    ...         if seconds > 1:
    ...             print("slow:", topic)
    >>> Compound(Slow()).sent("orders", "ok", 1.5, None)
    slow: orders
    """

    def __init__(self, *observers: Observer | None) -> None:
        self._observers = tuple(observer for observer in observers if observer is not None)
        self._faults = _Faults(self._observers)
        for observer in self._observers:
            _check(observer, Observer)
        # the methods below are only what the producer looks at to know that somebody listens
        for event in ("sent", "throttled", "watch", "commanded", "statistics", "loop_lagged", "watch_queue"):
            _bind(self, event, Observer, self._observers, self._faults)
        tracers = [observer.trace_send for observer in self._observers if observer.trace_send is not None]
        if tracers:
            self.trace_send = _TraceSend(tracers, self._faults)

    def handler(self, group: str | None, topic: str, handler: str) -> HandlerObserver:
        """The handler observers of all, as one."""
        made = self._make(HandlerObserver, "handler", group, topic, handler)
        return _CompoundHandler(made, self._faults)

    def group(self, group: str | None) -> GroupObserver:
        """The group observers of all, as one."""
        made = self._make(GroupObserver, "group", group)
        return _CompoundGroup(made, self._faults)

    def mover(self) -> MoverObserver:
        """The mover observers of all, as one."""
        return _CompoundMover(self._make(MoverObserver, "mover"), self._faults)

    def schedule(self, name: str) -> ScheduleObserver:
        """The schedule observers of all, as one."""
        made = self._make(ScheduleObserver, "schedule", name)
        return _CompoundSchedule(made, self._faults)

    def sent(self, topic: str, outcome: str, seconds: float, error: str | None) -> None:
        """Replaced by the observers' own in `__init__`; this one is left when none of them listens."""

    def _make(self, seam: type, event: str, *names: str | None) -> list[Any]:
        made = []
        for observer in self._observers:
            try:
                each = getattr(observer, event)(*names)
            except Exception as error:
                self._faults.report(observer, event, error)
                continue
            _check(each, seam)
            made.append(each)
        return made


class _CompoundHandler(HandlerObserver):
    def __init__(self, observers: Sequence[HandlerObserver], faults: _Faults) -> None:
        for event in events(HandlerObserver) - {"span"}:
            _bind(self, event, HandlerObserver, observers, faults)
        spans = [observer.span for observer in observers if observer.span is not None]
        if spans:
            self.span = lambda messages, attempt: _Spans(spans, messages, attempt, faults)


class _CompoundGroup(GroupObserver):
    def __init__(self, observers: Sequence[GroupObserver], faults: _Faults) -> None:
        for event in events(GroupObserver):
            _bind(self, event, GroupObserver, observers, faults)


class _CompoundMover(MoverObserver):
    def __init__(self, observers: Sequence[MoverObserver], faults: _Faults) -> None:
        for event in events(MoverObserver):
            _bind(self, event, MoverObserver, observers, faults)


class _CompoundSchedule(ScheduleObserver):
    def __init__(self, observers: Sequence[ScheduleObserver], faults: _Faults) -> None:
        for event in events(ScheduleObserver):
            _bind(self, event, ScheduleObserver, observers, faults)


class _Faults:
    """What observers did wrong; any thread."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers
        self._lock = Lock()
        self._seen: set[tuple[str, str]] = set()

    def report(self, culprit: object, event: str, error: BaseException) -> None:
        """Log the first of its kind and tell every observer."""
        name = getattr(culprit, "__qualname__", None) or type(culprit).__qualname__
        with self._lock:
            is_first = (name, event) not in self._seen
            self._seen.add((name, event))
        if is_first:
            _log.error(
                "an observer raised; the work goes on and further errors of this kind are only counted",
                exc_info=error,
                extra={"event": "observer_failed", "observer": name, "observer_event": event},
            )
        for observer in self._observers:
            try:
                observer.observer_failed(name, event, error)
            except Exception:  # noqa: S112 - there is nobody left to tell
                continue


def _check(observer: object, seam: type) -> None:
    if not isinstance(observer, seam):
        raise DeclarationError(
            f"{type(observer).__qualname__} is not an {seam.__name__}",
            hint=f"subclass elsa.observer.{seam.__name__} and override what you need",
        )
    known = events(seam)
    for name in unknown_events(type(observer), seam):
        if close := difflib.get_close_matches(name, known, n=1, cutoff=0.8):
            raise DeclarationError(
                f"observer {type(observer).__qualname__} has a method {name!r}, which is no event",
                hint=f"did you mean {close[0]!r}? Begin the names of your own methods with an underscore",
            )


def _bind(target: object, event: str, seam: type, observers: Sequence[Any], faults: _Faults) -> None:
    """Make `target.event` call those of `observers` that implement it; if none does, it stays a no-op."""
    calls = [
        (observer, getattr(observer, event))
        for observer in observers
        if getattr(type(observer), event) is not getattr(seam, event) or event in vars(observer)
    ]
    if len(calls) == 1:
        setattr(target, event, _one(*calls[0], event, faults))
    elif calls:
        setattr(target, event, _all(calls, event, faults))


def _one(observer: object, call: Callable[..., None], event: str, faults: _Faults) -> Callable[..., None]:
    def tell(*facts: Any) -> None:
        try:
            call(*facts)
        except Exception as error:
            # the border to observers: they watch the work, they can not stop it
            faults.report(observer, event, error)

    return tell


def _all(calls: Sequence[tuple[object, Callable[..., None]]], event: str, faults: _Faults) -> Callable[..., None]:
    guarded = tuple(_one(observer, call, event, faults) for observer, call in calls)

    def tell(*facts: Any) -> None:
        for call in guarded:
            call(*facts)

    return tell


class _Spans:
    """The process spans of one call, entered in order and left in reverse."""

    __slots__ = ("_attempt", "_faults", "_makers", "_messages", "_open")

    def __init__(
        self,
        makers: Sequence[Callable[[Sequence[Message], int], AbstractContextManager[Span]]],
        messages: Sequence[Message],
        attempt: int,
        faults: _Faults,
    ) -> None:
        self._makers = makers
        self._messages = messages
        self._attempt = attempt
        self._faults = faults
        self._open: list[tuple[AbstractContextManager[Span], Span]] = []

    def __enter__(self) -> Self:
        for make in self._makers:
            try:
                manager = make(self._messages, self._attempt)
                self._open.append((manager, manager.__enter__()))
            except Exception as error:
                self._faults.report(make, "span", error)
        return self

    def outcome(self, name: str, error: BaseException | None = None) -> None:
        """Tell every span."""
        for _, span in self._open:
            try:
                span.outcome(name, error)
            except Exception as fault:
                self._faults.report(span, "outcome", fault)

    def keep(self) -> None:
        """Tell every span that can outlive its call."""
        self._tell_lasting("keep")

    def end(self) -> None:
        """End those."""
        self._tell_lasting("end")

    def _tell_lasting(self, event: str) -> None:
        for _, span in self._open:
            if isinstance(span, LastingSpan):
                try:
                    getattr(span, event)()
                except Exception as fault:
                    self._faults.report(span, event, fault)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for manager, _ in reversed(self._open):
            try:
                manager.__exit__(kind, error, traceback)
            except Exception as fault:
                if fault is not error:
                    self._faults.report(manager, "span", fault)


class _TraceSend:
    """The send spans of several observers: each sees the headers of the one before."""

    def __init__(self, tracers: Sequence[Callable[..., Any]], faults: _Faults) -> None:
        self._tracers = tracers
        self._faults = faults

    def __call__(self, topic: str, headers: Any) -> tuple[Any, Callable[[Any, Any], None]]:
        ends: list[Callable[[Any, Any], None]] = []
        for trace in self._tracers:
            try:
                headers, end = trace(topic, headers)
            except Exception as error:
                self._faults.report(trace, "trace_send", error)
            else:
                ends.append(end)

        def finish(metadata: Any, error: Any) -> None:
            for end in ends:
                try:
                    end(metadata, error)
                except Exception as fault:
                    self._faults.report(end, "trace_send", fault)

        return headers, finish
