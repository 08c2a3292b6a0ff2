"""What works beside the group managers gets what is left of a stop, and no more."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from elsa.clock import SYSTEM
from elsa.worker.services import Services


@pytest.mark.parametrize(("seconds", "most"), [(-1.0, (0.2, 0.2, 0.2)), (3600.0, (5.0, 3600.0, 2.0))])
def test_a_stop_that_took_its_time_waits_for_nobody(seconds: float, most: tuple[float, ...]) -> None:
    """The watcher once had 5 s of its own, and the process was killed before it said what it waited for."""
    services: Any = object.__new__(Services)
    services.watcher, services._control, one = Mock(), Mock(), Mock()
    services.renewing = [one]
    services.stop(SYSTEM.monotonic() + seconds)

    given = [call.call_args.args[0] for call in (services.watcher.stop, one.join, services._control.stop)]
    assert given == pytest.approx(most, abs=60)
    assert all(had <= limit for had, limit in zip(given, most, strict=True))
