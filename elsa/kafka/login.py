"""Lets a running client log in with a password that has changed, where the password comes from a file.

Every adapter in this package has one for each of its clients: the client's reports are told to it, and between two
calls it is given the client (the admin client is made anew instead). Not within a report: confluent-kafka 2.16 ends the
process over a call from there.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from elsa.clock import SYSTEM
from elsa.environment import FileValue
from elsa.kafka import codes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.clock import Clock
    from elsa.config import Settings
    from elsa.kafka.errors import ClientError

log = logging.getLogger("elsa.kafka")

#: how often the files are read while the broker refuses what they held
_LOOK_SECONDS = 1.0
_REFUSED = codes.numbers(codes.CREDENTIALS)
_USER, _PASSWORD = "sasl.username", "sasl.password"


def fresh(kafka: Mapping[str, Any]) -> dict[str, Any]:
    """The `kafka` mapping with what its files hold now; a file that cannot be read leaves what it held."""
    return {key: value.again() if isinstance(value, FileValue) else value for key, value in kafka.items()}


class Login:
    """Of one client; `hear` may be called from any thread, `tend` by whoever may call the client."""

    def __init__(self, settings: Settings, clock: Clock = SYSTEM) -> None:
        self._kafka = settings.kafka
        self._clock = clock
        self._given = self._read()
        self._is_refused = False
        self._next = 0.0

    def hear(self, error: ClientError) -> None:
        """Take a report of the client (its `error_cb`)."""
        if error.code() in _REFUSED:
            self._is_refused = True

    def tend(self, client: Any) -> None:
        """Give the client what the files hold now, if the broker has refused what they held before."""
        if not self._is_refused or self._given is None or (now := self._clock.monotonic()) < self._next:
            return
        self._next = now + _LOOK_SECONDS
        found = self._read()
        if found is None or found == self._given:
            return
        self._given, self._is_refused = found, False
        client.set_sasl_credentials(*found)
        log.info("the password has changed: logging in with the new one", extra={"event": "credentials_renewed"})

    def has_changed(self) -> bool:
        """Whether the files hold something else now; for a client that can be made anew instead."""
        return self._given is not None and self._read() != self._given

    def _read(self) -> tuple[str, str] | None:
        """User and password, None unless one of them comes from a file."""
        if not any(isinstance(self._kafka.get(key), FileValue) for key in (_USER, _PASSWORD)):
            return None
        found = fresh(self._kafka)
        return str(found.get(_USER, "")), str(found.get(_PASSWORD, ""))
