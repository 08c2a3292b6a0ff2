"""Tables, JSON and questions, for people and for pipes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from elsa.cli import output

if TYPE_CHECKING:
    from collections.abc import Callable


def shown(function: Callable[[], object], *, terminal: bool = False, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(output, "is_terminal", lambda: terminal)
    monkeypatch.setenv("COLUMNS", "80")

    @click.command()
    def run() -> None:
        function()

    return CliRunner().invoke(run, catch_exceptions=False).stdout


ROWS = [("orders", 6, None, True), ("a[red]b", 12, "x", False)]


def test_a_table_in_a_pipe_is_aligned_text_without_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(
        lambda: output.table(("topic", "n", "note", "ok"), ROWS, numbers=("n",)),
        terminal=False,
        monkeypatch=monkeypatch,
    )

    assert text == "topic     n  note  ok\norders    6  -     yes\na[red]b  12  x     no\n"


def test_lists_are_written_as_a_setting_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("trace_spans", ("poll", "commit")), ("trace_baggage", ()), ("metrics_buckets", {})]
    text = shown(lambda: output.table(("name", "value"), rows), terminal=False, monkeypatch=monkeypatch)

    assert [line.split() for line in text.splitlines()[1:]] == [
        ["trace_spans", "poll,commit"],
        ["trace_baggage", "-"],
        ["metrics_buckets", "-"],
    ]


def test_a_table_on_a_terminal_shows_the_same_words_and_takes_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(lambda: output.table(("topic", "n", "note", "ok"), ROWS), terminal=True, monkeypatch=monkeypatch)

    assert ["a[red]b", "12", "x", "no"] in [line.split() for line in text.splitlines()]
    assert "─" in text


def test_rows_have_styles_only_for_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = {}
    for is_terminal in (True, False):
        monkeypatch.setattr("elsa.cli.output.is_terminal", lambda: is_terminal)  # noqa: B023 - called at once
        with CliRunner().isolation(color=True) as (out, _, _):
            output.table(["name"], [["good"], ["bad"]], styles=["", "red"])
            shown[is_terminal] = out.getvalue().decode()

    assert "\x1b[31mbad" in shown[True]
    assert "\x1b[31mgood" not in shown[True]
    assert "\x1b[" not in shown[False]


def test_an_empty_table_still_has_its_headings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(lambda: output.table(("a", "b"), []), monkeypatch=monkeypatch) == "a  b\n"


def test_a_document_is_indented_for_people_only(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"name": "é", "n": 1}

    piped = shown(lambda: output.document(value), monkeypatch=monkeypatch)
    seen = shown(lambda: output.document(value), terminal=True, monkeypatch=monkeypatch)

    assert piped == '{"name": "é", "n": 1}\n'
    assert seen.count("\n") == 4
    assert json.loads(seen) == value


def test_yes_answers_a_question() -> None:
    assert output.confirmed("Delete it?", yes=True)


def test_a_question_that_nobody_can_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "can_ask", lambda: False)

    with pytest.raises(click.UsageError, match=r"Delete it\? Nobody can answer here: add --yes"):
        output.confirmed("Delete it?", yes=False)


@pytest.mark.parametrize(("answer", "expected"), [("y\n", True), ("n\n", False)])
def test_the_answer_decides(answer: str, expected: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "can_ask", lambda: True)
    answers: list[object] = []

    @click.command()
    def run() -> None:
        answers.append(output.confirmed("Delete it?", yes=False))

    done = CliRunner().invoke(run, input=answer)

    assert answers == [expected]
    assert "Delete it?" in done.stderr
    assert ("nothing was changed" in done.stderr) is not expected
