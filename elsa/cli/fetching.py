"""Shows the one-time fetch of Kafka; used by `elsa broker`, `elsa demo` and `elsa dev`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.broker.jars import Progress


@contextlib.contextmanager
def fetch_progress(*, is_quiet: bool) -> Iterator[Progress | None]:
    """A progress bar on stderr that appears with the first report, or one line where stderr is no terminal.

    Nothing is shown when the jars are there.
    """
    if is_quiet:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from elsa.broker.jars import KAFKA_VERSION, pinned_jars

    console = Console(stderr=True)
    size_of_all = sum(jar.size for jar in pinned_jars())
    what = f"Fetching Apache Kafka {KAFKA_VERSION}, once"
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(what, total=size_of_all)
    is_said = False

    def report(done: int, total: int, size: int) -> None:
        nonlocal is_said
        if console.is_terminal:
            if done < total:
                bar.start()
            bar.update(task, completed=size)
        elif done < total and not is_said:
            is_said = True
            console.print(f"{what} ({size_of_all / 1e6:.0f} MB)", highlight=False)

    try:
        yield report
    finally:
        # A bar that was never shown would leave an empty line.
        if bar.live.is_started:
            bar.stop()
