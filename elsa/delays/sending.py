"""Sends that are to arrive later, or not at all after some time; called by handlers and the App before a send."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from elsa import headers as names
from elsa.clock import SYSTEM
from elsa.delays import topics as delay_topics
from elsa.errors import UnknownTopic
from elsa.ids import uuid7
from elsa.message import Record
from elsa.names import cancelled_topic, delay_topic
from elsa.policies import delay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.app import App
    from elsa.clock import Clock

#: options of a send that belong here
OPTIONS = ("delay", "eta", "expires")
#: nobody means the year 5138, but milliseconds instead of seconds
_FAR_SECONDS = 1e11
#: nor 1970, but seconds from now
_LONG_AGO_SECONDS = 1e8
_OWN = dict.fromkeys((names.EXPIRES_AT, names.SENT_AT))


@dataclass(frozen=True, slots=True)
class Timing:
    """When a message is to be delivered, and after which time no more; seconds of the epoch."""

    sent: float
    due: float | None = None
    expires: float | None = None

    @property
    def waits(self) -> bool:
        return self.due is not None and self.due > self.sent


def timing(options: dict[str, Any], clock: Clock = SYSTEM) -> Timing | None:
    """Take `delay`, `eta` and `expires` out of the options of a send; None without any.

    `delay` and `expires` are seconds or a timedelta from now on, `eta` and also `expires` a datetime with a time
    zone. Raises TypeError for anything else, and for `delay` and `eta` together.
    """
    given = {name: value for name in OPTIONS if (value := options.pop(name, None)) is not None}
    if not given:
        return None
    if "delay" in given and "eta" in given:
        raise TypeError("delay= and eta= say the same thing: give one of them")
    now = clock.now()
    due = _moment("eta", given["eta"], None) if "eta" in given else None
    if "delay" in given:
        due = now + _seconds("delay", given["delay"])
    expires = _moment("expires", given["expires"], now) if "expires" in given else None
    if due is not None and expires is not None and expires <= due:
        raise TypeError(f"expires={given['expires']!r} is over before the message is due")
    return Timing(now, due, expires)


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise TypeError(f"{name}={value!r} is neither seconds from now nor a timedelta")
    if value >= _FAR_SECONDS:
        raise TypeError(f"{name}={value!r} is more than 3,000 years: give seconds from now")
    return float(value)


def _moment(name: str, value: Any, now: float | None) -> float:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise TypeError(f"{name}={value!r} has no time zone: add tzinfo=datetime.UTC, for example")
        return value.timestamp()
    if now is not None:
        return now + _seconds(name, value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{name}={value!r} is neither a datetime with a time zone nor seconds of the epoch")
    if value >= _FAR_SECONDS:
        raise TypeError(f"{name}={value!r} looks like milliseconds: give seconds of the epoch")
    if value < _LONG_AGO_SECONDS:
        raise TypeError(f"{name}={value!r} looks like seconds from now: give seconds of the epoch, or delay={value!r}")
    return float(value)


def address(app: App, topic: str, when: Timing, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The topic and options of a send so that it happens at its time: through a delay topic if that is not now.

    Raises what a send to `topic` would raise: a topic or partition that does not exist is told at once.
    """
    given = dict(options)
    pairs = names.without(names.pairs(given.pop("headers", None)), _OWN)
    pairs.append((names.SENT_AT, f"{when.sent:.3f}".encode()))
    if when.expires is not None:
        pairs.append((names.EXPIRES_AT, f"{when.expires:.3f}".encode()))
    if given.get("id") is None:
        given["id"] = uuid7()
    if when.waits:
        assert when.due is not None
        # the rules by which this App chooses a partition are known here, not where it is let go
        partition = app.producer.target(
            topic, given.get("key"), given.pop("partition", None), given.pop("partitioner", None)
        )
        target = topic if partition is None else f"{topic}:{partition}"
        pairs = delay.envelope(pairs, due=when.due, target=target)
        seconds = delay.tier(when.due - when.sent)
        assert seconds is not None
        topic = delay_topic(app.name, seconds)
        # the delay topic has its own stamp, and the target that of its arrival
        given.pop("timestamp", None)
    given["headers"] = pairs
    return topic, given


def create_missing(app: App, topic: str) -> bool:
    """Make the topics of delayed messages if `topic` is one of them and the settings say so."""
    if not app.settings.creates_topics or topic not in delay_topics.delay_topics(app.name):
        return False
    delay_topics.create(app)
    return True


def cancel(app: App, message_id: Any, ttl: float, timeout: float) -> None:
    """Note that a message is not to be delivered; raises what the broker says."""
    if not isinstance(message_id, str) or not message_id:
        raise TypeError(f"id={message_id!r} is no message's id: give the text that `Delivery.id` says")
    until = app.clock.now() + _seconds("ttl", ttl)
    topic = cancelled_topic(app.name)
    record = Record(b"1", key=message_id, headers=[(names.EXPIRES_AT, f"{until:.3f}".encode())])
    try:
        app.produce(topic, record, timeout=timeout)
    except UnknownTopic:
        if not app.settings.creates_topics:
            raise
        delay_topics.create(app)
        app.produce(topic, record, timeout=timeout)
