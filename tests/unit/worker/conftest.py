"""Stand-ins for messages of confluent_kafka, for tests of the engine's parts."""

from __future__ import annotations

from typing import Any

import pytest


class Raw:
    """A message with the accessors that the engine uses."""

    def __init__(
        self, offset: int, value: bytes | None = b"{}", *, topic: str = "t", partition: int = 0, **fields: Any
    ) -> None:
        self._offset = offset
        self._value = value
        self._topic = topic
        self._partition = partition
        self._fields = fields

    def __len__(self) -> int:
        return len(self._value or b"")

    def topic(self) -> str:
        return self._topic

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes | None:
        return self._value

    def key(self) -> Any:
        return self._fields.get("key")

    def headers(self) -> Any:
        return self._fields.get("headers")

    def timestamp(self) -> tuple[int, int]:
        return (1, self._fields["timestamp"]) if "timestamp" in self._fields else (0, 0)

    def leader_epoch(self) -> int | None:
        return None

    def error(self) -> None:
        return None


@pytest.fixture
def raw() -> type[Raw]:
    """`raw(offset, value, topic=, partition=, key=, headers=, timestamp=)` makes a message as polled."""
    return Raw


@pytest.fixture
def simulated_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let turns of simulated members last as long as their clocks say."""
    from elsa.worker import batches, delivery, turns

    from . import simulation

    for module in (batches, delivery, turns):
        monkeypatch.setattr(module, "_counter", simulation.counter)
