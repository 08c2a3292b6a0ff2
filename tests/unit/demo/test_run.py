from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from elsa.demo import run
from elsa.demo.results import Standing, Totals
from elsa.errors import BrokerStartError, JavaMissing

if TYPE_CHECKING:
    from elsa.broker.jars import Progress
    from elsa.demo.run import Snapshot, Stage


class SilentView:
    """A View that keeps what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def fetching(self) -> contextlib.AbstractContextManager[Progress | None]:
        return contextlib.nullcontext()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def started(self, stage: Stage) -> None: ...

    def show(self, snapshot: Snapshot) -> None: ...


def standing(flights: int) -> Standing:
    return Standing([("UA", Totals(flights=flights))], {1: flights}, flights, 1, 0)


@pytest.mark.parametrize(
    ("confirmed", "counted", "is_complete"),
    [(1_000, 1_000, True), (1_000, 999, False), (999, 999, False), (999, 1_000, False)],
)
def test_it_is_complete_when_all_is_published_and_counted(confirmed: int, counted: int, *, is_complete: bool) -> None:
    snapshot = run.Snapshot(1.0, 1_000, confirmed, 1_000, standing(counted), 0.0, {}, None)

    assert is_complete == snapshot.is_complete


def test_without_java_it_takes_the_mock_cluster_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_java(**_: object) -> None:
        raise JavaMissing(hint="install it")

    monkeypatch.setattr(run, "EmbeddedKafka", no_java)
    view = SilentView()
    with run._kafka(view) as (bootstrap, is_mock, folder):
        assert bootstrap.startswith("127.0.0.1:")
        assert is_mock
        assert folder.is_dir()

    assert not folder.exists()
    assert "No Java runtime was found" in view.notes[0]
    assert "going on with librdkafka's mock cluster" in view.notes[0]


def test_another_failure_of_the_broker_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise BrokerStartError("corrupt")

    monkeypatch.setattr(run, "EmbeddedKafka", broken)
    with pytest.raises(BrokerStartError, match="corrupt"), run._kafka(SilentView()):
        pass


def test_the_users_own_settings_stay_out_and_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSA_BROKERS", "production:9092")
    monkeypatch.setenv("ELSA_KAFKA__SECURITY__PROTOCOL", "SSL")
    before = Path.cwd()
    with run._own_settings("127.0.0.1:1", tmp_path, is_mock=False):
        inside = {name: value for name, value in os.environ.items() if name.startswith("ELSA_")}
        assert inside == {
            "ELSA_BROKERS": "127.0.0.1:1",
            "ELSA_RUNTIME_DIR": str(tmp_path / "run"),
            "ELSA_CREATE_TOPICS": "true",
        }
        assert Path.cwd() == tmp_path

    assert os.environ["ELSA_BROKERS"] == "production:9092"
    assert os.environ["ELSA_KAFKA__SECURITY__PROTOCOL"] == "SSL"
    assert "ELSA_RUNTIME_DIR" not in os.environ
    assert Path.cwd() == before
