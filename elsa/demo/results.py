"""What the demo counts: one aircraft's record, kept by the handler, and the board that sums all of them up.

Pure values and arithmetic; `elsa.demo.flights` writes the records, `elsa.demo.run` feeds the board.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from elsa.demo.dataset import Flight

#: flights as they leave, keyed by aircraft
FLIGHTS = "flights"
#: the newest record of each aircraft, same keys and as many partitions
RESULTS = "flights.delays"
#: small segments are compacted soon, even in a demo
RESULTS_CONFIG = {"cleanup.policy": "compact", "segment.bytes": "1048576", "min.cleanable.dirty.ratio": "0.1"}

#: a departure is late when it left that many minutes after its schedule, as airlines count it
LATE_MINUTES = 15

CARRIERS = {
    "9E": "Endeavor Air",
    "AA": "American Airlines",
    "AS": "Alaska Airlines",
    "B6": "JetBlue Airways",
    "DL": "Delta Air Lines",
    "EV": "ExpressJet Airlines",
    "F9": "Frontier Airlines",
    "FL": "AirTran Airways",
    "HA": "Hawaiian Airlines",
    "MQ": "Envoy Air",
    "OO": "SkyWest Airlines",
    "UA": "United Air Lines",
    "US": "US Airways",
    "VX": "Virgin America",
    "WN": "Southwest Airlines",
    "YV": "Mesa Airlines",
}


class Totals(Struct):
    """Departures counted: all, cancelled, late, late after a late one of the same aircraft; delays in minutes."""

    flights: int = 0
    cancelled: int = 0
    late: int = 0
    late_again: int = 0
    delay: int = 0

    @property
    def departed(self) -> int:
        """Flights that were not cancelled."""
        return self.flights - self.cancelled

    def add(self, other: Totals, sign: int = 1) -> None:
        """Add another one's counts, or take them away with `sign=-1`."""
        self.flights += sign * other.flights
        self.cancelled += sign * other.cancelled
        self.late += sign * other.late
        self.late_again += sign * other.late_again
        self.delay += sign * other.delay


class Aircraft(Struct):
    """One aircraft's year so far: the state of the handler, and what it sends to the results topic.

    `offset` is that of the last flight counted. It travels with the counts, so that a flight that is delivered
    a second time after a crash is seen as such (`repeats`) and not counted twice.
    """

    key: str
    offset: int = -1
    #: the worker process that counted last
    pid: int = 0
    repeats: int = 0
    was_late: bool = False
    #: an aircraft may change hands: its flights by carrier
    carriers: dict[str, Totals] = field(default_factory=dict)

    def count(self, flight: Flight, offset: int) -> None:
        """Take one flight of this aircraft in; flights come in the order of their offsets."""
        if offset <= self.offset:
            self.repeats += 1
            return
        self.offset = offset
        totals = self.carriers.setdefault(flight.carrier, Totals())
        totals.flights += 1
        if flight.dep_delay is None:
            totals.cancelled += 1
            return
        is_late = flight.dep_delay >= LATE_MINUTES
        totals.delay += flight.dep_delay
        totals.late += is_late
        totals.late_again += is_late and self.was_late
        self.was_late = is_late


@dataclass(frozen=True, slots=True)
class Standing:
    """The board at one moment: totals by carrier (most flights first), flights by worker process, repeats."""

    carriers: list[tuple[str, Totals]]
    workers: dict[int, int]
    flights: int
    aircraft: int
    repeats: int


class Board:
    """Sums up the records of all aircraft; `add` and `standing` may be called from any thread, a lock guards both."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._aircraft: dict[str, Aircraft] = {}
        self._carriers: dict[str, Totals] = {}
        self._workers: dict[int, int] = {}
        self._repeats = 0

    def add(self, aircraft: Aircraft) -> None:
        """Put a newer record in place of the aircraft's last one; an older record changes nothing."""
        with self._lock:
            before = self._aircraft.get(aircraft.key, Aircraft(aircraft.key))
            if (aircraft.offset, aircraft.repeats) <= (before.offset, before.repeats):
                return
            self._aircraft[aircraft.key] = aircraft
            self._repeats += max(0, aircraft.repeats - before.repeats)
            counted = sum(totals.flights for totals in aircraft.carriers.values())
            counted -= sum(totals.flights for totals in before.carriers.values())
            self._workers[aircraft.pid] = self._workers.get(aircraft.pid, 0) + counted
            for sign, record in ((-1, before), (1, aircraft)):
                for carrier, totals in record.carriers.items():
                    self._carriers.setdefault(carrier, Totals()).add(totals, sign)

    def standing(self) -> Standing:
        """A copy of the sums."""
        with self._lock:
            carriers = [(code, Totals()) for code in self._carriers]
            for code, totals in carriers:
                totals.add(self._carriers[code])
            carriers.sort(key=lambda pair: (-pair[1].flights, pair[0]))
            flights = sum(totals.flights for _, totals in carriers)
            return Standing(carriers, dict(self._workers), flights, len(self._aircraft), self._repeats)
