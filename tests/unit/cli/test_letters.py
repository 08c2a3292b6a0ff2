"""Dead letters, and what became of them, as text and JSON."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from elsa import exits
from elsa.cli import letters
from elsa.dead_letters import DeadLetter, Result, Summary
from elsa.message import Message

HEADERS = (
    ("elsa-origin", b"orders:3:17"),
    ("elsa-handler", b"bill"),
    ("elsa-error-type", b"TimeoutError"),
    ("elsa-attempt", b"5"),
    ("elsa-traceback", b"one\ntwo \x1b[31m\n"),
    ("raw", b"\xff"),
)
LETTER = DeadLetter.of(Message("o.g.dlq", 0, 7, b"\xfe", b"body\t1\n\x07", HEADERS, 1700000000.0))
BARE = DeadLetter.of(Message("o.g.dlq", 0, 8, None, None))


def test_a_row_has_a_cell_for_each_column() -> None:
    row = dict(zip(letters.COLUMNS, letters.row(LETTER), strict=True))

    assert (row["place"], row["handler"], row["error"], row["attempts"]) == ("0:7", "bill", "TimeoutError", 5)
    assert (row["key"], row["origin"], row["reason"]) == ("\\xfe", "orders:3:17", None)
    assert letters.row(BARE) == ["0:8", *[None] * 8]

    long = DeadLetter.of(Message("o.g.dlq", 0, 8, None, None, (("elsa-error-message", b"x" * 81),)))
    assert letters.row(long)[-1] == "x" * 79 + "…"


def test_json_has_the_message_and_what_its_headers_say() -> None:
    found = json.loads(json.dumps(letters.as_json(LETTER)))

    assert (found["offset"], found["key"], found["attempts"]) == (7, {"$base64": "/g=="}, 5)
    assert found["origin"] == {"topic": "orders", "partition": 3, "offset": 17}
    assert json.loads(json.dumps(letters.as_json(BARE)))["origin"] is None


def test_one_is_shown_with_lines_and_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    letters.show(LETTER)
    out = capsys.readouterr().out

    assert "\none\ntwo \\x1b[31m\n" in out
    assert out.endswith("\nbody\t1\n\\x07\n")
    assert "raw" in out
    assert out.count("elsa-traceback") == 0


def test_one_without_anything_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    letters.show(BARE)

    assert capsys.readouterr().out.endswith("\n(null)\n")


def test_a_topic_with_its_most_frequent_error() -> None:
    summary = Summary("t", open=3, errors=Counter({"A": 1, "B\x1b": 2}))

    assert letters.summary_row(summary) == ["t", 3, 0, None, None, "B\\x1b (2)"]
    assert letters.summary_row(Summary("t"))[-1] is None
    assert letters.summary_json(summary)["errors"] == {"B\x1b": 2, "A": 1}


@pytest.mark.parametrize(
    ("result", "code", "out", "err"),
    [
        (Result(done=2, targets=Counter(r=2)), exits.OK, "replayed 2 dead letters of t\n  2 to r\n", ""),
        (
            Result(done=2, is_dry=True),
            exits.OK,
            "would have replayed 2 dead letters of t\n",
            "nothing was changed (--dry-run)\n",
        ),
        (
            Result(refused=Counter({"too large": 3})),
            exits.FAILED,
            "replayed 0 dead letters of t\n",
            "error: 3 stay: too large\n",
        ),
        (
            Result(done=1, warnings=["nobody reads r"]),
            exits.OK,
            "replayed 1 dead letters of t\n",
            "warning: nobody reads r\n",
        ),
        (
            Result(done=1, is_interrupted=True, refused=Counter(x=1)),
            exits.INTERRUPTED,
            "replayed 1 dead letters of t\n",
            "error: 1 stay: x\ninterrupted; say it again to go on: none is done twice\n",
        ),
    ],
)
def test_what_became_of_it(result: Result, code: int, out: str, err: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert letters.report("t", "replay", result, as_json=False) == code
    assert capsys.readouterr() == (out, err)


def test_what_became_of_it_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert letters.report("t", "drop", Result(done=1, purged={0: 5}), as_json=True) == exits.OK

    found = json.loads(capsys.readouterr().out)
    assert (found["operation"], found["done"], found["purged"]) == ("drop", 1, {"0": 5})


def test_progress_shows_a_bar_to_a_person_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = Result(done=1234, span=2000, passed=1500)
    with letters.progress("replay") as tell:
        tell(result)
    assert capsys.readouterr().err == ""

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with letters.progress("replay") as tell:
        tell(result)
    assert "1,234 replayed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("limit", "passed", "done", "share"),
    [(None, 1500, 1200, 0.5), (1200, 1200, 1200, 1.0), (1200, 600, 600, 0.5), (1200, 3000, 7, 1.0)],
)
def test_the_bar_is_full_when_the_limit_is_reached(
    limit: int | None, passed: int, done: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("rich.progress.Progress.update", lambda *_, **facts: found.append(facts))
    with letters.progress("replay", limit) as tell:
        tell(Result(done=done, span=3000, passed=passed))

    assert [one["completed"] / one["total"] for one in found] == [share]
