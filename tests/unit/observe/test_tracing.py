"""Without a tracer provider no tracing code is even imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

NOTHING_SET = """
import sys
from elsa.app import App
from elsa.observe.tracing import tracing_enabled, tracing_observer
{before}
app = App("traced")
print(tracing_enabled(), tracing_observer(app) is None, "elsa.observe.spans" in sys.modules)
"""


def run(before: str, **environment: str) -> str:
    """In a process of its own: the provider is global and can be set once."""
    return subprocess.run(
        [sys.executable, "-c", NOTHING_SET.format(before=before)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "", **environment},
    ).stdout.strip()


@pytest.mark.parametrize(
    "before",
    [
        "",
        "import opentelemetry.trace",
        "import opentelemetry.trace as t; t.set_tracer_provider(t.NoOpTracerProvider())",
    ],
    ids=["never-imported", "no-provider", "no-op-provider"],
)
def test_without_a_provider_there_is_no_observer(before: str) -> None:
    assert run(before) == "False True False"


def test_without_a_provider_opentelemetry_is_not_imported() -> None:
    code = "import sys, elsa.observe.tracing as t; t.tracing_enabled(); print('opentelemetry' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert output.strip() == "False"


def test_with_the_sdks_provider_there_is_one() -> None:
    before = "import opentelemetry.trace as t, opentelemetry.sdk.trace as s; t.set_tracer_provider(s.TracerProvider())"

    assert run(before) == "True False True"


def test_a_provider_named_by_the_environment_counts() -> None:
    assert run("", OTEL_PYTHON_TRACER_PROVIDER="sdk_tracer_provider") == "True False True"
