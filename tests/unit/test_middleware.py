"""The onion around handlers."""

from __future__ import annotations

from typing import Any

import pytest

from elsa.errors import DeclarationError
from elsa.middleware import check, check_kinds, compose


def test_the_first_middleware_is_the_outermost() -> None:
    trail: list[str] = []

    def named(name: str) -> Any:
        def middleware(call_next: Any, ctx: Any) -> Any:
            trail.append(f"{name} in {ctx}")
            try:
                return call_next()
            finally:
                trail.append(f"{name} out")

        return middleware

    def call() -> int:
        trail.append("call")
        return 3

    context: Any = "ctx"
    result = compose([named("a"), named("b")], call, context)

    assert result == 3
    assert trail == ["a in ctx", "b in ctx", "call", "b out", "a out"]


def test_kinds_are_told_apart() -> None:
    async def slow(call_next: Any, ctx: Any) -> Any: ...

    class Callable:
        async def __call__(self, call_next: Any, ctx: Any) -> Any: ...

    assert check(slow)
    assert check(Callable())
    assert not check(lambda call_next, ctx: call_next())


def test_what_is_no_middleware_is_refused() -> None:
    with pytest.raises(DeclarationError, match="is no middleware"):
        check(3)
    with pytest.raises(DeclarationError, match=r"cannot be called as mw\(call_next, ctx\)"):
        check(lambda call_next: call_next())


def test_a_sync_middleware_does_not_fit_an_async_handler() -> None:
    with pytest.raises(DeclarationError, match="is sync and handler h is async"):
        check_kinds("h", is_async=True, middlewares=[lambda call_next, ctx: call_next()])
