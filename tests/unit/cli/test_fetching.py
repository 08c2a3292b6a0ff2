"""The progress bar of the one-time fetch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.cli.fetching import fetch_progress

if TYPE_CHECKING:
    import pytest


def test_nobody_is_told_where_it_is_quiet() -> None:
    with fetch_progress(is_quiet=True) as report:
        assert report is None


def test_nothing_is_shown_when_everything_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    with fetch_progress(is_quiet=False) as report:
        assert report is not None
        report(100, 100, 100)

    assert capsys.readouterr() == ("", "")


def test_a_fetch_is_said_once_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with fetch_progress(is_quiet=False) as report:
        assert report is not None
        report(0, 100, 0)
        report(50, 100, 20_000_000)

    assert capsys.readouterr() == ("", "Fetching Apache Kafka 4.4.0, once (44 MB)\n")


def test_a_fetch_has_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")

    with fetch_progress(is_quiet=False) as report:
        assert report is not None
        report(50, 100, 20_000_000)

    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Fetching Apache Kafka 4.4.0, once" in shown.err
    assert "20.0/44.5" in shown.err
