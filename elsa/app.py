"""The App: one configuration, the handlers declared on it, and the clients that they share."""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from elsa import middleware as onion
from elsa.clock import SYSTEM
from elsa.codecs import encode, resolve
from elsa.config import load, override
from elsa.delays import sending
from elsa.errors import AppNotFound, DeclarationError, NotStarted, UnknownTopic
from elsa.handlers import Handler, Task
from elsa.names import dead_letter_topic, task_topic
from elsa.observer import Observer
from elsa.policies.schedule import Cron, Every
from elsa.registry import Registry
from elsa.schedules.declared import MISFIRE_SECONDS, Schedules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import timedelta
    from types import FrameType

    from elsa.clock import Clock
    from elsa.control.client import Control
    from elsa.dead_letters import DeadLetters
    from elsa.fetcher import Fetcher, FetchResult
    from elsa.groups import Groups
    from elsa.message import Message, RecordMetadata
    from elsa.options import Options
    from elsa.policies.schedule import Rule
    from elsa.producer import Delivery, Producer
    from elsa.topics import Topics

F = TypeVar("F", bound="Callable[..., Any]")

#: Apps by name, as long as somebody holds them
_APPS: weakref.WeakValueDictionary[str, App] = weakref.WeakValueDictionary()
_LOCK = threading.Lock()
#: what `elsa.handler` declares on: the one module-level state
_DEFAULT: list[App] = []


class App:
    """One configuration plus the handlers declared on it; a named connection to a Kafka cluster.

    `name` is the prefix of `client.id`, the default consumer group and a label of metrics. Every other
    setting (see `elsa.config.Settings`) may be given as keyword, as `ELSA_*` variable, or in `elsa.toml`.
    Raises ConfigError for unknown or wrong settings, DeclarationError when the name is taken.

    ```python
    app = elsa.App("shop", brokers="localhost:9092")

    @app.handler("orders")
    def bill(order: dict) -> None: ...
    ```
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        brokers: str | list[str] | None = None,
        kafka: Mapping[str, Any] | None = None,
        observer: Observer | None = None,
        **settings: Any,
    ) -> None:
        given = {"name": name, "brokers": brokers, "kafka": kafka, **settings}
        self.loaded = load({key: value for key, value in given.items() if value is not None})
        self.settings = self.loaded.settings
        self.name = self.settings.name
        self.registry = Registry()
        self.schedules = Schedules()
        self.observer = observer or Observer()
        self.hooks: dict[str, list[Callable[..., Any]]] = {
            name: [] for name in ("assigned", "revoked", "lost", "startup", "shutdown", "readiness")
        }
        self._sync_middleware: list[Any] = []
        self._async_middleware: list[Any] = []
        #: what delays are counted by; the harness puts its own here
        self.clock: Clock = SYSTEM
        self._lock = threading.RLock()
        self._runtime: Any = None
        self._is_stopping = False
        self._stopped = False
        with _LOCK:
            if self.name in _APPS:
                raise DeclarationError(
                    f"an App named {self.name!r} exists already",
                    hint="give each App its own name, or find this one by elsa.get_app(name)",
                )
            _APPS[self.name] = self

    def configure(self, **settings: Any) -> None:
        """Replace settings before anything was started (the command line's win over the code's)."""
        if self._runtime is not None or "_producer" in self.__dict__:
            raise DeclarationError(f"the App {self.name!r} is in use: its settings cannot change any more")
        self.loaded = override(self.loaded, **settings)
        self.settings = self.loaded.settings

    def __repr__(self) -> str:
        return f"<App {self.name!r} with {len(self.registry)} handlers>"

    # -- declaring ---------------------------------------------------------------------------------

    def handler(
        self, topic: str | list[str], *, group: str | None = "", name: str | None = None, **options: Any
    ) -> Callable[[Any], Handler[Any, Any]]:
        """Bind a function or class to a topic, a list of topics or a `^regex`; see `elsa.options.Options`.

        `group` defaults to the App's name, `group=None` makes a standalone handler. Raises DeclarationError
        (with a hint) for unknown or contradictory options.
        """
        frame = _declaring_frame()

        def declare(target: Any) -> Handler[Any, Any]:
            made: Handler[Any, Any] = self._declare(Handler, target, topic, frame, group=group, name=name, **options)
            return made

        return declare

    @overload
    def task(self, target: Callable[..., Any]) -> Task[Any, Any]: ...

    @overload
    def task(
        self, *, name: str | None = None, topic: str | None = None, group: str = "", **options: Any
    ) -> Callable[[Any], Task[Any, Any]]: ...

    def task(
        self,
        target: Any = None,
        *,
        name: str | None = None,
        topic: str | None = None,
        group: str | None = "",
        **options: Any,
    ) -> Any:
        """Make a function a task: called by name with arguments; many tasks share a topic (`{app}.tasks`)."""
        frame = _declaring_frame()

        def declare(function: Any) -> Task[Any, Any]:
            where = topic or task_topic(self.name)
            made: Task[Any, Any] = self._declare(Task, function, where, frame, group=group, name=name, **options)
            return made

        return declare if target is None else declare(target)

    def cron(
        self,
        expression: str,
        *,
        timezone: str = "UTC",
        name: str | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        misfire_limit: float | timedelta | str = MISFIRE_SECONDS,
    ) -> Callable[[Any], Task[Any, Any]]:
        """Call a task (or a function, which becomes one) at the times of a cron expression.

        Each fire time is one message, whoever sends it: any number of workers may run. Its `elsa-id` is the schedule's
        name (the task's, unless `name` says otherwise) and the fire time. When no worker runs, the calls are sent
        later, up to `misfire_limit` seconds. Nothing fires for the time before a worker has first seen the schedule,
        or its new times. Raises DeclarationError for an expression, time zone or call that is wrong.

        ```python
        @app.cron("30 2 * * MON-FRI", timezone="Europe/Copenhagen")
        @app.task
        def report() -> None: ...
        ```
        """
        given = {"name": name, "args": args, "kwargs": kwargs, "misfire_limit": misfire_limit}
        return self._scheduled(lambda: Cron.of(expression, timezone), **given)

    def every(
        self,
        seconds: float | timedelta | str,
        *,
        name: str | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        misfire_limit: float | timedelta | str = MISFIRE_SECONDS,
    ) -> Callable[[Any], Task[Any, Any]]:
        """Call a task every so many seconds (or "5m"), counted from 1970: `every(3600)` is the full hour;
        else as `cron`.

        ```python
        @app.every(30, args=("eu",))
        @app.task
        def refresh(region: str) -> None: ...
        ```
        """
        given = {"name": name, "args": args, "kwargs": kwargs, "misfire_limit": misfire_limit}
        return self._scheduled(lambda: Every.of(seconds), **given)

    def _scheduled(self, rule: Callable[[], Rule], **given: Any) -> Callable[[Any], Task[Any, Any]]:
        def declare(target: Any) -> Task[Any, Any]:
            task: Any = target if isinstance(target, Handler) else self.task(target)
            return self.schedules.add(self, task, rule, **given)

        return declare

    def _declare(
        self, kind: type[Any], target: Any, topic: Any, frame: FrameType, *, group: str | None, **options: Any
    ) -> Any:
        if isinstance(target, Handler):
            raise DeclarationError(
                f"{target.name} is a handler already",
                hint="declare the plain function twice under two names; @app.cron and @app.every stand above @app.task",
            )
        handler = kind(
            self,
            target,
            topic,
            group=self.name if group == "" else group,
            localns=frame.f_locals,
            declared_in=frame.f_globals.get("__name__", ""),
            **options,
        )
        onion.check_kinds(handler.name, handler.is_async, self.middleware_for(is_async=handler.is_async))
        self._check_covered(handler)
        self.registry.add(handler)
        return handler

    def middleware(self, first: F, second: Any = None) -> F:
        """Wrap every handler: `mw(call_next, ctx)`; give the sync and the async form if there are both kinds.

        ```python
        @app.middleware
        def timed(call_next, ctx):
            return call_next()
        ```
        """
        for form in (first, second):
            if form is not None:
                (self._async_middleware if onion.check(form) else self._sync_middleware).append(form)
        for handler in self.registry:
            self._check_covered(handler)
        return first

    def middleware_for(self, *, is_async: bool) -> list[Any]:
        """The middlewares around handlers of that kind, outermost first."""
        return self._async_middleware if is_async else self._sync_middleware

    def _check_covered(self, handler: Handler[Any, Any]) -> None:
        """A middleware of one kind only would silently not run around handlers of the other."""
        mine, other = self._sync_middleware, self._async_middleware
        if handler.is_async:
            mine, other = other, mine
        if len(mine) < len(other):
            onion.check_kinds(handler.name, handler.is_async, other[len(mine) :])

    def _hook(self, event: str, function: F) -> F:
        if inspect.iscoroutinefunction(function):
            kind = event if event == "readiness" else f"on_{event}"
            raise DeclarationError(f"{kind} hook {function.__name__} is async", hint="hooks are plain functions")
        self.hooks[event].append(function)
        return function

    def on_assigned(self, function: F) -> F:
        """Run before the first message of each assigned partition, with a context of group, topic, partition,
        generation; may raise `elsa.RejectAssignment`.
        """
        return self._hook("assigned", function)

    def on_revoked(self, function: F) -> F:
        """Run with the list of partitions after their last handler call returned."""
        return self._hook("revoked", function)

    def on_lost(self, function: F) -> F:
        """Run with the list of partitions that were taken away without notice."""
        return self._hook("lost", function)

    def on_startup(self, function: F) -> F:
        """Run once in each worker process before its first message."""
        return self._hook("startup", function)

    def on_shutdown(self, function: F) -> F:
        """Run once in each worker process after its last message."""
        return self._hook("shutdown", function)

    def readiness(self, function: F) -> F:
        """Ask it every 5 s whether what the handlers need is there: a worker is ready while it returns true.

        It runs on a thread of its own; one that raises, or takes longer than 15 s, says no. It decides `/readyz` and
        `elsa healthcheck --ready`, and stops no handler.

        ```python
        @app.readiness
        def database() -> bool:
            return pool.check()
        ```
        """
        return self._hook("readiness", function)

    # -- clients -----------------------------------------------------------------------------------

    #: made at the first use; every send looks here first, so it is an attribute and no property
    _producer: Producer | None = None

    @property
    def producer(self) -> Producer:
        """The one producer of this App in this process."""
        producer = self._producer
        return producer if producer is not None else self._make_producer()

    def _make_producer(self) -> Producer:
        with self._lock:
            if self._producer is None:
                if self._stopped:
                    raise NotStarted(f"the App {self.name!r} is stopped", hint="make a new App, or send before stop()")
                from elsa.producer import Producer  # noqa: PLC0415 - confluent_kafka loads when first used

                self._producer = Producer(self.settings, self._watched())
            return self._producer

    def _watched(self) -> Observer:
        """The observer, with spans when the program has set a tracer provider (a worker adds its own)."""
        from elsa.observe import tracing  # noqa: PLC0415 - the observers are above the app

        tracing.watch(self)
        return self.observer

    @functools.cached_property
    def fetcher(self) -> Fetcher:
        """Reads without a consumer group."""
        from elsa.fetcher import Fetcher  # noqa: PLC0415 - confluent_kafka loads when first used

        return Fetcher(self.settings)

    @functools.cached_property
    def topics(self) -> Topics:
        """List, create, describe, alter and delete topics."""
        from elsa.topics import Topics  # noqa: PLC0415 - confluent_kafka loads when first used

        return Topics(self.settings)

    @functools.cached_property
    def groups(self) -> Groups:
        """List and describe consumer groups, their lag and offsets."""
        from elsa.groups import Groups  # noqa: PLC0415 - confluent_kafka loads when first used

        return Groups(self.settings)

    @functools.cached_property
    def control(self) -> Control:
        """Ask and steer the running workers of this App, wherever they run."""
        from elsa.control.client import Control  # noqa: PLC0415 - confluent_kafka loads when first used

        return Control(self.settings)

    def dead_letters(self, topic: str, *, group: str | None = "") -> DeadLetters:
        """The dead letters on a topic: look at them, replay them to the group that failed, drop them.

        `topic` is the dead-letter topic, or with `group` (None: a handler without one) the source.

        ```python
        letters = app.dead_letters("orders", group="billing")
        print(letters.summary().errors)
        letters.replay(error=TimeoutError)
        ```
        """
        from elsa.dead_letters import open_topic  # noqa: PLC0415 - confluent_kafka loads when first used

        name = topic if group == "" else dead_letter_topic(topic, group, self.name)
        clients: dict[str, Any] = {"topics": self.topics, "groups": self.groups, "fetcher": self.fetcher}
        return open_topic(self.settings, name, self.registry, trace_send=self._watched().trace_send, **clients)

    def dead_letter_topics(self) -> list[str]:
        """The dead-letter topics of this App's handlers, as far as they exist."""
        from elsa.dead_letters import topics  # noqa: PLC0415 - as above

        return topics.of_app(self.name, self.registry.bindings(), self.topics.list(internal=True))

    def create_declared(self, topic: str, declared: Options) -> bool:
        """Create the topic of a handler as its options say (`partitions_count`, `topic_config`), if it is not there.

        False when it was.
        """
        return self.topics.create(
            topic,
            partitions=declared.partitions_count or self.settings.default_partitions,
            replicas=self.settings.replication,
            config=dict(declared.topic_config or {}),
            exist_ok=True,
        )

    def send(self, topic: str, value: Any, **options: Any) -> Delivery:
        """Encode and send one message; returns a Delivery at once.

        Options: key, headers, partition, id, timestamp, partitioner, codec ("json", "msgpack"), block, and to be
        delivered later `delay` or `eta`, not after some time `expires` (see `Handler.options`).
        """
        codec = resolve(options.pop("codec", "json"))
        body = encode(value, codec)
        when = sending.timing(options, self.clock) if not options.keys().isdisjoint(sending.OPTIONS) else None
        if when is None:
            return self.producer.send(topic, body, **options)
        target, options = sending.address(self, topic, when, options)
        try:
            return self.producer.send(target, body, **options)
        except UnknownTopic:
            if not sending.create_missing(self, target):
                raise
            return self.producer.send(target, body, **options)

    def cancel(self, id: str, *, ttl: float = 7 * 24 * 3600, timeout: float = 10.0) -> None:  # noqa: A002 - as in send
        """Take back a delayed message that is not delivered yet; returns when that is noted for good.

        It holds for every message with this id that comes due within `ttl` seconds, and is certain for those that are
        due in 2 seconds or later. A message that has been delivered is not called back.

        ```python
        sent = remind.options(delay=3600).send({"order": 7})
        app.cancel(sent.id)
        ```
        """
        sending.cancel(self, id, ttl, timeout)

    def produce(self, topic: str, messages: Any, **options: Any) -> list[RecordMetadata]:
        """Produce bytes, pairs, Records or mappings, and return when every one is confirmed.

        Options: partition, partitioner (name or `(key, n) -> int`), timeout. Raises ProduceError with
        `delivered` and `failed` (in the order given).
        """
        if "create" not in self.settings.trace_spans:
            return self.producer.produce(topic, messages, **options)
        from elsa.observe import tracing  # noqa: PLC0415 - the observers are above the app

        producer = self.producer
        with tracing.sending_many(self, topic):
            return producer.produce(topic, messages, **options)

    def fetch(self, topic: str, **options: Any) -> FetchResult:
        """Read a few messages of one partition; see `elsa.fetcher.Fetcher.fetch`."""
        return self.fetcher.fetch(topic, **options)

    def stream(self, topic: str, **options: Any) -> Iterator[Message]:
        """Iterate over a topic's messages between two bounds; see `elsa.fetcher.Fetcher.stream`."""
        return self.fetcher.stream(topic, **options)

    def search(self, topic: str, predicate: Callable[[Message], bool], **options: Any) -> Iterator[Message]:
        """The messages for which `predicate` is true."""
        return self.fetcher.search(topic, predicate, **options)

    def search_keys(self, topic: str, text: str | bytes, **options: Any) -> Iterator[Message]:
        """The messages whose key contains `text`."""
        return self.fetcher.search_keys(topic, text, **options)

    def search_values(self, topic: str, text: str | bytes, **options: Any) -> Iterator[Message]:
        """The messages whose value contains `text`."""
        return self.fetcher.search_values(topic, text, **options)

    # -- running inside another program ------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether this App's workers run here and every group has its assignment."""
        return self._runtime is not None and self._runtime.is_ready

    def start(self) -> Self:
        """Run the workers of all declared handlers in this process, in threads; returns at once."""
        with self._lock:
            if self._is_stopping:
                raise NotStarted(f"the App {self.name!r} is stopped", hint="make a new App")
            if self._runtime is None:
                from elsa.worker.runtime import Runtime  # noqa: PLC0415 - the worker is above the app

                self._watched()
                runtime = Runtime(self)
                runtime.start()
                self._runtime = runtime
        return self

    def wait_ready(self, timeout: float = 30.0) -> bool:
        """Wait until every group has its assignment; False when that took longer than `timeout` seconds."""
        self.start()
        return bool(self._runtime.wait_ready(timeout))

    def stop(self, timeout: float | None = None) -> None:
        """Drain and stop the workers, flush and close the producer; idempotent, safe before start."""
        with self._lock:
            if self._is_stopping:
                return
            self._is_stopping = True
            runtime, self._runtime = self._runtime, None
        limit = self.settings.stop_timeout if timeout is None else timeout
        try:
            if runtime is not None:
                # handlers that are still running may send: the producer is the last to go
                runtime.stop(limit)
        finally:
            with self._lock:
                self._stopped = True
                producer = self.__dict__.pop("_producer", None)
            if producer is not None:
                producer.close(limit)
            with _LOCK:
                if _APPS.get(self.name) is self:
                    del _APPS[self.name]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def test(self, **options: Any) -> Any:
        """A harness that runs this App's handlers without any broker: `with app.test() as t: t.send(...)`.

        Options are those of elsa.testing.Harness: `now`, `partitions`, `raise_errors`.
        """
        from elsa.testing.harness import Harness  # noqa: PLC0415 - only tests need it

        return Harness(self, **options)


def _declaring_frame() -> FrameType:
    """Where a handler is declared: the first frame that is not one of the ways to declare it."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") in ("elsa.app", "elsa.defaults"):
        frame = frame.f_back
    return frame or sys._getframe()


def get_app(name: str) -> App:
    """The App of that name in this process; raises AppNotFound with the names there are."""
    with _LOCK:
        app = _APPS.get(name)
        if app is None:
            raise AppNotFound(f"there is no App named {name!r}", hint=f"there are: {sorted(_APPS) or 'none'}")
        return app


def sole_app() -> App:
    """The default App if it is used, else the only App of this process; raises DeclarationError among several."""
    alive = [app for app in _APPS.values() if not app._stopped]
    if (_DEFAULT and not _DEFAULT[0]._stopped) or not alive:
        return default_app()
    if len(alive) > 1:
        names = ", ".join(sorted(app.name for app in alive))
        raise DeclarationError(f"there are several Apps ({names}), and none is the default", hint="call it on the App")
    return alive[0]


def default_app() -> App:
    """The App that `elsa.handler`, `elsa.produce` and the other short forms use; made at first use."""
    if not _DEFAULT or _DEFAULT[0]._stopped:
        _DEFAULT[:] = [App()]
    return _DEFAULT[0]
