"""Delays of the flights that left New York in 2013: typed bodies and a class with state that survives a `kill -9`.

The application is the one that `elsa demo` runs, in elsa/demo/flights.py. By hand:

    elsa worker workers.flights:app
    python -m workers.flights 10000            publish that many flights
    elsa fetch flights.delays --follow         watch the records of the aircraft
"""

from __future__ import annotations

import itertools
import sys

import elsa
from elsa.demo.dataset import read_flights
from elsa.demo.flights import app
from elsa.demo.results import FLIGHTS

__all__ = ["app", "publish"]

FIRST_FLIGHTS = 1_000


def publish(client: elsa.App, count: int) -> int:
    """Publish the first `count` flights, keyed by aircraft, and say how many Kafka has confirmed."""
    flights = itertools.islice(read_flights(), count)
    deliveries = [client.send(FLIGHTS, flight, key=flight.key) for flight in flights]
    return len([delivery.result(60) for delivery in deliveries])


if __name__ == "__main__":
    print(f"{publish(app, int(sys.argv[1]) if len(sys.argv) > 1 else FIRST_FLIGHTS):,} flights published")
    app.stop()
