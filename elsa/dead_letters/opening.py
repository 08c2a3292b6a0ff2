"""Makes the DeadLetters of a topic, with what an app's handlers say; for `App.dead_letters` and `elsa dlq`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.dead_letters.desk import DeadLetters
from elsa.fetcher import Fetcher
from elsa.groups import Groups
from elsa.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from elsa.config import Settings
    from elsa.handlers import Handler


def open_topic(
    settings: Settings,
    topic: str,
    handlers: Iterable[Handler[Any, Any]] = (),
    *,
    topics: Topics | None = None,
    groups: Groups | None = None,
    fetcher: Fetcher | None = None,
    trace_send: Callable[..., Any] | None = None,
) -> DeadLetters:
    """The dead letters on a topic; clients that are not given are made, `trace_send` is an observer's."""
    declared = list(handlers)
    return DeadLetters(
        settings,
        topic,
        topics=topics or Topics(settings),
        groups=groups or Groups(settings),
        fetcher=fetcher or Fetcher(settings),
        handlers={one.name: one.group for one in declared},
        trace_send=trace_send,
        named={one.declared.dead_letter for one in declared if one.declared.dead_letter},
    )
