from __future__ import annotations

import msgspec
import pytest

from elsa.demo.dataset import Flight, read_flights
from elsa.demo.results import CARRIERS, Aircraft, Board, Totals


def flight(dep_delay: int | None, carrier: str = "UA") -> Flight:
    return Flight(0, carrier, 1, "N1", "JFK", "SFO", 2_586, dep_delay, None, None)


def test_a_departure_is_counted_with_its_delay() -> None:
    aircraft = Aircraft("N1")
    for offset, delay in enumerate((-5, 14, 15)):
        aircraft.count(flight(delay), offset)

    assert aircraft.carriers == {"UA": Totals(flights=3, late=1, delay=24)}
    assert aircraft.offset == 2


def test_a_cancelled_flight_has_no_delay_and_leaves_the_aircraft_as_punctual_as_it_was() -> None:
    aircraft = Aircraft("N1")
    for offset, delay in enumerate((30, None, 40)):
        aircraft.count(flight(delay), offset)

    assert aircraft.carriers["UA"] == Totals(flights=3, cancelled=1, late=2, late_again=1, delay=70)
    assert aircraft.carriers["UA"].departed == 2


def test_late_again_needs_the_departure_before_to_be_late() -> None:
    aircraft = Aircraft("N1")
    for offset, delay in enumerate((60, 0, 60, 60)):
        aircraft.count(flight(delay), offset)

    assert aircraft.carriers["UA"].late == 3
    assert aircraft.carriers["UA"].late_again == 1


def test_a_flight_that_comes_again_is_not_counted_again() -> None:
    aircraft = Aircraft("N1")
    aircraft.count(flight(60), 7)
    before = msgspec.json.decode(msgspec.json.encode(aircraft), type=Aircraft)

    before.count(flight(60), 7)

    assert before.carriers == aircraft.carriers
    assert before.repeats == 1


def test_an_aircraft_that_changes_hands_counts_for_both_carriers() -> None:
    aircraft = Aircraft("N1")
    aircraft.count(flight(0, "FL"), 0)
    aircraft.count(flight(0, "DL"), 1)

    assert sorted(aircraft.carriers) == ["DL", "FL"]


def test_the_board_sums_up_the_newest_records() -> None:
    board = Board()
    board.add(Aircraft("N1", 0, 11, carriers={"UA": Totals(flights=1, delay=10)}))
    board.add(Aircraft("N2", 5, 12, carriers={"UA": Totals(flights=2), "B6": Totals(flights=4)}))
    board.add(Aircraft("N1", 3, 12, repeats=1, carriers={"UA": Totals(flights=3, delay=15)}))

    standing = board.standing()

    assert standing.carriers == [("UA", Totals(flights=5, delay=15)), ("B6", Totals(flights=4))]
    assert standing.workers == {11: 1, 12: 8}
    assert (standing.flights, standing.aircraft, standing.repeats) == (9, 2, 1)


@pytest.mark.parametrize("offset", [2, 3])
def test_an_older_record_changes_nothing(offset: int) -> None:
    board = Board()
    board.add(Aircraft("N1", 3, 12, carriers={"UA": Totals(flights=3)}))
    board.add(Aircraft("N1", offset, 11, carriers={"UA": Totals(flights=1)}))

    assert board.standing().flights == 3


def test_a_standing_does_not_change_afterwards() -> None:
    board = Board()
    board.add(Aircraft("N1", 0, 1, carriers={"UA": Totals(flights=1)}))
    standing = board.standing()
    board.add(Aircraft("N1", 1, 1, carriers={"UA": Totals(flights=2)}))

    assert standing.carriers == [("UA", Totals(flights=1))]


def test_the_whole_year_adds_up() -> None:
    aircraft: dict[str, Aircraft] = {}
    for offset, one in enumerate(read_flights()):
        aircraft.setdefault(one.key, Aircraft(one.key)).count(one, offset)
    board = Board()
    for record in aircraft.values():
        board.add(record)

    standing = board.standing()

    assert standing.flights == 336_776
    assert sum(totals.cancelled for _, totals in standing.carriers) == 8_255
    assert {code for code, _ in standing.carriers} == set(CARRIERS)
    assert standing.aircraft == 4_050
