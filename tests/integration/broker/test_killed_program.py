"""A program that starts an embedded broker is killed with `kill -9`: neither Java nor an ephemeral folder stays behind.

Nothing inside the program can clean up then; the keeper does, which holds a pipe from it. Data that is kept
can be used again at once, because the keeper holds the folder's lock until the last broker has ended.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from elsa.broker import EmbeddedKafka
from elsa.kafka import probe

_PROGRAM = """
import json, sys, threading
from elsa.broker import EmbeddedKafka
from elsa.kafka import probe

def run():
    # Started by a thread that ends: the broker must not end with it.
    kafka.start()

kafka = EmbeddedKafka(data_dir=sys.argv[1] or None, ephemeral=not sys.argv[1])
thread = threading.Thread(target=run)
thread.start()
thread.join()
probe.create_topic(kafka.bootstrap, "kept", 2)
print(json.dumps({"pids": [*kafka.pids, kafka._keeper.pid], "root": str(kafka.root), "alive": kafka.is_alive()}))
sys.stdout.flush()
threading.Event().wait()
"""

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(sys.platform != "linux", reason="waits for foreign processes on pidfds"),
]


def _run_and_kill(data_dir: str) -> dict[str, Any]:
    with subprocess.Popen([sys.executable, "-c", _PROGRAM, data_dir], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        told: dict[str, Any] = json.loads(program.stdout.readline())
        watched = [os.pidfd_open(pid) for pid in told["pids"]]
        program.kill()
    for descriptor in watched:
        ended, _, _ = select.select([descriptor], [], [], 30)
        os.close(descriptor)
        assert ended, f"one of {told['pids']} still runs"
    return told


def test_neither_java_nor_an_ephemeral_folder_stays_behind() -> None:
    told = _run_and_kill("")

    assert told["alive"]
    assert not Path(told["root"]).exists()


def test_kept_data_can_be_used_again_at_once(tmp_path: Path) -> None:
    _run_and_kill(str(tmp_path / "data"))

    with EmbeddedKafka(data_dir=tmp_path / "data") as kafka:
        assert probe.list_topics(kafka.bootstrap) == ["kept"]
