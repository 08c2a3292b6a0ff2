"""Says what is wrong between a client's security settings and a listener: certificate, TLS or plain text, the login.

Asked by `errors.Reports` when a client could not connect: librdkafka (2.16) calls an expired certificate, one of
another host and one of an unknown authority alike, and of plain text where TLS is spoken it only says that nobody
answers.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from elsa.clock import SYSTEM

if TYPE_CHECKING:
    from elsa.clock import Clock
    from elsa.config import Settings

#: how long one step may take: somebody waits for the error
_STEP_SECONDS = 1.0
#: how long a finding holds, so that a worker that asks every second does not knock every second
_HOLDS_SECONDS = 30.0
_PORT = 9092
_HANDSHAKE_KEY, _HANDSHAKE_VERSION, _CORRELATION = 17, 1, 0x656C7361
_UNSUPPORTED_MECHANISM, _ILLEGAL_STATE = 33, 34
#: of OpenSSL: why a certificate is refused
_EXPIRED, _NOT_YET, _OTHER_HOST, _OTHER_ADDRESS = 10, 9, 62, 64
_REVOKED = 23


class Finding(NamedTuple):
    """What is wrong, and what to do."""

    text: str
    hint: str


class Examination:
    """Of one client's settings; for any thread."""

    def __init__(self, settings: Settings, clock: Clock = SYSTEM) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._found: Finding | None = None
        self._until = -1.0

    def verdict(self) -> Finding | None:
        """What is wrong at the first address that answers, at most 30 s old; None when nothing is, or none answers."""
        with self._lock:
            if self._clock.monotonic() >= self._until:
                self._found = examine(self._settings)
                self._until = self._clock.monotonic() + _HOLDS_SECONDS
            return self._found


def examine(settings: Settings) -> Finding | None:
    """Knock at the brokers as the settings say, without logging in; what the first one that listens has against it."""
    wanted = _Wanted.of(settings)
    for host, port in _addresses(settings.brokers):
        try:
            with socket.create_connection((host, port), _STEP_SECONDS) as raw:
                raw.settimeout(_STEP_SECONDS)
                return _over_tls(raw, host, port, wanted) if wanted.has_tls else _plainly(raw, host, port, wanted)
        except OSError:
            continue
    return None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the client speaks."""

    protocol: str
    mechanism: str
    kafka: Any

    @staticmethod
    def of(settings: Settings) -> _Wanted:
        kafka = settings.kafka
        protocol = str(kafka.get("security.protocol", "plaintext")).upper()
        return _Wanted(protocol, str(kafka.get("sasl.mechanism", kafka.get("sasl.mechanisms", "GSSAPI"))), kafka)

    @property
    def has_tls(self) -> bool:
        return self.protocol.endswith("SSL")

    @property
    def has_sasl(self) -> bool:
        return self.protocol.startswith("SASL")

    def but(self, *, tls: bool | None = None, sasl: bool | None = None) -> str:
        """The protocol with one thing changed."""
        is_tls = self.has_tls if tls is None else tls
        plain = "SSL" if is_tls else "PLAINTEXT"
        return f"SASL_{plain}" if (self.has_sasl if sasl is None else sasl) else plain


def _over_tls(raw: socket.socket, host: str, port: int, wanted: _Wanted) -> Finding | None:
    try:
        context = _context(wanted.kafka)
    except (OSError, ValueError):
        return None  # the client itself has said what is wrong with its files
    try:
        with context.wrap_socket(raw, server_hostname=host) as secured:
            return _judged(_ask(secured, wanted), host, port, wanted)
    except ssl.SSLCertVerificationError as error:
        return _certificate(error, host, port, wanted)
    except OSError:
        pass
    with contextlib.suppress(OSError), socket.create_connection((host, port), _STEP_SECONDS) as again:
        again.settimeout(_STEP_SECONDS)
        if _ask(again, wanted) is not None:
            return Finding(
                f"the broker at {host}:{port} answers in plain text, and this client speaks TLS "
                f"(security.protocol={wanted.protocol})",
                f"set security.protocol to {wanted.but(tls=False)} in `kafka`, or name the port that speaks TLS",
            )
    return None


def _plainly(raw: socket.socket, host: str, port: int, wanted: _Wanted) -> Finding | None:
    answer = _ask(raw, wanted)
    if answer is not None:
        return _judged(answer, host, port, wanted)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent: does it speak TLS at all?
    try:
        with socket.create_connection((host, port), _STEP_SECONDS) as again:
            again.settimeout(_STEP_SECONDS)
            with context.wrap_socket(again, server_hostname=host):
                pass
    except OSError:
        return None
    return Finding(
        f"the broker at {host}:{port} speaks TLS, and this client plain text (security.protocol={wanted.protocol})",
        f"set security.protocol to {wanted.but(tls=True)} in `kafka`, and ssl.ca.location to the certificate of its "
        "authority, or name the port that speaks plain text",
    )


def _context(kafka: Any) -> ssl.SSLContext:
    """As librdkafka would verify; raises OSError for files that cannot be read."""
    location = kafka.get("ssl.ca.location")
    pem = kafka.get("ssl.ca.pem")
    if location and str(location) != "probe":
        context = ssl.create_default_context(cafile=str(location))
    else:
        context = ssl.create_default_context(cadata=str(pem) if pem else None)
    # checks of its own that librdkafka does not make, from Python 3.13 on
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    if str(kafka.get("ssl.endpoint.identification.algorithm", "https")) == "none":
        context.check_hostname = False
    if str(kafka.get("enable.ssl.certificate.verification", "true")).lower() == "false":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    certificate, key = kafka.get("ssl.certificate.location"), kafka.get("ssl.key.location")
    if certificate and key:
        context.load_cert_chain(str(certificate), str(key), kafka.get("ssl.key.password"))
    return context


def _certificate(error: ssl.SSLCertVerificationError, host: str, port: int, wanted: _Wanted) -> Finding:
    at = f"the certificate of the broker at {host}:{port}"
    code = error.verify_code
    if code == _EXPIRED:
        return Finding(f"{at} has expired", "renew it on the broker; if it is new, look at this machine's clock")
    if code == _NOT_YET:
        return Finding(f"{at} is not valid yet", "look at the clocks of this machine and of the one that made it")
    if code in (_OTHER_HOST, _OTHER_ADDRESS):
        return Finding(
            f"{at} is not for the name {host!r}",
            "use a name that stands in it (its subjectAltName) in `brokers`, and in the broker's advertised.listeners",
        )
    if code == _REVOKED:
        return Finding(f"{at} has been revoked", "renew it on the broker")
    trusted = wanted.kafka.get("ssl.ca.location") or (
        "ssl.ca.pem" if wanted.kafka.get("ssl.ca.pem") else "the system's authorities"
    )
    return Finding(
        f"{at} is not trusted: {error.verify_message} (trusted: {trusted})",
        "set ssl.ca.location in `kafka` to the certificate of the authority that signed it",
    )


def _judged(answer: tuple[int, list[str]] | None, host: str, port: int, wanted: _Wanted) -> Finding | None:
    if answer is None:
        return None
    code, mechanisms = answer
    offered = ", ".join(mechanisms)
    if code == _ILLEGAL_STATE and wanted.has_sasl:
        return Finding(
            f"the broker at {host}:{port} asks for no login, and this client wants to log in "
            f"(security.protocol={wanted.protocol})",
            f"set security.protocol to {wanted.but(sasl=False)} in `kafka`, or name the port that asks for one",
        )
    if code in (0, _UNSUPPORTED_MECHANISM) and not wanted.has_sasl:
        return Finding(
            f"the broker at {host}:{port} asks for a login{f' by {offered}' if offered else ''}, and this client has "
            f"none (security.protocol={wanted.protocol})",
            f"set security.protocol to {wanted.but(sasl=True)} in `kafka`, and sasl.mechanism, sasl.username, "
            "sasl.password",
        )
    if code == _UNSUPPORTED_MECHANISM:
        return Finding(
            f"the broker at {host}:{port} does not offer sasl.mechanism={wanted.mechanism}, only {offered}",
            "change sasl.mechanism in `kafka`",
        )
    return None


def _ask(connection: socket.socket, wanted: _Wanted) -> tuple[int, list[str]] | None:
    """Kafka's SaslHandshake: (error code, mechanisms offered); None when what answers does not speak Kafka."""
    mechanism = wanted.mechanism.encode()
    body = struct.pack(">hhih", _HANDSHAKE_KEY, _HANDSHAKE_VERSION, _CORRELATION, -1)
    body += struct.pack(">h", len(mechanism)) + mechanism
    try:
        connection.sendall(struct.pack(">i", len(body)) + body)
        (size,) = struct.unpack(">i", _exactly(connection, 4))
        if not 10 <= size <= 65_536:
            return None
        answer = _exactly(connection, size)
    except OSError:
        return None
    correlation, code, count = struct.unpack_from(">ihi", answer)
    if correlation != _CORRELATION:
        return None
    names, at = [], 10
    for _ in range(count):
        (length,) = struct.unpack_from(">h", answer, at)
        names.append(answer[at + 2 : at + 2 + length].decode())
        at += 2 + length
    return code, names


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = connection.recv(size - len(found))
        if not piece:
            raise ConnectionResetError
        found += piece
    return found


def _addresses(brokers: str) -> list[tuple[str, int]]:
    found = []
    for part in brokers.split(","):
        host, colon, port = part.rpartition("://")[2].rpartition(":")
        has_port = bool(colon) and port.isdecimal()
        name = host if has_port else part.rpartition("://")[2]
        found.append((name.strip("[]"), int(port) if has_port else _PORT))
    return found
