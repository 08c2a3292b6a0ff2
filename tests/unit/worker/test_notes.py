"""What the banner says of options that cost something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.worker.process import notes

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-notes")
    yield app
    app.stop()


MOVES = elsa.Retry(where="topic")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, []),
        ({"retry": MOVES, "ordering": "none"}, []),
        ({"retry": MOVES}, ["h: order ends at the first retry, what comes behind it in its partition passes it"]),
        (
            {"retry": elsa.Retry(per={OSError: MOVES}), "ordering": "key"},
            ["h: order ends at the first retry, what comes behind it in its key passes it"],
        ),
        (
            {"timeout": 5, "executor": "thread"},
            ['h: timeout=5 s only sets ctx.deadline, a thread cannot be interrupted; executor="process" can'],
        ),
    ],
)
def test_they_are_told_before_anybody_relies_on_them(app: elsa.App, options: Any, expected: list[str]) -> None:
    @app.handler("t", name="h", **options)
    def handle(body: bytes) -> None:
        """Never called."""

    assert notes(handle) == expected
