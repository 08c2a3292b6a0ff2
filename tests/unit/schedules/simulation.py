"""A broker's group and transactions in memory, and schedulers on it that crash, stall and come back at any call.

The world does what a broker does: offsets of a transaction are taken from members of the current generation (and, as by
the real one, from whoever names no member at all), are unstable until it ends, and a producer that takes an id over
aborts what its predecessor left open.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elsa.errors import (
    AuthorizationFailed,
    BrokerUnavailable,
    KafkaError,
    TransactionAborted,
    TransactionFenced,
    UnknownTopic,
)
from elsa.kafka.consumer import Committed
from elsa.kafka.membership import Proof, proves
from elsa.message import TopicPartition
from elsa.schedules.declared import SHARDS
from elsa.schedules.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.app import App

START = 1_000_000.0
TIMEOUT = 10.0
#: what may happen at a call: the process dies; nobody answers; it stands still, and its client hears that the others
#: have taken over, or does not, or even its transaction is ended by the broker
KINDS = ("crash", "fail", "stall", "deaf", "expire")


class Crash(BaseException):
    """`kill -9`, at this very call."""


@dataclass
class Member:
    """A member as the broker knows it; `static` outlives its process."""

    id: str
    static: str
    owned: set[int] = field(default_factory=set)
    #: what it gets when it polls next
    wanted: set[int] = field(default_factory=set)


@dataclass
class Transaction:
    began: float
    messages: list[str] = field(default_factory=list)
    offsets: dict[int, str] = field(default_factory=dict)


class World:
    """Time, the group's coordinator, and the log of what is committed."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.time = START
        self.generation = 0
        self.members: dict[str, Member] = {}
        self.committed: dict[int, str] = {}
        self.log: list[str] = []
        self.epochs: dict[str, int] = {}
        self.open: dict[str, Transaction] = {}
        #: called with the name and the owner of each call of a client, before and after it takes effect
        self.at: Callable[[str, Any], None] = lambda _call, _owner: None
        self.partitions = SHARDS
        self.missing: set[str] = set()
        #: topics that refuse messages
        self.refusing: set[str] = set()
        self._ids = 0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def partition_count(self, name: str) -> int:
        if not self.partitions:
            raise UnknownTopic(topic=name)
        return self.partitions

    def exists(self, name: str) -> bool:
        return name not in self.missing

    # the group
    def join(self, static: str) -> Member:
        old = next((m for m in self.members.values() if m.static == static), None)
        self._ids += 1
        member = Member(f"m{self._ids}", static)
        if old is not None:
            # a static member takes its predecessor's place without a rebalance
            del self.members[old.id]
            member.wanted = old.owned | old.wanted
            self.members[member.id] = member
            return member
        self.members[member.id] = member
        self.rebalance()
        return member

    def evict(self, member_id: str) -> None:
        if self.members.pop(member_id, None) is not None:
            self.rebalance()

    def rebalance(self) -> None:
        """Share the shards out; what somebody has still is given on when it has given it up."""
        self.generation += 1
        members = list(self.members.values())
        for member in members:
            member.wanted = set()
        for shard in range(SHARDS):
            if members:
                members[shard % len(members)].wanted.add(shard)

    def is_free(self, shard: int, member: Member) -> bool:
        return all(shard not in other.owned for other in self.members.values() if other is not member)

    # transactions
    def expire(self) -> None:
        """The broker aborts what is open for too long, and its producer is fenced."""
        for name in [name for name, one in self.open.items() if self.time - one.began >= TIMEOUT]:
            del self.open[name]
            self.epochs[name] += 1

    def is_unstable(self, shard: int) -> bool:
        return any(shard in one.offsets for one in self.open.values())


class Consumer:
    def __init__(self, world: World, owner: Any, callbacks: dict[str, Any], static: str) -> None:
        self._world = world
        self._owner = owner
        self._callbacks = callbacks
        self._static = static
        self.member: Member | None = None
        self._has: set[int] = set()

    def subscribe(self, _: Any) -> None:
        self._world.at("subscribe", self._owner)
        self.member = self._world.join(self._static)

    def poll(self, _: float) -> list[Any]:
        world, member = self._world, self.member
        world.at("poll", self._owner)
        assert member is not None
        if world.members.get(member.id) is not member:
            lost, self._has = self._has, set()
            if lost:
                self._callbacks["on_lost"](self._parts(lost))
            if any(m.static == self._static for m in world.members.values()):
                raise KafkaError("another member has this group.instance.id: fenced", code="FENCED_INSTANCE_ID")
            self.member = world.join(self._static)
            return []
        if surplus := self._has - member.wanted:
            self._callbacks["on_revoke"](self._parts(surplus))
            self._has -= surplus
            member.owned -= surplus
        gained = {s for s in member.wanted - self._has if world.is_free(s, member)}
        if gained:
            member.owned |= gained
            self._has |= gained
            self._callbacks["on_assign"](self._parts(gained))
        return []

    @staticmethod
    def _parts(shards: set[int]) -> list[TopicPartition]:
        return [TopicPartition("t.schedules", shard) for shard in sorted(shards)]

    def proof(self) -> Proof | None:
        self._world.at("proof", self._owner)
        member = self.member
        is_in = member is not None and self._world.members.get(member.id) is member
        # the client's own thread has heard of the eviction, the scheduler's has not
        knows = is_in or not self._owner.is_deaf
        generation = self._world.generation if is_in else -1 if knows else self._world.generation - 1
        name = "" if member is None or (knows and not is_in) else member.id
        data = b"CGMDv2:" + generation.to_bytes(4, "little", signed=True) + b"g\0" + name.encode() + b"\0\0"
        return Proof("g", data) if proves(data) else None

    def committed(self, wanted: list[TopicPartition], _: float) -> dict[TopicPartition, Committed | None]:
        self._world.at("committed", self._owner)
        (where,) = wanted
        if self._world.is_unstable(where.partition):
            raise KafkaError("unstable", code="UNSTABLE_OFFSET_COMMIT")
        found = self._world.committed.get(where.partition)
        return {where: None if found is None else Committed(0, found)}

    def assign(self, _: Any) -> None: ...
    def unassign(self, _: Any) -> None: ...
    def pause(self, _: Any) -> None: ...

    def assigned(self) -> list[TopicPartition]:
        return self._parts(self._has)

    def unsubscribe(self) -> None:
        if self._has:
            self._callbacks["on_revoke"](self._parts(self._has))
            self._has = set()
        if self.member is not None:
            self._world.evict(self.member.id)

    def close(self) -> None:
        # a static member stays in the group until its session is over
        if self.member is not None and not self._owner.is_static:
            self._world.evict(self.member.id)


class Producer:
    def __init__(self, world: World, owner: Any, name: str) -> None:
        self._world = world
        self._owner = owner
        self._name = name
        self._epoch = -1
        self._failed: list[Any] = []

    def init(self, _: float) -> None:
        self._world.at("init", self._owner)
        self._world.open.pop(self._name, None)
        self._epoch = self._world.epochs[self._name] = self._world.epochs.get(self._name, 0) + 1

    def _call(self, name: str) -> None:
        self._world.at(name, self._owner)
        if self._world.epochs[self._name] != self._epoch:
            raise TransactionFenced("fenced")

    def begin(self) -> None:
        self._call("begin")
        self._world.open[self._name] = Transaction(self._world.time)
        self._failed.clear()

    def produce(self, topic: str, value: Any, *, key: Any, headers: Any, mark: Any, **_: Any) -> None:
        self._call("produce")
        if topic in self._world.refusing:
            self._failed.append((AuthorizationFailed("not for you"), mark))
        self._world.open[self._name].messages.append(dict(headers)["elsa-id"].decode())

    def flush(self, _: float) -> None:
        self._call("flush")

    def send_offsets(self, commits: dict[TopicPartition, Committed], proof: Any, _: float) -> None:
        assert proof.group, "errors say which group it was"
        self._call("send_offsets")
        data = proof.group_metadata()
        generation = int.from_bytes(data[7:11], "little", signed=True)
        name = data[11:].split(b"\0")[1].decode()
        if (generation, name) != (-1, "") and (generation != self._world.generation or name not in self._world.members):
            raise TransactionAborted("ILLEGAL_GENERATION")
        self._world.open[self._name].offsets |= {w.partition: one.metadata for w, one in commits.items()}

    def commit(self, _: float) -> None:
        self._call("commit")
        if self._failed:
            raise TransactionAborted("a message was refused")
        done = self._world.open.pop(self._name)
        self._world.log += done.messages
        self._world.committed |= done.offsets
        # from here on it has happened, whether the caller hears of it or not
        self._world.at("committed it", self._owner)

    def abort(self, _: float) -> None:
        self._call("abort")
        self._world.open.pop(self._name, None)

    def recover(self, timeout: float, forgiven: tuple[type[Exception], ...]) -> bool:
        is_spoiled = bool(self._failed)
        try:
            self.abort(timeout)
        except forgiven:
            is_spoiled = True
        return not is_spoiled

    def failures(self) -> list[Any]:
        return self._failed

    def close(self) -> None: ...


class Owner:
    """One worker's place: a scheduler, and its successors after crashes."""

    def __init__(self, world: World, number: int, *, is_static: bool) -> None:
        self.world = world
        self.number = number
        self.is_static = is_static
        self.is_deaf = False
        self.consumers: list[Consumer] = []
        self.crashes = 0
        #: it is in the middle of a step
        self.is_busy = False
        self.scheduler: Scheduler | None = None

    def start(self) -> None:
        self.scheduler = Scheduler(
            self.world.app,
            instance=f"host-{self.number}" if self.is_static else f"host-{self.number}-{self.crashes}",
            is_static=self.is_static,
            clock=self.world,
            make_consumer=self._consumer,
            make_producer=lambda _settings, name, **_: Producer(self.world, self, name),  # type: ignore[arg-type]  # what a session calls
        )

    def _consumer(self, _settings: Any, _group: str, *, instance: str | None, **callbacks: Any) -> Any:
        name = instance or f"dynamic-{self.number}-{len(self.consumers)}"
        consumer = Consumer(self.world, self, callbacks, name)
        self.consumers.append(consumer)
        return consumer

    def step(self) -> None:
        """One step, unless it is in the middle of one; a crash leaves everything as it is."""
        if self.is_busy:
            return
        if self.scheduler is None:
            self.start()
        assert self.scheduler is not None
        self.is_busy = True
        try:
            self.scheduler.step()
        except Crash:
            self.scheduler = None
            self.crashes += 1
        finally:
            self.is_busy = False

    def evict(self) -> None:
        """Its session is over: the group goes on without it."""
        for consumer in self.consumers:
            if consumer.member is not None:
                self.world.evict(consumer.member.id)


class Simulation:
    """Three owners; `faults` says at which calls what happens: (calls in between, kind)."""

    def __init__(self, app: App, faults: list[tuple[int, str]], *, is_static: bool = True, count: int = 3) -> None:
        self.world = World(app)
        self.world.at = self._at
        # a cached property: what lies in the instance's own dict is what everybody gets
        app.__dict__["topics"] = self.world
        self.owners = [Owner(self.world, number, is_static=is_static) for number in range(count)]
        self._faults = list(faults)
        self._calls = 0
        self._is_healed = False

    @property
    def is_tried(self) -> bool:
        """Whether all faults have happened."""
        return not self._faults

    def _at(self, _call: str, owner: Owner) -> None:
        if self._is_healed or not self._faults or not owner.is_busy:
            return
        self._calls += 1
        if self._calls <= self._faults[0][0]:
            return
        self._calls = 0
        _, kind = self._faults.pop(0)
        if kind == "crash":
            raise Crash
        if kind == "fail":
            raise BrokerUnavailable("no answer")
        # it stands still while the others take over
        owner.is_deaf = kind == "deaf"
        owner.evict()
        for _ in range(12):
            self.world.time += 1.5
            if kind == "expire":
                self.world.expire()
            for other in self.owners:
                if other is not owner:
                    other.step()
        owner.is_deaf = False

    def run(self, script: list[tuple[int, float]]) -> None:
        """Let one owner after the other make a step, with so much time in between."""
        for number, seconds in script:
            self.world.time += seconds
            self.owners[number].step()

    def heal(self) -> None:
        """No more faults; dead members and their transactions go, everybody comes round until all is sent."""
        self._is_healed = True
        for owner in self.owners:
            if owner.scheduler is None:
                owner.evict()
        self.world.time += TIMEOUT
        self.world.expire()
        # members of processes that are no more
        alive = {id(owner.consumers[-1].member) for owner in self.owners if owner.consumers and owner.scheduler}
        for member in [m for m in self.world.members.values() if id(m) not in alive]:
            self.world.evict(member.id)
        for _ in range(40):
            self.world.time += 0.5
            for owner in self.owners:
                owner.step()
