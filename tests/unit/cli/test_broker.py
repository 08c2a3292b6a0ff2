from __future__ import annotations

import socket

from click.testing import CliRunner

from elsa import exits
from elsa.cli.broker import command


def test_a_taken_port_is_a_clear_error_and_not_a_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        result = CliRunner().invoke(command, ["--ephemeral", "--port", str(port)])

    assert result.exit_code == exits.USAGE
    assert result.stderr.startswith(f"elsa broker: port {port} of 127.0.0.1 is taken\n  hint: ")
    assert not result.stdout


def test_ephemeral_and_a_data_folder_contradict() -> None:
    result = CliRunner().invoke(command, ["--ephemeral", "--data-dir", "x"])

    assert result.exit_code == exits.USAGE
    assert "give --data-dir or --ephemeral, not both" in result.stderr


def test_clusters_have_one_or_three_nodes() -> None:
    result = CliRunner().invoke(command, ["--nodes", "2"])

    assert result.exit_code == exits.USAGE
