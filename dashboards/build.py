"""Makes the boards (JSON) and the rules (YAML) of this folder; `make dashboards` calls it, `--check` only compares.

python dashboards/build.py
python dashboards/build.py --out /tmp/mine --set lag_age_seconds=60 --runbooks https://example.org/runbooks
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":  # a script sees its own folder only
    sys.path[0] = str(HERE.parent)
    if missing := [name for name in ("elsa", "msgspec", "yaml", "grafana_foundation_sdk") if find_spec(name) is None]:
        sys.exit(
            f"build.py: not installed: {', '.join(missing)}\n"
            "  hint: `make .venv/.installed-dev` installs what it needs; then .venv/bin/python dashboards/build.py"
        )

from dashboards.alarms import Places, alerts  # noqa: E402 - after the path is set
from dashboards.board import Board, render  # noqa: E402
from dashboards.boards.handlers import handlers  # noqa: E402
from dashboards.boards.overview import overview  # noqa: E402
from dashboards.boards.runtime import runtime  # noqa: E402
from dashboards.boards.scheduler import scheduler  # noqa: E402
from dashboards.boards.topics import topics  # noqa: E402
from dashboards.rules import document, recording_rules  # noqa: E402
from dashboards.thresholds import Thresholds  # noqa: E402


def boards(limits: Thresholds) -> list[Board]:
    """All boards."""
    return [make(limits) for make in (overview, handlers, topics, runtime, scheduler)]


def files(limits: Thresholds, places: Places) -> dict[str, str]:
    """What belongs into the folder, by path."""
    made = {f"{board.name}.json": render(board) for board in boards(limits)}
    made["alerts/recording.yaml"] = document("elsa-recording", recording_rules(limits))
    made["alerts/alerts.yaml"] = document("elsa-alerts", [each.rule(limits, places) for each in alerts(limits)])
    return made


def write(folder: Path, made: dict[str, str]) -> None:
    """Write all of it."""
    for name, text in made.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def differing(folder: Path, made: dict[str, str]) -> list[str]:
    """Which files are not there, or say something else."""
    return [name for name, text in made.items() if not (folder / name).is_file() or (folder / name).read_text() != text]


def main(arguments: list[str] | None = None) -> int:
    """Read the arguments and do it; the exit code."""
    parser = argparse.ArgumentParser(description="Make Elsa's boards and rules.")
    parser.add_argument("--out", type=Path, default=HERE, help="the folder to write to (the one of this file)")
    parser.add_argument("--check", action="store_true", help="write nothing, fail when anything there differs")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a threshold, see thresholds.py"
    )
    parser.add_argument("--runbooks", default=Places().runbooks, help="the URL of the folder of runbooks")
    parser.add_argument(
        "--grafana", default=Places().grafana, help="the URL of Grafana, for links from alerts to boards"
    )
    given = parser.parse_args(arguments)
    try:
        limits = Thresholds().changed(given.set)
    except ValueError as error:
        parser.error(str(error))
    made = files(limits, Places(given.runbooks, given.grafana))
    if not given.check:
        try:
            write(given.out, made)
        except OSError as error:
            parser.error(f"argument --out: {error.filename or given.out} can not be written: {error.strerror or error}")
        return 0
    old = differing(given.out, made)
    for name in old:
        sys.stderr.write(f"{given.out / name} is not what build.py makes; run `make dashboards`\n")
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
