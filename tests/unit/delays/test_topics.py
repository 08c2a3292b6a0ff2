"""The topics of delayed messages: the shortest wait is made last, since movers begin when they see it."""

from __future__ import annotations

from typing import Any

import pytest

import elsa
from elsa.delays import topics


class Topics:
    def __init__(self, *known: str) -> None:
        self.known = set(known)
        self.made: list[tuple[str, dict[str, Any]]] = []

    def list(self, *, internal: bool) -> set[str]:
        assert internal
        return self.known

    def create(self, name: str, **options: Any) -> None:
        self.made.append((name, options))


@pytest.fixture
def app() -> Any:
    app = elsa.App("unit-delay-topics", replication=1)
    yield app
    app.stop()


def test_what_is_missing_is_made_the_shortest_last(app: elsa.App, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Topics("unit-delay-topics.cancelled", "unit-delay-topics.delay.64")
    monkeypatch.setitem(app.__dict__, "topics", made)
    topics.create(app)

    names = [name.removeprefix("unit-delay-topics.") for name, _ in made.made]
    assert names == ["delay.dlq", *(f"delay.{n}" for n in (65536, 16384, 4096, 1024, 256, 16, 4, 1))]
    # one wait for all of them, and two who do it at once do not stand in each other's way
    assert [options["wait"] for _, options in made.made] == [*[False] * 8, True]
    assert all(options["exist_ok"] and options["partitions"] == 3 for _, options in made.made)
    assert made.made[-1][1]["config"]["message.timestamp.type"] == "LogAppendTime"
    assert made.made[-1][1]["config"]["retention.ms"] == "-1"


def test_the_commands_make_all_of_them() -> None:
    lines = topics.commands("shop").splitlines()

    assert len(lines) == 11
    assert lines[0].startswith("elsa topics create shop.cancelled -p 3 -c message.timestamp.type=LogAppendTime")
