"""Sets OpenTelemetry's tracing up by its own OTEL_* variables, for `ELSA_OTEL=1`; called once in each process.

The SDK reads what there is to set (endpoint, headers, protocol, sampler, resource, batches) by itself.
"""

from __future__ import annotations

import atexit
import os
import threading
from importlib.metadata import entry_points
from typing import Any

from elsa.errors import ConfigError
from elsa.observe.tracing import in_time, tracing_enabled

#: the protocols of OTLP by the exporters that speak them
_OTLP = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
#: how long the last spans of a program may take at its exit
EXIT_SECONDS = 3.0

_lock = threading.Lock()


def set_up(service: str) -> None:
    """Set a provider that exports, unless one is set; `service` is its name if OTEL_SERVICE_NAME says none.

    Raises ConfigError when the SDK or the exporter is not installed, or a variable says what there is not.
    """
    with _lock:
        if tracing_enabled():
            return
        try:
            from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415 - an optional extra
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - as above
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - as above
        except ImportError as error:
            raise ConfigError("otel is set, and the SDK of OpenTelemetry is not installed", hint=_INSTALL) from error
        from opentelemetry import trace  # noqa: PLC0415 - after the check

        # which process of a worker it was
        resource = Resource.create({"process.pid": os.getpid()})
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: service}))
        # ended below, after the producers: their last reports end spans
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        for name in _exporters():
            provider.add_span_processor(BatchSpanProcessor(_exporter(name)))
        trace.set_tracer_provider(provider)
        atexit.register(_end, provider)


_INSTALL = 'pip install "elsa[otel]"'


def _exporters() -> list[str]:
    wanted = os.environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    return [name for one in wanted.split(",") if (name := one.strip()) and name != "none"]


def _exporter(name: str) -> Any:
    instead = "OTEL_TRACES_EXPORTER=otlp"
    if name == "otlp":
        variable, protocol = _protocol()
        if protocol not in _OTLP:
            raise ConfigError(f"{variable}={protocol!r} is no protocol of OTLP", hint=f"use {' or '.join(_OTLP)}")
        name, instead = _OTLP[protocol], f"{variable}=http/protobuf"
    found = entry_points(group="opentelemetry_traces_exporter", name=name)
    if not found:
        raise ConfigError(f"the exporter {name!r} of OpenTelemetry is not installed", hint=_hint(name, instead))
    try:
        return next(iter(found)).load()()
    except ImportError as error:
        raise ConfigError(
            f"the exporter {name!r} of OpenTelemetry cannot be loaded: {error}", hint=_hint(name, instead)
        ) from error


def _protocol() -> tuple[str, str]:
    """The variable that says it, or would, and the protocol."""
    for variable in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if protocol := os.environ.get(variable, "").strip():
            return variable, protocol
    return "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"


def _hint(name: str, instead: str) -> str:
    if name == _OTLP["http/protobuf"]:
        return _INSTALL
    if name == _OTLP["grpc"]:
        return f"set {instead}, whose exporter elsa[otel] brings, or pip install opentelemetry-exporter-otlp-proto-grpc"
    known = ", ".join(sorted(one.name for one in entry_points(group="opentelemetry_traces_exporter")))
    return f"there are: {known or 'none'}; {_INSTALL} for OTLP"


def _end(provider: Any) -> None:
    from elsa import producer  # noqa: PLC0415 - at the end only

    producer.close_all()
    # it exports what is left
    in_time(provider.shutdown, EXIT_SECONDS)
