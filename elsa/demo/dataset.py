"""The flights that left New York in 2013, their type and the file that ships; read by the demo and the benchmarks.

The file is gzip around one JSON line (the dictionaries, and name, width and order of the columns) and the
columns behind it, each split into its low and high bytes: a third of the size that rows would take.
"""

from __future__ import annotations

import array
import gzip
import itertools
import json
import sys
from collections import Counter
from importlib import resources
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: 2013-01-01T00:00:00Z, the first minute that the time column counts from
EPOCH = 1_356_998_400
_FILE = "data/flights.gz"
_COLUMNS = ("minutes", "carrier", "flight", "tailnum", "route", "dep_delay", "arr_delay", "air_time")
#: how "no value" is written in a column of numbers
_NONE = -32_768


class Flight(Struct, frozen=True):
    """One scheduled departure from JFK, LaGuardia or Newark.

    `time` is the scheduled departure in seconds since the epoch, delays and `air_time` are minutes (negative:
    early), `distance` miles. A flight that was cancelled has no `dep_delay`; one that was diverted no `arr_delay`.
    """

    time: int
    carrier: str
    flight: int
    tailnum: str | None
    origin: str
    dest: str
    distance: int
    dep_delay: int | None
    arr_delay: int | None
    air_time: int | None

    @property
    def key(self) -> str:
        """The aircraft, so that one's flights stay in order; the carrier where the tail number is not known."""
        return self.tailnum or self.carrier


def read_flights() -> Iterator[Flight]:
    """The 336,776 flights that ship with Elsa, in order of their scheduled departure.

    ```python
    first = next(read_flights())
    ```
    """
    return unpack(gzip.decompress(resources.files("elsa.demo").joinpath(_FILE).read_bytes()))


def count_flights() -> int:
    """How many flights `read_flights` gives, without reading all of them."""
    with resources.files("elsa.demo").joinpath(_FILE).open("rb") as raw, gzip.open(raw) as packed:
        return int(json.loads(packed.readline())["rows"])


def pack(flights: Sequence[Flight]) -> bytes:
    """Flights in order of `time` as columns; the same flights give the same bytes."""
    tables: dict[str, list[Any]] = {
        "carrier": _by_frequency(flight.carrier for flight in flights),
        "tailnum": _by_frequency(flight.tailnum or "" for flight in flights),
        "route": _by_frequency((flight.origin, flight.dest, flight.distance) for flight in flights),
    }
    index = {name: {value: number for number, value in enumerate(table)} for name, table in tables.items()}
    minutes = [(flight.time - EPOCH) // 60 for flight in flights]
    columns = {
        "minutes": [later - earlier for earlier, later in itertools.pairwise([0, *minutes])],
        "carrier": [index["carrier"][flight.carrier] for flight in flights],
        "flight": [flight.flight for flight in flights],
        "tailnum": [index["tailnum"][flight.tailnum or ""] for flight in flights],
        "route": [index["route"][flight.origin, flight.dest, flight.distance] for flight in flights],
        "dep_delay": [_optional(flight.dep_delay) for flight in flights],
        "arr_delay": [_optional(flight.arr_delay) for flight in flights],
        "air_time": [_optional(flight.air_time) for flight in flights],
    }
    header = json.dumps({"rows": len(flights), "columns": _COLUMNS, "tables": tables}, separators=(",", ":"))
    return header.encode() + b"\n" + b"".join(_planes(columns[name]) for name in _COLUMNS)


def unpack(data: bytes) -> Iterator[Flight]:
    """The flights of `pack`."""
    line, body = data.split(b"\n", 1)
    header = json.loads(line)
    size = 2 * header["rows"]
    columns = [_numbers(body[at * size : (at + 1) * size]) for at in range(len(header["columns"]))]
    carriers, tails, routes = (header["tables"][name] for name in ("carrier", "tailnum", "route"))
    time = EPOCH
    for minutes, carrier, flight, tail, route, dep_delay, arr_delay, air_time in zip(*columns, strict=True):
        time += 60 * minutes
        origin, dest, distance = routes[route]
        yield Flight(
            time,
            carriers[carrier],
            flight,
            tails[tail] or None,
            origin,
            dest,
            distance,
            None if dep_delay == _NONE else dep_delay,
            None if arr_delay == _NONE else arr_delay,
            None if air_time == _NONE else air_time,
        )


def _by_frequency(values: Iterable[Any]) -> list[Any]:
    """The distinct values, frequent ones first: small numbers compress best; ties in their own order."""
    return [value for value, _ in sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0]))]


def _optional(value: int | None) -> int:
    return _NONE if value is None else value


def _planes(values: list[int]) -> bytes:
    numbers = array.array("h", values)
    if sys.byteorder == "big":
        numbers.byteswap()
    raw = numbers.tobytes()
    return raw[::2] + raw[1::2]


def _numbers(planes: bytes) -> array.array[int]:
    raw = bytearray(len(planes))
    raw[::2], raw[1::2] = planes[: len(planes) // 2], planes[len(planes) // 2 :]
    numbers = array.array("h", bytes(raw))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
