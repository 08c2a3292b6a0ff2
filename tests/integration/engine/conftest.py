"""Apps for the tests of the engine: on the session's Kafka, with slots of their own, stopped at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.kafka import probe
from elsa.testing.kafka import unique_name

from .jobs import make_jobs
from .waiting import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from elsa.testing.kafka import Topics

    from .jobs import Jobs

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
    groups = {group for app in made for group in (*app.registry.groups(), f"{app.name}.mover")}
    probe.delete_groups(brokers, sorted(groups))


@pytest.fixture
def app(make_app: MakeApp) -> elsa.App:
    """One App with the settings that most tests need."""
    return make_app()


@pytest.fixture
def jobs(  # noqa: PLR0917 - fixtures
    brokers: str,
    topic: Topics,
    log: Log,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_app: MakeApp,
) -> Iterator[Callable[..., Jobs]]:
    """`jobs(options)` declares a handler with these options that runs in children; its App is not started yet."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[Jobs] = []

    def make(options: str = "", *, ordering: str = "none", drain: float = 10.0, extra: str = "") -> Jobs:
        # cleans up topics and groups
        place_holder = make_app()
        place_holder.stop(0)
        facts = {
            "app": place_holder.name,
            "brokers": brokers,
            "runtime": str(tmp_path),
            "drain": drain,
            "topic": topic(1),
            "ordering": ordering,
            "options": f", {options}" if options else "",
        }
        made.append(make_jobs(tmp_path, facts, extra, log))
        return made[-1]

    yield make
    for one in made:
        one.app.stop(5)
