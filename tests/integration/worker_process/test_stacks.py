"""USR1 writes the stacks of the supervisor and is passed on to every worker process that can take it."""

from __future__ import annotations

import signal
from typing import Any

Supervise = Any


def test_usr1_dumps_stacks_everywhere_and_ends_nothing(supervise: Supervise) -> None:
    run = supervise({"1": ["hang"]}, processes=2)
    run.wait_for("ready")
    run.wait_for_note("spec", index=1)
    run.signal(signal.SIGUSR1)
    run.wait_for_note("USR1", index=0)
    run.signal(signal.SIGTERM)

    assert run.code() == 0
    assert "supervisor.py" in (run.folder / "stderr").read_text()
    assert not run.journal("USR1", index=1)
    assert not run.all("replaced")
