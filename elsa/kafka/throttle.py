"""Hears from a client that a quota of the brokers slows it down: told once a minute, and passed on to be counted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from elsa.clock import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.clock import Clock

log = logging.getLogger("elsa.kafka")

#: a client that is held back hears of it with every answer
REPEAT_SECONDS = 60.0


class Throttle:
    """The `throttle_cb` of one client, called by whichever thread polls that; `kind`: consumer, producer or admin.

    `told(kind, broker, seconds)` hears every time how long the broker holds the client back, 0 when that is over.
    """

    def __init__(
        self, kind: str, told: Callable[[str, str, float], object] | None = None, *, clock: Clock = SYSTEM
    ) -> None:
        self._kind = kind
        self._told = told
        self._clock = clock
        self._quiet_until = float("-inf")

    def __call__(self, event: Any) -> None:
        """Take an event of the client: `throttle_time` in seconds, `broker_id`, `broker_name`."""
        seconds = float(event.throttle_time)
        if self._told is not None:
            self._told(self._kind, str(event.broker_id), seconds)
        now = self._clock.monotonic()
        if seconds <= 0 or now < self._quiet_until:
            return
        self._quiet_until = now + REPEAT_SECONDS
        log.warning(
            "a quota of Kafka slows this %s down",
            self._kind,
            extra={
                "event": "throttled",
                "client": self._kind,
                "broker": event.broker_name,
                "seconds": seconds,
                "limit": f"throttled {self._kind}",
                "hint": "see the quotas of its user and client.id: kafka-configs --describe --entity-type clients",
            },
        )
