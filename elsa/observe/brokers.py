"""What librdkafka's statistics and its quota events say of brokers; one for each process, kept by the observer."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import TYPE_CHECKING, Any

from elsa.observe import catalogue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.clock import Clock
    from elsa.observe.exposition import Page

#: how long a broker's last word on a quota counts: a client that asks for nothing hears of no end
THROTTLE_SECONDS = 60.0
#: how long round trips count: those of two statistics, with some to spare
RTT_SECONDS = 40.0
#: a client that was not heard of for so long is gone
GONE_SECONDS = 600.0
#: counters of librdkafka, and the direction that they have here
_ERRORS = (("txerrs", "sent"), ("rxerrs", "received"))

#: (client, broker)
Place = tuple[str, str]


class BrokerMetrics:
    """Threads that poll clients call it, scrapes read it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._throttles: dict[Place, tuple[float, float]] = {}
        #: by librdkafka's name of the client: when it was heard of, and its counters then
        self._clients: dict[str, tuple[float, dict[tuple[str, str], int]]] = {}
        #: (name of the client, client, broker) -> (avg, p99, when)
        self._rtts: dict[tuple[str, str, str], tuple[float, float, float]] = {}
        self._errors: Counter[tuple[str, str, str]] = Counter()
        self._connects: Counter[Place] = Counter()

    def throttled(self, client: str, broker: str, seconds: float) -> None:
        """A broker holds a client back, 0 when that is over."""
        with self._lock:
            self._throttles[client, broker] = seconds, self._clock.monotonic()

    def heard(self, client: str, stats: Mapping[str, Any]) -> None:
        """Statistics of one client came; `client` is its kind, consumer or producer."""
        name, now = str(stats.get("name", "")), self._clock.monotonic()
        with self._lock:
            before = self._clients.get(name, (now, {}))[1]
            counted: dict[tuple[str, str], int] = {}
            for place, facts in stats.get("brokers", {}).items():
                self._count(client, place, facts, before, counted)
                self._time(name, client, facts, now)
            self._clients[name] = now, counted
            self._forget(now)

    def _count(
        self,
        client: str,
        place: str,
        facts: Mapping[str, Any],
        before: Mapping[tuple[str, str], int],
        counted: dict[tuple[str, str], int],
    ) -> None:
        """Add what has come since the client's last statistics (lock held)."""
        broker = _label(facts)

        def news(key: str) -> int:
            count = counted[place, key] = int(facts.get(key, 0))
            return max(0, count - before.get((place, key), 0))

        for key, direction in _ERRORS:
            self._errors[client, broker, direction] += news(key)
        self._connects[client, broker] += news("connects")

    def _time(self, name: str, client: str, facts: Mapping[str, Any], now: float) -> None:
        rtt = facts.get("rtt", {})
        if rtt.get("cnt"):
            # microseconds
            self._rtts[name, client, _label(facts)] = rtt["avg"] / 1e6, rtt["p99"] / 1e6, now

    def _forget(self, now: float) -> None:
        self._rtts = {key: found for key, found in self._rtts.items() if now - found[2] < RTT_SECONDS}
        self._clients = {name: found for name, found in self._clients.items() if now - found[0] < GONE_SECONDS}

    def collect(self, page: Page) -> None:
        """Add everything."""
        now = self._clock.monotonic()
        rtts: dict[tuple[str, str, str], float] = {}
        with self._lock:
            self._forget(now)
            for labels, (seconds, said) in self._throttles.items():
                page.add(catalogue.THROTTLE, labels, seconds if now - said < seconds + THROTTLE_SECONDS else 0)
            for (_, client, broker), (average, slowest, _) in self._rtts.items():
                for stat, value in (("avg", average), ("p99", slowest)):
                    rtts[client, broker, stat] = max(value, rtts.get((client, broker, stat), 0.0))
            for each, count in self._errors.items():
                page.add(catalogue.BROKER_ERRORS, each, count)
            for place, count in self._connects.items():
                page.add(catalogue.BROKER_CONNECTS, place, count)
        for each, value in rtts.items():
            page.add(catalogue.BROKER_RTT, each, value)


def _label(facts: Mapping[str, Any]) -> str:
    """A broker's id; the connections to the group's coordinator and to bootstrap servers are others beside its own."""
    if facts.get("source") == "logical":
        return "coordinator"
    number = int(facts.get("nodeid", -1))
    return str(number) if number >= 0 else "bootstrap"
