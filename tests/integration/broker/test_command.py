"""`elsa broker` runs in the foreground, says where it answers, and ends cleanly when it is asked to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from elsa import exits
from elsa.kafka import probe

_ELSA_BROKER = [sys.executable, "-c", "from elsa.cli.broker import command; command()"]

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_answers_until_it_is_asked_to_end(how: signal.Signals) -> None:
    with subprocess.Popen([*_ELSA_BROKER, "--port", "0", "--ephemeral", "--json"], stdout=subprocess.PIPE) as broker:
        assert broker.stdout is not None
        told = json.loads(broker.stdout.readline())
        assert probe.list_topics(told["bootstrap"]) == []
        assert [told["ephemeral"], len(told["logs"])] == [True, 1]

        broker.send_signal(how)

        assert broker.wait(60) == exits.OK
    assert not Path(told["data_dir"]).exists()
    for pid in told["pids"]:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_it_prints_the_line_to_export_and_where_topics_are_kept(tmp_path: Path) -> None:
    command = [*_ELSA_BROKER, "--port", "0", "--data-dir", str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as broker:
        assert broker.stdout is not None
        said = [broker.stdout.readline() for _ in range(5)]
        broker.send_signal(signal.SIGTERM)
        # A terminal and a process manager may both pass on one ctrl-C: still one request.
        broker.send_signal(signal.SIGINT)

        assert broker.wait(60) == exits.OK
    assert f"(topics are kept in {tmp_path / 'data'})" in said[0]
    address = said[0].split()[5]
    assert f"    export ELSA_BROKERS={address}\n" == said[2]
    assert (tmp_path / "data" / "cluster.json").exists()


def test_a_node_that_dies_ends_it_with_the_reason() -> None:
    with subprocess.Popen(
        [*_ELSA_BROKER, "--port", "0", "--ephemeral", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as broker:
        assert broker.stdout is not None
        told = json.loads(broker.stdout.readline())
        os.kill(told["pids"][0], signal.SIGKILL)

        _, complaint = broker.communicate(timeout=60)

    assert broker.returncode == exits.FAILED
    assert b"elsa broker: node-1 of the embedded broker stopped (exit code -9)" in complaint
