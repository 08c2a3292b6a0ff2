"""TLS of the HTTP endpoint: wraps connections, and takes a certificate that was renewed from the next one on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from elsa.errors import ConfigError

if TYPE_CHECKING:
    import socket
    import ssl

    from elsa.observe.guard import Guard

_log = logging.getLogger(__name__)


class Handshakes:
    """Belongs to the thread that accepts; raises ConfigError when the guard's files can't be used at the start."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._context = self._make()
        self._stamp = guard.stamp()

    def wrap(self, connection: socket.socket) -> ssl.SSLSocket:
        """Speak TLS on a connection.

        The handshake is left to the request's thread: it waits for the client, and others want to be accepted.
        """
        self._renew()
        return self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)

    def _renew(self) -> None:
        try:
            stamp = self._guard.stamp()
        except OSError:  # it is being replaced
            return
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._context = self._make()
        except ConfigError as error:
            text = "a renewed certificate can not be used, the one before goes on: %s"
            _log.error(text, error, extra={"event": "certificate_refused"})

    def _make(self) -> ssl.SSLContext:
        context = self._guard.context()
        assert context is not None
        return context
