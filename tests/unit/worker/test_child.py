from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from elsa.worker.child import how_it_ended, merge, reap_orphans


@pytest.mark.parametrize(
    ("code", "text"),
    [(0, "ended with exit code 0"), (-11, "was killed by SIGSEGV"), (-63, "was killed by signal 63")],
)
def test_an_exit_code_is_put_into_words(code: int, text: str) -> None:
    assert how_it_ended(code) == text


def test_positions_that_moved_are_merged_into_those_that_did_not() -> None:
    known: dict[str, Any] = {"prices": {"0": 5, "1": 7}, "news": {"0": 1}}
    merge(known, {"prices": {"1": 8}, "logs": {"0": 0}})

    assert known == {"prices": {"0": 5, "1": 8}, "news": {"0": 1}, "logs": {"0": 0}}


def test_orphans_are_reaped_up_to_an_own_process() -> None:
    orphan = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], os.environ)
    os.waitid(os.P_PID, orphan, os.WEXITED | os.WNOWAIT)
    reap_orphans(set())
    with pytest.raises(ChildProcessError):
        os.waitpid(orphan, 0)

    own = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    os.waitid(os.P_PID, own.pid, os.WEXITED | os.WNOWAIT)
    reap_orphans({own.pid})
    assert own.wait() == 3
