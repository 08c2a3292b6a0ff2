"""What a commit's metadata says of one shard's schedules: pure, and the format.

`S1`, then base64 of a checksum (crc32, 4 bytes) and 12 bytes for each schedule: its identity (6) and the moment through
which its fire times are decided (6, milliseconds). It fits into 3,500 characters, of the 4,096 that a broker keeps.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_MARK = "S1"
_ID = 6
_ENTRY = 12
_SUM = 4
MOST_CHARACTERS = 3_500
#: entries that fit
MOST = (MOST_CHARACTERS - len(_MARK)) * 3 // 4 // _ENTRY - 1


def encode(through: Mapping[bytes, int]) -> str:
    """The metadata of {identity: moment}; where there are too many, the oldest are left out.

    >>> decode(encode({b"abcdef": 1_764_115_200_000}))
    {b'abcdef': 1764115200000}
    """
    kept = sorted(through.items(), key=lambda entry: entry[1], reverse=True)[:MOST]
    data = b"".join(identity + moment.to_bytes(_ENTRY - _ID) for identity, moment in kept)
    return _MARK + base64.b64encode(zlib.crc32(data).to_bytes(_SUM) + data).decode()


def decode(metadata: str) -> dict[bytes, int] | None:
    """What the metadata says; None for what is not ours or is damaged."""
    if not metadata.startswith(_MARK):
        return None
    try:
        data = base64.b64decode(metadata[len(_MARK) :], validate=True)
    except (binascii.Error, ValueError):
        return None
    checksum, data = data[:_SUM], data[_SUM:]
    if len(data) % _ENTRY or len(checksum) < _SUM or zlib.crc32(data).to_bytes(_SUM) != checksum:
        return None
    entries = (data[at : at + _ENTRY] for at in range(0, len(data), _ENTRY))
    return {entry[:_ID]: int.from_bytes(entry[_ID:]) for entry in entries}
