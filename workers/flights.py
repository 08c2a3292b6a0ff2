"""Delays of the flights that left New York in 2013: typed bodies and a class with state that survives a `kill -9`.

The application is the one that `elsa demo` runs, in elsa/demo/flights.py. By hand:

    elsa worker workers.flights:app
    python -m workers.flights 10000            publish that many flights
    elsa fetch flights.delays --follow         watch the records of the aircraft
"""

from __future__ import annotations

import itertools
import sys

from elsa.demo.dataset import read_flights
from elsa.demo.flights import app

__all__ = ["app", "publish"]


def publish(count: int) -> int:
    """Publish the first `count` flights, keyed by aircraft, and say how many Kafka has confirmed."""
    flights = itertools.islice(read_flights(), count)
    return len(app.registry["delays"].send_many(flights, key=lambda flight: flight.key))


if __name__ == "__main__":
    with_count = sys.argv[1:] or ["1000"]
    print(f"{publish(int(with_count[0])):,} flights published")
    app.stop()
