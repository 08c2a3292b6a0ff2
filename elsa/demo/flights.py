"""The demo's application, run by `elsa demo` as `elsa worker elsa.demo.flights:app`: delays of flights by aircraft.

A class handler keeps each aircraft's record as state of its partition. Every record is sent to a compacted
topic with the same key, so that it lies in the partition of the same number, and `setup` reads it back from
there when the partition comes to another process: what survives a `kill -9` are the records and the offsets
in them.
"""

from __future__ import annotations

import os

import msgspec

import elsa
from elsa.demo.dataset import Flight
from elsa.demo.results import FLIGHTS, RESULTS, RESULTS_CONFIG, Aircraft
from elsa.errors import UnknownTopic

app = elsa.App("flights")


@app.on_startup
def create_results() -> None:
    """Make the results topic where nobody has yet, with as many partitions as the flights have."""
    if app.settings.creates_topics and not app.topics.exists(RESULTS):
        partitions = app.topics.list().get(FLIGHTS) or app.settings.default_partitions
        # another worker process may be faster
        app.topics.create(RESULTS, partitions=partitions, config=RESULTS_CONFIG, exist_ok=True)


@app.handler(FLIGHTS, name="delays")
class Delays:
    """Counts the departures of each aircraft of one partition."""

    def setup(self, ctx: elsa.Context) -> None:
        """Read back what this partition's aircraft had come to."""
        self.aircraft: dict[str, Aircraft] = {}
        decoder = msgspec.json.Decoder(Aircraft)
        try:
            for message in app.stream(RESULTS, partitions=[ctx.partition]):
                if message.value is not None:
                    aircraft = decoder.decode(message.value)
                    self.aircraft[aircraft.key] = aircraft
        except UnknownTopic:
            return  # nothing has been counted anywhere

    def handle(self, flight: Flight, ctx: elsa.Context) -> None:
        """Count one flight and tell the aircraft's new record."""
        aircraft = self.aircraft.setdefault(flight.key, Aircraft(flight.key))
        aircraft.count(flight, ctx.offset)
        aircraft.pid = os.getpid()
        ctx.send(RESULTS, aircraft, key=flight.key)
