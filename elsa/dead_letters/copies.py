"""What a replayed message looks like: pure, called for each dead letter that is sent on its way again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from elsa import headers as names

#: What the dead letter says of its death and of its way there; without attempt and time the retry policy begins anew.
#: Whoever replays wants it handled, however late it is by now: it would count as done, and never have run. So it has
#: lost the time at which it expires, and is marked as replayed.
_OF_DEATH = dict.fromkeys(
    (
        names.ERROR_TYPE,
        names.ERROR_MESSAGE,
        names.TRACEBACK,
        names.ATTEMPT,
        names.HANDLER,
        names.REASON,
        names.ORIGIN_AT,
        names.DUE_AT,
        names.TARGET,
        names.EXPIRES_AT,
        names.REPLAYED,
        names.TRACE,
    )
)


@dataclass(frozen=True, slots=True)
class Edit:
    """Changes to the headers of what is replayed: those dropped first, then those set, which replace all of a name."""

    set: tuple[tuple[str, bytes | None], ...] = ()
    drop: tuple[str, ...] = ()

    @classmethod
    def make(cls, set_headers: object = (), drop_headers: object = ()) -> Edit:
        """An Edit of headers in any form that a send accepts, and of one name or several."""
        many = [drop_headers] if isinstance(drop_headers, str) else drop_headers
        drop = tuple(many) if isinstance(many, Iterable) else (None,)
        if not all(isinstance(name, str) for name in drop):
            raise ValueError(f"drop_headers={drop_headers!r} is neither a header's name nor a list of names")
        return cls(tuple(names.pairs(set_headers)), drop)


def headers(
    of: names.Pairs | tuple[tuple[str, bytes | None], ...], edit: Edit, *, with_origin: bool = True
) -> names.Pairs:
    """The headers of the copy: the user's own, the origin if it is wanted, and that it was replayed; edited.

    >>> headers((("a", b"1"), ("elsa-origin", b"t:0:1"), ("elsa-attempt", b"5")), Edit(set=(("a", b"2"),)))
    [('elsa-origin', b't:0:1'), ('a', b'2'), ('elsa-replayed', b'1')]
    """
    gone = _OF_DEATH if with_origin else {**_OF_DEATH, names.ORIGIN: None}
    edited = {**dict.fromkeys(edit.drop), **dict.fromkeys(name for name, _ in edit.set)}
    found = [*names.without(of, {**gone, **edited}), *edit.set]
    if names.REPLAYED not in edited:
        found.append((names.REPLAYED, b"1"))
    if names.text(found, "traceparent") is not None:
        # the trace in which it died may be long over: what follows begins one of its own, with a link to that
        found.append((names.TRACE, names.LINK.encode()))
    return found
