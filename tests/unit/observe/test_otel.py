"""Setting OpenTelemetry up by its variables; in processes of their own, because a provider is set once."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
from opentelemetry import trace
{before}
from elsa.errors import ConfigError
from elsa.observe import otel
try:
    otel.set_up("shop")
    otel.set_up("other")
except ConfigError as error:
    print(error)
else:
    provider = trace.get_tracer_provider()
    processors = provider._active_span_processor._span_processors
    exporters = [type(one.span_exporter).__name__ for one in processors]
    print(provider.resource.attributes["service.name"], *exporters)
"""
OWN = "from opentelemetry.sdk.trace import TracerProvider; trace.set_tracer_provider(TracerProvider())"


def set_up(before: str = "", **environment: str) -> str:
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(before=before)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "", **environment},
        timeout=60,
    )
    return found.stdout.strip()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "shop OTLPSpanExporter"),
        ({"OTEL_SERVICE_NAME": "the-shop"}, "the-shop OTLPSpanExporter"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=from-there"}, "from-there OTLPSpanExporter"),
        ({"OTEL_TRACES_EXPORTER": "none"}, "shop"),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, "shop ConsoleSpanExporter OTLPSpanExporter"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, "shop OTLPSpanExporter"),
    ],
)
def test_the_variables_decide(environment: dict[str, str], expected: str) -> None:
    assert set_up(**environment) == expected


def test_a_provider_that_is_set_stays() -> None:
    assert set_up(OWN).startswith("unknown_service")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkn"}, "the exporter 'zipkn' of OpenTelemetry is not installed"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "the exporter 'otlp_proto_grpc' of OpenTelemetry is not installed"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "smoke"}, "OTEL_EXPORTER_OTLP_PROTOCOL='smoke' is no protocol of OTLP"),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "smoke"},
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL='smoke' is no protocol of OTLP",
        ),
    ],
)
def test_what_there_is_not_is_told(environment: dict[str, str], expected: str) -> None:
    assert set_up(**environment).splitlines()[0] == expected


@pytest.mark.parametrize(
    ("environment", "instead"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf"),
        ({"OTEL_TRACES_EXPORTER": "otlp_proto_grpc"}, "OTEL_TRACES_EXPORTER=otlp"),
    ],
)
def test_where_grpc_is_asked_for_the_hint_is_what_helps(environment: dict[str, str], instead: str) -> None:
    told = set_up(**environment)

    assert f"set {instead}, whose exporter elsa[otel] brings" in told
    assert "pip install opentelemetry-exporter-otlp-proto-grpc" in told
