"""Case 31: a member that comes and goes costs nothing and repeats nothing: each message is handled once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .waiting import Log, Seen

if TYPE_CHECKING:
    from collections.abc import Callable

    import elsa
    from elsa.testing.kafka import Groups, Topics

pytestmark = pytest.mark.broker


def test_messages_are_handled_once_while_a_second_member_joins_and_leaves(
    make_app: Callable[..., elsa.App], topic: Topics, group: Groups, log: Log
) -> None:
    name, members = topic(2), group()
    seen: Seen[str] = Seen()
    revoked: Seen[list[Any]] = Seen()

    def member() -> elsa.App:
        app = make_app()

        @app.handler(name, group=members)
        def handle(body: str) -> None:
            seen(body)

        app.on_revoked(revoked)
        return app

    first, second = member(), member()
    with first:
        assert first.wait_ready()
        first.produce(name, [elsa_record("message3", p) for p in (0, 1)])
        seen.wait(2)
        with second:
            assert second.wait_ready()
            second.produce(name, [elsa_record("while two", p) for p in (0, 1)])
            seen.wait(4)
        first.produce(name, [elsa_record("message4", p) for p in (0, 1)])
        seen.wait(6)
        log.wait_committed(members, name, 3, 0)
        log.wait_committed(members, name, 3, 1)

    # one partition went over to the second, came back when it left, and both at the end
    assert len(revoked) == 3
    assert sorted(seen.items) == ["message3"] * 2 + ["message4"] * 2 + ["while two"] * 2


def elsa_record(value: str, partition: int) -> Any:
    from elsa.message import Record

    return Record(value, partition=partition)
