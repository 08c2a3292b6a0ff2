"""Apps on the session's Kafka, and their log lines."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from elsa.observe import logs
from tests.integration.engine.conftest import app, jobs, log, make_app  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from collections.abc import Iterator


class Lines(io.StringIO):
    """What was logged as JSON."""

    @property
    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def said(self, message: str) -> list[dict[str, Any]]:
        return [line for line in self.all if line["message"] == message]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The lines of this process, as a worker process writes them."""
    root = logging.getLogger()
    level = root.level
    stream = Lines()
    handler = logs.setup("info", json_logs=True, stream=stream)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)
