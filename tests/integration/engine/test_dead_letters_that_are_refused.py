"""While a dead letter cannot be written its partition holds: nothing is lost, nothing loops, and it heals by itself.

A copy that is too large goes without its traceback, in the end as a stub that says where the message lies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .waiting import Log, Seen, stays, until

if TYPE_CHECKING:
    from collections.abc import Callable

    import elsa
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def test_the_partition_holds_until_the_copy_is_written(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()
    # not even a stub fits
    name, dead = topic(), topic(1, {"max.message.bytes": "100"})
    seen: Seen[str] = Seen()

    @app.handler(name, retry=None, dead_letter=dead)
    def handle(body: str) -> None:
        seen(body)
        if body == "bad":
            raise ValueError

    app.produce(name, ["good", "bad", "behind"])
    with app:
        seen.wait(3)
        until(
            lambda: any(r.__dict__.get("event") == "dead_letter_refused" for r in caplog.records), "the copy is refused"
        )
        stays(lambda: log.committed(app.name, name) in (None, 1), 1.2, "the committed offset")
        app.topics.alter(dead, {"max.message.bytes": "100000"})
        log.wait_committed(app.name, name, 3)

    (copy,) = log.read(dead)
    assert copy.header("elsa-origin") == f"{name}:0:1".encode()
    assert seen.items == ["good", "bad", "behind"]


@pytest.mark.parametrize(("limit", "value"), [(6_500, b"x" * 5_000), (2_000, b"")])
def test_a_copy_that_is_too_large_is_reduced(app: elsa.App, topic: Topics, log: Log, limit: int, value: bytes) -> None:
    name, dead = topic(), topic(1, {"max.message.bytes": str(limit)})

    @app.handler(name, retry=None, dead_letter=dead)
    def handle(body: bytes) -> None:
        raise ValueError("long " * 2_000)

    app.produce(name, b"x" * 5_000)
    with app:
        (copy,) = log.wait_for(dead, 1)
        log.wait_committed(app.name, name, 1)

    assert copy.value == value
    assert copy.header("elsa-traceback") is None
    assert copy.header("elsa-origin") == f"{name}:0:0".encode()
    assert copy.header("elsa-error-type") == b"builtins.ValueError"
