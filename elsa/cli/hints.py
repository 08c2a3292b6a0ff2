"""Adds near names to errors about topics and groups that do not exist."""

from __future__ import annotations

import contextlib
import difflib
from typing import TYPE_CHECKING, NoReturn

from elsa.errors import ElsaError, UnknownGroup, UnknownTopic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from elsa.config import Settings


@contextlib.contextmanager
def near_names(settings: Settings, *names: str) -> Iterator[None]:
    """An UnknownTopic or UnknownGroup about one of `names` gains a note with what there is instead."""
    try:
        yield
    except (UnknownTopic, UnknownGroup) as error:
        is_topic = isinstance(error, UnknownTopic)
        with contextlib.suppress(ElsaError):  # a hint that can not be had must not hide the error itself
            there = _topics(settings) if is_topic else _groups(settings)
            near = [c for name in names for c in difflib.get_close_matches(name, there, 1) if c not in names]
            if near:
                error.add_note(f"  hint: did you mean {', '.join(map(repr, near))}?")
            elif error.hint is None:
                error.add_note(f"  hint: `elsa {'topics' if is_topic else 'groups'} list` shows what there is")
        raise


def refuse_groups(settings: Settings, names: Sequence[str]) -> NoReturn:
    """Raise UnknownGroup for groups, or patterns of them, that a command was given."""
    with near_names(settings, *names):
        raise UnknownGroup(f"there is no group {', '.join(map(repr, names))}", code="GROUP_ID_NOT_FOUND")


def _topics(settings: Settings) -> list[str]:
    from elsa.topics import Topics

    return list(Topics(settings).list(internal=True))


def _groups(settings: Settings) -> list[str]:
    from elsa.groups import Groups

    return [group.name for group in Groups(settings).list()]
