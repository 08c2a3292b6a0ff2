from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from elsa.worker import supervisor
from tests.unit.cli.supervisors import Stub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Stub]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ELSA_APP", raising=False)
    monkeypatch.setattr(Stub, "made", [], raising=False)
    monkeypatch.setattr(supervisor, "Supervisor", Stub)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield Stub
    root.handlers[:] = handlers
    root.setLevel(level)
