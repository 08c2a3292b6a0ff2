"""Reads when the first message at or after an offset was written, of many partitions; called by elsa.monitor.survey."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.clock import SYSTEM
from elsa.kafka.reader import EndOfPartition, Reader
from elsa.message import Message, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.config import Settings

_POLL_SECONDS = 0.1
#: messages of one turn: of a partition only the first one counts, so more would be waste (measured with 1,000)
_SLICE = 20


def timestamps(
    settings: Settings, offsets: Mapping[TopicPartition, int], seconds: float, *, read_committed: bool = True
) -> dict[TopicPartition, float | None]:
    """Seconds since the epoch of the first message from each offset on, None where the rest holds no message.

    A rest without a message is compacted away, or transaction markers and what was aborted. A partition that could
    not be read within `seconds`, or whose message has no timestamp, is left out. Raises what can't heal, a missing
    right to read a topic among it.
    """
    found: dict[TopicPartition, float | None] = {}
    if not offsets:
        return found
    left = set(offsets)
    end = SYSTEM.monotonic() + seconds
    with Reader(settings, wait_milliseconds=100, one_each=True, read_committed=read_committed) as reader:
        reader.assign_all(offsets)
        while left and (rest := end - SYSTEM.monotonic()) > 0:
            done = set()
            for item in reader.read(min(rest, _POLL_SECONDS), _SLICE):
                where = TopicPartition(item.topic, item.partition)
                if where not in left:
                    continue
                left.discard(where)
                done.add(where)
                if isinstance(item, EndOfPartition):
                    found[where] = None
                elif isinstance(item, Message) and item.timestamp is not None:
                    found[where] = item.timestamp
            if done:
                # or the next fetch brings more of what nobody looks at
                reader.remove(done)
    return found
