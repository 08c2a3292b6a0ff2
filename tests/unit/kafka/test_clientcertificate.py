"""What a broker has against a client's certificate is told from the alert, and from the certificate's own dates."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from elsa.kafka.clientcertificate import refusal

if TYPE_CHECKING:
    from pathlib import Path

UNKNOWN = "Receive failed: error:0A000416:SSL routines::ssl/tls alert certificate unknown: SSL alert number 46"
REQUIRED = "Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required: SSL alert number 116"


def validity(begin: bytes, end: bytes) -> bytes:
    """As it stands in a certificate."""
    times = [(b"\x17\x0d" if len(each) == 12 else b"\x18\x0f") + each + b"Z" for each in (begin, end)]
    whole = b"".join(times)
    return b"\x02\x01\x00\x30" + bytes([len(whole)]) + whole + b"\x30\x00"


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (REQUIRED, "which is not trusted"),
        ("tlsv1 alert unknown ca", "which is not trusted"),
        ("sslv3 alert certificate expired", "which has expired"),
        ("ssl/tls alert certificate revoked", "which has been revoked"),
        ("ssl/tls alert unsupported certificate", "which is not made for clients"),
        ("ssl/tls alert bad certificate", "which is not valid: too old, not valid yet, or not signed by"),
        (UNKNOWN, "which is not valid: too old, not valid yet, or not signed by"),
    ],
)
def test_an_alert_says_what_is_wrong_with_it(said: str, text: str) -> None:
    found = refusal(said, {"ssl.certificate.location": "/nowhere/ann.pem"})

    assert found is not None
    assert found.text.startswith("the broker refuses this client's own certificate (/nowhere/ann.pem), which")
    assert text in found.text


def test_one_that_is_not_shown_is_asked_for() -> None:
    found = refusal(REQUIRED, {"ssl.ca.location": "ca.pem"})

    assert found is not None
    assert found.text == "the broker asks for a client certificate, and this client shows none"
    assert "ssl.keystore.location" in found.hint


@pytest.mark.parametrize("said", ["Connect failed: Connection refused", "alert handshake failure", ""])
def test_other_errors_are_none_of_its_business(said: str) -> None:
    assert refusal(said, {}) is None


@pytest.mark.parametrize(
    ("begin", "end", "text"),
    [
        (b"200101000000", b"210131000000", "has expired on 2021-01-31"),
        (b"500101000000", b"990131000000", "has expired on 1999-01-31"),
        (b"20900101000000", b"20910101000000", "is not valid before 2090-01-01"),
        (b"200101000000", b"20910101000000", "is not valid: too old"),
    ],
)
def test_its_dates_say_what_the_alert_does_not(tmp_path: Path, begin: bytes, end: bytes, text: str) -> None:
    der = validity(begin, end)
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"
    store, file = tmp_path / "ann.p12", tmp_path / "ann.pem"
    store.write_bytes(b"\x30\x82" + der)
    file.write_bytes(pem)
    for key, value in {
        "ssl.keystore.location": str(store),
        "ssl.certificate.location": str(file),
        "ssl.certificate.pem": pem.decode(),
    }.items():
        found = refusal(UNKNOWN, {key: value})

        assert found is not None
        assert text in found.text
        assert "BEGIN" not in found.text
