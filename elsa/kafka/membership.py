"""What librdkafka says of a membership in a group, and the proof that a transaction takes of it; read by GroupConsumer.

The metadata has a private layout (2.16): `CGMDv2:`, the generation as a little-endian int32, then the ids of the group,
the member and the instance, each with a zero behind it. What is laid out otherwise tells nothing here.
"""

from __future__ import annotations

from typing import Any

#: KAFKA-20985: a broker may work on a join late that its client has given up and repeated, which fences the repetition
FENCED_HINT = "give each host its own ELSA_INSTANCE (once after a broker failed: its own join came late)"

_PREFIX = b"CGMDv2:"
_IDS = len(_PREFIX) + 4


class Proof:
    """A membership as it was at one moment, in place of a consumer, whose membership may change."""

    def __init__(self, group: str | None, metadata: Any) -> None:
        self.group = group
        self._metadata = metadata

    def group_metadata(self) -> Any:
        """What proves to a transaction that this member is one of the group (KIP-447)."""
        return self._metadata


def generation(metadata: Any) -> int | None:
    """The group's generation, negative between two memberships; None when the layout is unknown."""
    data = bytes(metadata)
    return int.from_bytes(data[len(_PREFIX) : _IDS], "little", signed=True) if data.startswith(_PREFIX) else None


def member(metadata: Any) -> bytes | None:
    """The member's id, empty between two memberships; None when the layout is unknown."""
    data = bytes(metadata)
    return data[_IDS:].split(b"\0", 2)[1] if data.startswith(_PREFIX) else None


def proves(metadata: Any) -> bool:
    """Whether it proves anything to a transaction.

    Between two memberships it has neither generation nor member id, and a broker takes offsets with such metadata from
    anybody.
    """
    found = generation(metadata)
    return found is None or (found >= 0 and member(metadata) != b"")
