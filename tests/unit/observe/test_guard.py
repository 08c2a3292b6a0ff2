"""Who may talk to the endpoint: real TLS clients with and without certificates, tokens, and addresses that are open."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from elsa.errors import ConfigError
from elsa.observe.guard import Guard
from elsa.observe.http import MetricsServer
from elsa.observe.verdicts import Verdict

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    """Paths: the server's `cert` and `key`, the clients' `ca`."""
    made = authority.issue_cert("127.0.0.1", "localhost")
    paths = {name: str(tmp_path / f"{name}.pem") for name in ("cert", "key", "ca")}
    for number, blob in enumerate(made.cert_chain_pems):
        blob.write_to_path(paths["cert"], append=number > 0)
    made.private_key_pem.write_to_path(paths["key"])
    authority.cert_pem.write_to_path(paths["ca"])
    return paths


def client(authority: trustme.CA, identity: trustme.LeafCert | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if identity is not None:
        identity.configure_cert(context)
    return context


def get(server: MetricsServer, context: ssl.SSLContext | None, path: str = "/metrics", **headers: str) -> Any:
    kind = http.client.HTTPConnection if context is None else http.client.HTTPSConnection
    options: dict[str, Any] = {} if context is None else {"context": context}
    connection = kind("127.0.0.1", server.port, timeout=10, **options)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_with_a_certificate_the_port_speaks_tls_and_nothing_else(authority: trustme.CA, files: dict[str, str]) -> None:
    guard = Guard(cert=files["cert"], key=files["key"])
    with MetricsServer(lambda: b"jobs 1\n", port=0, guard=guard) as server:
        assert server.url.startswith("https://127.0.0.1:")
        assert get(server, client(authority)) == (200, b"jobs 1\n")
        with pytest.raises((http.client.HTTPException, OSError)):
            get(server, None)
        with pytest.raises(ssl.SSLCertVerificationError):
            get(server, client(trustme.CA()))


def test_without_a_certificate_of_the_right_authority_a_client_is_refused(
    authority: trustme.CA, files: dict[str, str]
) -> None:
    guard = Guard(cert=files["cert"], key=files["key"], client_ca=files["ca"])
    with MetricsServer(lambda: b"jobs 1\n", port=0, guard=guard) as server:
        assert get(server, client(authority, authority.issue_cert("prometheus"))) == (200, b"jobs 1\n")
        for identity in (None, trustme.CA().issue_cert("prometheus")):
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
                get(server, client(authority, identity))


@pytest.mark.timeout(30)
def test_a_client_that_never_shakes_hands_holds_up_nobody_and_not_the_stop(
    authority: trustme.CA, files: dict[str, str]
) -> None:
    server = MetricsServer(lambda: b"jobs 1\n", port=0, guard=Guard(cert=files["cert"], key=files["key"]))
    server.start()
    with socket.create_connection(("127.0.0.1", server.port or 0), timeout=5):
        assert get(server, client(authority))[0] == 200
        server.stop()


def test_with_a_token_pages_need_it_and_probes_say_one_word_without() -> None:
    probes = {"/livez": lambda: Verdict("live", [{"name": "poll", "ok": True}])}
    guard = Guard(token="tiger")
    with MetricsServer(lambda: b"jobs 1\n", port=0, status=dict, probes=probes, guard=guard) as server:
        assert get(server, None)[0] == 401
        assert get(server, None, "/statusz", Authorization="Bearer lion")[0] == 401
        assert get(server, None, "/unknown")[0] == 401
        assert get(server, None, Authorization="Bearer tiger") == (200, b"jobs 1\n")
        assert json.loads(get(server, None, "/livez")[1]) == {"live": True}
        assert "checks" in json.loads(get(server, None, "/livez", Authorization="bearer tiger")[1])


@pytest.mark.parametrize(
    ("guard", "warning"),
    [
        (Guard(open=True), "without encryption or authentication"),
        (Guard(token="t"), "the token of metrics and status crosses the network unencrypted"),
        (Guard(cert="c"), "encrypted, but to everybody"),
        (Guard(cert="c", client_ca="a"), None),
        (Guard(cert="c", token="t"), None),
    ],
)
def test_what_is_open_beyond_this_machine_is_named(guard: Guard, warning: str | None) -> None:
    guard.check("0.0.0.0")
    found = guard.warning("0.0.0.0")

    assert (warning is None) == (found is None)
    assert warning is None or warning in str(found)
    assert guard.warning("127.0.0.1") is None


def test_an_address_that_would_be_open_by_mistake_is_refused() -> None:
    for host in ("0.0.0.0", "::", "10.0.0.7", "worker.example"):
        with pytest.raises(ConfigError, match=f"open to everybody who reaches {host}"):
            Guard().check(host)
    for host in ("127.0.0.1", "127.8.0.1", "::1", "localhost"):
        Guard().check(host)


def test_a_certificate_that_can_not_be_used_is_named(files: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.pem: No such file"):
        Guard(cert=str(tmp_path / "gone.pem")).context()
    with pytest.raises(ConfigError, match=r"can not be used: .*ca\.pem holds no private key"):
        Guard(cert=files["ca"]).context()
    with pytest.raises(ConfigError, match=r"can not be used: .*key\.pem holds no certificate"):
        Guard(cert=files["key"]).context()
    with pytest.raises(ConfigError, match=r"http_client_ca=.*key\.pem can not be used"):
        Guard(cert=files["cert"], key=files["key"], client_ca=files["key"]).context()


def test_nothing_is_logged_of_a_guarded_port(
    authority: trustme.CA, files: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    guard = Guard(cert=files["cert"], key=files["key"], client_ca=files["ca"])
    with caplog.at_level(logging.WARNING), MetricsServer(lambda: b"", host="0.0.0.0", port=0, guard=guard):
        pass

    assert not caplog.text


@pytest.mark.parametrize("guard", [Guard(open=True), Guard(token="tiger"), Guard(token="tiger", open=True)])
def test_an_open_port_warns_once_at_its_start(guard: Guard, caplog: pytest.LogCaptureFixture) -> None:
    with MetricsServer(lambda: b"", host="0.0.0.0", port=0, guard=guard) as server:
        get(server, None)
        get(server, None, Authorization="Bearer tiger")

    assert caplog.messages == [guard.warning("0.0.0.0")]


def test_a_renewed_certificate_is_shown_from_the_next_connection_on(
    authority: trustme.CA, files: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with MetricsServer(lambda: b"jobs 1\n", port=0, guard=Guard(cert=files["cert"], key=files["key"])) as server:
        assert get(server, client(authority))[0] == 200
        newer = trustme.CA()
        made = newer.issue_cert("127.0.0.1")
        made.cert_chain_pems[0].write_to_path(files["cert"])
        with pytest.raises(ssl.SSLError):
            get(server, client(newer))
        assert "a renewed certificate can not be used, the one before goes on" in caplog.text
        made.private_key_pem.write_to_path(files["key"])
        assert get(server, client(newer))[0] == 200
