"""All handlers of one App, and which of them serves a topic in a group; read by the worker at start."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elsa import headers as header_names
from elsa.errors import DeclarationError
from elsa.handlers import Handler, Task
from elsa.names import dead_letter_topic, is_internal, tasks_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(slots=True)
class Binding:
    """What serves one topic (or one regex) in one group: a handler, or the tasks that share the topic."""

    topic: str
    group: str | None
    handler: Handler[Any, Any] | None = None
    tasks: dict[str, Task[Any, Any]] = field(default_factory=dict)

    @property
    def is_pattern(self) -> bool:
        return self.topic.startswith("^")

    @property
    def first(self) -> Handler[Any, Any]:
        """The handler, or the first task: options of the topic (start, max_in_flight, ...) are read off it."""
        return self.handler or next(iter(self.tasks.values()))

    @property
    def name(self) -> str:
        """The handler's name, or how the tasks are called together."""
        return self.handler.name if self.handler else tasks_of(self.topic)

    def handlers(self) -> list[Handler[Any, Any]]:
        return [self.handler] if self.handler else list(self.tasks.values())

    def task_of(self, raw: Any) -> Task[Any, Any] | None:
        """Which task a client's message calls; None for one that names none of these, and where there are no tasks."""
        return self.tasks.get(header_names.text(raw.headers(), header_names.TASK) or "") if self.tasks else None

    def name_for(self, raw: Any) -> str:
        """Whose a client's message is: the handler's name, the task's, or `name` when it names none of the tasks."""
        task = self.task_of(raw)
        return self.name if task is None else task.name

    def matches(self, topic: str) -> bool:
        """Whether a topic belongs here; a regex never matches an internal topic."""
        if not self.is_pattern:
            return topic == self.topic
        return self.means(topic) and not is_internal(topic, self.first.app.name)

    def means(self, topic: str) -> bool:
        """Whether a topic is what its regex says, internal or not."""
        return re.match(self.topic, topic) is not None


#: options that hold for a topic, so tasks that share one have to agree on them
_SHARED = (
    "ordering",
    "delivery",
    "idempotent_by",
    "transactional",
    "start",
    "on_out_of_range",
    "max_in_flight",
    "partitions_count",
    "topic_config",
)


class Registry:
    """Declared handlers by group and topic; written while modules are imported, read-only afterwards."""

    def __init__(self) -> None:
        self._bindings: dict[str | None, dict[str, Binding]] = {}
        self._standalone: list[Binding] = []
        self._names: dict[str, Handler[Any, Any]] = {}
        #: a dead-letter topic's name -> whose it is: (topic, group or app)
        self._owners: dict[str, tuple[str, str]] = {}

    def __iter__(self) -> Iterator[Handler[Any, Any]]:
        return iter(self._names.values())

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> Handler[Any, Any]:
        return self._names[name]

    def get(self, name: str) -> Handler[Any, Any] | None:
        return self._names.get(name)

    def add(self, handler: Handler[Any, Any]) -> None:
        """Take a handler in; raises DeclarationError when its name or its place is taken."""
        if handler.name in self._names:
            raise DeclarationError(
                f"a handler named {handler.name!r} exists already", hint="give one of them another name="
            )
        self._check_apart(handler)
        if handler.group is None:
            for topic in handler.topics:
                self._standalone.append(self._bind(Binding(topic, None), handler))
        else:
            places = self._bindings.setdefault(handler.group, {})
            for topic in handler.topics:
                places[topic] = self._bind(places.get(topic) or Binding(topic, handler.group), handler)
        self._names[handler.name] = handler

    def _check_apart(self, handler: Handler[Any, Any]) -> None:
        """Refuse what would share its retry and dead-letter topics with another pair of topic and group."""
        app = handler.app.name
        for topic in handler.topics:
            if topic.startswith("^"):
                continue
            mine = (topic, handler.group or app)
            name = dead_letter_topic(topic, handler.group, app)
            other = self._owners.setdefault(name, mine)
            if other != mine:
                raise DeclarationError(
                    f"handler {handler.name}: topic {mine[0]!r} in group {mine[1]!r} and topic {other[0]!r} in group "
                    f"{other[1]!r} would share the topic {name}, and their retry topics",
                    hint="give one of the groups another name",
                )

    def _bind(self, binding: Binding, handler: Handler[Any, Any]) -> Binding:
        where = f"topic {binding.topic!r} in group {binding.group!r}"
        if isinstance(handler, Task):
            if binding.is_pattern:
                raise DeclarationError(f"task {handler.name}: a task needs a topic's name, not a regex")
            if binding.handler is not None:
                raise _taken(where, binding.handler.name, handler.name)
            for name in _SHARED:
                if binding.tasks and getattr(binding.first.declared, name) != getattr(handler.declared, name):
                    raise DeclarationError(
                        f"tasks {binding.first.name} and {handler.name} share {where} and disagree on {name}",
                        hint="give both the same value, or one of them another topic",
                    )
            binding.tasks[handler.name] = handler
            return binding
        if binding.handler is not None or binding.tasks:
            raise _taken(where, binding.first.name, handler.name)
        binding.handler = handler
        return binding

    def groups(self) -> dict[str, list[Binding]]:
        """The bindings of each consumer group."""
        return {group: list(places.values()) for group, places in self._bindings.items() if group is not None}

    def standalone(self) -> list[Binding]:
        """The bindings of standalone handlers, one per handler and topic."""
        return list(self._standalone)

    def bindings(self) -> list[Binding]:
        return [b for places in self._bindings.values() for b in places.values()] + self._standalone


def select(bindings: Iterable[Binding], topics: Iterable[str], exclude: Iterable[str]) -> list[Binding]:
    """The bindings whose topic is in `topics` (all when empty) and not in `exclude`."""
    wanted, unwanted = set(topics), set(exclude)
    return [b for b in bindings if (not wanted or b.topic in wanted) and b.topic not in unwanted]


def route(bindings: Iterable[Binding], topic: str) -> Binding | None:
    """Which binding serves a topic: its own name first, then the first regex that matches."""
    candidates = [b for b in bindings if b.matches(topic)]
    candidates.sort(key=lambda b: b.is_pattern)
    return candidates[0] if candidates else None


def _taken(where: str, first: str, second: str) -> DeclarationError:
    return DeclarationError(
        f"{where} has the handler {first} already, so {second} would never see a message",
        hint="give one of them another group= (then each gets every message)",
    )
