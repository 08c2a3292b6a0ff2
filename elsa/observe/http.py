"""The small HTTP server beside a worker: `/metrics`, the probes, `/statusz`; its supervisor starts it."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import socket
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from elsa.errors import ConfigError
from elsa.observe.exposition import OPENMETRICS, TEXT
from elsa.observe.guard import Guard
from elsa.observe.handshakes import Handshakes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from elsa.observe.verdicts import Verdict

DEFAULT_PORT = 9464
#: seconds a client may take to say what it wants
CLIENT_TIMEOUT = 10.0
JSON = "application/json; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"
#: status, type, body
Page = tuple[int, str, bytes]

_log = logging.getLogger(__name__)


def _json(body: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(body, default=str, indent=1)}\n".encode()


class MetricsServer:
    r"""Serves the state of one worker; read only, on loopback unless a host is given and `guard` lets it.

    `port` None takes 9464, or any free port when that is taken; a given port that is taken is a
    ConfigError; 0 is any free port. After `start`, `port` and `url` tell which it became.
    `probes` are paths with what gives each verdict: its body, and as `ok` whether it is a 200 or a 503. With a token
    everything else needs it; whoever has none learns of a probe only whether it is true. `port_options` is how its
    users choose the port, for the hint.
    The functions are called from the server's threads, one per request; one that raises is a 500.

    >>> server = MetricsServer(lambda: b"jobs 1\n", port=0)
    >>> server.start()
    >>> server.url.startswith("http://127.0.0.1:")
    True
    >>> server.stop()
    """

    def __init__(
        self,
        render: Callable[[], bytes],
        host: str = "127.0.0.1",
        port: int | None = None,
        *,
        status: Callable[[], Mapping[str, Any]] | None = None,
        probes: Mapping[str, Callable[[], Verdict]] = MappingProxyType({}),
        render_openmetrics: Callable[[], bytes] | None = None,
        guard: Guard | None = None,
        port_options: str = "--metrics-port or ELSA_METRICS_PORT",
    ) -> None:
        self.host = host
        self.port = port
        self.guard = guard or Guard()
        self._port_options = port_options
        self._probes = probes
        self._routes: dict[str, Callable[[str], Page]] = {
            "/metrics": lambda accept: (
                (200, OPENMETRICS, render_openmetrics())
                if render_openmetrics and "application/openmetrics-text" in accept
                else (200, TEXT, render())
            ),
        }
        if status is not None:
            self._routes["/statusz"] = lambda _: (200, JSON, _json(status()))
        self._server: _Server | None = None
        self._thread: Thread | None = None

    @property
    def url(self) -> str:
        """Where the metrics are."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.guard.scheme}://{host}:{self.port}/metrics"

    def answer(self, path: str, accept: str, authorization: str | None) -> Page:
        """Status, type and body of one page."""
        is_allowed = self.guard.allows(authorization)
        if (probe := self._probes.get(path)) is not None:
            verdict = probe()
            body = verdict.document() if is_allowed else {verdict.name: verdict.ok}
            return 200 if verdict.ok else 503, JSON, _json(body)
        if not is_allowed:
            return 401, PLAIN, b"this page needs the token: Authorization: Bearer TOKEN\n"
        route = self._routes.get(path)
        if route is None:
            return 404, PLAIN, f"there is {' '.join([*self._probes, *self._routes])}\n".encode()
        return route(accept)

    def start(self) -> None:
        """Listen and serve; a second call does nothing. Raises ConfigError where it can not listen."""
        if self._server is not None:
            return
        self.guard.check(self.host)
        self._server = self._listen(None if self.guard.cert is None else Handshakes(self.guard))
        self.port = self._server.server_address[1]
        # the poll interval only bounds how long `stop` takes
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), name="elsa-http", daemon=True)
        self._thread.start()
        if (warning := self.guard.warning(self.host)) is not None:
            _log.warning(warning, extra={"event": "http_open", "url": self.url})

    def stop(self) -> None:
        """Stop listening, end open requests, wait for the threads; harmless when not started."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.disconnect()
        server.server_close()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _listen(self, handshakes: Handshakes | None) -> _Server:
        wanted = DEFAULT_PORT if self.port is None else self.port
        try:
            return _Server((self.host, wanted), self.answer, handshakes)
        except OSError as error:
            if self.port is None and error.errno == errno.EADDRINUSE:
                return _Server((self.host, 0), self.answer, handshakes)
            reason = "the port is taken" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
            raise ConfigError(
                f"metrics can not be served on {self.host}:{wanted}: {reason}",
                hint=f"choose another port with {self._port_options} (0 takes any free one),"
                " another address with ELSA_HTTP_HOST",
            ) from error


class _Server(ThreadingHTTPServer):
    """Knows its open connections, so that none of them outlives it."""

    daemon_threads = False  # `server_close` joins only threads that are no daemons
    block_on_close = True

    def __init__(
        self,
        address: tuple[str, int],
        answer: Callable[[str, str, str | None], Page],
        handshakes: Handshakes | None,
    ) -> None:
        self.answer = answer
        self._handshakes = handshakes
        self._open: set[socket.socket] = set()
        self._guard = Lock()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Requests)

    def server_bind(self) -> None:
        # HTTPServer's own looks the host up in DNS, which can take seconds and is needed for CGI only
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def get_request(self) -> tuple[Any, Any]:
        request, address = super().get_request()
        return request if self._handshakes is None else self._handshakes.wrap(request), address

    def finish_request(self, request: Any, client_address: Any) -> None:
        if isinstance(request, ssl.SSLSocket):
            request.settimeout(CLIENT_TIMEOUT)
            request.do_handshake()
        super().finish_request(request, client_address)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def disconnect(self) -> None:
        """End every open connection."""
        with self._guard:
            for request in self._open:
                with contextlib.suppress(OSError):  # it may be closed already
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to report."""


class _Requests(BaseHTTPRequestHandler):
    server: _Server
    timeout = CLIENT_TIMEOUT
    error_content_type = PLAIN
    error_message_format = "%(code)d %(message)s\n"

    def version_string(self) -> str:
        return "elsa"

    def do_GET(self) -> None:
        status, kind, body = self._answer()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - http.server looks for this name

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Scrapes and probes are not logged."""

    def _answer(self) -> Page:
        path = self.path.partition("?")[0]
        try:
            return self.server.answer(path, self.headers.get("Accept", ""), self.headers.get("Authorization"))
        except Exception as error:
            # the border to the worker: an answer must come, and the reason belongs to the log
            _log.exception("a page could not be made", extra={"event": "http_failed", "path": path})
            return 500, PLAIN, f"{type(error).__name__}, see the log\n".encode()
