"""Whether to trace, decided once when a worker or producer starts; without a provider nothing is called.

`elsa.observe.spans` does the work and is imported only then.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def tracing_observer(
    *,
    brokers: str = "",
    client_id: str = "",
    baggage: Sequence[str] = (),
    parent: Literal["message", "link"] = "message",
) -> Observer | None:
    """The observer that makes spans, or None when no tracer provider is set.

    `brokers` is the setting of that name (its first host becomes `server.address`). `baggage` lists the
    keys that may cross Kafka. With `parent="link"` a process span begins a trace of its own that links
    to the message's; a batch always does.

    >>> tracing_observer() is None
    True
    """
    if not tracing_enabled():
        return None
    from elsa.observe.spans import TracingObserver  # noqa: PLC0415 - imports opentelemetry

    return TracingObserver(brokers=brokers, client_id=client_id, baggage=baggage, parent=parent)
