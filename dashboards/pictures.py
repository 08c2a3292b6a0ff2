"""Draws each board as one SVG from the answers of an end-to-end run; `make pictures` calls it.

python dashboards/pictures.py build/answers.json
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":  # a script sees its own folder only
    sys.path[0] = str(HERE.parent)

from dashboards import drawing  # noqa: E402 - after the path is set
from dashboards.drawing import Frame, Series  # noqa: E402
from dashboards.numerals import written  # noqa: E402

COLUMN, ROW, GAP = 50, 26, 6
STYLE = """
text{font:11px system-ui,sans-serif;fill:#24292e}.title{font-weight:600}.axis{fill:#7b8087}
.head{font-size:14px;font-weight:600}.number{font-size:26px;font-weight:600;text-anchor:middle}
.card{fill:#fff;stroke:#d5d9de;rx:3}.grid{stroke:#e6e9ec}.line{fill:none;stroke-width:1.5}.fill{opacity:.25}
.limit{stroke:#c4162a;stroke-dasharray:4 3}.heat{fill:#d9531e}
"""


@dataclass(frozen=True, slots=True)
class Answers:
    """What Prometheus said to the expressions of the boards, and the time in which it was watched."""

    start: float
    end: float
    #: by board and panel: for each query of the panel its legend and its series
    found: dict[str, list[dict[str, Any]]]

    @classmethod
    def load(cls, path: Path) -> Answers:
        """Read what the end-to-end test has kept."""
        data = json.loads(path.read_text())
        found: dict[str, list[dict[str, Any]]] = {}
        for each in data["answers"]:
            found.setdefault(each["place"], []).append(each)
        return cls(data["start"], data["end"], found)

    def series(self, place: str) -> list[Series]:
        """The lines of a panel."""
        made = []
        for query in self.found.get(place, []):
            for each in query["series"]:
                pairs = each["values"] if "values" in each else [each["value"]]
                name = _named(query["legend"], each["metric"])
                made.append(Series(name, [(float(at), float(value)) for at, value in pairs]))
        return made


def picture(board: dict[str, Any], answers: Answers) -> str:
    """A board as it looks in Grafana, more or less."""
    name = board["uid"].removeprefix("elsa-")
    height = max(each["gridPos"]["y"] + each["gridPos"]["h"] for each in board["panels"]) * ROW
    drawn: list[str] = []
    for panel in board["panels"]:
        place = panel["gridPos"]
        x, y = place["x"] * COLUMN, place["y"] * ROW
        if panel["type"] == "row":
            drawn.append(drawing.words(x + 4, y + 18, panel["title"], "head"))
            continue
        size = (place["w"] * COLUMN - GAP, place["h"] * ROW - GAP)
        frame = Frame(x + GAP / 2, y + GAP / 2, *size, answers.start, answers.end)
        drawn += drawing.card(frame, panel["title"], _inside(panel, frame, answers, f"{name}: {panel['title']}"))
    body = "\n".join(drawn)
    wide = 24 * COLUMN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {height}" width="{wide}" height="{height}">\n'
        f"<title>{board['title']}</title><style>{STYLE}</style>\n"
        f'<rect width="{wide}" height="{height}" fill="#f4f5f7"/>\n{body}\n</svg>\n'
    )


def _inside(panel: dict[str, Any], frame: Frame, answers: Answers, place: str) -> list[str]:
    defaults = panel["fieldConfig"]["defaults"]
    unit = defaults["unit"]
    if panel["type"] == "table":
        return drawing.table(frame, *_table(panel, answers.found.get(place, [])))
    series = answers.series(place)
    if panel["type"] == "heatmap":
        return drawing.heatmap(frame, series, panel["options"]["yAxis"]["unit"])
    if panel["type"] == "stat":
        return drawing.number(frame, series, unit, _limit(defaults))
    is_stacked = (defaults["custom"].get("stacking") or {}).get("mode") == "normal"
    return drawing.lines(frame, series, unit, _limit(defaults), is_stacked=is_stacked)


def _named(legend: str, labels: dict[str, str]) -> str:
    """A legend with its labels filled in."""
    return " ".join(re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), legend).split())


def _limit(defaults: dict[str, Any]) -> float | None:
    steps = (defaults.get("thresholds") or {}).get("steps") or []
    return next((step["value"] for step in steps if step["color"] == "red"), None)


def _table(panel: dict[str, Any], queries: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: labels first, then the columns, merged by labels as Grafana does."""
    if not queries:
        return [], []
    (organised,) = [each["options"] for each in panel["transformations"] if each["id"] == "organize"]
    units = {each["matcher"]["options"]: each["properties"][0]["value"] for each in panel["fieldConfig"]["overrides"]}
    shows_values = "Value" not in organised["excludeByName"]
    rows: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for heading, query in zip(units, queries, strict=True):
        for each in query["series"]:
            labels = tuple(sorted((k, v) for k, v in each["metric"].items() if not k.startswith("__")))
            rows.setdefault(labels, {})[heading] = float(each["value"][1])
    names = sorted({name for labels in rows for name, _ in labels})
    first = next(iter(units))
    ranked = sorted(rows.items(), key=lambda row: -row[1].get(first, 0.0))
    columns = list(units) if shows_values else []
    return [*names, *columns], [
        [
            *(dict(labels).get(name, "") for name in names),
            *(written(values[column], units[column]) if column in values else "" for column in columns),
        ]
        for labels, values in ranked
    ]


def main(arguments: list[str] | None = None) -> int:
    """Draw all boards; the exit code."""
    parser = argparse.ArgumentParser(description="Draw Elsa's boards from the answers of an end-to-end run.")
    parser.add_argument("answers", type=Path, help="the file that BOARD_ANSWERS named")
    parser.add_argument("--out", type=Path, default=HERE / "pictures", help="the folder to write to")
    given = parser.parse_args(arguments)
    answers = Answers.load(given.answers)
    given.out.mkdir(parents=True, exist_ok=True)
    for path in sorted(HERE.glob("*.json")):
        (given.out / f"{path.stem}.svg").write_text(picture(json.loads(path.read_text()), answers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
