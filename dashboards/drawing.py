"""Draws one panel as SVG from what Prometheus answered; `pictures.py` puts panels together to a board."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

from dashboards.numerals import written

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

COLOURS = ("#3274d9", "#e0752d", "#37872d", "#8f3bb8", "#c4162a", "#c79a00", "#0a7f8c", "#7c6a5d")
GOOD, BAD = "#37872d", "#c4162a"
#: moments that a line keeps, series that are drawn, rows of a table, shades of a heatmap
POINTS, SERIES, ROWS, SHADES = 48, 6, 8, 10
TITLE, LEGEND, MARGIN, AXIS = 22, 15, 8, 52

Course = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a panel is, in pixels, and the time that it shows."""

    x: float
    y: float
    width: float
    height: float
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Series:
    """One line: what it is called, its values as (seconds since 1970, value)."""

    name: str
    course: Course


def card(frame: Frame, title: str, inside: Iterable[str]) -> list[str]:
    """The box of a panel with its title; what is inside uses the box's own corner as its origin."""
    return [
        f'<g transform="translate({frame.x:.0f} {frame.y:.0f})">',
        f'<rect width="{frame.width:.0f}" height="{frame.height:.0f}" class="card"/>',
        words(MARGIN, 15, title, "title"),
        *inside,
        "</g>",
    ]


def words(x: float, y: float, text: str, kind: str = "") -> str:
    """A line of text."""
    shown = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y:.0f}"{shown}>{escape(text, quote=False)}</text>'


def lines(frame: Frame, series: Sequence[Series], unit: str, limit: float | None, *, is_stacked: bool) -> list[str]:
    """Lines or stacked areas, with a scale from 0, the limit where it is in sight, and a legend."""
    shown = sorted(series, key=lambda each: -_last(each))[:SERIES]
    rows = _legend_rows(frame, shown, unit)
    bottom = frame.height - MARGIN - LEGEND * len(rows)
    thinned = [thin(each.course, frame) for each in shown]
    if is_stacked:
        thinned = stacked(thinned)
    top = max((value for course in thinned for _, value in course), default=0.0) or 1.0
    area = _Area(MARGIN + AXIS, TITLE + 6, frame.width - MARGIN, bottom - 4, frame, top * 1.08)
    drawn = area.scale(unit)
    for number, course in reversed(list(enumerate(thinned))):
        drawn += area.line(course, COLOURS[number % len(COLOURS)], is_filled=is_stacked)
    if limit is not None and limit <= area.top:
        drawn.append(f'<path d="M{area.left} {area.y(limit):.0f}H{area.right:.0f}" class="limit"/>')
    for row, entries in enumerate(rows):
        for x, number, text in entries:
            y = bottom + LEGEND * (row + 1) - 3
            drawn.append(f'<rect x="{x:.0f}" y="{y - 7:.0f}" width="8" height="8" fill="{COLOURS[number]}"/>')
            drawn.append(words(x + 12, y, text))
    return drawn if shown else [*drawn, nothing(frame)]


def number(frame: Frame, series: Sequence[Series], unit: str, limit: float | None) -> list[str]:
    """The last value, large, red from its limit on, with its course behind it."""
    if not series:
        return [nothing(frame)]
    value = _last(series[0])
    course = thin(series[0].course, frame)
    colour = BAD if limit is not None and value >= limit else GOOD
    top = max((each for _, each in course), default=0.0) or 1.0
    area = _Area(0, frame.height * 0.62, frame.width, frame.height - 1, frame, top)
    size = f'<text x="{frame.width / 2:.0f}" y="{frame.height * 0.56:.0f}" class="number" style="fill:{colour}">'
    return [*area.line(course, colour, is_filled=True), f"{size}{escape(written(value, unit))}</text>"]


def heatmap(frame: Frame, series: Sequence[Series], unit: str) -> list[str]:
    """How many fell into each bucket over time; the names of the series are the upper bounds."""
    rising = sorted(series, key=lambda each: float(each.name))
    courses = [dict(thin(each.course, frame)) for each in rising]
    moments = sorted({moment for course in courses for moment in course})
    if not moments:
        return [nothing(frame)]
    counts = [
        [max(0.0, course.get(m, 0.0) - (courses[row - 1].get(m, 0.0) if row else 0.0)) for m in moments]
        for row, course in enumerate(courses)
    ]
    used = [row for row, found in enumerate(counts) if any(found)]
    if not used:
        return [nothing(frame)]
    rows = range(used[0], used[-1] + 1)
    most = max(max(counts[row]) for row in rows)
    left, top = MARGIN + AXIS, TITLE + 6
    wide = (frame.width - MARGIN - left) / len(moments)
    high = (frame.height - MARGIN - 6 - top) / len(rows)
    drawn = []
    cells: dict[float, str] = {}
    for place, row in enumerate(reversed(rows)):
        y = top + place * high
        drawn.append(words(MARGIN, y + high / 2 + 4, written(float(rising[row].name), unit), "axis"))
        for column, count in enumerate(counts[row]):
            if count:
                shade = max(1, round(SHADES * (count / most) ** 0.5)) / SHADES
                cell = f"M{left + column * wide:.0f} {y:.0f}h{wide:.0f}v{high:.0f}h-{wide:.0f}z"
                cells[shade] = cells.get(shade, "") + cell
    return drawn + [f'<path d="{cells[shade]}" class="heat" opacity="{shade:g}"/>' for shade in sorted(cells)]


def table(frame: Frame, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The first rows of a table, each column as wide as its longest text asks."""
    if not rows:
        return [nothing(frame)]
    room = min(ROWS, int((frame.height - TITLE - 24) / 18))
    shown = [list(headings), *(list(row) for row in rows[:room])]
    widths = [max(len(row[column]) for row in shown) + 2 for column in range(len(headings))]
    scale = (frame.width - 2 * MARGIN) / sum(widths)
    places = [MARGIN + scale * sum(widths[:column]) for column in range(len(headings))]
    drawn = []
    for place, row in enumerate(shown):
        y = TITLE + 16 + place * 18
        if place:
            drawn.append(f'<path d="M{MARGIN} {y - 13}H{frame.width - MARGIN:.0f}" class="grid"/>')
        drawn += [words(x, y, text, "" if place else "title") for x, text in zip(places, row, strict=True)]
    return drawn


def nothing(frame: Frame) -> str:
    """What stands where there is no answer."""
    return words(frame.width / 2 - 24, frame.height / 2 + 4, "no data", "axis")


def thin(course: Course, frame: Frame) -> Course:
    """At most POINTS values, one for each slice of the time, so that several series share their moments."""
    slices: dict[int, float] = {}
    for moment, value in course:
        if not math.isnan(value) and not math.isinf(value):
            slices[int((moment - frame.start) / max(1e-9, frame.end - frame.start) * (POINTS - 1))] = value
    return [(float(place), value) for place, value in sorted(slices.items())]


def stacked(courses: Sequence[Course]) -> list[Course]:
    """Each on top of those before it; where one has no value it adds nothing."""
    below: dict[float, float] = {}
    made = []
    for course in courses:
        for moment, value in course:
            below[moment] = below.get(moment, 0.0) + value
        own = {moment for moment, _ in course}
        made.append([(moment, value) for moment, value in sorted(below.items()) if moment in own])
    return made


def _last(series: Series) -> float:
    return next((value for _, value in reversed(series.course) if not math.isnan(value)), 0.0)


def _legend_rows(frame: Frame, series: Sequence[Series], unit: str) -> list[list[tuple[float, int, str]]]:
    """Where each name stands: as many beside each other as fit, three rows at most."""
    rows: list[list[tuple[float, int, str]]] = [[]]
    x = float(MARGIN)
    for place, each in enumerate(series):
        text = f"{each.name[:34]}  {written(_last(each), unit)}"
        wide = 18 + 6.0 * len(text)
        if rows[-1] and x + wide > frame.width - MARGIN:
            if len(rows) == 3:
                break
            rows.append([])
            x = float(MARGIN)
        rows[-1].append((x, place, text))
        x += wide
    return [row for row in rows if row]


@dataclass(frozen=True, slots=True)
class _Area:
    """The part of a panel in which values are drawn; `top` is the value at its upper edge."""

    left: float
    upper: float
    right: float
    lower: float
    frame: Frame
    top: float

    def x(self, place: float) -> float:
        return self.left + (self.right - self.left) * place / (POINTS - 1)

    def y(self, value: float) -> float:
        return self.lower - (self.lower - self.upper) * max(0.0, value) / self.top

    def scale(self, unit: str) -> list[str]:
        drawn = []
        for share in (0.0, 0.5, 1.0):
            y = self.y(self.top * share)
            drawn.append(f'<path d="M{self.left} {y:.0f}H{self.right:.0f}" class="grid"/>')
            drawn.append(words(MARGIN, y + 4, written(self.top * share, unit), "axis"))
        return drawn

    def line(self, course: Course, colour: str, *, is_filled: bool) -> list[str]:
        """A line with gaps where values are missing."""
        drawn = []
        for part in _unbroken(course):
            places = [(round(self.x(moment)), round(self.y(value))) for moment, value in part]
            steps = "".join(f" {b[0] - a[0]} {b[1] - a[1]}" for a, b in pairwise(places)) or " 1 0"
            path = f"M{places[0][0]} {places[0][1]}l{steps[1:]}"
            if is_filled:
                closed = f"{path}V{self.lower:.0f}H{places[0][0]}z"
                drawn.append(f'<path d="{closed}" fill="{colour}" class="fill"/>')
            drawn.append(f'<path d="{path}" stroke="{colour}" class="line"/>')
        return drawn


def _unbroken(course: Course) -> list[Course]:
    """The course in parts, cut where more than two moments are missing."""
    parts: list[Course] = []
    for point in course:
        if not parts or point[0] - parts[-1][-1][0] > 3:
            parts.append([])
        parts[-1].append(point)
    return parts
