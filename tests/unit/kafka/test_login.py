"""A client gets the new password when the old one was refused and the file has another, and not before."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError as Code

from elsa.config import load
from elsa.environment import FileValue
from elsa.kafka.config import client_config
from elsa.kafka.login import Login
from elsa.testing.clock import FakeClock

if TYPE_CHECKING:
    from pathlib import Path

    from elsa.config import Settings

REFUSED = Code(Code._AUTHENTICATION, "no")


class Client:
    def __init__(self) -> None:
        self.given: list[tuple[str, str]] = []

    def set_sasl_credentials(self, user: str, password: str) -> None:
        self.given.append((user, password))


def settings(folder: Path, word: str = "old") -> Settings:
    (folder / "word").write_text(word + "\n")
    env = {
        "ELSA_KAFKA__SASL__USERNAME": "ann",
        "ELSA_KAFKA__SASL__PASSWORD_FILE": str(folder / "word"),
    }
    return load(env=env, cwd=folder).settings


def test_a_refused_client_gets_what_the_file_holds_now(tmp_path: Path) -> None:
    clock, client = FakeClock(), Client()
    login = Login(settings(tmp_path), clock)
    login.hear(REFUSED)
    login.tend(client)
    (tmp_path / "word").write_text("new")
    login.tend(client)

    assert client.given == []  # the file is read once a second
    clock.advance(1.0)
    login.tend(client)
    login.tend(client)

    assert client.given == [("ann", "new")]


def test_nothing_happens_while_nothing_is_refused(tmp_path: Path) -> None:
    client = Client()
    login = Login(settings(tmp_path), FakeClock())
    (tmp_path / "word").write_text("new")
    login.hear(Code(Code._TRANSPORT, "away"))
    login.tend(client)

    assert client.given == []


def test_a_password_that_is_no_file_stays(tmp_path: Path) -> None:
    client = Client()
    login = Login(load({"kafka": {"sasl.username": "ann", "sasl.password": "x"}}, env={}, cwd=tmp_path).settings)
    login.hear(REFUSED)
    login.tend(client)

    assert client.given == []


def test_a_client_made_later_begins_with_what_the_file_holds_now(tmp_path: Path) -> None:
    found = settings(tmp_path)
    (tmp_path / "word").write_text("new")

    assert client_config(found, "admin")["sasl.password"] == "new"
    (tmp_path / "word").unlink()

    assert client_config(found, "admin")["sasl.password"] == "old"


def test_a_file_value_is_handed_to_another_process(tmp_path: Path) -> None:
    value = settings(tmp_path).kafka["sasl.password"]
    copy = pickle.loads(pickle.dumps(value))

    assert (copy, copy.path, type(copy)) == ("old", str(tmp_path / "word"), FileValue)
