"""Lets `elsa.current()` work in threads that a handler starts; installed when a worker starts.

`threading.Thread` does not hand context variables on before Python 3.14, and pool threads live longer than
the call that submitted to them. So starting a thread and submitting to a pool are wrapped: inside a handler
(and only there) they take the context along.
"""

from __future__ import annotations

import concurrent.futures
import contextvars
import functools
import threading
from typing import Any

from elsa.context import active

_lock = threading.Lock()
_installed: list[bool] = []


def install() -> None:
    """Wrap both, once per process."""
    with _lock:
        if _installed:
            return
        _installed.append(True)
        threading.Thread.start = _starting(threading.Thread.start)  # type: ignore[method-assign]  # see above
        pool = concurrent.futures.ThreadPoolExecutor
        pool.submit = _submitting(pool.submit)  # type: ignore[method-assign]  # see above


def _starting(start: Any) -> Any:
    @functools.wraps(start)
    def wrapped(self: threading.Thread) -> None:
        # Elsa's own threads outlive the call in which they happen to be made
        if active() is not None and not self.name.startswith("elsa-"):
            self.run = functools.partial(contextvars.copy_context().run, self.run)  # type: ignore[method-assign]
        start(self)

    return wrapped


def _submitting(submit: Any) -> Any:
    @functools.wraps(submit)
    def wrapped(self: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        if active() is not None:
            return submit(self, contextvars.copy_context().run, function, *args, **kwargs)
        return submit(self, function, *args, **kwargs)

    return wrapped
