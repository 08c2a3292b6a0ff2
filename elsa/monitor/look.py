"""What one look at consumer groups has seen, and the rules of lag; values without any client, made by `survey`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from elsa.errors import ConfigError
from elsa.message import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from elsa.control.protocol import Status, Tally
    from elsa.kafka.admin import GroupInfo, MemberInfo

#: the state of a group that was asked for by its name and does not exist
DEAD = "dead"


@dataclass(frozen=True, slots=True)
class PartitionState:
    """How far a group is in one partition.

    `end` is where a reader of committed messages comes to an end. `lag` counts offsets, so compaction and
    transaction markers make it an upper bound of messages; 0 where no message is left up to the end. `lag_seconds` is
    the age of the first message that is not committed: 0 when there is none, None when it could not be read.
    """

    topic: str
    partition: int
    committed: int | None
    low: int
    end: int
    lag: int
    lag_seconds: float | None
    owner: str | None


@dataclass(frozen=True, slots=True)
class GroupState:
    """A group by its coordinator: `members` is how many, `state` one of stable, empty, dead, ..."""

    name: str
    state: str
    protocol: str
    members: int
    partitions: tuple[PartitionState, ...] = ()

    @property
    def lag(self) -> int:
        """Of all partitions."""
        return sum(each.lag for each in self.partitions)

    @property
    def oldest_seconds(self) -> float | None:
        """Age of the oldest message that is not committed; None when no age is known."""
        known = [each.lag_seconds for each in self.partitions if each.lag_seconds is not None]
        return max(known, default=None if self.partitions else 0.0)


@dataclass(frozen=True, slots=True)
class Failure:
    """What could not be seen: a group, a partition, the ages of a topic, or what a broker has to tell (cluster)."""

    what: str
    name: str
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Request:
    """What to look at.

    `groups` are names, or patterns with `*` and `?`; none means all. `topics` leaves out the others. Ages are read
    for at most `ages_seconds`. `app` asks for the reports of that app's workers as well.
    """

    groups: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    read_committed: bool = True
    ages_seconds: float = 3.0
    app: str | None = None

    def __post_init__(self) -> None:
        for what, names in (("group", self.groups), ("topic", self.topics)):
            if "" in names:
                hint = "is a variable of the shell empty?"
                raise ConfigError(f"a {what} without a name is to be looked at", hint=hint)


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker process reported last, when the broker has stamped it, and what it had counted at an earlier time.

    `before` is None where there is no earlier report of this process.
    """

    stamp: float
    status: Status
    before: tuple[float, tuple[Tally, ...]] | None


@dataclass(frozen=True, slots=True)
class Look:
    """Everything that was seen at `at` (seconds since the epoch), within `seconds`."""

    at: float
    seconds: float
    groups: tuple[GroupState, ...]
    failures: tuple[Failure, ...] = ()
    #: by the worker's name; None when the app that was asked for has no topic for them
    reports: Mapping[str, Report] | None = field(default_factory=dict)
    #: patterns like which no group is named
    unmatched: tuple[str, ...] = ()

    @property
    def unknown(self) -> tuple[str, ...]:
        """The groups that were named and do not exist, and the patterns that match none."""
        return (*(group.name for group in self.groups if group.state == DEAD), *self.unmatched)

    def unread(self, topics: Iterable[str]) -> list[str]:
        """Those of these topics in which no group that was seen holds or has committed anything."""
        read = {each.topic for group in self.groups for each in group.partitions}
        return sorted(set(topics) - read)


#: a partition, and an offset in it
Place = tuple[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class Edges:
    """Where partitions begin and end; one that is gone, or has not been told, is in neither or in one."""

    lows: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]

    def __contains__(self, where: object) -> bool:
        return where in self.lows and where in self.ends


@dataclass(frozen=True, slots=True)
class Seen:
    """What was asked about a group: who `held` what, what it `committed`, and the partitions that concern it."""

    info: GroupInfo
    committed: Mapping[TopicPartition, int]
    held: Mapping[TopicPartition, str]
    partitions: Sequence[TopicPartition]

    def places(self, edges: Edges) -> Iterator[Place]:
        """Where it goes on in each partition in which something waits."""
        for where in self.partitions:
            if where in edges and lag(self.committed.get(where), edges.lows[where], edges.ends[where]):
                yield where, begin(self.committed.get(where), edges.lows[where])

    def state(self, edges: Edges, written: Mapping[Place, float | None], now: float) -> GroupState:
        """The group; `written` says when the message at a place was written, None that there is none."""
        states = []
        for where in self.partitions:
            if where not in edges:
                continue
            offset, low, end = self.committed.get(where), edges.lows[where], edges.ends[where]
            behind, place = lag(offset, low, end), (where, begin(offset, low))
            if place in written and written[place] is None:
                # Only transaction markers, say, which nobody commits past who is idle: it is not behind. The topics of
                # delayed messages end like that.
                behind = 0
            seconds = _age(written, place, now) if behind else 0.0
            states.append(PartitionState(*where, offset, low, end, behind, seconds, self.held.get(where)))
        return GroupState(self.info.name, self.info.state, self.info.protocol, len(self.info.members), tuple(states))


def _age(written: Mapping[Place, float | None], place: Place, now: float) -> float | None:
    moment = written.get(place)
    # producers' clocks may run ahead
    return None if moment is None else max(0.0, now - moment)


def begin(committed: int | None, low: int) -> int:
    """Where a group goes on: what it has committed, but not before the log begins.

    Nothing committed means the whole log: a group of Elsa begins at the earliest offset, and commits any other start
    at once.

    >>> begin(7, 0), begin(None, 3), begin(2, 5)
    (7, 3, 5)
    """
    return low if committed is None else max(committed, low)


def lag(committed: int | None, low: int, end: int) -> int:
    """Offsets from where the group goes on to the end; never below 0.

    A commit beyond the end is one of a topic that was made anew, or past the last stable offset.

    >>> lag(7, 0, 10), lag(None, 3, 10), lag(None, 3, 3), lag(12, 0, 10)
    (3, 7, 0, 0)
    """
    return max(0, end - begin(committed, low))


def owners(members: Iterable[MemberInfo]) -> dict[TopicPartition, str]:
    """Who has which partition: the static member's name, or the client's id."""
    return {partition: member.instance or member.client for member in members for partition in member.partitions}


def concerned(
    committed: Iterable[TopicPartition],
    held: Iterable[TopicPartition],
    counts: Mapping[str, int],
    topics: Iterable[str] = (),
) -> set[TopicPartition]:
    """The partitions of a group: all those of each topic that it holds or has committed in, and that exists.

    Also those in which it has committed nothing: messages wait in them as well.

    >>> sorted(each.partition for each in concerned([TopicPartition("a", 1), TopicPartition("gone", 0)], [], {"a": 3}))
    [0, 1, 2]
    """
    names = {each.topic for each in (*committed, *held)}
    only = set(topics)
    return {
        TopicPartition(name, number)
        for name in names
        if not only or name in only
        for number in range(counts.get(name, 0))
    }
