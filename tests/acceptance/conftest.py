"""Stages for the tests that run `elsa worker` as users do: an app, a topic, a journal; no process is left behind."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from elsa.kafka import probe

from .driver import Stage, stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from elsa.testing.kafka import Topics

    SetStage = Callable[..., Stage]


@pytest.fixture
def set_stage(brokers: str, topic: Topics, tmp_path: Path) -> Iterator[SetStage]:
    """`set_stage(partitions=6, **settings)` makes a Stage on the session's Kafka."""
    with contextlib.ExitStack() as ends:
        stages: list[Stage] = []

        def make(partitions: int = 6, config: dict[str, str] | None = None, **settings: Any) -> Stage:
            made = ends.enter_context(stage(brokers, topic(partitions, config), tmp_path, **settings))
            stages.append(made)
            return made

        yield make
        ends.close()
        probe.delete_groups(brokers, [each.app for each in stages])
