"""The kinds of handlers under stress, and what each promises; read by the stream, the app and the account.

A further kind is a row here and a handler in app.py.
"""

from __future__ import annotations

from dataclasses import dataclass

#: partitions that each topic has at first
PARTITIONS = 6
#: keys of one partition; a key stays in its partition also when others are added
KEYS = 8
#: what becomes of a message: it is handled, handled at the third attempt, or rejected
OK, FAIL, REJECT = 0, 1, 2
#: the attempts that a FAIL message fails
FAILURES = 2


@dataclass(frozen=True, slots=True)
class Kind:
    """One handler with a topic of its own.

    `is_moved`: what failed comes back by a topic, to any worker. `is_ordered`: each key in order. `is_exact`: no
    duplicate, whatever is killed. `has_output`: what counts is what it sends to `output`, as readers of committed
    messages see it, not that it was called. Of every `fail_every` messages one fails at first, of every `reject_every`
    one becomes a dead letter (0: none).
    """

    name: str
    is_moved: bool = False
    is_ordered: bool = False
    is_exact: bool = False
    has_output: bool = False
    fail_every: int = 0
    reject_every: int = 0

    @property
    def topic(self) -> str:
        return f"stress-{self.name}"

    @property
    def output(self) -> str:
        return f"stress-{self.name}-out"

    def fate(self, number: int) -> int:
        """What becomes of a message of the steady stream."""
        if self.reject_every and number % self.reject_every == 0:
            return REJECT
        if self.fail_every and number % self.fail_every == 0:
            return FAIL
        return OK


KINDS = (
    Kind("key", is_ordered=True, fail_every=31),
    Kind("partition", is_ordered=True, fail_every=97),
    Kind("none", fail_every=7, reject_every=50),
    Kind("moved", is_moved=True, fail_every=9, reject_every=50),
    Kind("relayed", is_ordered=True, has_output=True),
    Kind("exact", is_ordered=True, is_exact=True, has_output=True, fail_every=31),
)
