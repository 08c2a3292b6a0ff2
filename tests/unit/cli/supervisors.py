"""Stands for the supervisor in the tests of the commands that run one."""

from __future__ import annotations

from typing import Any

from elsa import exits

BANNER: dict[str, Any] = {
    "app": "shop",
    "brokers": "localhost:9092",
    "version": "0.1.0",
    "handlers": [
        {
            "name": "shop.bill",
            "topics": ["orders"],
            "group": "billing",
            "executor": "threads",
            "concurrency": 8,
            "batch": 50,
            "retry": "5 attempts",
            "ordering": "partition",
        },
        {"name": "shop.watch", "topics": ["^prices"], "group": None, "executor": "event loop", "concurrency": 100},
    ],
}


class Stub:
    """Stands for the supervisor: what it was made with, and the code it ends with."""

    made: list[Stub]
    code = exits.OK

    def __init__(self, spec: Any, **options: Any) -> None:
        self.spec, self.options = spec, options
        self.processes, self.is_stopping = options["processes"], False
        self.restarts: dict[str, int] = {}
        type(self).made.append(self)

    def start(self) -> None: ...

    def reload(self, files: Any) -> None: ...

    def stop(self) -> None:
        self.is_stopping = True

    def run(self) -> int:
        return self.code
