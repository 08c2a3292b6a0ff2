"""Asks the HTTP endpoint of a worker for a probe; for `elsa healthcheck`."""

from __future__ import annotations

import http.client
import ipaddress
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elsa.errors import ConfigError, NoWorker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.config import Settings

PATHS = {"live": "/livez", "ready": "/readyz", "startup": "/startupz"}
#: an endpoint of something else may say anything
_MOST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker has answered, and where."""

    url: str
    ok: bool
    body: Mapping[str, Any]


def address(settings: Settings, port: int) -> str:
    """Where the worker with these settings is to be reached from this machine.

    >>> from elsa.config import Settings
    >>> address(Settings(http_host="0.0.0.0"), 9464), address(Settings(http_host="::"), 9464)
    ('http://127.0.0.1:9464', 'http://[::1]:9464')
    """
    host = settings.http_host
    try:
        known = ipaddress.ip_address(host)
    except ValueError:
        known = None
    if known is not None and known.is_unspecified:
        host = "127.0.0.1" if known.version == 4 else "::1"
    scheme = "http" if settings.http_cert is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def ask(url: str, probe: str, *, settings: Settings, cert: str | None = None, timeout: float = 5.0) -> Answer:
    """The answer of the worker at `url`; raises NoWorker when there is none, ConfigError for what can't be asked.

    With `http_cert` in the settings this certificate is expected, whatever name it is for; `http_token` is sent along.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigError(f"{url!r} is no address of a worker", hint="like http://127.0.0.1:9464")
    if parts.path.strip("/") or parts.query:
        raise ConfigError(
            f"{url!r} has a path: the probe says it",
            hint=f"give {parts.scheme}://{parts.netloc} and --live, --ready or --startup",
        )
    if cert is not None and parts.scheme == "http":
        raise ConfigError(
            f"a client certificate can not be shown to {url}: it is no TLS",
            hint="set http_cert as the worker has it, or give --url https://...",
        )
    full = f"{parts.scheme}://{parts.netloc}{PATHS[probe]}"
    headers = {} if settings.http_token is None else {"Authorization": f"Bearer {settings.http_token}"}
    request = urllib.request.Request(full, headers=headers)  # noqa: S310 - the scheme is checked above
    context = _context(settings, cert) if parts.scheme == "https" else None
    # no proxy of the environment: the worker is asked directly
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=timeout) as answer:
            return _answer(full, answer.status, answer.read(_MOST_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return _answer(full, error.code, error.read(_MOST_BYTES))
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise NoWorker(
            f"no worker answered at {full}: {getattr(reason, 'strerror', None) or reason}", hint=_hint(reason)
        ) from error


def _hint(reason: object) -> str:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return "ELSA_HTTP_CERT names the worker's certificate, which is trusted then"
    return (
        "is it running, with --metrics-port or ELSA_METRICS_PORT, with TLS as it is asked here,"
        " and --cert where it wants a client's certificate?"
    )


def _answer(url: str, status: int, body: bytes) -> Answer:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if status not in (200, 503) or not isinstance(found, dict):
        raise NoWorker(f"what answered at {url} is no worker of Elsa (status {status})", hint="give another --port")
    return Answer(url, status == 200, found)


def _context(settings: Settings, cert: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    file = settings.http_cert
    try:
        if file is not None:
            # the worker's own certificate is what is trusted, so its name says nothing more
            context = ssl.create_default_context(cafile=file)
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.check_hostname = False
        if (file := cert) is not None:
            context.load_cert_chain(file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{file} can not be used as a certificate: {getattr(error, 'reason', None) or error.strerror or error}",
            hint="http_cert and --cert are PEM files",
        ) from error
    return context
