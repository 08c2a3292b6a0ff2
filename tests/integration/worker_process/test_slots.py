"""Slots under fire: many real processes take, hold and lose slots by kill -9; no two ever hold the same one.

Each holder makes a marker file for its slot that must not be there yet, and its killer removes it: a slot that is
given twice ends the second holder, which then tells no number.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import signal, sys
from pathlib import Path
from elsa.worker.slots import acquire
folder, preferred = sys.argv[1], sys.argv[2]
slot = acquire("shop", runtime_dir=folder, preferred=int(preferred) if preferred else None)
(Path(folder) / f"held-{slot.number}").open("x").close()
before = slot.digest("billing")
slot.write_digest("billing", "orders:" + "6" * (slot.number * 100 + 1))
print(slot.number, before, flush=True)
signal.pause()
"""


class Holder:
    def __init__(self, folder: Path, preferred: int | None = None) -> None:
        self.folder = folder
        argument = "" if preferred is None else str(preferred)
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder), argument], stdout=subprocess.PIPE, text=True
        )
        self.number = -1
        self.digest = ""

    def wait(self) -> None:
        assert self.process.stdout is not None
        number, self.digest = self.process.stdout.readline().split()
        self.number = int(number)

    def kill(self) -> None:
        # while it lives nobody else can have made the marker, once it is dead somebody may make it anew
        (self.folder / f"held-{self.number}").unlink(missing_ok=True)
        self.process.send_signal(signal.SIGKILL)
        self.end()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def test_slots_stay_exclusive_while_holders_are_killed(tmp_path: Path) -> None:
    dice = random.Random(7)
    holders = [Holder(tmp_path) for _ in range(6)]
    try:
        for holder in holders:
            holder.wait()
        assert sorted(holder.number for holder in holders) == list(range(6))
        for _ in range(5):
            victims = dice.sample(range(6), 3)
            numbers = {victim: holders[victim].number for victim in victims}
            for victim in victims:
                holders[victim].kill()
                holders[victim] = Holder(tmp_path, preferred=numbers[victim])
            for victim in victims:
                holders[victim].wait()

            assert {victim: holders[victim].number for victim in victims} == numbers
            for victim in victims:
                assert holders[victim].digest == "orders:" + "6" * (numbers[victim] * 100 + 1)
    finally:
        for holder in holders:
            holder.end()
