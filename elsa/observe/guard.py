"""Who may talk to the HTTP endpoint of a worker: TLS, client certificates, a token, and no open port by mistake."""

from __future__ import annotations

import hmac
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elsa.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.config import Settings

_FIELDS = ("cert", "key", "client_ca", "token", "open")


def settings_of(settings: Settings) -> dict[str, Any]:
    """The settings that a guard is made of, by their names."""
    return {f"http_{name}": getattr(settings, f"http_{name}") for name in _FIELDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """The rules of one endpoint; paths are PEM files.

    >>> Guard().check("127.0.0.1")
    >>> Guard(token="t").allows("Bearer t"), Guard(token="t").allows("Bearer x")
    (True, False)
    """

    cert: str | None = None
    key: str | None = None
    client_ca: str | None = None
    token: str | None = None
    open: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Guard:
        """From settings by their names (`settings_of`); those that are missing are not set."""
        values = {name: settings.get(f"http_{name}") for name in _FIELDS}
        return cls(**{name: value for name, value in values.items() if value is not None})

    @property
    def is_closed(self) -> bool:
        """Whether those who ask have to prove who they are, or may at least not be overheard."""
        return self.cert is not None or self.token is not None

    @property
    def scheme(self) -> str:
        """Of the endpoint's addresses."""
        return "http" if self.cert is None else "https"

    def check(self, host: str) -> None:
        """Raise ConfigError when an address beyond this machine would be open to everybody without being told so."""
        if is_loopback(host) or self.is_closed or self.open:
            return
        raise ConfigError(
            f"metrics and status would be open to everybody who reaches {host}",
            hint="set http_cert (and http_client_ca) or http_token, or say with --http-open or ELSA_HTTP_OPEN=true"
            " that the network keeps others away",
        )

    def warning(self, host: str) -> str | None:
        """What is open beyond this machine, None when nothing is."""
        if is_loopback(host) or self.client_ca is not None:
            return None
        if self.token is not None:
            return None if self.cert is not None else "the token of metrics and status crosses the network unencrypted"
        how = "without encryption or authentication" if self.cert is None else "encrypted, but to everybody"
        return f"metrics, status and probes are served beyond this machine {how}"

    def context(self) -> ssl.SSLContext | None:
        """TLS for the server, None without; raises ConfigError naming the file that can't be used."""
        if self.cert is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as error:
            files = self.cert if self.key is None else f"{self.cert} and {self.key}"
            what = self._missing() or f"{files}: {_reason(error)}"
            raise ConfigError(
                f"the certificate of the metrics port can not be used: {what}",
                hint="http_cert is a PEM file of the certificate and its chain, http_key that of its private key",
            ) from error
        if self.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                context.load_verify_locations(self.client_ca)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(
                    f"http_client_ca={self.client_ca} can not be used: {_reason(error)}",
                    hint="it is a PEM file of the authorities that clients' certificates come from",
                ) from error
        return context

    def _missing(self) -> str | None:
        """Which file does not hold what it is named for."""
        for file, what in ((self.cert, "CERTIFICATE"), (self.key or self.cert, "PRIVATE KEY")):
            assert file is not None
            try:
                if f"{what}-----" not in Path(file).read_text("latin-1"):
                    return f"{file} holds no {what.lower()}"
            except OSError as error:
                return f"{file}: {error.strerror}"
        return None

    def stamp(self) -> tuple[int, ...]:
        """Another one when a certificate has been renewed; the files have to be there."""
        files = (self.cert, self.key, self.client_ca)
        return tuple(Path(file).stat().st_mtime_ns for file in files if file is not None)

    def allows(self, authorization: str | None) -> bool:
        """Whether an Authorization header is enough; everything is without a token."""
        if self.token is None:
            return True
        kind, _, given = (authorization or "").partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self.token.encode())


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "it is no PEM file of that kind"
    return error.strerror or str(error)
