"""The least rights of each role, in one table: the embedded broker's users, `elsa check --acl` and the docs are made of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: what stands for every resource of a kind, as Kafka writes it
EVERY = "*"
_OPTIONS = {"topic": "--topic", "group": "--group", "transactional id": "--transactional-id"}


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One operation on one resource, or on all whose names begin with `name` (`is_prefix`).

    `resource` is topic, group, "transactional id" or cluster; `operation` as kafka-acls writes it. In the table `name`
    holds places: {topic}, {target} (what is sent to), {group}, {app}. `feature` names what needs the right when not
    everybody does, `purpose` says what goes wrong without it.
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


#: what the users of `elsa broker --secure` may do: their roles' operations, on whatever they name
DEVELOPERS: dict[str, tuple[Right, ...]] = {
    "worker": (Right("topic", "*", "Read"), Right("topic", "*", "Write"), Right("topic", "*", "Create"), Right("group", "*", "Read"), Right("transactional id", "*", "Write")),
    "producer": (Right("topic", "*", "Write"),),
    "monitor": (Right("topic", "*", "Describe"), Right("group", "*", "Describe")),
}
