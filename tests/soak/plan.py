"""What the soak runs: its topics, how many keys they have, and which message does what; read by every program of it."""

from __future__ import annotations

from dataclasses import dataclass

PARTITIONS = 6
GROUP = "soak"
#: where handlers send to
OUT = "soak-out"


@dataclass(frozen=True, slots=True)
class Lane:
    """One topic with its handler: so many keys, and so many messages wait in it all the time."""

    topic: str
    keys: int
    backlog: int


#: a handler on the event loop, one in threads, one of batches, one in child processes
LANES = (
    Lane("soak-async", 1_000_000, 100_000),
    Lane("soak-threads", 1_000_000, 100_000),
    Lane("soak-batch", 1_000_000, 100_000),
    Lane("soak-process", 1_000, 100),
)

#: keys that come again and again, so that most of what waits of them waits for one another
HOT_KEYS = 50


def key_of(number: int, keys: int) -> int:
    """The key of a lane's message: one in ten is a hot one, one in ten that of the one before, the others go round."""
    rest = number % 10
    if rest == 0:
        return number // 10 % HOT_KEYS
    before = rest if rest < 9 else 8
    return HOT_KEYS + (number // 10 * 8 + before - 1) % (keys - HOT_KEYS)


def fails(number: int, attempt: int) -> bool:
    """Whether this attempt raises: some messages fail once or twice, some always."""
    return (number % 997 == 5 and attempt <= 2) or is_poison(number)


def is_poison(number: int) -> bool:
    """Whether every attempt fails, so that it ends as a dead letter."""
    return number % 20_011 == 7


def is_rejected(number: int) -> bool:
    """Whether its handler refuses it at once."""
    return number % 30_011 == 11


def is_slow(number: int) -> bool:
    """Whether its call takes so long that much is finished above it."""
    return number % 50_021 == 13


def sends(number: int) -> bool:
    """Whether its call sends a message."""
    return number % 101 == 3


def defers(number: int) -> bool:
    """Whether it is acknowledged some time after its call."""
    return number % 211 == 17
