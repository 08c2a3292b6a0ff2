"""What `elsa check --acl` finds: which of the rights that a role needs for an App this client has.

Asks the brokers with the client's own credentials and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from elsa import acls, names
from elsa.acls import EVERY, Place, Right
from elsa.handlers import Task
from elsa.kafka.rights import Rights

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from elsa.app import App
    from elsa.config import Settings
    from elsa.registry import Binding

#: which right a right brings with it
_IMPLY = {"Describe": {"Read", "Write", "Delete", "Alter"}, "DescribeConfigs": {"AlterConfigs"}}
#: needed only where they are used, which nobody can tell from the App's declarations
_PERHAPS = ("retry", "delay", "sends")


@dataclass(frozen=True, slots=True)
class Access:
    """One right: whether this client has it; `unknown` where its topic is not there yet, and nobody can be asked."""

    state: Literal["granted", "missing", "unknown"]
    right: Right
    #: whether something is wrong without it; else only what `right.feature` names
    is_needed: bool
    #: what grants it, empty unless it is missing
    command: str = ""


def examine(role: str, settings: Settings, app: App | None, *, topics: Iterable[str] = ()) -> Iterator[Access]:
    """Every right of the role, for the App's handlers and the topics named besides; raises what the brokers say."""
    asked = _Asked(Rights(settings))
    places = [*(_places(app, asked.topics) if app is not None else ()), *(_target(name, role) for name in topics)]
    features = _features(settings, app)
    user = str(settings.kafka.get("sasl.username") or "<name>")
    for right in acls.rights(role, settings.name, places, features):
        state = asked.state(right)
        is_needed = right.feature not in _PERHAPS or (right.feature == "sends" and _is_named(right, topics))
        command = right.command(user, settings.brokers) if state == "missing" else ""
        yield Access(state, right, is_needed, command)


def unasked(found: Iterable[Access]) -> list[str]:
    """Topics that are read, and of which was not asked whether this client may send there.

    Nobody can tell from declarations whether handlers send to a topic or delayed messages go there.
    """
    topics = [one.right for one in found if one.right.resource == "topic" and not one.right.is_prefix]
    written = {right.name for right in topics if right.operation == "Write"}
    return sorted({right.name for right in topics if right.operation == "Read"} - written)


def _is_named(right: Right, topics: Iterable[str]) -> bool:
    return right.name in set(topics)


def _target(topic: str, role: str) -> Place:
    """A topic that is only sent to."""
    return Place(topic, features=frozenset({"sends"}), is_target=True) if role == "worker" else Place(topic)


def _features(settings: Settings, app: App | None) -> frozenset[str]:
    found = {"delay", *(("create",) if settings.creates_topics else ())}
    if app is not None and app.schedules:
        found.add("schedules")
    return frozenset(found)


def _places(app: App, topics: Collection[str]) -> Iterator[Place]:
    for binding in app.registry.bindings():
        declared = [handler.declared for handler in binding.handlers()]
        features = {"sends"} if any(isinstance(handler, Task) for handler in binding.handlers()) else set()
        if any(one.idempotent_by is not None for one in declared):
            features.add("idempotent")
        if any(one.transactional for one in declared):
            features.add("transactional")
        if binding.group is not None and any(one.retry.where != "memory" for one in declared):
            features.add("retry")
        for topic in _topics(binding, topics):
            yield _place(topic, binding, app.name, frozenset(features))


def _topics(binding: Binding, topics: Collection[str]) -> list[str]:
    return [topic for topic in topics if binding.matches(topic)] if binding.is_pattern else [binding.topic]


def _place(topic: str, binding: Binding, app: str, features: frozenset[str]) -> Place:
    group, declared = binding.group, binding.first.declared
    dead = declared.dead_letter or names.dead_letter_topic(topic, group, app)
    if group is None:
        return Place(topic, dead=dead, features=features)
    return Place(topic, group, dead, names.retry_topic(topic, group), names.seen_topic(topic, group), features)


def _sample(prefix: str) -> str:
    """A topic that Elsa makes among those that begin so."""
    return f"{prefix}1" if prefix.endswith(".delay.") else f"{prefix}control"


class _Asked:
    """The brokers' answers, each asked for once."""

    def __init__(self, rights: Rights) -> None:
        self._rights = rights
        self.topics = rights.topics()
        self._known: dict[tuple[str, str], frozenset[str] | None] = {}

    def state(self, right: Right) -> Literal["granted", "missing", "unknown"]:
        if right.resource == "cluster":
            # the only one in the table
            assert right.operation == "DescribeConfigs"
            return "granted" if self._rights.may_read_settings() else "missing"
        if right.resource == "transactional id":
            prefix = "" if right.name == EVERY else right.name
            return "granted" if self._rights.may_use_transactions(prefix) else "missing"
        if right.resource == "topic" and right.operation == "Create":
            name = f"{right.name}elsa-check" if right.is_prefix else right.name
            return "granted" if self._rights.may_create("elsa-check" if name == EVERY else name) else "missing"
        allowed = self._allowed(right)
        if allowed is None:
            return "unknown"
        has_it = right.operation in allowed or _IMPLY.get(right.operation, set()) & allowed
        return "granted" if has_it else "missing"

    def _allowed(self, right: Right) -> frozenset[str] | None:
        if right.resource == "group":
            return self._once("group", "elsa-check" if right.name == EVERY else right.name, self._rights.group)
        if not right.is_prefix and right.name != EVERY:
            return self._once("topic", right.name, self._rights.topic)
        prefix = "" if right.name == EVERY else right.name
        # one that may not be seen is not listed: so one is asked for by name that there would be, or is not
        names_ = {name for name in self.topics if name.startswith(prefix)} | {_sample(prefix)}
        found = [self._once("topic", name, self._rights.topic) for name in sorted(names_)]
        known = [one for one in found if one is not None]
        # what holds for all of them that there are
        return frozenset.intersection(*known) if known else None

    def _once(self, kind: str, name: str, ask: Callable[[str], frozenset[str] | None]) -> frozenset[str] | None:
        if (kind, name) not in self._known:
            self._known[kind, name] = ask(name)
        return self._known[kind, name]
