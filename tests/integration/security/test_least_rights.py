"""A worker with exactly the rights of the table does everything, and without any one of them something is refused.

One App uses all that a worker can: it makes its topics, retries through topics, buries, delays, fires by a schedule,
knows duplicates, works in transactions and answers commands. What is refused is said, in the log or as an error.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from typing import TYPE_CHECKING

import pytest

import elsa
from elsa import acls, names
from elsa.acls import Place
from elsa.config import Settings
from elsa.control.client import Caller
from elsa.errors import ElsaError
from elsa.producer import Producer
from elsa.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from elsa.acls import Right

    from .secure import Secure

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(240)]

FEATURES = frozenset(acls.FEATURES)
PATIENCE = 60.0
ALL = {"handled", "retried", "buried", "delayed", "fired", "seen", "transacted", "commanded", "deleted"}


class Refusals(logging.Handler):
    """Hears what Elsa says of rights that are missing."""

    def __init__(self) -> None:
        # below that stands what librdkafka asks for without needing it
        super().__init__(logging.INFO)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = " ".join([record.getMessage(), *(str(value) for value in vars(record).values())])
        if "an ACL is missing" in text or "AUTHORIZATION_FAILED" in text or "authorization failed" in text:
            self.said.append(text)


class Shop:
    """The App: what is known of its work stands in `done`."""

    def __init__(self, secure: Secure, tmp_path: Path) -> None:
        self.name = f"it-{uuid.uuid4().hex[:10]}"
        self.topic = f"{self.name}-orders"
        self.out = f"{self.name}-out"
        self.done: set[str] = set()
        self._secure = secure
        self._folder = tmp_path
        self._is_over = threading.Event()
        self._everything = Settings(name=self.name, brokers=secure.bootstrap, kafka=secure.broker.client())
        self._topics = Topics(self._everything)
        self._sender = Producer(self._everything)
        self._topics.create(self.out)
        # one that has run before: what it has seen is to be read
        again = self.places[3]
        for topic in (again.topic, again.seen):
            self._topics.create(topic)
        self._sender.send(again.seen, b"", key="1").result(20)

    @property
    def places(self) -> list[Place]:
        """Where its handlers read and send; each feature is used by one of them."""
        return [
            self._place("main", "create", "retry", "sends"),
            self._place("once", "create", "idempotent"),
            self._place("sums", "create", "transactional"),
            self._place("again", "create", "idempotent"),
            Place(self.out, features=frozenset({"sends"})),
            Place(names.task_topic(self.name), self.name),
        ]

    def _place(self, name: str, *features: str) -> Place:
        topic, group = f"{self.topic}-{name}", f"{self.name}-{name}"
        dead = names.dead_letter_topic(topic, group, self.name)
        retry, seen = names.retry_topic(topic, group), names.seen_topic(topic, group)
        return Place(topic, group, dead, retry, seen, frozenset(features))

    def rights(self) -> list[Right]:
        return acls.rights("worker", self.name, self.places, {"create", "delay", "schedules"})

    def app(self, rights: Iterable[Right]) -> elsa.App:
        kafka = self._secure.user([*rights])
        app = elsa.App(
            self.name,
            brokers=self._secure.bootstrap,
            kafka=kafka,
            metadata_refresh=1.0,
            runtime_dir=str(self._folder),
            default_partitions=1,
        )
        done = self.done
        main, once, sums, again = self.places[:4]

        @app.handler(main.topic, group=main.group, retry=elsa.Retry(max_attempts=2, base=0.1, where="topic"))
        def work(body: str, ctx: elsa.Context) -> None:
            if body == "bad":
                if ctx.attempt == 2:
                    done.add("retried")
                raise ValueError(body)
            done.add({"late": "delayed"}.get(body, "handled"))

        @app.handler(once.topic, group=once.group, idempotent_by="id")
        def only_once(body: str) -> None: ...

        @app.handler(again.topic, group=again.group, idempotent_by="id")
        def once_more(body: str) -> None: ...

        @app.handler(sums.topic, group=sums.group, transactional=True)
        def add(body: str, ctx: elsa.Context) -> None:
            ctx.send(self.out, body)

        @app.every(1)
        def tick() -> None:
            done.add("fired")

        return app

    def run(self, app: elsa.App, refusals: Refusals, wanted: Collection[str]) -> None:
        """Work until all of `wanted` has happened, or something was refused."""
        pending: list[Callable[[], object]] = [
            lambda: self._sender.send(self.places[0].topic, b"good"),
            lambda: self._sender.send(self.places[0].topic, b"bad"),
            lambda: self._sender.send(self.places[1].topic, b"v", id="1"),
            lambda: self._sender.send(self.places[2].topic, b"v"),
            lambda: app.send(self.places[0].topic, "late", delay=1),
        ]
        end = time.monotonic() + PATIENCE
        app.start()
        while time.monotonic() < end and not self.done >= set(wanted) and not refusals.said:
            if app._runtime is not None and app._runtime.failure is not None:
                refusals.said.append(app._runtime.failure)
            if pending:
                try:
                    pending[0]()
                except ElsaError as error:
                    if "an ACL is missing" in str(error):
                        refusals.said.append(str(error))
                else:
                    del pending[0]
            self._look()
            self._is_over.wait(0.3)
        app.stop(10)
        self._sender.close(1)

    def _look(self) -> None:
        """What is seen from outside, by one who may see everything."""
        main, once = self.places[0], self.places[1]
        for what, topic in (("buried", main.dead), ("seen", once.seen), ("transacted", self.out)):
            if any(end > 0 for _, end in self._ends(topic).values()):
                self.done.add(what)
        if any(low > 0 for low, _ in self._ends(names.delay_topic(self.name, 1)).values()):
            self.done.add("deleted")
        with contextlib.suppress(ElsaError):
            if "commanded" not in self.done and Caller(self._everything).call("ping", timeout=2).by_worker:
                self.done.add("commanded")

    def _ends(self, topic: str) -> Mapping[int, tuple[int, int]]:
        try:
            return self._topics.watermarks(topic)
        except ElsaError:
            return {}  # not there yet


@pytest.fixture
def refusals() -> Iterator[Refusals]:
    heard = Refusals()
    logger = logging.getLogger("elsa")
    logger.addHandler(heard)
    level = logger.level
    logger.setLevel(logging.INFO)
    yield heard
    logger.setLevel(level)
    logger.removeHandler(heard)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elsa.delays.session.TRIM_SECONDS", 0.5)


def test_with_all_of_them_everything_works(secure: Secure, refusals: Refusals, tmp_path: Path) -> None:
    shop = Shop(secure, tmp_path)
    app = shop.app(shop.rights())
    shop.run(app, refusals, ALL)

    assert not refusals.said
    assert shop.done == ALL


def _rows() -> list[str]:
    """The table's rows by what they give, as the tests' names."""
    return list(dict.fromkeys(f"{row.operation} on {row.resource} {row.name}" for row in acls.ROLES["worker"]))


@pytest.mark.parametrize("row", _rows())
def test_without_one_of_them_something_is_missing(
    secure: Secure, refusals: Refusals, tmp_path: Path, row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = acls.ROLES["worker"]
    shop = Shop(secure, tmp_path)
    kept = tuple(one for one in full if f"{one.operation} on {one.resource} {one.name}" != row)
    monkeypatch.setattr(acls, "ROLES", {**acls.ROLES, "worker": kept})
    assert len(kept) < len(full)
    app = shop.app(shop.rights())
    shop.run(app, refusals, ALL)

    assert refusals.said
    assert shop.done != ALL or row == "Read on topic {seen}"
