"""Keeps secrets out of everything that people see: which settings hold one, and what is shown instead."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

HIDDEN = "***"
#: all that begins with `sasl` and is not known to be public may be a password whose name was misspelt
_SECRET = re.compile(
    r"pass|pwd|secret|key|token|oauth|credential|jaas|user\.?info|\b(pw|psw)\b"
    r"|^sasl(?!\.(mechanisms?|username|kerberos\..*)$)",
    re.IGNORECASE,
)
#: a word that is nearly one of these is one that was misspelt; no word of a key that is public is as near
_WORDS = ("password", "passphrase", "secret", "token", "credential", "key", "jaas")
_NEARNESS = 0.75
#: `ssl.key.location` and its like hold the path of a secret, or its address, which helps whoever looks for it
_PUBLIC = re.compile(r"\.(location|url|id)$", re.IGNORECASE)

#: what stands before the host of a URL; a password may hold `@` and `/`, so the last `@` ends it
_USERINFO = re.compile(r"(?<=://)\S+(?=@)")


def is_secret(key: str) -> bool:
    """Whether the dotted Kafka key holds a secret, also if it is misspelt.

    >>> is_secret("sasl.password"), is_secret("sasl.pssword"), is_secret("ssl.ca.location")
    (True, True, False)
    """
    return _PUBLIC.search(key) is None and (_SECRET.search(key) is not None or _is_misspelt(key))


def _is_misspelt(key: str) -> bool:
    words = re.split(r"[\W_]+", key.lower())
    return any(difflib.get_close_matches(word, _WORDS, 1, _NEARNESS) for word in words)


def redact_kafka(kafka: Mapping[str, Any]) -> dict[str, Any]:
    """The `kafka` mapping with its secrets hidden, those in URLs too."""
    return {key: HIDDEN if is_secret(key) else _without_userinfo(value) for key, value in kafka.items()}


def _without_userinfo(value: Any) -> Any:
    return redact_urls(value) if isinstance(value, str) else value


def redact_urls(text: str) -> str:
    """The text without the users and passwords in its URLs.

    >>> redact_urls("https://ann:pw@sso.example/token")
    'https://***@sso.example/token'
    """
    return _USERINFO.sub(HIDDEN, text)


class KafkaKeys(dict[str, Any]):
    """Kafka keys that show no secret where they are printed: in a log line, or by a debugger that shows variables.

    >>> KafkaKeys({"sasl.username": "ann", "sasl.password": "pw"})
    {'sasl.username': 'ann', 'sasl.password': '***'}
    """

    def __repr__(self) -> str:
        return repr(redact_kafka(self))


def redact_brokers(brokers: str) -> str:
    """The broker list without what stands before its last `@`: a password may hold commas, so all of it goes.

    >>> redact_brokers("ann:pw@one:9092,two:9092")
    '***@one:9092,two:9092'
    """
    _, at, hosts = brokers.rpartition("@")
    return f"{HIDDEN}@{hosts}" if at else brokers
