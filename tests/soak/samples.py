"""What the soak looks at once a second: the memory of the worker's processes, and the sizes that the worker tells."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from tests.benchmarks.measure import Memory, children, memory
from tests.soak.growth import growth

if TYPE_CHECKING:
    from pathlib import Path

    from tests.soak.findings import Findings

#: what stays when there is nothing more to do
_STAYS = {"threads", "open files"}
#: What the worker process may have at all, in MB (it has about 115). Whatever is kept for each key ever seen ends to
#: grow when all keys have been seen, and a table of a million takes 100 MB at least.
_MOST_RESIDENT = 180.0
#: threads are made when they are needed, files are opened for logs and clients
_LEAST_COUNT = 5.0


class Samples:
    """Of one `elsa worker`; a process that is replaced meanwhile is an error."""

    def __init__(self, supervisor: int) -> None:
        self._supervisor = supervisor
        (self._worker,) = children(supervisor)
        self.times: list[float] = []
        self.memory: dict[str, list[Memory]] = defaultdict(list)
        self.sizes: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def take(self) -> None:
        """Look now."""
        if children(self._supervisor) != [self._worker]:
            raise RuntimeError("the worker process was replaced")
        below = [memory(pid) for pid in children(self._worker)]
        each = {
            "supervisor": memory(self._supervisor),
            "worker process": memory(self._worker),
            "child processes": Memory(sum(one.rss for one in below), sum(one.pss for one in below)),
        }
        each["all"] = Memory(sum(one.rss for one in each.values()), sum(one.pss for one in each.values()))
        self.times.append(time.monotonic())
        for name, found in each.items():
            self.memory[name].append(found)

    def last(self) -> str:
        """The latest, in words."""
        return ", ".join(f"{name} {found[-1].rss:.0f} MB" for name, found in self.memory.items())

    def read_sizes(self, path: Path) -> None:
        """What the worker has written down while samples were taken."""
        for line in path.read_text().splitlines():
            sizes = json.loads(line)
            at = sizes.pop("at")
            if self.times[0] <= at <= self.times[-1]:
                for name, size in sizes.items():
                    self.sizes[name].append((at, size))

    def judge(self, findings: Findings) -> None:
        """Whether anything grows."""
        for name, found in self.memory.items():
            resident = [one.rss for one in found]
            grown = growth(self.times, resident)
            findings.add_growth(name, "MB", resident, grown)
        largest = max(one.rss for one in self.memory["worker process"])
        if largest > _MOST_RESIDENT and grown.is_judged:
            findings.blame(f"the worker process had {largest:.0f} MB, more than {_MOST_RESIDENT:.0f}")
        for name, series in self.sizes.items():
            values = [size for _, size in series]
            if name in _STAYS:
                grown = growth([at for at, _ in series], values, least=_LEAST_COUNT)
                findings.add_growth(name, "", values, grown)
            else:
                findings.add_size(name, values)

    @staticmethod
    def left(path: Path) -> dict[str, int]:
        """What the engine has in its tables now."""
        sizes: dict[str, int] = json.loads(path.read_text().splitlines()[-1])
        return {name: size for name, size in sizes.items() if name not in _STAYS | {"at"}}
