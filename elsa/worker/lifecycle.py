"""The state object of a class handler: made before the first message of a partition, torn down after the last."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from elsa.context import Context
from elsa.worker import delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.worker.partition import PartitionWorker


class Lifecycle:
    """Says which step is next: `setup`, `teardown` or none; the worker's lock guards it.

    The steps are user code: an executor runs them as turns of their own, where the messages run. A handler that is a
    function is ready from the start.
    """

    def __init__(self, worker: PartitionWorker, *, is_class: bool) -> None:
        self._worker = worker
        self.instance: Any = None
        self.is_ready = not is_class
        self._is_setting_up = False
        self._is_torn_down = False

    @property
    def is_under_way(self) -> bool:
        """Whether `setup` runs."""
        return self._is_setting_up

    @property
    def needs_teardown(self) -> bool:
        return not self._is_torn_down and hasattr(self.instance, "teardown")

    def next(self, *, closed: bool, busy: bool) -> Callable[[], Any] | None:
        """What has to be called before the next message, or after the last."""
        if closed:
            if busy or not self.needs_teardown:
                return None
            self._is_torn_down = True
            step: Callable[[], Any] = self.instance.teardown
            return step
        if self.is_ready or self._is_setting_up:
            return None
        self._is_setting_up = True
        return self._set_up

    async def _set_up(self) -> None:
        worker = self._worker
        assert worker.binding.handler is not None
        self.instance = worker.binding.handler.target()
        setup = getattr(self.instance, "setup", None)
        if setup is not None:
            await delivery.call_step(functools.partial(setup, Context(worker, (), worker.to_message, 1)))
        worker.make_router()

    def settled(self) -> None:
        """A step has returned."""
        self.is_ready, self._is_setting_up = True, False

    def failed(self) -> None:
        """A step or a call has broken the worker: what was never set up is not torn down."""
        self._is_torn_down = self._is_torn_down or not self.is_ready
