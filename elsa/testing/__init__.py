"""For users' own tests: the harness behind `app.test()`, a clock to move, and the pytest plugin's fixtures.

Everything here is loaded when it is first used: the plugin is part of every pytest run where Elsa is installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elsa.testing.clock import FakeClock
    from elsa.testing.harness import Harness
    from elsa.testing.recording import DeadLetter, Handled, SentMessage

__all__ = ["DeadLetter", "FakeClock", "Handled", "Harness", "SentMessage"]

_HOMES = {
    "DeadLetter": "recording",
    "FakeClock": "clock",
    "Handled": "recording",
    "Harness": "harness",
    "SentMessage": "recording",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"elsa.testing.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
