"""A reader whose place was deleted by retention is told so, and can go on at what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from elsa.kafka.reader import OutOfRange, Reader
from elsa.message import Message

if TYPE_CHECKING:
    from elsa.config import Settings
    from elsa.topics import Topics

pytestmark = pytest.mark.broker


def test_reading_goes_on_behind_the_gap(settings: Settings, topics: Topics, data_set: str) -> None:
    topics.delete_records(data_set, {0: 8})
    offsets: list[int] = []
    with Reader(settings) as reader:
        reader.assign(data_set, {0: 2, 1: 9})
        while len(offsets) < 3:
            for event in reader.read(10):
                if isinstance(event, OutOfRange):
                    reader.seek(data_set, event.partition, 8)
                elif isinstance(event, Message):
                    offsets.append(event.offset)

    assert sorted(offsets) == [8, 9, 9]
