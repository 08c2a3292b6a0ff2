"""Runs a Supervisor over stand-in worker processes; prints every event as a line of JSON and exits with its code."""

from __future__ import annotations

import fcntl
import json
import sys
import termios
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from elsa.worker import probes
from elsa.worker.spec import WorkerSpec
from elsa.worker.supervisor import Supervisor

if TYPE_CHECKING:
    from elsa.worker.events import Event

PLAN = json.loads(sys.argv[1])


def show(event: Event) -> None:
    line = {"kind": event.kind, "text": event.text, "at": time.monotonic(), **event.facts}
    print(json.dumps(line, default=str), flush=True)


if "terminal" in sys.argv:
    # it becomes the controlling one of this session, as in a shell
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
if "silent" in PLAN:
    probes.SILENT_SECONDS = PLAN["silent"]
supervisor = Supervisor(
    WorkerSpec(target="shop:app", max_messages=PLAN["supervisor"].pop("max_messages", None)),
    on_event=show,
    command=[sys.executable, str(Path(__file__).with_name("stand_in.py")), json.dumps(PLAN["children"])],
    **PLAN["supervisor"],
)
watcher = None
if "watch" in PLAN:
    from elsa.worker.reload import FileWatcher

    watcher = FileWatcher([Path(PLAN["watch"])], supervisor.reload).start()
supervisor.start()
if PLAN.get("endpoint"):
    from elsa.worker.endpoint import Endpoint

    endpoint = Endpoint(supervisor, host="127.0.0.1", port=0).start()
    print(json.dumps({"kind": "url", "url": endpoint.url, "at": time.monotonic()}), flush=True)
code = supervisor.run()
if watcher is not None:
    watcher.stop()
foreign = sorted({name.partition(".")[0] for name in sys.modules} & {"confluent_kafka", "shop", "rich", "click"})
threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
print(json.dumps({"kind": "over", "foreign": foreign, "threads": threads, "at": time.monotonic()}), flush=True)
sys.exit(code)
