"""Asks the hooks of `@app.readiness` whether what the handlers depend on is there, on a thread of its own."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from elsa.clock import SYSTEM
from elsa.observe.verdicts import Check

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger("elsa.worker")

#: how often they are asked
ASK_SECONDS = 5.0
#: an answer that is older does not count: a hook hangs
ANSWER_SECONDS = 15.0


class Readiness:
    """`start`, `stop` and `checks` are for any thread; a hook that hangs holds up only the hooks behind it."""

    def __init__(self, hooks: Sequence[Callable[[], Any]]) -> None:
        self._hooks = list(hooks)
        #: by hook: the last answer, and when it came
        self._answers: dict[int, tuple[bool, float]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="elsa-readiness", daemon=True)

    def start(self) -> None:
        """Ask from now on; without hooks there is nothing to start."""
        if self._hooks:
            self._thread.start()

    def stop(self) -> None:
        """Ask no more; idempotent, safe before `start`. A hook that hangs is not waited for."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(1.0)

    def checks(self) -> list[Check]:
        """One for each hook."""
        now = SYSTEM.monotonic()
        found = []
        for number, hook in enumerate(self._hooks):
            ok, at = self._answers.get(number, (False, None))
            age = None if at is None else now - at
            is_fresh = age is not None and age <= ANSWER_SECONDS
            hint = "the hook does not return" if not is_fresh else "the hook says that something it needs is not there"
            found.append(
                Check(name="hook", about=_name(hook), ok=ok and is_fresh, age=age, limit=ANSWER_SECONDS, hint=hint)
            )
        return found

    def _run(self) -> None:
        while not self._ended.is_set():
            for number, hook in enumerate(self._hooks):
                ok = self._ask(hook)
                self._answers[number] = ok, SYSTEM.monotonic()
            self._ended.wait(ASK_SECONDS)

    @staticmethod
    def _ask(hook: Callable[[], Any]) -> bool:
        try:
            return bool(hook())
        except Exception:  # border: user code must not end the thread that asks
            log.warning(
                "a readiness hook failed: this worker is not ready",
                exc_info=True,
                extra={"event": "hook_failed", "hook": _name(hook), "limit": f"readiness {_name(hook)}"},
            )
            return False


def _name(hook: Callable[[], Any]) -> str:
    return getattr(hook, "__qualname__", type(hook).__qualname__)
