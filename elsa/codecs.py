"""Bodies to bytes and back: chosen once per handler by annotation, called by senders and the delivery."""

from __future__ import annotations

import importlib.util
import types
import typing
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec
import msgspec.inspect

from elsa.errors import DeclarationError, DecodeError, EncodeError
from elsa.message import Message

if TYPE_CHECKING:
    from collections.abc import Callable


@runtime_checkable
class Codec(Protocol):
    """A wire format: give an object with these two methods as `codec=`."""

    def encode(self, value: Any) -> bytes:
        """Bytes of `value`; any exception becomes an EncodeError at the call."""
        ...

    def decode(self, data: bytes, annotation: Any) -> Any:
        """The value of `data` as `annotation`; any exception makes the message a dead letter."""
        ...


class JsonCodec:
    """JSON by msgspec: Struct, dataclass, TypedDict, containers, dates, UUIDs; pydantic models by pydantic."""

    content_type = "application/json"

    def encode(self, value: Any) -> bytes:
        if _is_pydantic(type(value)):
            return typing.cast("bytes", value.model_dump_json().encode())
        return msgspec.json.encode(value)

    def decode(self, data: bytes, annotation: Any) -> Any:
        return self.decoder(annotation)(data)

    def decoder(self, annotation: Any) -> Callable[[bytes], Any]:
        if _is_pydantic(annotation):
            return typing.cast("Callable[[bytes], Any]", annotation.model_validate_json)
        if _mentions_pydantic(annotation):
            return typing.cast("Callable[[bytes], Any]", _type_adapter(annotation).validate_json)
        _refuse_custom(msgspec.inspect.type_info(annotation))
        return msgspec.json.Decoder(annotation).decode


class MsgpackCodec:
    """MessagePack by msgspec."""

    content_type = "application/msgpack"

    def encode(self, value: Any) -> bytes:
        return msgspec.msgpack.encode(value)

    def decode(self, data: bytes, annotation: Any) -> Any:
        return self.decoder(annotation)(data)

    def decoder(self, annotation: Any) -> Callable[[bytes], Any]:
        _refuse_custom(msgspec.inspect.type_info(annotation))
        return msgspec.msgpack.Decoder(annotation).decode


NAMED: dict[str, Codec] = {"json": JsonCodec(), "msgpack": MsgpackCodec()}


def resolve(codec: str | Codec) -> Codec:
    """The codec of that name, or the object itself when it has `encode` and `decode`."""
    if isinstance(codec, str):
        if codec not in NAMED:
            raise DeclarationError(
                f"there is no codec {codec!r}", hint=f"use one of {sorted(NAMED)} or an object with encode and decode"
            )
        return NAMED[codec]
    if not isinstance(codec, Codec):
        raise DeclarationError(f"{codec!r} is no codec", hint="it needs encode(value) and decode(data, annotation)")
    return codec


def encode(value: Any, codec: Codec) -> bytes | None:
    """Bytes of a body: bytes and None stay, str is UTF-8, everything else goes through the codec."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    try:
        return codec.encode(value)
    except Exception as error:  # a codec may raise anything; the caller gets one typed error
        raise EncodeError(f"{type(value).__name__} cannot be encoded: {error}") from error


def encoder(codec: Codec) -> Callable[[Any], bytes | None]:
    """`encode` with the codec bound, and its common case (a value that JSON can hold) first."""
    if codec is not NAMED["json"]:
        return lambda value: encode(value, codec)
    to_json = msgspec.json.Encoder().encode

    def run(value: Any) -> bytes | None:
        kind = type(value)
        if kind is bytes or kind is str or value is None:
            return encode(value, codec)
        try:
            return to_json(value)
        except Exception:  # pydantic models and what cannot be encoded at all: the general form knows
            return encode(value, codec)

    return run


def body_decoder(annotation: Any, codec: Codec, where: str) -> Callable[[bytes | None], Any] | None:
    """A function from a message's value to the body of that annotation; None for `elsa.Message` (undecoded).

    Raises DeclarationError when the codec cannot handle the annotation. The returned function raises
    DecodeError for a body that does not fit, and for a tombstone unless the annotation allows None.
    """
    nullable, inner = _split_optional(annotation)
    if inner is Message:
        return None
    if inner is bytes:
        return _bytes_decoder(nullable=nullable)
    if inner is str:
        typed: Callable[[bytes], Any] = _decode_text
    else:
        typed = typed_decoder(inner, codec, where)

    def decode(value: bytes | None) -> Any:
        if value is None:
            if nullable:
                return None
            raise DecodeError("the message is a tombstone (no value)", hint="annotate the body as `... | None`")
        try:
            return typed(value)
        except Exception as error:  # whatever a codec raises on bad bytes means the same: undecodable
            raise DecodeError(f"{type(error).__name__}: {error}") from error

    return decode


def _bytes_decoder(*, nullable: bool) -> Callable[[bytes | None], Any]:
    def decode(value: bytes | None) -> Any:
        if value is None and not nullable:
            raise DecodeError("the message is a tombstone (no value)", hint="annotate the body as `bytes | None`")
        return value

    return decode


def _decode_text(value: bytes) -> str:
    return value.decode()


def typed_decoder(annotation: Any, codec: Codec, where: str) -> Callable[[bytes], Any]:
    """A function from bytes to a value of that annotation; raises DeclarationError when there is none."""
    maker = getattr(codec, "decoder", None)
    if maker is None:
        return lambda data: codec.decode(data, annotation)
    try:
        return typing.cast("Callable[[bytes], Any]", maker(annotation))
    except Exception as error:  # msgspec and pydantic raise different things for types they can't handle
        raise DeclarationError(
            f"{where}: a body of type {annotation!r} cannot be decoded: {error}",
            hint="use bytes, str, dict, list, a msgspec.Struct, dataclass, TypedDict, pydantic model or elsa.Message",
        ) from error


def _split_optional(annotation: Any) -> tuple[bool, Any]:
    """(whether None is allowed, the annotation without None)."""
    if annotation is Any:
        return False, Any
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        args = typing.get_args(annotation)
        rest = tuple(arg for arg in args if arg is not type(None))
        if len(rest) < len(args):
            return True, rest[0] if len(rest) == 1 else typing.Union[rest]  # noqa: UP007 - built at run time
    return False, annotation


def _refuse_custom(info: Any) -> None:
    """Msgspec takes any class and fails on the first message: say it when the handler is declared."""
    if isinstance(info, msgspec.inspect.CustomType):
        raise TypeError(f"{info.cls.__qualname__} is no type that can be decoded")
    inner = [getattr(info, name, None) for name in ("item_type", "key_type", "value_type")]
    for one in (*inner, *getattr(info, "types", ()), *getattr(info, "item_types", ())):
        if one is not None:
            _refuse_custom(one)


def _is_pydantic(annotation: Any) -> bool:
    # looked up by attribute, so that pydantic is never imported for those who do not use it
    return isinstance(annotation, type) and hasattr(annotation, "__pydantic_validator__")


def _mentions_pydantic(annotation: Any) -> bool:
    return any(_is_pydantic(arg) or _mentions_pydantic(arg) for arg in typing.get_args(annotation))


def _type_adapter(annotation: Any) -> Any:
    if importlib.util.find_spec("pydantic") is None:  # pragma: no cover - a pydantic model without pydantic
        raise DeclarationError("pydantic is not installed", hint="pip install elsa[pydantic]")
    import pydantic  # noqa: PLC0415 - an optional extra

    return pydantic.TypeAdapter(annotation)
