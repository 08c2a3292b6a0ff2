"""Handlers that run in child processes, in a module of their own for children to import, and what their calls tell."""

from __future__ import annotations

import importlib
import json
import os
from typing import TYPE_CHECKING, Any

import elsa

from .waiting import Log, until

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

_JOBS = '''
import json, os, signal, sys, time
import elsa
from msgspec import Struct

class Job(Struct):
    do: str
    n: int = 0

class Awkward(Exception):
    """Cannot be made from its own text."""
    def __init__(self, one, two):
        super().__init__(f"{{one}} and {{two}}")

class Local:
    def __reduce__(self):
        raise TypeError("this stays here")

app = elsa.App({app!r}, brokers={brokers!r}, runtime_dir={runtime!r}, metadata_refresh=1.0, drain_timeout={drain})
told = os.open({told!r}, os.O_WRONLY | os.O_APPEND)
is_child = os.getpid() != {pid}
ballast = []

def tell(*facts):
    # one write for each line, so that those of several processes never mix
    os.write(told, (json.dumps([*facts, os.getpid()]) + "\\n").encode())

if is_child and os.environ.get("JOBS_SLOW"):
    tell("import", -1)
    time.sleep(float(os.environ["JOBS_SLOW"]))

if is_child and os.environ.get("JOBS_BROKEN"):
    raise RuntimeError("no import today")

@app.on_startup
def started():
    tell("startup", -1)

def work(job, ctx):
    tell(job.do, job.n)
    if job.do == "beat":
        ctx.heartbeat({{"page": job.n}})
        time.sleep(60)
    elif job.do == "beat often":
        while True:
            ctx.heartbeat(job.n)
    elif job.do == "beat awkwardly":
        ctx.heartbeat(Awkward(1, 2))
    elif job.do == "sleep":
        time.sleep(60)
    elif job.do == "polite":
        while not ctx.is_stopping:
            time.sleep(0.01)
        tell("was told", job.n)
    elif job.do == "exit":
        os._exit(3)
    elif job.do == "sys.exit":
        sys.exit(4)
    elif job.do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif job.do == "awkward":
        raise Awkward(1, 2)
    elif job.do == "later" and ctx.attempt == 1:
        raise elsa.RetryLater(0, "not yet")
    elif job.do == "reject":
        raise elsa.Reject("not wanted")
    elif job.do == "skip":
        raise elsa.Skip("seen before")
    elif job.do == "resume":
        tell("resume from", ctx.progress)
        ctx.heartbeat(job.n + (ctx.progress or 0))
        time.sleep(0 if ctx.attempt == 3 else 60)
    elif job.do == "value":
        raise ValueError("plain")
    elif job.do == "memory":
        raise MemoryError
    elif job.do == "local":
        return Local()
    elif job.do == "eat":
        ballast.append(b"x" * (40_000_000 + job.n))
    elif job.do == "defer":
        return elsa.DEFER
    elif job.do == "send":
        ctx.send({topic!r} + ".out", {{"n": job.n}})
    elif job.do == "send too much":
        ctx.send({topic!r} + ".out", "x" * 20_000_000)
    elif job.do == "where":
        current = elsa.current()
        assert (current.topic, current.key, current.attempt) == ({topic!r}, b"k", 1)
        assert dict(current.headers)["h"] == b"1"

@app.handler({topic!r}, executor="process", ordering={ordering!r}{options})
def handle(job: Job, ctx: elsa.Context):
    return work(job, ctx)
'''


class Jobs:
    """The module of the handlers, and what its calls have written down."""

    def __init__(self, module: ModuleType, name: str, told: Path, log: Log) -> None:
        self.app: elsa.App = module.app
        self.name = name
        self._told = told
        self._log = log

    def send(self, *jobs: tuple[str, int], **options: Any) -> None:
        records = [elsa.Record(json.dumps({"do": do, "n": n}), **options) for do, n in jobs]
        self.app.produce(self.name, records)

    def told(self, *kinds: str) -> list[tuple[str, int, int]]:
        lines = [json.loads(line) for line in self._told.read_text().splitlines() if line.endswith("]")]
        return [(do, n, pid) for do, n, pid in lines if not kinds or do in kinds]

    def wait_told(self, count: int, *kinds: str) -> list[tuple[str, int, int]]:
        until(lambda: len(self.told(*kinds)) >= count, f"{count} of {kinds}")
        return self.told(*kinds)

    def dead(self, count: int) -> list[Any]:
        return self._log.wait_for(f"{self.name}.{self.app.name}.dlq", count)

    def committed(self, offset: int) -> None:
        self._log.wait_committed(self.app.name, self.name, offset)


def make_jobs(folder: Path, facts: dict[str, Any], extra: str, log: Log) -> Jobs:
    """Write the module with these facts into a folder of sys.path, and import it."""
    unique = facts["topic"].rpartition("-")[2]
    told = folder / "told"
    told.touch()
    (folder / f"jobs_{unique}.py").write_text((_JOBS + extra).format(**facts, told=str(told), pid=os.getpid()))
    module = importlib.import_module(f"jobs_{unique}")
    return Jobs(module, facts["topic"], told, log)


def is_alive(pid: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
