"""A worker process without Kafka: speaks the control protocol and behaves as the test says.

Its only argument is JSON: `folder`, and `lives`, by index the behaviours of its first, second, ... process (the last
one repeats), and the App's `settings`, which a file of that name in the folder replaces. A file `code/shop.py` there
is the behaviour of all. What it sees goes into `journal` in the folder.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import time
from pathlib import Path
from typing import Any

from elsa.observe.merge import pack
from elsa.worker.control import ControlChannel

PLAN = json.loads(sys.argv[1])
FOLDER = Path(PLAN["folder"])


class StandIn:
    def __init__(self) -> None:
        channel = ControlChannel.from_environment()
        assert channel is not None
        self.channel = channel
        self.inbox: queue.SimpleQueue[dict[str, object]] = queue.SimpleQueue()
        self.channel.start(self.inbox.put, lambda: self.inbox.put({"type": "end"}))
        self.spec = self.inbox.get(timeout=30)
        self.index = int(str(self.spec["index"]))
        self.life = sum(1 for line in journal() if line["event"] == "spec" and line["index"] == self.index)
        lives = PLAN["lives"].get(str(self.index), ["serve"])
        code = FOLDER / "code" / "shop.py"
        self.checks: dict[str, list[dict[str, object]]] = {}
        self.behaviour = code.read_text() if code.exists() else lives[min(self.life, len(lives) - 1)]
        self.note("spec", spec=self.spec)

    def note(self, event: str, **facts: object) -> None:
        line = {"event": event, "index": self.index, "life": self.life, "pid": os.getpid(), "at": time.monotonic()}
        with (FOLDER / "journal").open("a") as file:
            file.write(json.dumps({**line, **facts}) + "\n")

    def run(self) -> None:
        signal.signal(signal.SIGINT, lambda *_: self.note("INT"))
        signal.signal(signal.SIGHUP, lambda *_: self.note("HUP"))
        signal.signal(signal.SIGUSR1, lambda *_: self.note("USR1"))
        signal.signal(signal.SIGTERM, lambda *_: self.inbox.put({"type": "TERM"}))
        getattr(self, self.behaviour)()

    def greet(self, **settings: object) -> None:
        banner = {"app": "stand-in", "brokers": "nowhere:1", "handlers": []}
        self.channel.send({"type": "hello", "pid": os.getpid(), "banner": banner, "settings": settings})

    def leave(self, code: int) -> None:
        self.channel.close(5)
        sys.exit(code)

    def serve(self) -> None:
        told = FOLDER / "settings"
        self.greet(**(json.loads(told.read_text()) if told.exists() else PLAN.get("settings", {})))
        self.channel.send({"type": "positions", "positions": {"prices": {str(self.index): self.life}}})
        slot = self.spec["slot"]
        self.channel.send({"type": "ready", "slot": 40 + self.index if slot is None else slot})
        self.obey()

    def end_slowly(self) -> None:
        """Ends by itself, takes its time, and says so."""
        self.greet()
        self.channel.send({"type": "ready", "slot": self.index})
        self.channel.send({"type": "ending", "seconds": 60})
        self.inbox.get()
        self.leave(0)

    def sick(self) -> None:
        """Serves, and says that something in it hangs."""
        self.greet()
        poll = {"name": "poll", "about": "billing", "ok": False, "age": 7.0, "limit": 6.0, "hint": "restart it"}
        self.checks = {"live": [poll], "ready": [], "startup": []}
        self.channel.send({"type": "ready", "slot": self.index})
        self.obey()

    def obey(self) -> None:
        while True:
            self.channel.send({"type": "beat", "checks": self.checks})
            # a signal's handler runs only when this thread does
            try:
                message = self.inbox.get(timeout=0.05)
            except queue.Empty:
                continue
            self.note("message", message=message)
            kind = message["type"]
            if kind in ("stop", "TERM", "end", "now"):
                self.channel.send({"type": "finished", "reason": "stopped"})
                self.leave(6 if kind == "now" else 0)
            elif kind == "scrape":
                self.tell_samples(message)
            elif kind == "status":
                self.channel.send({"type": "status", "id": message["id"], "status": {"life": self.life}})

    def wish(self, what: str) -> None:
        """Was told by an operator what all of them are to do."""
        self.greet()
        self.channel.send({"type": "ready", "slot": self.index})
        self.channel.send({"type": "wish", "wish": what})
        self.obey()

    def wish_to_stop(self) -> None:
        self.wish("stop")

    def wish_for_quiet(self) -> None:
        self.wish("quiet")

    def mute(self) -> None:
        """Serves, and answers no question."""
        self.greet()
        self.channel.send({"type": "ready", "slot": self.index})
        while self.inbox.get()["type"] != "stop":
            pass
        self.leave(0)

    def answer_once(self) -> None:
        """Tells its values once, and never again."""
        self.greet()
        self.channel.send({"type": "ready", "slot": self.index})
        while (message := self.inbox.get())["type"] != "scrape":
            pass
        self.tell_samples(message)
        while self.inbox.get()["type"] != "stop":
            pass
        self.leave(0)

    def tell_samples(self, message: dict[str, Any]) -> None:
        life: Any = ("_life", "", f"{os.getpid()}", [])
        snapshot = pack([life, ("jobs_total", "counter", "Jobs.", [("jobs_total", (), 10 * (self.life + 1), None)])])
        self.channel.send({"type": "samples", "id": message["id"], "snapshot": snapshot})

    def refuse(self) -> None:
        self.greet()
        self.channel.send({"type": "ready", "slot": self.index})
        while True:
            message = self.inbox.get()
            self.note("message", message=message)
            if message["type"] == "stop":
                call = {"handler": "shop.bill", "topic": "orders", "partition": 3, "offset": 17}
                self.channel.send({"type": "blocked", "calls": [call]})
            elif message["type"] == "end":
                # nobody is left to kill it
                self.leave(0)

    def crash(self) -> None:
        self.greet()
        self.channel.send({"type": "ready", "slot": self.index})
        self.leave(1)

    def crash_at_stop(self) -> None:
        self.greet()
        self.channel.send({"type": "ready", "slot": self.index})
        while self.inbox.get()["type"] != "stop":
            pass
        self.leave(9)

    def fail(self) -> None:
        self.channel.send({"type": "failed", "code": 3, "error": "no module named 'shop'"})
        self.leave(3)

    def wait_and_fail(self) -> None:
        """Fails when a file `go` is there; TERM doesn't keep it from that."""
        while not (FOLDER / "go").exists():
            time.sleep(0.01)  # a file tells nobody that it is there
        self.fail()

    def greet_late(self) -> None:
        """Loads the app just when it is told to end."""
        self.note("waiting")
        self.inbox.get()
        self.greet(processes=4)
        self.leave(0)

    def fail_late(self) -> None:
        self.greet()
        self.channel.send({"type": "ready", "slot": self.index})
        error = "orders[3]: offset 5 is out of range"
        self.channel.send({"type": "failed", "code": 5, "error": error, "fatal": True})
        self.leave(5)

    def fail_after_greeting(self) -> None:
        self.greet()
        self.channel.send({"type": "failed", "code": 2, "error": "no folder for the slots", "fatal": True})
        self.leave(2)

    def hang_up(self) -> None:
        """Closes its end and lives on, as a handler does that closes all descriptors."""
        self.greet()
        self.channel.close(5)
        while True:
            signal.pause()

    def die(self) -> None:
        os._exit(11)

    def die_until_mended(self) -> None:
        """Dies as one whose app can not be imported, until a file `mended` is there."""
        if not (FOLDER / "mended").exists():
            os._exit(11)
        self.serve()

    def die_soon_after_greeting(self) -> None:
        """Loads the app, and dies before it is ready."""
        self.greet()
        self.leave(11)

    def wait_for_kafka(self) -> None:
        """Loads the app, and is not ready because it waits for something."""
        self.greet()
        self.obey()

    def burst(self) -> None:
        self.greet()
        self.channel.send({"type": "ready", "slot": self.index})
        self.channel.send({"type": "finished", "reason": "burst"})
        self.leave(0)

    def hang(self) -> None:
        """Never greets, as in an import that hangs; TERM ends it as it ends Python at that time."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while True:
            signal.pause()


def journal() -> list[dict[str, object]]:
    path = FOLDER / "journal"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    StandIn().run()
