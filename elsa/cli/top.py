"""`elsa top`: a live view of groups, partitions, handlers and workers."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

import click

from elsa import exits
from elsa.cli import is_debugging, output
from elsa.cli.parameters import Seconds, common, examples, loaded_of
from elsa.clock import SYSTEM

if TYPE_CHECKING:
    from rich.console import RenderableType

    from elsa.config import Settings
    from elsa.monitor.frame import Frame
    from elsa.monitor.look import Request
    from elsa.monitor.scout import Scout

#: what partitions are graded over
_WINDOW_SECONDS = 60.0
#: how often the screen looks for something new while no key is pressed
_TICK_SECONDS = 0.1


@click.command(
    "top",
    short_help="Watch groups, partitions, workers and handlers, live.",
    epilog=examples(
        "elsa top -A shop:app",
        "elsa top --name shop billing",
        "elsa top --once --json | jq .groups",
    )
    + "\n\n\b\nKeys:\n"
    "  q      quit\n"
    "  s      sort by lag, age, rate, grade, name\n"
    "  p      pause and go on\n"
    "  /      show only what has a text in its name; esc: everything",
)
@click.argument("names", nargs=-1, metavar="[GROUP]...")
@click.option("-n", "--name", help="The app whose workers are asked, where -A is not given.")
@click.option("--interval", type=Seconds(), default="2s", show_default=True, help="Time from one look to the next.")
@click.option("--sort", type=click.Choice(["lag", "age", "rate", "grade", "name"]), default="lag", show_default=True)
@click.option("--filter", "only", default="", metavar="TEXT", help="Show only what has this in its name.")
@click.option("--once", is_flag=True, help="Print one frame and end.")
@common(json=True)
def command(
    *,
    names: tuple[str, ...],
    name: str | None,
    interval: float,
    sort: str,
    only: str,
    once: bool,
    app: str | None,
    brokers: str | None,
    as_json: bool,
) -> int | None:
    """Watch the groups GROUP... (names, or patterns like 'shop-*'; none: all), their partitions, workers and handlers.

    Lag, age and rate come from Kafka, also while no worker lives. Handlers, pauses and attempts come from the reports
    of the app's workers, every 5 s, whatever hosts they run on. In a pipe, and with --json, it prints one frame, and
    ends with 4 when Kafka did not tell all of it, with 5 when there is no group of a name. The grade is - until there
    are looks of a minute, so it is with --once; only that an offset went back (rewind) is told at once.
    """
    from elsa.config import override
    from elsa.monitor.look import Request
    from elsa.monitor.scout import Scout

    if interval <= 0:
        raise click.UsageError("--interval has to be above 0")
    settings = override(loaded_of(app, brokers), name=name).settings
    request = Request(names, app=settings.name)
    view = View(settings.brokers, sort, only)
    with Scout(settings, quiet=not is_debugging()) as scout:
        if once or as_json or not (output.is_terminal() and sys.stdin.isatty()):
            return _print_once(Looker(scout, request, interval), view, settings, as_json=as_json)
        _run(Looker(scout, request, interval), view)
    return None


@dataclass
class View:
    """What the keys have chosen; belongs to the main thread. `typed` is a filter that is being typed."""

    brokers: str
    sort: str
    only: str
    typed: str | None = None
    is_paused: bool = False

    def press(self, key: str) -> bool:
        """Take a key; whether to go on."""
        from elsa.cli.keys import BACKSPACE, END, ENTER, ESCAPE
        from elsa.monitor.frame import SORTS

        if key == END:
            return False
        if self.typed is not None:
            if key == ENTER:
                self.only, self.typed = self.typed, None
            elif key == ESCAPE:
                self.typed = None
            elif key == BACKSPACE:
                self.typed = self.typed[:-1]
            elif key.isprintable():
                self.typed += key
            return True
        if key == "s":
            self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
        elif key in ("p", " "):
            self.is_paused = not self.is_paused
        elif key == "/":
            self.typed = ""
        elif key == ESCAPE:
            self.only = ""
        return key != "q"


class Looker:
    """Looks every interval in a thread of its own, so that keys never wait for Kafka; `frame` may be read by any."""

    def __init__(self, scout: Scout, request: Request, interval: float) -> None:
        from elsa.monitor.grades import Grades
        from elsa.monitor.speeds import Flow

        self._scout = scout
        self._request = request
        self._interval = interval
        self._flow = Flow()
        self._grades = Grades(_WINDOW_SECONDS)
        self._began = SYSTEM.monotonic()
        self._lock = Lock()
        self._frame: Frame | None = None
        self._trouble = ""
        self.error: Exception | None = None
        #: whether the last look has not seen all that it was to see; ages apart, as for `elsa lag`
        self.is_partial = False
        self._stopping = Event()
        self._thread = Thread(target=self._main, name="elsa-top", daemon=True)

    def look(self) -> Frame:
        """One look; raises what Kafka refuses."""
        from elsa.monitor.frame import frame

        look = self._scout.look(self._request)
        self.is_partial = any(each.what != "age" for each in look.failures)
        unseen = {each.name for each in look.failures if each.what == "group"}
        now = SYSTEM.monotonic()
        grades = self._grades.take(now, look.groups, unseen)
        if now - self._began < _WINDOW_SECONDS:
            # not that it is well is known yet, only what is not
            grades = {key: grade for key, grade in grades.items() if grade != "ok"}
        found = frame(look, self._flow.take(look), grades, self._request.app or "")
        with self._lock:
            self._frame, self._trouble = found, ""
        return found

    def wait(self) -> None:
        """The time between two looks."""
        self._stopping.wait(self._interval)

    @property
    def last(self) -> tuple[Frame | None, str]:
        """The last frame, and why there is no newer one."""
        with self._lock:
            return self._frame, self._trouble

    def _main(self) -> None:
        from elsa.errors import ElsaError

        while not self._stopping.is_set():
            try:
                self.look()
            except ElsaError as error:
                with self._lock:
                    self._trouble = str(error).partition("\n")[0]
            except Exception as error:  # raised by the main thread, which would draw the same frame for ever
                self.error = error
                return
            self.wait()

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End, also in the middle of a look."""
        self._stopping.set()
        self._scout.close()
        self._thread.join()


def _print_once(looker: Looker, view: View, settings: Settings, *, as_json: bool) -> int:
    from elsa.cli import top_view
    from elsa.cli.hints import refuse_groups
    from elsa.monitor.frame import chosen

    looker.look()
    # what moves shows only in a second look
    looker.wait()
    found = chosen(looker.look(), sort=view.sort, only=view.only)
    if as_json:
        output.document(found.document())
    else:
        top_view.print_plain(found, _title(found, view))
    if found.unknown:
        refuse_groups(settings, found.unknown)
    return exits.BROKER if looker.is_partial else exits.OK


def _title(frame: Frame, view: View) -> str:
    from elsa.cli import top_view

    return top_view.title(frame, brokers=view.brokers, sort=view.sort, only=view.only, is_paused=view.is_paused)


def _run(looker: Looker, view: View) -> None:
    from rich.live import Live

    from elsa.cli.interrupts import stopped_by_signals
    from elsa.cli.keys import Keyboard

    console = output.console()
    looker.start()
    shown: Frame | None = None
    with contextlib.ExitStack() as stack:
        stack.callback(looker.stop)
        # to be told to stop is how it ends, by a signal or by a key
        stop = stack.enter_context(stopped_by_signals())
        keyboard = stack.enter_context(Keyboard())
        live = stack.enter_context(Live(console=console, screen=True, auto_refresh=False))
        is_going_on, drawn = True, None
        while is_going_on and not stop.is_set():
            if looker.error is not None:
                raise looker.error
            last, trouble = looker.last
            if not view.is_paused:
                shown = last
            # anything that changes what is to be seen; the size of the terminal, too
            state = (id(shown), trouble, view.sort, view.only, view.typed, view.is_paused, console.size)
            if state != drawn:
                drawn = state
                live.update(_picture(shown, trouble, view, console.size.height), refresh=True)
            for key in keyboard.read(_TICK_SECONDS):
                is_going_on = is_going_on and view.press(key)


def _picture(frame: Frame | None, trouble: str, view: View, height: int) -> RenderableType:
    import dataclasses

    from rich.text import Text

    from elsa.cli import top_view
    from elsa.monitor.frame import chosen

    if frame is None:
        return Text(trouble or f"looking at the groups of {view.brokers}", style="yellow" if trouble else "dim")
    if trouble:
        frame = dataclasses.replace(frame, notes=(f"nothing newer: {trouble}", *frame.notes))
    found = chosen(frame, sort=view.sort, only=view.only)
    last_line = f"filter: {view.typed}_   enter: take it, esc: leave it" if view.typed is not None else ""
    return top_view.screen(found, _title(found, view), last_line, height)
