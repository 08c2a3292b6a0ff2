"""Says what a broker has against a client's own certificate, from the TLS alert that it sends; called by `errors`.

An alert that comes in is always about what this side has shown. librdkafka (2.16) hands its text on, with TLS 1.3 as a
failed receive: there the client's handshake is over before the broker has looked.
"""

from __future__ import annotations

import base64
import contextlib
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from elsa.clock import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Mapping

#: OpenSSL's words for the alerts
_ALERT = re.compile(
    r"alert (no certificate|bad certificate|certificate (?:expired|required|revoked|unknown)|unknown ca"
    r"|unsupported certificate)"
)
_OWN = ("ssl.keystore.location", "ssl.certificate.location", "ssl.certificate.pem")
_NONE = ("certificate required", "no certificate")
_TRUSTED = "have it signed by an authority that the broker trusts (its ssl.truststore.location)"
_RENEW = "renew it; if it is new, look at the clocks of this machine and the broker's"
#: alert -> (what the broker has against it, what to do)
_REASONS = {
    # a client does not even send one that none of the authorities has signed which the broker names
    **dict.fromkeys((*_NONE, "unknown ca"), ("is not trusted", _TRUSTED)),
    "certificate expired": ("has expired", _RENEW),
    "certificate revoked": ("has been revoked", "have another one made"),
    "unsupported certificate": ("is not made for clients", "its extended key usage needs clientAuth"),
}
#: what Java says of every other one
_ANY = ("is not valid: too old, not valid yet, or not signed by an authority that the broker trusts", _RENEW)
#: two times in a row: from when to when a certificate holds (DER)
_TIME = rb"(?:\x17\x0d(\d{12})|\x18\x0f(\d{14}))Z"
_VALIDITY = re.compile(rb"\x30[\x1e\x20\x22]" + _TIME + _TIME)
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END", re.DOTALL)


class Refusal(NamedTuple):
    """What is wrong, and what to do."""

    text: str
    hint: str


def refusal(said: str, kafka: Mapping[str, object]) -> Refusal | None:
    """What the broker has against the certificate of a client with this `kafka` mapping; None if `said` is no alert.

    >>> refusal("ssl/tls alert certificate expired", {"ssl.keystore.location": "ann.p12"}).text
    "the broker refuses this client's own certificate (ann.p12), which has expired"
    """
    found = _ALERT.search(said)
    if found is None:
        return None
    own = next((key for key in _OWN if kafka.get(key)), None)
    if own is None:
        return Refusal(
            "the broker asks for a client certificate, and this client shows none",
            "set ssl.keystore.location (PKCS12) and ssl.keystore.password in `kafka`, or ssl.certificate.location and "
            "ssl.key.location (PEM)",
        )
    what, hint = _REASONS.get(found[1]) or _by_date(own, str(kafka[own])) or _ANY
    name = kafka[own] if own.endswith("location") else own
    return Refusal(f"the broker refuses this client's own certificate ({name}), which {what}", hint)


def _by_date(key: str, value: str) -> tuple[str, str] | None:
    """What its dates say against it, where they can be read: in PEM, and in a PKCS12 that has not encrypted them."""
    data = value.encode()
    with contextlib.suppress(OSError):
        data = Path(value).read_bytes() if key.endswith("location") else data
    pem = _PEM.search(data)
    if pem is not None:
        with contextlib.suppress(ValueError):
            data = base64.b64decode(pem[1])
    for found in _VALIDITY.finditer(data):
        begin, end = _moment(found[1], found[2]), _moment(found[3], found[4])
        if end < SYSTEM.now():
            return f"has expired on {_day(end)}", _RENEW
        if begin > SYSTEM.now():
            return f"is not valid before {_day(begin)}", _RENEW
    return None


def _moment(short: bytes | None, long: bytes | None) -> float:
    """Seconds since 1970; a year of two digits is one from 1950 to 2049 (RFC 5280)."""
    text = (long or b"").decode() if short is None else ("20" if short < b"50" else "19") + short.decode()
    return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).date().isoformat()
