"""The onion around handlers: `mw(call_next, ctx)`, sync around sync handlers and async around async ones."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from elsa.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from elsa.context import Context

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


def _name(middleware: Any) -> str:
    return getattr(middleware, "__qualname__", type(middleware).__qualname__)
