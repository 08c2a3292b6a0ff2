"""A cluster that refuses as told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .refusing import RefusingMock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def refusing_mock() -> Iterator[RefusingMock]:
    made = RefusingMock()
    yield made
    made.stop()
