"""What a user's function or class looks like: its body, its context, sync or async; read by the handlers."""

from __future__ import annotations

import inspect
import typing
from typing import TYPE_CHECKING, Any

from elsa.context import Context
from elsa.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Shape:
    """What a user's function looks like: its body parameter, its context parameter, sync or async."""

    def __init__(
        self, hints: Mapping[str, Any], body: Any, context: str | None, *, is_async: bool, has_body: bool
    ) -> None:
        self.hints = hints
        self.body = body
        self.context = context
        self.is_async = is_async
        self.has_body = has_body
        #: required parameters that no body and no context fills
        self.unfilled: list[str] = []
        #: the context's place among the positional parameters when it cannot be passed by name
        self.context_index: int | None = None

    @classmethod
    def of(cls, target: Any, where: str, localns: Mapping[str, Any] | None, *, batch: bool) -> Shape:
        """Read a function's or class's signature; raises DeclarationError for what cannot be a handler."""
        function = _handle_method(target, where, batch=batch) if isinstance(target, type) else target
        if not callable(function):
            raise DeclarationError(f"{where}: {target!r} is neither a function nor a class")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise DeclarationError(
                f"{where}: it yields, so calling it would run nothing of it",
                hint="return instead, and send what it yields by ctx.send",
            )
        hints = _hints(function, where, localns)
        parameters = list(inspect.signature(function).parameters.values())
        if isinstance(target, type):
            parameters = parameters[1:]
        context = next((p.name for p in parameters if _is_context(hints.get(p.name))), None)
        others = [p for p in parameters if p.name != context]
        bodies = [p for p in others if p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD)]
        body = hints.get(bodies[0].name, Any) if bodies else Any
        if batch:
            body = _batch_member(where, body)
        is_async = inspect.iscoroutinefunction(function)
        shape = cls(hints, body, context, is_async=is_async, has_body=bool(bodies))
        optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        shape.unfilled = [
            p.name for p in others if p.default is p.empty and p.kind not in optional and p not in bodies[:1]
        ]
        shape.context_index = _place_of_context(parameters, context)
        return shape

    def callable(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function as the worker calls it: the context by its name, wherever its parameter stands."""
        index, name = self.context_index, self.context
        if index is None or name is None:
            return function
        return lambda *args, **kwargs: function(*args[:index], kwargs.pop(name), *args[index:], **kwargs)


def check_instantiable(target: Any, where: str) -> None:
    """Raise DeclarationError for a class that wants arguments: the worker has none for it."""
    try:
        inspect.signature(target).bind()
    except TypeError as error:
        raise DeclarationError(
            f"{where}: the class is instantiated without arguments: {error}",
            hint="take what it needs in `def setup(self, ctx)`",
        ) from error
    except ValueError:  # a class in C shows no signature
        return


def _place_of_context(parameters: list[inspect.Parameter], context: str | None) -> int | None:
    """Where the context has to stand in the call: None when it follows the body and may be named."""
    for index, parameter in enumerate(parameters):
        if parameter.name == context:
            follows = any(p.kind is not p.KEYWORD_ONLY and p.kind is not p.VAR_KEYWORD for p in parameters[index + 1 :])
            return index if follows or parameter.kind is parameter.POSITIONAL_ONLY else None
    return None


def _hints(function: Any, where: str, localns: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, localns=dict(localns or {}), include_extras=False)
    except NameError as error:
        raise DeclarationError(
            f"{where}: an annotation cannot be resolved: {error}",
            hint="import the type at run time (not under TYPE_CHECKING), and define it before the handler",
        ) from error


def _is_context(annotation: Any) -> bool:
    return annotation is Context or Context in typing.get_args(annotation)


def _handle_method(target: type, where: str, *, batch: bool) -> Any:
    name = "handle_batch" if batch else "handle"
    method = getattr(target, name, None)
    if method is None:
        other = "handle" if batch else "handle_batch"
        hint = f"write `def {name}(self, body, ctx)`"
        if hasattr(target, other):
            hint += " or give the option batch=" + ("None" if batch else "N")
        raise DeclarationError(f"{where}: the class has no method {name}", hint=hint)
    return method


def _batch_member(where: str, annotation: Any) -> Any:
    if annotation is Any:
        return Any
    if annotation is list:
        return Any
    if typing.get_origin(annotation) is list:
        return typing.get_args(annotation)[0]
    raise DeclarationError(f"{where}: a batch handler takes list[T], not {annotation!r}")
