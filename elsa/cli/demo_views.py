"""How `elsa demo` shows itself: a live table for a person, lines for a pipe, JSON lines for a program."""

from __future__ import annotations

import abc
import contextlib
from typing import TYPE_CHECKING, Any, Self

from elsa.cli import output
from elsa.cli.fetching import fetch_progress
from elsa.demo.results import CARRIERS

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from elsa.broker.jars import Progress
    from elsa.demo.results import Totals
    from elsa.demo.run import Snapshot, Stage

#: lines in a pipe come more rarely than a screen is drawn
_LINE_SECONDS = 1.0


def choose_view(*, as_json: bool) -> ShownView:
    """The view for whoever reads stdout."""
    if as_json:
        return JsonView()
    return TableView() if output.is_terminal() else LineView()


class ShownView(abc.ABC):
    """What the views share: the last snapshot is shown once more at the end."""

    def __init__(self) -> None:
        self.stage: Stage | None = None
        self.last: Snapshot | None = None

    @property
    def is_started(self) -> bool:
        """Whether everything was running."""
        return self.stage is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.last is not None:
            self.end(self.last)

    def fetching(self) -> contextlib.AbstractContextManager[Progress | None]:
        """Around the start of Kafka: where the one-time fetch is reported to."""
        output.say("starting Kafka")
        return fetch_progress(is_quiet=False)

    def note(self, text: str) -> None:
        """Something that a person should know, on stderr."""
        output.warn(text)

    def started(self, stage: Stage) -> None:
        """Everything runs."""
        self.stage = stage

    def show(self, snapshot: Snapshot) -> None:
        """A newer state."""
        self.last = snapshot

    @abc.abstractmethod
    def end(self, snapshot: Snapshot) -> None:
        """The last state, when all of it has been stopped."""


class JsonView(ShownView):
    """One JSON object a line: `started`, `progress` every second, `end`."""

    def __init__(self) -> None:
        super().__init__()
        self._due = 0.0

    def fetching(self) -> contextlib.AbstractContextManager[Progress | None]:
        return contextlib.nullcontext()

    def started(self, stage: Stage) -> None:
        super().started(stage)
        output.line(
            {
                "event": "started",
                "bootstrap": stage.bootstrap,
                "mock": stage.is_mock,
                "metrics": stage.metrics_url,
                "worker": stage.worker_pid,
                "log": str(stage.worker_log),
                "flights": stage.flights,
            }
        )

    def show(self, snapshot: Snapshot) -> None:
        super().show(snapshot)
        if snapshot.seconds >= self._due:
            self._due = snapshot.seconds + _LINE_SECONDS
            output.line({"event": "progress", **_facts(snapshot)})

    def end(self, snapshot: Snapshot) -> None:
        carriers = {
            code: {
                "flights": totals.flights,
                "cancelled": totals.cancelled,
                "late": totals.late,
                "late_again": totals.late_again,
                "delay": totals.delay,
            }
            for code, totals in snapshot.standing.carriers
        }
        output.line({"event": "end", **_facts(snapshot), "complete": snapshot.is_complete, "carriers": carriers})


class LineView(ShownView):
    """Plain lines: what was started, a line a second, the table at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._due = 0.0

    def started(self, stage: Stage) -> None:
        super().started(stage)
        for line in _addresses(stage):
            output.say(line)

    def show(self, snapshot: Snapshot) -> None:
        super().show(snapshot)
        if snapshot.seconds >= self._due:
            self._due = snapshot.seconds + _LINE_SECONDS
            output.say(_progress(snapshot))

    def end(self, snapshot: Snapshot) -> None:
        output.table(
            _COLUMNS, [_row(code, totals) for code, totals in snapshot.standing.carriers], numbers=_COLUMNS[1:]
        )
        output.say(_summary(snapshot))


class TableView(ShownView):
    """A table that is drawn anew twice a second, under what was started and above what to try."""

    def __init__(self) -> None:
        super().__init__()
        self._console = output.console()
        self._live: Live | None = None

    def started(self, stage: Stage) -> None:
        from rich.live import Live

        super().started(stage)
        for line in _addresses(stage):
            self._console.print(line)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()

    def show(self, snapshot: Snapshot) -> None:
        super().show(snapshot)
        if self._live is not None:
            self._live.update(self._picture(snapshot), refresh=True)

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        super().__exit__()

    def end(self, snapshot: Snapshot) -> None:
        self._console.print(_carriers(snapshot))
        self._console.print(_summary(snapshot))

    def _picture(self, snapshot: Snapshot) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        assert self.stage is not None
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            "published",
            ProgressBar(total=snapshot.total, completed=snapshot.published, width=40),
            f"{snapshot.published:,} of {snapshot.total:,}",
        )
        return Group(bar, _progress(snapshot), "", _carriers(snapshot), "", *_suggestions(self.stage, snapshot))


_COLUMNS = ("carrier", "flights", "mean delay", "late", "late again", "cancelled")


def _row(code: str, totals: Totals) -> tuple[str, ...]:
    return (
        f"{code} {CARRIERS.get(code, '')}".rstrip(),
        f"{totals.flights:,}",
        f"{totals.delay / totals.departed:.1f} min" if totals.departed else "-",
        _share(totals.late, totals.departed),
        _share(totals.late_again, totals.late),
        _share(totals.cancelled, totals.flights),
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _carriers(snapshot: Snapshot) -> RenderableType:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column == "carrier" else "right")
    for code, totals in snapshot.standing.carriers:
        table.add_row(*_row(code, totals))
    return table


def _addresses(stage: Stage) -> list[str]:
    kafka = "librdkafka's mock cluster" if stage.is_mock else "Apache Kafka"
    return [
        f"{kafka} answers at {stage.bootstrap}",
        f"elsa worker elsa.demo.flights:app runs as process {stage.worker_pid}, log in {stage.worker_log}",
        f"metrics at {stage.metrics_url}",
        "",
    ]


def _progress(snapshot: Snapshot) -> str:
    lag = "?" if snapshot.lag is None else f"{snapshot.lag:,}"
    workers = ", ".join(f"{pid}: {rate:,.0f}/s" for pid, rate in _active(snapshot)) or "none yet"
    return (
        f"counted {snapshot.standing.flights:,} of {snapshot.published:,} flights, {snapshot.per_second:,.0f}/s, "
        f"lag {lag}, delivered again {snapshot.standing.repeats:,}, worker processes {workers}"
    )


def _active(snapshot: Snapshot) -> list[tuple[int, float]]:
    return [(pid, rate) for pid, rate in sorted(snapshot.workers.items()) if rate > 0]


def _suggestions(stage: Stage, snapshot: Snapshot) -> list[str]:
    active = _active(snapshot)
    pid = active[0][0] if active else "PID"
    lines = [
        "try, in another terminal:",
        f"  kill -9 {pid}    another process goes on: no flight is lost, none counted twice",
        f"  export ELSA_BROKERS={stage.bootstrap}",
        "  elsa fetch flights --follow",
    ]
    if not stage.is_mock:
        lines.append("  elsa groups lag flights")
    return [*lines, f"  curl {stage.metrics_url}", "ctrl-C stops all of it"]


def _summary(snapshot: Snapshot) -> str:
    standing = snapshot.standing
    text = f"{snapshot.confirmed:,} flights published, {standing.flights:,} counted in {snapshot.seconds:.1f} s"
    if standing.repeats:
        text += f", {standing.repeats:,} delivered again and not counted twice"
    if snapshot.is_complete:
        return f"{text}; nothing was lost"
    return f"{text}; stopped before the rest was counted"


def _facts(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "seconds": round(snapshot.seconds, 3),
        "published": snapshot.confirmed,
        "total": snapshot.total,
        "counted": snapshot.standing.flights,
        "aircraft": snapshot.standing.aircraft,
        "repeats": snapshot.standing.repeats,
        "per_second": round(snapshot.per_second, 1),
        "lag": snapshot.lag,
        "workers": {str(pid): round(rate, 1) for pid, rate in _active(snapshot)},
    }
