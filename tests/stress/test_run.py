"""A short run in the suite: every kind of handler, three brokers, two workers, four faults, nothing lost.

The whole of it is `make stress`, which breaks more and for longer.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from elsa.testing.kafka import require_embedded
from tests.stress.run import Options, Run
from tests.stress.table import table

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.broker, pytest.mark.slow]

FAULTS = ("kill", "term", "freeze", "broker-kill")


@pytest.mark.timeout(420)
def test_nothing_is_lost_while_workers_and_a_broker_are_killed(tmp_path: Path) -> None:
    require_embedded()
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")

    report = Run(Options(seed, seconds=60.0, per_second=20.0, faults=FAULTS), tmp_path, print).execute()

    print(table(report))
    assert report.faults.keys() == set(FAULTS)
    assert all(line.produced > 0 for line in report.lines)
    assert report.complaints == []
