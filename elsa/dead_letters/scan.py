"""Goes through the messages of a dead-letter topic once, in order, and keeps account of what was passed.

Used by runs, which need to know below which offset nothing is left open, and by everything that only looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.dead_letters.letter import DeadLetter

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping

    from elsa.dead_letters.filters import Filter
    from elsa.dead_letters.marks import Marks
    from elsa.message import Message


#: messages after which somebody may want to know how far it is
LOOKED_AFTER = 1_000


class Scan:
    """One passage over the log between two states of it; belongs to one thread.

    `stream(starts, ends)` gives the messages between two offsets of each partition, partition by partition. `lows` and
    `ends` bound the log of each, `marks` say what of it is handled, `since` gives offsets below which nothing is meant.
    Iterating yields the dead letters that the filter means, handled ones only with `again`, until `stop` is set.
    `leave` says of one that was yielded that it stays open; the others count as passed.
    """

    def __init__(
        self,
        stream: Callable[[Mapping[int, int], Mapping[int, int]], Iterator[Message]],
        wanted: Filter,
        *,
        topic: str,
        stop: threading.Event,
        lows: Mapping[int, int],
        ends: Mapping[int, int],
        marks: Mapping[int, Marks],
        since: Mapping[int, int] | None = None,
        again: bool = False,
    ) -> None:
        self.topic = topic
        self._stream = stream
        self._stop = stop
        self._wanted = wanted
        self._marks = marks
        self._again = again
        #: the first message of each partition that is open and stays so
        self._open: dict[int, int] = {}
        self._position: dict[int, int] = {}
        self._starts: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        for partition, end in ends.items():
            base = max(marks[partition].base, lows[partition])
            start, end = self._bounds(partition, lows[partition] if again else base, end, since or {})  # noqa: PLW2901 - narrowed
            if start >= end:
                continue
            self._starts[partition], self._ends[partition] = start, end
            self._position[partition] = min(start, base)
            if start > base:
                # what lies between is not looked at, so nobody knows whether it is open
                self._open[partition] = base
        #: offsets to look at
        self.span = sum(end - self._starts[partition] for partition, end in self._ends.items())

    def _bounds(self, partition: int, start: int, end: int, since: Mapping[int, int]) -> tuple[int, int]:
        start = max(start, since.get(partition, start))
        if not self._wanted.places:
            return start, end
        offsets = [offset for place, offset in self._wanted.places if place == partition]
        return max(start, min(offsets, default=end)), min(end, max(offsets, default=start - 1) + 1)

    def __iter__(self) -> Iterator[DeadLetter]:
        return self.letters(lambda: None)

    def letters(self, looked: Callable[[], None]) -> Iterator[DeadLetter]:
        """The passage; calls `looked` now and then, also while nothing is found."""
        passed: int | None = None
        for count, message in enumerate(self._stream(self._starts, self._ends), 1):
            if self._stop.is_set():
                return
            if count % LOOKED_AFTER == 0:
                looked()
            partition, offset = message.partition, message.offset
            if passed not in (None, partition):
                self._finish(upto=partition)
            passed = partition
            is_handled = self._marks[partition].has(offset)
            if is_handled and not self._again:
                self._position[partition] = offset + 1
                continue
            letter = DeadLetter.of(message, is_handled=is_handled)
            if self._wanted.matches(letter):
                self._position[partition] = offset + 1
                yield letter
            else:
                if not is_handled:
                    self._open.setdefault(partition, offset)
                self._position[partition] = offset + 1
        self._finish(upto=None)

    def _finish(self, upto: int | None) -> None:
        """Partitions below this one have been read to their ends; behind the last message may lie markers."""
        for partition, end in self._ends.items():
            if upto is None or partition < upto:
                self._position[partition] = end

    @property
    def passed(self) -> int:
        """Offsets that are looked at."""
        return sum(max(0, self._position[partition] - start) for partition, start in self._starts.items())

    def leave(self, letter: DeadLetter) -> None:
        """This one stays open."""
        if not letter.is_handled:
            first = self._open.get(letter.partition, letter.offset)
            self._open[letter.partition] = min(first, letter.offset)

    def bases(self) -> dict[int, int]:
        """The offset of each partition below which nothing is open, once all that was yielded is handled."""
        return {
            partition: min(position, self._open.get(partition, position))
            for partition, position in self._position.items()
        }
