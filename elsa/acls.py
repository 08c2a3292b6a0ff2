"""The least rights of each role, in one table, and what follows from it for one App.

The users of `elsa broker --secure`, `elsa check --acl` and the page deploy/security.md are made of it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

#: what the names in the table stand for
PLACES = {
    "{topic}": "a topic that handlers read, or that is sent to",
    "{group}": "a consumer group",
    "{app}": "the name of the App",
    "{dead}": "the dead-letter topic, `{topic}.{group}.dlq` unless the handler names another",
    "{retry}": "`{topic}.{group}.retry`",
    "{seen}": "`{topic}.{group}.seen`",
}
#: what needs a right that not everybody needs
FEATURES = {
    "create": "`create_topics`",
    "retry": "retries wait in a topic, replayed dead letters",
    "idempotent": "`idempotent_by`",
    "delay": "`delay`, `eta`, retries in a topic",
    "schedules": "`@app.every`, `@app.cron`",
    "transactional": "`transactional=True`",
    "sends": "handlers or schedules send there, delayed messages go there",
}
#: what stands for every resource of a kind, as Kafka writes it
EVERY = "*"
_OPTIONS = {"topic": "--topic", "group": "--group", "transactional id": "--transactional-id"}


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One operation on one resource, or on all whose names begin with `name` (`is_prefix`).

    `resource` is topic, group, "transactional id" or cluster; `operation` as kafka-acls writes it. `purpose` says what
    it is for. `feature` names what needs it, one of FEATURES; empty: everybody does. In the table `name` holds places,
    see PLACES.
    """

    resource: str
    name: str
    operation: str
    purpose: str = ""
    feature: str = ""
    is_prefix: bool = False

    def command(self, user: str, brokers: str = "<brokers>") -> str:
        """What grants it.

        >>> Right("topic", "orders", "Read").command("ann", "one:9092")
        'kafka-acls --bootstrap-server one:9092 --add --allow-principal User:ann --operation Read --topic orders'
        """
        where = "--cluster" if self.resource == "cluster" else f"{_OPTIONS[self.resource]} {_quoted(self.name)}"
        pattern = " --resource-pattern-type prefixed" if self.is_prefix else ""
        return (
            f"kafka-acls --bootstrap-server {brokers} --add --allow-principal User:{user} "
            f"--operation {self.operation} {where}{pattern}"
        )

    def describe(self) -> str:
        """In words.

        >>> Right("topic", "shop.", "Write", is_prefix=True).describe()
        "Write on topics 'shop.…'"
        """
        if self.resource == "cluster":
            return f"{self.operation} on the cluster"
        if self.is_prefix:
            return f"{self.operation} on {self.resource}s '{self.name}…'"
        return f"{self.operation} on {self.resource} {self.name!r}"


def _quoted(name: str) -> str:
    return f"'{name}'" if name == EVERY else name


def _in(resource: str, name: str, *operations: str, purpose: str, feature: str = "") -> tuple[Right, ...]:
    """Rights on one resource; a name that ends in `…` stands for all that begin so."""
    plain, is_prefix = name.removesuffix("…"), name.endswith("…")
    return tuple(Right(resource, plain, each, purpose, feature, is_prefix) for each in operations)


_WORKER = (
    *_in("topic", "{topic}", "Read", purpose="read messages, commit offsets"),
    *_in("group", "{group}", "Read", purpose="join the group"),
    *_in("topic", "{dead}", "Write", purpose="write dead letters"),
    *_in("topic", "{dead}", "Create", purpose="make the dead-letter topic with the first one"),
    *_in("topic", "{app}.…", "Read", purpose="hear commands; read delayed messages, tasks and cancellations"),
    *_in("topic", "{app}.…", "Write", purpose="answer commands; put off, retry and cancel"),
    *_in("topic", "{topic}", "Create", purpose="make what is missing", feature="create"),
    *_in("topic", "{app}.…", "Create", purpose="make Elsa's own topics", feature="create"),
    *_in("topic", "{retry}", "Read", purpose="try again what waited", feature="retry"),
    *_in("topic", "{retry}", "Write", purpose="let go what waited", feature="retry"),
    *_in("topic", "{retry}", "Create", purpose="make the topic with the first retry", feature="retry"),
    *_in("topic", "{seen}", "Read", purpose="know what was handled", feature="idempotent"),
    *_in("topic", "{seen}", "Write", purpose="note what was handled", feature="idempotent"),
    *_in("topic", "{seen}", "Create", purpose="make the topic of what was handled", feature="idempotent"),
    *_in("topic", "{topic}", "Write", purpose="send, or let go what was put off", feature="sends"),
    *_in("topic", "{app}.delay.…", "Delete", purpose="delete delayed messages that were moved", feature="delay"),
    *_in("group", "{app}.mover", "Read", purpose="share the delayed messages out", feature="delay"),
    *_in("group", "{app}.scheduler", "Read", purpose="share the schedules out", feature="schedules"),
    # of rows with the same right the first that is used counts: those that are certain come first
    *_in("transactional id", "{app}-…", "Write", purpose="results and offsets together", feature="transactional"),
    *_in("transactional id", "{app}-…", "Write", purpose="fire once", feature="schedules"),
    *_in("transactional id", "{app}-…", "Write", purpose="let delayed messages go once", feature="delay"),
)
_PRODUCER = (
    *_in("topic", "{topic}", "Write", purpose="send"),
    *_in("topic", "{app}.…", "Write", purpose="put messages off, cancel them, call tasks", feature="delay"),
    *_in("topic", "{app}.…", "Create", purpose="make the delay topics, unless a worker has", feature="delay"),
)
_MONITOR = (
    *_in("topic", EVERY, "Read", purpose="see topics and ends; how old what waits is; reports (elsa top)"),
    *_in("group", EVERY, "Describe", purpose="see groups, their members and offsets"),
)
_OPERATOR = (
    *_in("topic", EVERY, "Read", purpose="elsa fetch, elsa dlq"),
    *_in("topic", EVERY, "Write", purpose="elsa produce, elsa dlq replay, elsa inspect, elsa control"),
    *_in("topic", EVERY, "Create", purpose="elsa topics create"),
    *_in("topic", EVERY, "Delete", purpose="elsa topics delete, elsa dlq purge"),
    *_in("topic", EVERY, "Alter", purpose="elsa topics add-partitions"),
    *_in("topic", EVERY, "AlterConfigs", purpose="elsa topics describe, elsa topics alter"),
    *_in("group", EVERY, "Read", purpose="elsa groups reset"),
    *_in("group", EVERY, "Delete", purpose="elsa groups delete"),
    *_in("transactional id", EVERY, "Write", purpose="elsa dlq replay, elsa dlq drop"),
    *_in("cluster", "", "DescribeConfigs", purpose="elsa check: the brokers' settings"),
)
#: role -> its least rights
ROLES: Mapping[str, tuple[Right, ...]] = {
    "worker": _WORKER,
    "producer": _PRODUCER,
    "monitor": _MONITOR,
    "operator": _OPERATOR,
}


@dataclass(frozen=True, slots=True)
class Place:
    """A topic, who reads it, and Elsa's topics beside it; `features` are those of its handlers.

    A worker only sends to one that `is_target`.
    """

    topic: str
    group: str | None = None
    dead: str = ""
    retry: str = ""
    seen: str = ""
    features: frozenset[str] = frozenset()
    is_target: bool = False


def rights(role: str, app: str, places: Iterable[Place], features: Collection[str] = ()) -> list[Right]:
    """What a role needs for one App: the table's rows with names filled in, each right once, in the table's order.

    `features` are those of the whole App; a row that nobody needs is left out.

    >>> [right.describe() for right in rights("producer", "shop", [Place("orders")])]
    ["Write on topic 'orders'"]
    """
    spots = list(places)
    if all(spot.is_target for spot in spots):
        # what needs no topic of a handler
        spots.insert(0, Place(""))
    found: dict[tuple[str, str, str, bool], Right] = {}
    for row in ROLES[role]:
        for spot in spots:
            if row.feature and row.feature not in features and row.feature not in spot.features:
                continue
            if spot.is_target and row.feature != "sends":
                continue
            named = _filled(row, app, spot)
            if named is not None:
                found.setdefault((named.resource, named.name, named.operation, named.is_prefix), named)
    return list(found.values())


def _filled(row: Right, app: str, spot: Place) -> Right | None:
    """The row for one place; None when it has nothing of that kind."""
    facts = {"app": app, "topic": spot.topic, "group": spot.group or "", "dead": spot.dead}
    facts |= {"retry": spot.retry, "seen": spot.seen}
    if any(f"{{{fact}}}" in row.name and not value for fact, value in facts.items()):
        return None
    return dataclasses.replace(row, name=row.name.format_map(facts))


def _anything(role: str) -> tuple[Right, ...]:
    """A role's operations on whatever it names: for a broker that knows neither Apps nor topics yet."""
    found = {
        (row.resource, row.operation): dataclasses.replace(row, name=EVERY, is_prefix=False) for row in ROLES[role]
    }
    return tuple(found.values())


#: what the users of `elsa broker --secure` may do; its admin may do everything
DEVELOPERS: Mapping[str, tuple[Right, ...]] = {role: _anything(role) for role in ("worker", "producer", "monitor")}


def table() -> str:
    """The table as the page deploy/security.md shows it (Markdown)."""
    lines = []
    for role, rows in ROLES.items():
        lines += [f"### {role}", "", "| operation | on | for | when |", "|---|---|---|---|"]
        for row in rows:
            name = f" `{row.name}…`" if row.is_prefix else f" `{row.name}`" if row.name else ""
            resource = f"{row.resource}s that begin with" if row.is_prefix else row.resource
            when = FEATURES[row.feature] if row.feature else "always"
            lines.append(f"| {row.operation} | {resource}{name} | {row.purpose} | {when} |")
        lines.append("")
    places = [f"- `{place}`: {what}" for place, what in PLACES.items()]
    return "\n".join([*lines, "Names:", "", *places, ""])
