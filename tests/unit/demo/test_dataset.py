from __future__ import annotations

import gzip
import itertools
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa.demo.dataset import EPOCH, Flight, count_flights, pack, read_flights, unpack

FILE = resources.files("elsa.demo").joinpath("data/flights.gz")


@pytest.fixture(scope="module")
def flights() -> list[Flight]:
    return list(read_flights())


def test_the_whole_year_ships(flights: list[Flight]) -> None:
    assert len(flights) == 336_776
    assert count_flights() == 336_776


def test_the_file_stays_below_three_megabytes() -> None:
    assert len(FILE.read_bytes()) < 3_000_000


def test_flights_come_in_order_of_their_departure(flights: list[Flight]) -> None:
    times = [flight.time for flight in flights]

    assert all(earlier <= later for earlier, later in itertools.pairwise(times))
    # 2013 in New York reaches five hours into 2014 in UTC
    assert times[0] >= EPOCH
    assert times[-1] < EPOCH + (365 * 24 + 5) * 3600


def test_the_first_flight_has_all_its_fields(flights: list[Flight]) -> None:
    expected = Flight(
        time=1_357_035_300,
        carrier="UA",
        flight=1545,
        tailnum="N14228",
        origin="EWR",
        dest="IAH",
        distance=1400,
        dep_delay=2,
        arr_delay=11,
        air_time=227,
    )

    assert expected == flights[0]


def test_unknown_values_are_none(flights: list[Flight]) -> None:
    assert sum(flight.dep_delay is None for flight in flights) == 8_255
    assert sum(flight.arr_delay is None for flight in flights) == 9_430
    assert sum(flight.tailnum is None for flight in flights) == 2_512


def test_every_flight_has_a_key(flights: list[Flight]) -> None:
    unknown = next(flight for flight in flights if flight.tailnum is None)

    assert all(flight.key for flight in flights)
    assert unknown.key == unknown.carrier


def test_packing_what_was_read_gives_the_file_again(flights: list[Flight]) -> None:
    # The compressed bytes depend on the zlib that is installed, what is inside does not.
    assert gzip.decompress(FILE.read_bytes()) == pack(flights)


minutes = st.none() | st.integers(-1_000, 3_000)


@given(
    st.lists(
        st.builds(
            Flight,
            time=st.integers(0, 30_000).map(lambda minute: EPOCH + 60 * minute),
            carrier=st.sampled_from(["UA", "B6"]),
            flight=st.integers(1, 8_500),
            tailnum=st.none() | st.sampled_from(["N1", "N2"]),
            origin=st.sampled_from(["JFK", "LGA"]),
            dest=st.sampled_from(["ORD", "SFO"]),
            distance=st.integers(1, 5_000),
            dep_delay=minutes,
            arr_delay=minutes,
            air_time=minutes,
        )
    )
)
def test_any_flights_survive_packing(flights: list[Flight]) -> None:
    ordered = sorted(flights, key=lambda flight: flight.time)

    assert ordered == list(unpack(pack(ordered)))
