"""What a polled item with an error means; asked by the group manager's intake, the mover and the reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elsa.kafka import codes
from elsa.kafka.codes import Class, meaning
from elsa.kafka.errors import ClientError, facts_of, is_unknown_topic, translate

if TYPE_CHECKING:
    from elsa.config import Settings
    from elsa.errors import ElsaError

_END = codes.numbers("_PARTITION_EOF")
_OUT_OF_RANGE = codes.numbers(codes.OUT_OF_RANGE)


class Event:
    """What a polled item with an error means; see `classify`."""

    END_OF_PARTITION = "end"
    OUT_OF_RANGE = "out of range"
    WAITING = "waiting"
    REBUILD = "rebuild"
    REFUSED = "refused"
    PASSING = "passing"
    IGNORED = "ignored"


_BY_CLASS = {
    Class.REBUILD: Event.REBUILD,
    Class.FATAL: Event.REFUSED,
    Class.RETRY: Event.PASSING,
    Class.IGNORE: Event.IGNORED,
}


def classify(raw: Any, *, has_group: bool = True) -> str:
    """What kind of event an item with an error is; who reads without a group needs no right on one."""
    error = raw.error()
    if not has_group and error.code() == ClientError.GROUP_AUTHORIZATION_FAILED:
        # librdkafka (2.16) asks for the coordinator of its group.id, whatever it is used for
        return Event.IGNORED
    if error.code() in _END:
        return Event.END_OF_PARTITION
    if error.code() in _OUT_OF_RANGE:
        return Event.OUT_OF_RANGE
    return Event.WAITING if is_unknown_topic(error) else _BY_CLASS[meaning(error).name]


def event_error(raw: Any, settings: Settings, group: str | None) -> ElsaError:
    """The error that a polled item brings, with its place; the topic is None when it is about the group."""
    place = {"topic": raw.topic(), "partition": raw.partition(), "offset": raw.offset()}
    if raw.topic() is None:
        place.clear()
    return translate(raw.error(), **facts_of(settings), group=group, operation="Read", **place)
