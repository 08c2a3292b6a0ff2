"""The keys of `elsa top`, and that a screen never gets more rows than it has lines."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from rich.console import Console

from elsa import exits
from elsa.cli import cli, top_view
from elsa.cli.keys import BACKSPACE, END, ENTER, ESCAPE
from elsa.cli.top import View
from elsa.monitor.frame import Frame, PartitionRow, WorkerRow
from elsa.monitor.speeds import HandlerSpeed


@pytest.fixture
def view() -> View:
    return View("localhost:9092", "lag", "")


def test_keys_choose_the_order_and_pause(view: View) -> None:
    orders = []
    for _ in range(5):
        assert view.press("s")
        orders.append(view.sort)

    assert orders == ["age", "rate", "grade", "name", "lag"]
    assert view.press("p")
    assert view.is_paused
    assert view.press(" ")
    assert not view.is_paused
    assert view.press("x")


@pytest.mark.parametrize("key", ["q", END])
def test_it_ends(view: View, key: str) -> None:
    assert not view.press(key)


def test_a_filter_is_typed_taken_and_left(view: View) -> None:
    for key in ("/", "q", "s", "x", BACKSPACE, ENTER):
        assert view.press(key)
    assert (view.only, view.typed, view.sort) == ("qs", None, "lag")

    for key in ("/", "y", ESCAPE):
        view.press(key)
    assert (view.only, view.typed) == ("qs", None)

    view.press(ESCAPE)
    assert view.only == ""


def rows(count: int) -> Frame:
    partitions = tuple(
        PartitionRow("billing", "orders", number, 5, 1.0, None, None, "stop", "it-member") for number in range(count)
    )
    handlers = (HandlerSpeed("billing", "orders", "shop.bill", p95=0.0213, rate=12.0),)
    workers = (WorkerRow("shop-host-0", "host", 7, "silent", 0, 3, 20.0),)
    return Frame(1_000.0, (), partitions, handlers, workers, ("something is missing",), ("nobody",))


@pytest.mark.parametrize("height", [24, 50])
def test_a_screen_is_never_overfull(height: int) -> None:
    console = Console(width=120, height=height)
    with console.capture() as captured:
        console.print(top_view.screen(rows(200), "first", "", height))
    lines = captured.get().splitlines()

    assert len(lines) <= height
    assert lines[0].startswith("first")
    assert lines[-1].startswith("q quit")
    assert any("more" in line for line in lines)
    assert "! something is missing" in [line.strip() for line in lines]
    assert "! there is no group 'nobody'" in [line.strip() for line in lines]


def test_everything_is_printed_where_there_is_no_screen(capsys: pytest.CaptureFixture[str]) -> None:
    top_view.print_plain(rows(30), "first")
    shown = capsys.readouterr()

    assert shown.out.count("it-member") == 30
    assert "21ms" in shown.out
    assert "something is missing" in shown.err


def test_an_interval_of_nothing_is_refused() -> None:
    ran = CliRunner().invoke(cli, ["top", "--interval", "0s"])

    assert ran.exit_code == exits.USAGE
    assert "--interval has to be above 0" in ran.stderr
