"""Which partitions a group's members hold: what a static member looks at to see that none was forgotten."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.message import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.broker


def test_the_members_of_a_stable_group_hold_all_partitions(
    brokers: str, topic: Callable[..., str], group: Callable[[], str], tmp_path: Path
) -> None:
    names = [topic(partitions=3), topic(partitions=2)]
    app = elsa.App(group(), brokers=brokers, runtime_dir=str(tmp_path))

    @app.handler(names)
    def take(body: dict[str, Any]) -> None: ...

    assert app.groups.owned(app.name) is None
    wanted = {TopicPartition(name, n) for name, count in zip(names, (3, 2), strict=True) for n in range(count)}
    with app:
        assert app.wait_ready(30)
        end = time.monotonic() + 20
        while (found := app.groups.owned(app.name)) != wanted and time.monotonic() < end:
            time.sleep(0.05)

    assert found == wanted
