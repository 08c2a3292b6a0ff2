"""Bodies to bytes and back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypedDict

import msgspec
import pydantic
import pytest

from elsa.codecs import NAMED, body_decoder, encode, resolve
from elsa.errors import DeclarationError, DecodeError, EncodeError
from elsa.message import Message

JSON = NAMED["json"]


class Order(msgspec.Struct):
    id: int
    at: datetime | None = None


@dataclass
class Plain:
    id: int


class Typed(TypedDict):
    id: int


class Model(pydantic.BaseModel):
    id: int


def decode(annotation: Any, data: bytes | None) -> Any:
    decoder = body_decoder(annotation, JSON, "handler h")
    assert decoder is not None
    return decoder(data)


@pytest.mark.parametrize(
    ("annotation", "data", "expected"),
    [
        (Order, b'{"id":1}', Order(1)),
        (Plain, b'{"id":1}', Plain(1)),
        (Typed, b'{"id":1}', {"id": 1}),
        (Model, b'{"id":1}', Model(id=1)),
        (list[Model], b'[{"id":1}]', [Model(id=1)]),
        (dict, b'{"id":1}', {"id": 1}),
        (list[int], b"[1,2]", [1, 2]),
        (Any, b'"x"', "x"),
        (int | str, b'"x"', "x"),
        (bytes, b"\xff", b"\xff"),
        (str, "é".encode(), "é"),
        (Order | None, b'{"id":1}', Order(1)),
        (Order | None, None, None),
        (bytes | None, None, None),
        (str | None, None, None),
    ],
)
def test_a_body_is_decoded_to_its_annotation(annotation: Any, data: bytes | None, expected: Any) -> None:
    assert decode(annotation, data) == expected


@pytest.mark.parametrize(
    ("annotation", "data"),
    [(Order, b'{"id":"x"}'), (Order, b"{"), (Model, b'{"id":"x"}'), (str, b"\xff"), (dict, b"[1]"), (Plain, b"{}")],
)
def test_a_body_that_does_not_fit_is_a_decode_error(annotation: Any, data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(annotation, data)


@pytest.mark.parametrize("annotation", [Order, str, bytes, Any, Model])
def test_a_tombstone_needs_an_annotation_that_allows_none(annotation: Any) -> None:
    with pytest.raises(DecodeError, match="tombstone"):
        decode(annotation, None)


def test_a_message_is_not_decoded() -> None:
    assert body_decoder(Message, JSON, "h") is None


def test_a_type_that_cannot_be_decoded_is_refused_at_declaration() -> None:
    class Odd: ...

    with pytest.raises(DeclarationError, match="handler h: a body of type"):
        body_decoder(list[Odd], JSON, "handler h")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), (b"x", b"x"), ("é", "é".encode()), (Order(1), b'{"id":1,"at":null}'), (Model(id=1), b'{"id":1}')],
)
def test_encode_keeps_bytes_and_none(value: Any, expected: bytes | None) -> None:
    assert encode(value, JSON) == expected


def test_what_was_encoded_decodes_to_itself() -> None:
    order = Order(1, datetime(2026, 1, 2, tzinfo=UTC))

    for codec in NAMED.values():
        decoder = body_decoder(Order, codec, "h")
        assert decoder is not None
        assert decoder(encode(order, codec)) == order


def test_a_value_that_cannot_be_encoded_is_named() -> None:
    with pytest.raises(EncodeError, match="object cannot be encoded"):
        encode(object(), JSON)


def test_a_codec_of_ones_own_is_taken() -> None:
    class Reversed:
        def encode(self, value: Any) -> bytes:
            return bytes(reversed(value.encode()))

        def decode(self, data: bytes, annotation: Any) -> Any:
            return annotation(bytes(reversed(data)).decode())

    codec = resolve(Reversed())
    decoder = body_decoder(int, codec, "h")

    assert decoder is not None
    assert decoder(b"21") == 12
    with pytest.raises(DecodeError):
        decoder(b"x")


def test_unknown_codecs_are_refused() -> None:
    with pytest.raises(DeclarationError, match="there is no codec 'yaml'"):
        resolve("yaml")
    with pytest.raises(DeclarationError, match="is no codec"):
        resolve(object())  # type: ignore[arg-type]  # the point of the test
