"""Handlers and tasks: a user's function or class, bound to topics, callable and sendable."""

from __future__ import annotations

import asyncio
import functools
import inspect
import pathlib
import sys
import typing
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import msgspec

from elsa import headers as header_names
from elsa.codecs import NAMED, body_decoder, encode, encoder, typed_decoder
from elsa.delays import sending
from elsa.errors import BufferFull, DeclarationError, DecodeError, UnknownTopic
from elsa.message import Message, Record
from elsa.options import Options, check, check_group, check_topics
from elsa.shapes import Shape, check_instantiable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from elsa.app import App
    from elsa.message import RecordMetadata
    from elsa.producer import Delivery

_JSON = NAMED["json"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Handler(Generic[P, R]):
    """A function or class bound to topics; calling it runs it here, `send` puts a message on its topic.

    Made by `@app.handler(...)`. A class is instantiated once per partition worker in a worker, and once per
    call when called by hand.

    ```python
    @elsa.handler("orders")
    def bill(order: dict) -> None: ...

    bill.send({"id": 1}, key="ann").result(10)
    ```
    """

    #: called by name, with others of the same topic
    is_task = False

    def __init__(
        self,
        app: App,
        target: Callable[P, R],
        topics: Any,
        *,
        group: str | None,
        name: str | None = None,
        localns: Mapping[str, Any] | None = None,
        declared_in: str = "",
        **options: Any,
    ) -> None:
        if not callable(target):
            raise DeclarationError(f"{target!r} is neither a function nor a class")
        self.app = app
        self.target = target
        self.name = name or default_name(target)
        self.group = group
        where = f"handler {self.name}"
        check_group(where, group)
        self.topics = check_topics(where, topics)
        self.declared: Options = check(where, group, options)
        if self.declared.dead_letter in self.topics:
            raise DeclarationError(
                f"{where}: dead_letter={self.declared.dead_letter!r} is its own topic, a dead letter would come again",
                hint="name another topic, or leave it out: {topic}.{group}.dlq",
            )
        self.is_class = isinstance(target, type)
        if self.is_class:
            check_instantiable(target, where)
        self.shape = Shape.of(target, where, localns, batch=self.declared.batch is not None)
        self.is_async = self.shape.is_async
        #: the module whose import declares it
        self.declared_in = declared_in or target.__module__
        if self.declared.executor != "auto":
            self._check_executor(where)
        if self.is_class and not self.is_async:
            self._check_steps(where)
        self.decode = self._make_decoder(where)
        self._encoder = encoder(self.declared.codec)
        self._topic = None if self.topics[0].startswith("^") else self.topics[0]
        functools.update_wrapper(self, target, updated=())

    def _check_steps(self, where: str) -> None:
        for step in ("setup", "teardown"):
            if inspect.iscoroutinefunction(getattr(self.target, step, None)):
                raise DeclarationError(
                    f"{where}: {step} is async and the handler is not, so it would run in a thread",
                    hint=f"write `def {step}`, or make the handler's method async, too",
                )

    def _check_executor(self, where: str) -> None:
        """Raise DeclarationError for what cannot run where it is asked to."""
        executor = self.declared.executor
        if self.is_async:
            raise DeclarationError(
                f"{where}: executor={executor!r} is for plain functions, an `async def` runs on the event loop",
                hint="leave executor out, or write `def`",
            )
        if executor != "process":
            return
        if self.is_class:
            raise DeclarationError(
                f'{where}: a class keeps its state in one place for each partition, executor="process" has many',
                hint="use a function, or more worker processes: --processes",
            )
        if "<locals>" in self.target.__qualname__ or self.target.__name__ == "<lambda>":
            raise DeclarationError(
                f'{where}: executor="process" imports the handler in another process, where {self.target.__qualname__} '
                "cannot be found",
                hint="declare it at the top level of a module",
            )

    def _make_decoder(self, where: str) -> Callable[[bytes | None], Any] | None:
        if self.shape.unfilled:
            raise DeclarationError(
                f"{where}: nothing fills the parameter {self.shape.unfilled[0]!r}",
                hint="a handler takes the body, and a context if annotated elsa.Context; @app.task takes arguments",
            )
        return body_decoder(self.shape.body, self.declared.codec, where)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if self.is_class:
            handler: Any = self.target  # Shape has seen that it has the method
            return typing.cast("R", handler().handle(*args, **kwargs))
        return self.target(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} on {', '.join(self.topics)}>"

    @property
    def topic(self) -> str:
        """The topic that `send` uses: the first one, if it is a name and no regex."""
        if self.topics[0].startswith("^"):
            raise DeclarationError(
                f"handler {self.name} is bound to the regex {self.topics[0]!r}",
                hint="say where to send: .options(topic=...).send(...)",
            )
        return self.topics[0]

    def options(self, **given: Any) -> Call[P, R]:
        """Options of one send: key, headers, partition, id, topic, timestamp, delay or eta, expires; then `.send(...)`.

        `delay` (seconds or a timedelta) or `eta` (a datetime with a time zone) put it off: it is delivered when it is
        due, never earlier. After `expires` (seconds or a timedelta from now, or a datetime) it is not run any more.
        `elsa.cancel(delivery.id)` takes back what is not delivered yet.

        ```python
        remind.options(delay=3600, id="reminder-7").send({"order": 7})
        ```
        """
        return Call(self, _call_options(self.name, given))

    def send(self, value: Any, *, key: str | bytes | None = None, **options: Any) -> Delivery:
        """Send one message to the handler's topic; returns at once, `.result(timeout)` or `await` confirms.

        Options: key, headers, partition, id, topic, timestamp, delay or eta, expires; see `options`.
        """
        if options:
            return Call(self, _call_options(self.name, {"key": key, **options})).send(value)
        app = self.app
        try:
            # the plain case is the hot one: nothing is copied or looked up that need not be
            return (app._producer or app.producer).send(self._topic or self.topic, self._encoder(value), key=key)
        except UnknownTopic:
            return Call(self, {"key": key}).send(value)

    async def asend(self, value: Any, **options: Any) -> RecordMetadata:
        """Send one message and wait for the broker's confirmation without blocking the event loop."""
        return await Call(self, _call_options(self.name, options)).asend(value)

    def send_many(
        self, values: Iterable[Any], *, key: Callable[[Any], Any] | str | bytes | None = None, **options: Any
    ) -> Any:
        """Send many messages, return their metadata when all are confirmed.

        `key(value)` gives each one's key (a text or bytes: all have that one). Options, for all of them: headers,
        partition, topic, timestamp, delay or eta, expires. Raises ProduceError with `failed` in the order of `values`.
        """
        of = key if callable(key) else lambda _: key
        return self._send_all([(self._encoder(value), [], of(value)) for value in values], options)

    def _send_all(
        self, messages: list[tuple[bytes | None, header_names.Pairs, Any]], options: dict[str, Any]
    ) -> list[RecordMetadata]:
        """Send (value, headers of the call, key) with options that all of them have."""
        call = _many_options(self.name, options)
        when = sending.timing(call, self.app.clock)
        topic = call.pop("topic", None) or self.topic
        headers = header_names.pairs(call.pop("headers", None))

        def send() -> list[RecordMetadata]:
            target, records = topic, []
            for value, own, key in messages:
                given = {**call, "key": call.get("key", key), "headers": headers + own}
                if when is not None:
                    target, given = sending.address(self.app, topic, when, given)
                    given["headers"].append((header_names.ID, given.pop("id").encode()))
                records.append(Record(value, **given))
            return self.app.produce(target, records)

        return self._creating(send)

    def _creating(self, send: Callable[[], T]) -> T:
        """Send, and make what is missing where the settings say so: a first send may come before the first worker."""
        while True:
            try:
                return send()
            except UnknownTopic as error:
                if not self._create(error.topic or ""):
                    raise

    def _create(self, topic: str) -> bool:
        if topic in self.topics and self.app.settings.creates_topics:
            self.app.create_declared(topic, self.declared)
            return True
        return sending.create_missing(self.app, topic)

    def _encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes | None, header_names.Pairs]:
        if len(args) != 1 or kwargs:
            given = f", and {', '.join(f'{name}=' for name in kwargs)} belongs into options(...)" if kwargs else ""
            raise TypeError(f"{self.name}.options(...).send takes the body alone{given}")
        return self._encoder(args[0]), []


class Task(Handler[P, R]):
    """A handler called by name with arguments; many tasks share a topic. Made by `@app.task(...)`.

    ```python
    @app.task(topic="emails")
    def welcome(user_id: int, locale: str = "en") -> None: ...

    welcome.send(42, locale="da")
    ```
    """

    is_task = True

    def _make_decoder(self, where: str) -> Callable[[bytes | None], Any]:
        if self.is_class or self.declared.batch is not None:
            raise DeclarationError(f"{where}: a task is a plain function", hint="use @app.handler for classes, batches")
        if self.declared.codec is not _JSON:
            raise DeclarationError(f"{where}: a task's body is always JSON", hint="leave codec= out")
        self._signature, self._params = _task_parameters(self.target, where, self.shape)
        return self._decode_call

    def send(self, *args: Any, **kwargs: Any) -> Delivery:
        """Call the task somewhere else: the arguments are bound to its signature and checked here.

        Raises TypeError for arguments that do not fit. Use `.options(key=...)` for the send's own options.
        """
        return Call(self, {}).send(*args, **kwargs)

    async def asend(self, *args: Any, **kwargs: Any) -> RecordMetadata:
        """Like `send`, and wait for the broker's confirmation without blocking the event loop."""
        return await Call(self, {}).asend(*args, **kwargs)

    def send_many(self, calls: Iterable[Any], **options: Any) -> Any:  # type: ignore[override]  # see send
        """Send many calls, each a tuple of arguments or a mapping of keywords; returns when all are confirmed.

        Options, for all of them: key, headers, partition, topic, timestamp, delay or eta, expires.
        """
        messages = []
        for one in calls:
            args, kwargs = ((), dict(one)) if hasattr(one, "items") else (tuple(one), {})
            messages.append((*self._encode(args, kwargs), None))
        return self._send_all(messages, options)

    def _encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bytes | None, header_names.Pairs]:
        bound = self._signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            self._check_argument(name, value)
        body = encode([list(bound.args), bound.kwargs], _JSON)
        return body, [(header_names.TASK, self.name.encode())]

    def _check_argument(self, name: str, value: Any) -> None:
        kind = self._signature.parameters[name].kind
        if kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            return
        annotation = self.shape.hints.get(name, Any)
        try:
            msgspec.convert(value, annotation)
        except msgspec.ValidationError as error:
            raise TypeError(f"{self.name}({name}={value!r}): {error}") from error
        except TypeError:
            # not a type that msgspec knows (pydantic, arbitrary classes): the codec has the last word
            return

    def _decode_call(self, value: bytes | None) -> inspect.BoundArguments:
        if value is None:
            raise DecodeError(f"a call of {self.name} has no body", hint="the body is JSON: [args, kwargs]")
        try:
            args, kwargs = msgspec.json.decode(value, type=tuple[list[msgspec.Raw], dict[str, msgspec.Raw]])
            bound = self._signature.bind(*args, **kwargs)
            for name, raw in bound.arguments.items():
                bound.arguments[name] = self._decode_argument(name, raw)
        except Exception as error:  # msgspec, pydantic and the binding each raise their own
            raise DecodeError(f"a call of {self.name} does not fit: {error}") from error
        return bound

    def _decode_argument(self, name: str, raw: Any) -> Any:
        decode = self._params[name]
        kind = self._signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            return tuple(decode(bytes(one)) for one in raw)
        if kind is inspect.Parameter.VAR_KEYWORD:
            return {key: decode(bytes(one)) for key, one in raw.items()}
        return decode(bytes(raw))


class Call(Generic[P, R]):
    """A handler with the options of one send: `handler.options(key="k").send(...)`."""

    def __init__(self, handler: Handler[P, R], given: Mapping[str, Any]) -> None:
        self._handler = handler
        self._given = dict(given)
        self._when = sending.timing(self._given, handler.app.clock)

    def _prepared(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, bytes | None, dict[str, Any]]:
        value, own = self._handler._encode(args, kwargs)
        given = dict(self._given)
        topic = given.pop("topic", None) or self._handler.topic
        headers = given.pop("headers", None)
        if headers or own:
            given["headers"] = header_names.pairs(headers) + own
        if self._when is not None:
            topic, given = sending.address(self._handler.app, topic, self._when, given)
        return topic, value, given

    def _try(self, args: tuple[Any, ...], kwargs: dict[str, Any], **options: Any) -> Delivery:
        topic, value, given = self._prepared(args, kwargs)
        return self._handler.app.producer.send(topic, value, **given, **options)

    def send(self, *args: Any, **kwargs: Any) -> Delivery:
        """Send; returns a Delivery at once."""
        return self._handler._creating(lambda: self._try(args, kwargs))

    async def asend(self, *args: Any, **kwargs: Any) -> RecordMetadata:
        """Send and await the broker's confirmation."""
        try:
            delivery = self._try(args, kwargs, block=False)
        except (BufferFull, UnknownTopic):
            # waiting for room, or for a topic that is being made, must not hold the event loop
            delivery = await asyncio.to_thread(functools.partial(self.send, *args, **kwargs))
        return await delivery


def default_name(target: Any) -> str:
    """`module.function`, with the real module's name also when it runs as `__main__`."""
    module = target.__module__
    if module == "__main__":
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        path = getattr(main, "__file__", None)
        # a producer script and its worker must agree on the name, and only the worker imports it by name
        module = spec.name if spec else pathlib.Path(path).stem if path else "main"
    return f"{module}.{target.__qualname__}".replace(".<locals>", "")


_CALL_OPTIONS = ("key", "headers", "partition", "id", "topic", "timestamp", *sending.OPTIONS)


def _call_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    for option in given:
        if option not in _CALL_OPTIONS:
            raise TypeError(f"{name}: unknown option {option!r}; options are {', '.join(_CALL_OPTIONS)}")
    return dict(given)


def _many_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    call = _call_options(name, given)
    if "id" in call:
        raise TypeError(f"{name}.send_many: id= would give every message the same id; send them one by one")
    return call


def _task_parameters(
    target: Any, where: str, shape: Shape
) -> tuple[inspect.Signature, dict[str, Callable[[bytes], Any]]]:
    """The signature without the context, and a decoder of each argument."""
    signature = inspect.signature(target)
    parameters = [p for p in signature.parameters.values() if p.name != shape.context]
    decoders: dict[str, Callable[[bytes], Any]] = {}
    for parameter in parameters:
        annotation = shape.hints.get(parameter.name, Any)
        if annotation is Message:
            raise DeclarationError(f"{where}: a task's argument cannot be an elsa.Message", hint="use @app.handler")
        decoders[parameter.name] = typed_decoder(annotation, _JSON, where)
    return signature.replace(parameters=parameters), decoders
