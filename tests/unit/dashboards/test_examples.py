"""The examples in the docstrings of dashboards/ are true."""

from __future__ import annotations

import doctest
from typing import TYPE_CHECKING

import pytest

from dashboards import numerals, query, thresholds

if TYPE_CHECKING:
    from types import ModuleType


@pytest.mark.parametrize("module", [numerals, query, thresholds], ids=["numerals", "query", "thresholds"])
def test_examples_hold(module: ModuleType) -> None:
    found = doctest.testmod(module)

    assert found.attempted
    assert not found.failed
