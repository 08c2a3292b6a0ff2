"""An App of its own for each test."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

import elsa

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def app() -> Iterator[elsa.App]:
    """An App that nobody else has."""
    app = elsa.App(f"shop-{uuid.uuid4().hex[:8]}")
    yield app
    app.stop()
