"""What stands in for an App's clients while it is under test; put there by the harness."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NoReturn

from elsa import app as apps
from elsa.errors import BrokerUnavailable, DeclarationError, NotStarted, TopicExists, UnknownTopic
from elsa.names import is_internal
from elsa.producer import Producer
from elsa.testing.log import MemoryClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from elsa.app import App
    from elsa.kafka.producer import ProducerClient
    from elsa.message import RecordMetadata
    from elsa.producer import Delivery
    from elsa.testing.log import MemoryLog


class MemoryProducer(Producer):
    """The App's producer over topics in memory; what it sends from outside a handler is handled at once."""

    def __init__(self, app: App, log: MemoryLog, sending: Callable[[], AbstractContextManager[None]]) -> None:
        def connect(_: Any) -> ProducerClient:
            return MemoryClient(log)  # type: ignore[return-value]  # it has what a Producer calls

        super().__init__(app.settings, app.observer, connect=connect)
        self._sending = sending

    def send(self, topic: str, value: Any, **options: Any) -> Delivery:
        with self._sending():
            return super().send(topic, value, **options)

    def produce(self, topic: str, messages: Any, **options: Any) -> list[RecordMetadata]:
        with self._sending():
            return super().produce(topic, messages, **options)


class MemoryTopics:
    """The App's `topics`: those of the harness, without settings."""

    def __init__(self, log: MemoryLog, app: str) -> None:
        self._log = log
        self._app = app

    def list(self, internal: bool = False) -> dict[str, int]:  # noqa: FBT001, FBT002 - as elsa.topics has it
        counts = self._log.counts()
        return {name: counts[name] for name in sorted(counts) if internal or not is_internal(name, self._app)}

    def exists(self, name: str) -> bool:
        return name in self._log.counts()

    def create(self, name: str, *, partitions: int = 1, exist_ok: bool = False, **_: Any) -> bool:
        is_new = not self.exists(name)
        if not is_new and not exist_ok:
            raise TopicExists(f"topic {name!r} exists already", topic=name)
        self._log.create(name, partitions)
        return is_new

    def partition_count(self, name: str) -> int:
        counts = self._log.counts()
        if name not in counts:
            raise UnknownTopic(f"topic {name!r} does not exist", topic=name)
        return counts[name]

    def add_partitions(self, name: str, total: int, **_: Any) -> None:
        self._log.grow(name, total)

    def __getattr__(self, name: str) -> NoReturn:
        _refuse(f"topics.{name}")


class Absent:
    """A client that the harness has nothing for: says so, instead of looking for a broker."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> NoReturn:
        _refuse(f"{self._name}.{name}")


def _refuse(what: str) -> NoReturn:
    raise BrokerUnavailable(
        f"app.{what} needs a broker, and app.test() has none",
        hint="run this test on a real one: the fixture elsa_kafka, or elsa.broker.EmbeddedKafka",
    )


class Occupation:
    """Puts stand-ins in the place of an App's clients, watches its hooks, and gives the App back as it was."""

    def __init__(
        self, app: App, runtime: Any, stand_ins: Mapping[str, Any], failed: Callable[[Exception], None]
    ) -> None:
        self._app = app
        self._runtime = runtime
        self._stand_ins = stand_ins
        self._failed = failed
        self._own: dict[str, Any] = {}
        self._hooks: dict[Callable[..., Any], Callable[..., Any]] = {}
        self._is_on = False

    def begin(self) -> None:
        """Raises DeclarationError when the App runs already, or is under test."""
        app = self._app
        if app._runtime is not None:
            raise DeclarationError(
                f"the App {app.name!r} is running or under test already",
                hint="make one harness at a time: `with app.test() as t:`",
            )
        if app._is_stopping:
            raise NotStarted(f"the App {app.name!r} is stopped", hint="make a new App")
        self._is_on = True
        app._runtime = self._runtime
        # they are cached properties: what lies in the instance's own dict is what everybody gets
        self._own = {name: app.__dict__[name] for name in self._stand_ins if name in app.__dict__}
        app.__dict__.update(self._stand_ins)
        for event, declared in app.hooks.items():
            app.hooks[event] = [self._watched(hook) for hook in declared]

    def _watched(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """The hook, telling the test what it raises; a worker logs it and goes on."""

        @functools.wraps(hook)
        def call(*args: Any) -> Any:
            try:
                return hook(*args)
            except Exception as error:  # border: noted for the test, and handled as in a worker
                self._failed(error)
                raise

        self._hooks[call] = hook
        return call

    def end(self) -> None:
        """Give the App back as it was, also when the code under test has stopped it; idempotent."""
        if not self._is_on:
            return
        self._is_on = False
        app = self._app
        app._runtime = None
        for name in self._stand_ins:
            app.__dict__.pop(name, None)
        app.__dict__.update(self._own)
        for event, declared in app.hooks.items():
            app.hooks[event] = [self._hooks.get(hook, hook) for hook in declared]
        app._is_stopping = app._stopped = False
        with apps._LOCK:
            apps._APPS[app.name] = app
