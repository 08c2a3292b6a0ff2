"""Which dead-letter topics there are: in a cluster, and of one app's handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa import names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from elsa.registry import Binding

_SUFFIX = ".dlq"


def of_cluster(there: Iterable[str]) -> list[str]:
    """The dead-letter topics among those that there are: by their names."""
    known = set(there)
    return sorted(name for name in known if names.is_dead_letter_topic(name))


def of_app(app: str, bindings: Iterable[Binding], there: Iterable[str]) -> list[str]:
    """Those of an app's handlers that exist, also where a handler names its own."""
    known = set(there)
    # of delayed messages that could not be delivered
    found = {names.legal(f"{app}.delay{_SUFFIX}")}
    for binding in bindings:
        for topic in filter(binding.matches, known):
            named = binding.first.declared.dead_letter
            found.add(named or names.dead_letter_topic(topic, binding.group, app))
    return sorted(found & known)


def of_source(topic: str, there: Iterable[str]) -> list[str]:
    """The dead-letter topics that a topic's messages have gone to, as far as names tell."""
    return sorted(name for name in there if name.startswith(f"{names.legal(topic)}.") and name.endswith(_SUFFIX))
