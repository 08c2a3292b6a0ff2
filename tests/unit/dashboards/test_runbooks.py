"""Each alert has a page that says what it means and what to do, with commands that exist."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import click
import pytest

from dashboards.alarms import Places, alerts
from dashboards.build import HERE
from dashboards.thresholds import Thresholds
from elsa.cli import cli as root

if TYPE_CHECKING:
    from pathlib import Path

    from dashboards.alarms import Alert

NAMES = [alert.name for alert in alerts(Thresholds())]
PAGES = sorted((HERE / "runbooks").glob("*.md"))
README = (HERE / "README.md").read_text()
COMMANDS = [
    (page.stem, line)
    for page in PAGES
    for block in re.findall(r"```\n(.*?)```", page.read_text(), re.DOTALL)
    for line in block.splitlines()
]


def test_there_is_a_page_for_each_alert_and_no_other() -> None:
    assert sorted(NAMES) == [page.stem for page in PAGES]


def test_there_are_twelve() -> None:
    assert len(NAMES) == len(set(NAMES)) == 12


def test_the_readme_lists_them_with_their_patience_and_severity() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\(runbooks/(\w+)\.md\) \|.*\| (.*) \| (\w+) \|$", README, re.MULTILINE)
    expected = [
        (each.name, each.name, f"{each.hold / 60:g} min" if each.hold else "-", each.severity)
        for each in alerts(Thresholds())
    ]

    assert sorted(expected) == sorted(rows)


@pytest.mark.parametrize("alert", alerts(Thresholds()), ids=NAMES)
def test_an_alert_leads_to_its_page_and_a_board(alert: Alert) -> None:
    notes = alert.rule(Thresholds(), Places())["annotations"]

    assert (HERE.parent / notes["runbook_url"]).is_file()
    board = re.match(r"/d/elsa-(\w+)", notes["dashboard_url"])
    assert board
    assert (HERE / f"{board[1]}.json").is_file()
    assert alert.severity in {"critical", "warning"}


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_a_page_says_what_to_look_at_and_what_to_do(page: Path) -> None:
    text = page.read_text()

    assert text.startswith(f"# {page.stem}\n")
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == ["What to look at", "What to do"]
    for target in re.findall(r"\]\((\w+\.md)\)", text):
        assert (HERE / "runbooks" / target).is_file()


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{page} {line}" for page, line in COMMANDS])
def test_a_command_of_a_page_exists_with_its_options(page: str, line: str) -> None:
    program, *words = shlex.split(line)
    assert program == "elsa", page
    command: click.Command = root
    context = click.Context(root, info_name="elsa")
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, words)
        assert found is not None
        command, context = found, click.Context(found, info_name=name, parent=context)

    command.parse_args(context, words)


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_nothing_is_destroyed_by_pasting_a_block(page: Path) -> None:
    for block in re.findall(r"```\n(.*?)```", page.read_text(), re.DOTALL):
        if re.search(r" (drop|delete|purge|reset) ", block):
            assert "--yes" not in block
            assert len(block.splitlines()) == 1


def test_a_panel_that_a_page_names_is_there() -> None:
    titles = {title for board in HERE.glob("*.json") for title in re.findall(r'"title": "([^"]*)"', board.read_text())}
    for page in PAGES:
        for named in re.findall(r'"([A-Z][^"]*?),?"', page.read_text()):
            assert named in titles, (page.stem, named)
