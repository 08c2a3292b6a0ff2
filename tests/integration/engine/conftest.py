"""Apps for the tests of the engine: on the session's Kafka, with slots of their own, stopped at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.kafka import probe
from elsa.testing.kafka import unique_name

from .waiting import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from elsa.testing.kafka import Topics

    MakeApp = Callable[..., elsa.App]


@pytest.fixture
def log(brokers: str) -> Log:
    """Looks into the session's Kafka."""
    return Log(brokers)


@pytest.fixture
def make_app(brokers: str, topic: Topics, tmp_path: Path) -> Iterator[MakeApp]:
    """`make_app(**settings)` makes an App (not started yet); dead letters and task topics go with it."""
    made: list[elsa.App] = []

    def make(name: str | None = None, **settings: Any) -> elsa.App:
        given = {"brokers": brokers, "runtime_dir": str(tmp_path), "metadata_refresh": 1.0, **settings}
        app = elsa.App(name or unique_name("app"), **given)
        made.append(app)
        return app

    yield make
    for app in made:
        app.stop(5)
    roots = tuple(f"{name}." for name in [*topic._created, *(app.name for app in made)])
    probe.delete_topics(brokers, [name for name in probe.list_topics(brokers) if name.startswith(roots)])
    groups = {group for app in made for group in app.registry.groups()}
    probe.delete_groups(brokers, sorted(groups))


@pytest.fixture
def app(make_app: MakeApp) -> elsa.App:
    """One App with the settings that most tests need."""
    return make_app()
