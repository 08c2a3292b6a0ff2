"""What `elsa monitor` refuses before it looks at anything, and what it tells to do instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from elsa import exits
from elsa.cli import cli

if TYPE_CHECKING:
    from click.testing import Result

pytestmark = pytest.mark.usefixtures("root_logger_restored")


def monitor(*argv: str) -> Result:
    return CliRunner().invoke(cli, ["monitor", "-b", "127.0.0.1:1", "--http-port", "0", *argv])


def test_a_certificate_that_can_not_be_used_is_no_matter_of_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSA_HTTP_CERT", "/nope")

    ran = monitor()

    assert ran.exit_code == exits.USAGE
    assert "/nope: No such file" in ran.stderr
    assert "hint: http_cert is a PEM file of the certificate and its chain" in ran.stderr
    assert "--http-port" not in ran.stderr


@pytest.mark.parametrize("argv", [("--window", "1s", "--interval", "5s"), ("--interval", "5m")])
def test_a_window_that_never_holds_two_looks_is_refused(argv: tuple[str, ...]) -> None:
    # an address that is refused later: nothing is to be served here
    ran = monitor(*argv, "--http-host", "0.0.0.0")

    assert ran.exit_code == exits.USAGE
    assert "a --window of " in ran.stderr
    assert "never holds two looks at an --interval of " in ran.stderr
