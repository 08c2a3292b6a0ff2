"""Apps whose spans are kept in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.engine.conftest import app, jobs, log, make_app  # noqa: F401 - fixtures

from .trees import Recorded

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    """A tracer provider; ask for it before an App is used."""
    recorded = Recorded(monkeypatch)
    yield recorded
    recorded.provider.shutdown()
