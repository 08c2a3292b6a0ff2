"""The onion around handlers: `mw(call_next, ctx)`, sync around sync handlers and async around async ones.

`age_limit` and `payload_limit` are ready to be used: `app.middleware(*payload_limit("1MB"))`.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from elsa import headers, units
from elsa.errors import DeclarationError, Reject, Skip

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from elsa.context import Context
    from elsa.message import Message

    Middleware = Callable[[Callable[[], Any], Context], Any]


def check(middleware: Any) -> bool:
    """Whether the middleware is async; raises DeclarationError when it is no `mw(call_next, ctx)`."""
    if not callable(middleware):
        raise DeclarationError(f"{middleware!r} is no middleware", hint="write `def mw(call_next, ctx): ...`")
    try:
        inspect.signature(middleware).bind(None, None)
    except TypeError as error:
        raise DeclarationError(
            f"middleware {_name(middleware)} cannot be called as mw(call_next, ctx): {error}"
        ) from error
    return inspect.iscoroutinefunction(middleware) or inspect.iscoroutinefunction(type(middleware).__call__)


def check_kinds(handler: str, is_async: bool, middlewares: Sequence[Middleware]) -> None:  # noqa: FBT001 - one fact
    """Raise DeclarationError when a middleware's kind does not fit the handler's."""
    for middleware in middlewares:
        if check(middleware) != is_async:
            kinds = ("sync", "async") if is_async else ("async", "sync")
            raise DeclarationError(
                f"middleware {_name(middleware)} is {kinds[0]} and handler {handler} is {kinds[1]}",
                hint="give the app both forms: app.middleware(sync_form, async_form)",
            )


def compose(middlewares: Sequence[Middleware], call: Callable[[], Any], context: Context) -> Any:
    """Run `call` inside the onion, the first middleware outermost; of an async onion the awaitable."""
    for middleware in reversed(middlewares):
        call = functools.partial(middleware, call, context)
    return call()


def age_limit(seconds: Any, *, dead_letter: bool = False) -> tuple[Middleware, Middleware]:
    """The two forms of a middleware that does not run messages older than that, by their timestamp.

    `seconds` is a number or a text like "5m". What is older is skipped, or a dead letter; a message without a
    timestamp is run, and so is a replayed dead letter. `expires=` at a handler does the same for that one, before its
    body is decoded.

    ```python
    app.middleware(*age_limit("1h"))
    ```
    """
    limit = _read("age_limit", units.Duration(), seconds)

    def check(message: Message, ctx: Context) -> None:
        age = None if message.timestamp is None else ctx.app.clock.now() - message.timestamp
        if age is not None and age >= limit and not headers.is_replayed(message.headers):
            why = f"it is {age:.1f} s old, and {limit:g} s are the limit"
            raise Reject(why) if dead_letter else Skip(why)

    return _guards(check)


def payload_limit(size: Any, *, skip: bool = False) -> tuple[Middleware, Middleware]:
    """The two forms of a middleware that does not run messages with bodies larger than that.

    `size` is bytes or a text like "64kB". What is larger is a dead letter, or skipped.

    ```python
    app.middleware(*payload_limit("1MB"))
    ```
    """
    limit = _read("payload_limit", _some, size)

    def check(message: Message, _: Context) -> None:
        if len(message.value or b"") > limit:
            why = f"its body has {len(message.value or b'')} bytes, and {limit} are the limit"
            raise Skip(why) if skip else Reject(why)

    return _guards(check)


def _some(value: Any) -> int:
    found = units.size(value)
    if found < 1:
        raise ValueError("a size above 0")
    return found


def _read(where: str, read: Callable[[Any], Any], value: Any) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise DeclarationError(f"{where}({value!r}): that is not {error}") from error


def _guards(check: Callable[[Message, Context], None]) -> tuple[Middleware, Middleware]:
    """A check of every message before the call; of a batch that is refused, each member comes alone then."""

    def guard(call_next: Callable[[], Any], ctx: Context) -> Any:
        for message in ctx.messages:
            check(message, ctx)
        return call_next()

    async def guard_async(call_next: Callable[[], Awaitable[Any]], ctx: Context) -> Any:
        for message in ctx.messages:
            check(message, ctx)
        return await call_next()

    return guard, guard_async


def _name(middleware: Any) -> str:
    return getattr(middleware, "__qualname__", type(middleware).__qualname__)
