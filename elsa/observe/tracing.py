"""Whether to trace, decided once for each App that is used; without a provider nothing of OpenTelemetry is called.

`elsa.observe.spans` and its like do the work and are imported only then. The App, the worker and its children call
this module.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from elsa.app import App
    from elsa.message import Headers
    from elsa.observer import Observer


def tracing_enabled() -> bool:
    """Whether a real tracer provider is set: by the program, `opentelemetry-instrument` or the environment.

    >>> tracing_enabled()
    False
    """
    if "opentelemetry.trace" not in sys.modules and "OTEL_PYTHON_TRACER_PROVIDER" not in os.environ:
        return False  # who sets a provider has imported it
    from opentelemetry import trace  # noqa: PLC0415 - only when somebody may have set one

    provider = trace.get_tracer_provider()
    return not isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider)


def tracing_observer(app: App, *, carries: bool = False) -> Observer | None:
    """What makes spans of an App's sends and calls; None when no tracer provider is set.

    With `otel=True` one is set first, unless there is one. With `trace_passthrough`, or in a child whose calls come
    with a trace (`carries`), sends carry a trace without any provider. Raises ConfigError when the extra is missing.

    ```python
    app.observer = Compound(tracing_observer(app), app.observer)
    ```
    """
    settings = app.settings
    if settings.otel:
        from elsa.observe import otel  # noqa: PLC0415 - only where it is wanted

        otel.set_up(settings.name)
    if tracing_enabled():
        from elsa.observe.spans import TracingObserver  # noqa: PLC0415 - imports opentelemetry

        return TracingObserver(
            brokers=settings.brokers,
            client_id=app.name,
            baggage=settings.trace_baggage,
            parent=settings.trace_parent,
            spans=settings.trace_spans,
            attributes=settings.trace_attributes,
            functions=_Functions(app),
        )
    if settings.trace_passthrough or carries:
        from elsa.observe.passthrough import PassThrough  # noqa: PLC0415 - imports opentelemetry

        return PassThrough(settings.trace_baggage)
    return None


def watch(app: App, *, carries: bool = False) -> None:
    """Put the tracing into the App's seam, beside what the user has put there, unless it is there."""
    if app.observer.trace_send is not None:
        return
    tracing = tracing_observer(app, carries=carries)
    if tracing is None:
        return
    from elsa.observe.compound import Compound  # noqa: PLC0415 - only when there is something to join
    from elsa.observer import Observer  # noqa: PLC0415 - as above

    # a plain Observer hears nothing
    app.observer = tracing if type(app.observer) is Observer else Compound(tracing, app.observer)


class _Functions:
    """The functions of an App's handlers by their names, as `module.name`; asked when a handler's spans are begun."""

    def __init__(self, app: App) -> None:
        self._app = app

    def __call__(self, handler: str) -> str | None:
        found = self._app.registry.get(handler)
        target: Any = None if found is None else found.target
        name = getattr(target, "__qualname__", None)
        return None if name is None else f"{target.__module__}.{name}"


# -- what the engine says where a call runs, once it knows that somebody traces ------------------------------


def note(reason: str, delay: float | None) -> None:
    """Tell the current span why its call came to what it did, and in how many seconds it is made again."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return
    span = trace.get_current_span()
    if reason:
        span.set_attribute("elsa.reason", reason)
    if delay is not None:
        span.add_event("elsa.retry", {"elsa.delay": round(delay, 3)})


def sampled() -> str | None:
    """The trace of the current span, as 32 hex digits; None unless that is recorded and sampled."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    span = trace.get_current_span()
    context = span.get_span_context()
    if not span.is_recording() or not context.trace_flags.sampled:
        return None
    found: str = trace.format_trace_id(context.trace_id)
    return found


def carried() -> Headers:
    """The current trace as headers, for a call that runs in another process."""
    from elsa.observe import context  # noqa: PLC0415 - imports opentelemetry

    return context.carried()


def carrying(headers: Headers) -> AbstractContextManager[object]:
    """Make the trace in these headers the current one."""
    from elsa.observe import context  # noqa: PLC0415 - imports opentelemetry

    return context.carrying(headers)


def sending_many(app: App, topic: str) -> AbstractContextManager[object]:
    """Encloses a send of many messages that is to have a span of its own (`trace_spans="create"`)."""
    if not tracing_enabled():
        return contextlib.nullcontext()
    from elsa.observe import rounds, spans  # noqa: PLC0415 - imports opentelemetry

    return rounds.sending_many(spans.tracer(), spans.common(app.settings.brokers, app.name), topic)


def flush(timeout: float) -> bool:
    """Export what is still here, in at most `timeout` seconds; False when that was too short."""
    trace = sys.modules.get("opentelemetry.trace")
    export = None if trace is None else getattr(trace.get_tracer_provider(), "force_flush", None)
    return export is None or in_time(export, timeout)


def in_time(call: Callable[[], object], timeout: float) -> bool:
    """Make a call that may hang, in a thread that is left behind then; whether it returned in time.

    The SDK (1.45) takes limits and does not keep them: a collector that is away would hold up every stop.
    """
    thread = threading.Thread(target=call, name="elsa-spans", daemon=True)
    thread.start()
    thread.join(timeout)
    return not thread.is_alive()
