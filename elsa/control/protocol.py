"""What travels over `{app}.control` and `{app}.status`, and whom a command is for; values without any client.

A message is one JSON object with `v`, the version of this format, and `type`:

| type | topic | key | says |
|---|---|---|---|
| `command` | control | its id | what is to be done (`name`, `arguments`), by whom (`target`), for how long (`ttl`) |
| `answer` | control | the command's | which `worker` answers, its `result`, or `error` and `is_absent` |
| `status` | status | the worker | how a worker process is; a tombstone when it has ended in order |

Anything else is somebody else's, or of a later version: `decode` gives None for it.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

#: what a log may be set to
LEVELS = ("debug", "info", "warning", "error", "critical")
#: seconds between two reports of a worker process
STATUS_SECONDS = 5.0
#: a worker process that has not reported for so long is not expected to answer
SILENT_SECONDS = 3 * STATUS_SECONDS


class Target(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whom a command is for: everything that is given has to fit, nothing given is everybody.

    `worker` is a process by its name, or by the number of its slot.

    >>> Target(topic="orders", partition=3)
    Target(worker=None, handler=None, group=None, topic='orders', partition=3)
    """

    worker: str | None = None
    handler: str | None = None
    group: str | None = None
    topic: str | None = None
    partition: int | None = None

    def is_for(self, worker: str, slot: int | None) -> bool:
        """Whether a worker process is meant.

        >>> Target(worker="2").is_for("shop-host-2", 2), Target(worker="shop").is_for("shop-host-2", 2)
        (True, False)
        """
        return self.worker is None or self.worker in (worker, None if slot is None else str(slot))

    def fits(
        self,
        *,
        handlers: tuple[str, ...] | None = None,
        group: str | None = None,
        topics: tuple[str, ...] | None = None,
        partition: int | None = None,
    ) -> bool:
        """Whether something with these names is meant; None leaves a name (or the partition) open.

        >>> Target(topic="orders", partition=3).fits(topics=("orders",), partition=2)
        False
        """
        return (
            (self.handler is None or handlers is None or self.handler in handlers)
            and (self.group is None or self.group == group)
            and (self.topic is None or topics is None or self.topic in topics)
            and (self.partition is None or partition is None or self.partition == partition)
        )

    def covers(self, other: Target) -> bool:
        """Whether everything that `other` means is meant here, too.

        >>> Target(topic="orders").covers(Target(topic="orders", partition=3))
        True
        """
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return all(mine is None or mine == theirs for mine, theirs in pairs)

    def __str__(self) -> str:
        """In words.

        >>> str(Target(handler="shop.bill", topic="orders", partition=3)), str(Target())
        ('handler shop.bill, partition 3 of topic orders', 'everything')
        """
        parts = [f"{name} {value}" for name in ("worker", "handler", "group") if (value := getattr(self, name))]
        if self.topic is not None:
            parts.append(f"topic {self.topic}" if self.partition is None else self._place())
        elif self.partition is not None:
            parts.append(f"partition {self.partition}")
        return ", ".join(parts) or "everything"

    def _place(self) -> str:
        return f"partition {self.partition} of topic {self.topic}"


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="command"):
    """Something to be done or told; a worker that reads it more than `ttl` seconds late leaves it."""

    name: str
    id: str
    target: Target = Target()
    arguments: dict[str, Any] = {}
    ttl: float = 10.0
    v: Literal[1] = 1


class Answer(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="answer"):
    """What one worker process answers: a result, or an error; `is_absent` when it has nothing of what was named."""

    id: str
    worker: str
    result: Any = None
    error: str | None = None
    is_absent: bool = False
    v: Literal[1] = 1


class Tally(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker process has counted of one handler on one topic since it began.

    `spread` says how many calls took how long: pairs of a bucket's upper bound in seconds (None: longer than all of
    them) and the calls in it, up to the last bucket that has any.
    """

    group: str | None
    topic: str
    handler: str
    #: messages that it works on now
    running: int = 0
    #: messages by what came of them
    outcomes: dict[str, int] = {}
    exceptions: int = 0
    spread: list[tuple[float | None, int]] = []

    @property
    def has_run(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.running or self.outcomes or self.exceptions)


class Status(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="status"):
    """How a worker process is; `partitions` are `elsa.observer.PartitionSnapshot`s as mappings."""

    worker: str
    host: str
    pid: int
    version: str
    started_at: float
    slot: int | None = None
    is_ready: bool = False
    is_quiet: bool = False
    is_stopping: bool = False
    groups: list[str] = []
    handlers: list[str] = []
    #: calls that run now
    running: int = 0
    #: messages in the control topic that nobody could read
    ignored: int = 0
    partitions: list[dict[str, Any]] = []
    #: None where nothing is counted: in a program that runs an App by itself
    tallies: list[Tally] | None = None
    v: Literal[1] = 1


Content = Command | Answer | Status


def encode(value: Content) -> bytes:
    """The bytes of a message; what JSON has no form for becomes text."""
    return msgspec.json.encode(value, enc_hook=str)


_decoder: msgspec.json.Decoder[Content] = msgspec.json.Decoder(Content)


def decode(data: bytes | None) -> Content | None:
    """What a message says; None when it is none of ours, or of a version that this one does not know.

    >>> decode(encode(Command(name="ping", id="1"))).name
    'ping'
    >>> decode(b"hello"), decode(b'{"type":"command","v":2,"name":"ping","id":"1"}')
    (None, None)
    """
    try:
        return _decoder.decode(data or b"")
    except msgspec.MsgspecError:
        return None
