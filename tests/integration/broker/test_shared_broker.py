"""Several processes of one test session (pytest-xdist) share one broker, which ends when the last has let go of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from elsa.kafka import probe

if TYPE_CHECKING:
    from pathlib import Path

_WORKER = """
import json, sys, pathlib
from elsa.testing.kafka import session_kafka
with session_kafka(pathlib.Path(sys.argv[1])) as kafka:
    print(json.dumps(kafka.bootstrap), flush=True)
    sys.stdin.readline()
print("left", flush=True)
"""


def _worker(folder: Path) -> subprocess.Popen[bytes]:
    environment = {key: value for key, value in os.environ.items() if key != "ELSA_TEST_BROKERS"}
    return subprocess.Popen(
        [sys.executable, "-c", _WORKER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )


def _line(worker: subprocess.Popen[bytes]) -> bytes:
    assert worker.stdout is not None
    return worker.stdout.readline()


@pytest.mark.broker
def test_the_first_process_waits_for_the_others_before_it_ends_the_broker(tmp_path: Path) -> None:
    with _worker(tmp_path) as owner:
        bootstrap = json.loads(_line(owner))
        with _worker(tmp_path) as guest:
            assert bootstrap == json.loads(_line(guest))
            assert owner.stdin is not None
            owner.stdin.write(b"\n")
            owner.stdin.flush()
            with pytest.raises(subprocess.TimeoutExpired):
                owner.wait(1)
            assert probe.list_topics(bootstrap) == []

            guest.communicate(b"\n")
        assert _line(owner) == b"left\n"

    assert [owner.returncode, guest.returncode] == [0, 0]
    assert not (tmp_path / "kafka.json").exists()
