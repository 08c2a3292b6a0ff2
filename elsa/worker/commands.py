"""What a command does to a running worker process; called by the thread of `elsa.control.service` alone.

It reads what any thread may read, and steers through the group managers' mailboxes: nothing here waits for a handler.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import queue
import socket
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

import msgspec

from elsa import units
from elsa.clock import SYSTEM
from elsa.config import describe
from elsa.control.protocol import LEVELS, Status
from elsa.errors import CommandError, UnknownTarget
from elsa.message import TopicPartition
from elsa.names import retry_topic
from elsa.worker.mailbox import Regulate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from elsa.control.protocol import Command, Target
    from elsa.handlers import Handler
    from elsa.registry import Binding
    from elsa.worker.group import GroupManager
    from elsa.worker.runtime import Runtime

log = logging.getLogger("elsa.worker")

#: how long a group manager may take to pause or resume before that is answered without it
_MANAGER_SECONDS = 1.0
#: commands that only look
_ASKING = ("ping", "active", "assignments", "config", "stacks")

Done = tuple[Any, "Callable[[], None] | None"]


class Commands:
    """Obeys one command after the other."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._app = runtime.app
        self._started_at = SYSTEM.now()
        self._known: dict[str, Callable[[Command], Done]] = {
            "ping": self._ping,
            "active": self._active,
            "assignments": self._assignments,
            "config": self._config,
            "stacks": self._stacks,
            "pause": self._pause,
            "resume": self._resume,
            "rate": self._rate,
            "loglevel": self._loglevel,
            "quiet": self._quiet,
            "stop": self._stop,
        }

    def obey(self, command: Command) -> Done:
        """Do it: what to answer, and what to do when that has been sent.

        Raises UnknownTarget when nothing of what was named is here, CommandError for what is not possible.
        """
        run = self._known.get(command.name)
        if run is None:
            raise CommandError(f"unknown command {command.name!r}: this worker knows {', '.join(self._known)}")
        # this process is meant, or the command would not be here
        command = msgspec.structs.replace(command, target=msgspec.structs.replace(command.target, worker=None))
        done = run(command)
        if command.name not in _ASKING:
            log.info(
                "command obeyed",
                extra={
                    "event": "command",
                    "command": command.name,
                    "target": str(command.target),
                    "arguments": command.arguments,
                },
            )
        return done

    def describe(self, ignored: int) -> Status:
        """How this process is."""
        runtime = self._runtime
        return Status(
            worker=runtime.name,
            **self._facts(),
            groups=sorted({binding.group for binding in runtime.bindings if binding.group is not None}),
            handlers=[handler.name for handler in self._handlers()],
            ignored=ignored,
            partitions=[dataclasses.asdict(snapshot) for snapshot in runtime.snapshots()],
            tallies=runtime.tallies() if runtime.tallies is not None else None,
        )

    def _facts(self) -> dict[str, Any]:
        from elsa import __version__  # noqa: PLC0415 - avoids an import cycle through the root

        runtime = self._runtime
        return {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "slot": runtime.slot.number if runtime.slot is not None else None,
            "version": __version__,
            "started_at": round(self._started_at, 3),
            "is_ready": runtime.is_ready,
            "is_quiet": runtime.is_quiet,
            "is_stopping": runtime.is_stopping,
            "running": len(runtime.running(with_stacks=False)),
        }

    def _handlers(self) -> list[Handler[Any, Any]]:
        return list({h.name: h for binding in self._runtime.bindings for h in binding.handlers()}.values())

    def _bindings(self, target: Target) -> list[Binding]:
        """The bindings that have something of the target; raises UnknownTarget when there are none."""
        found = [binding for binding in self._runtime.bindings if self._has(binding, target)]
        if not found:
            raise UnknownTarget(f"there is no {target} here", hint=f"there are {self._names()}")
        return found

    def _has(self, binding: Binding, target: Target) -> bool:
        names = (binding.name, *(handler.name for handler in binding.handlers()))
        topics = (target.topic,) if target.topic and self._is_topic_of(binding, target.topic) else (binding.topic,)
        return target.fits(handlers=names, group=binding.group, topics=topics)

    def _is_topic_of(self, binding: Binding, topic: str) -> bool:
        """Also one by which messages come back to it."""
        if binding.group is not None and topic == retry_topic(binding.topic, binding.group):
            return True
        owned = [a for manager in self._runtime.managers for a in list(manager.assignment.owned.values())]
        return binding.matches(topic) or any(a.binding is binding and a.partition.topic == topic for a in owned)

    def _names(self) -> str:
        groups = sorted({binding.group for binding in self._runtime.bindings if binding.group is not None})
        parts = {
            "handlers": [handler.name for handler in self._handlers()],
            "groups": groups,
            "topics": sorted({binding.topic for binding in self._runtime.bindings}),
        }
        return "; ".join(f"{what} {', '.join(names)}" for what, names in parts.items() if names)

    # -- asked -----------------------------------------------------------------------------------------

    def _ping(self, _: Command) -> Done:
        return self._facts(), None

    def _active(self, command: Command) -> Done:
        target = command.target
        self._bindings(target)
        rows = [
            call
            for call in self._runtime.running(with_stacks=False)
            if target.fits(
                handlers=(call["handler"],),
                group=call["group"],
                topics=(call["topic"], call["source"]),
                partition=call["partition"],
            )
        ]
        return sorted(rows, key=lambda call: -call["seconds"]), None

    def _assignments(self, command: Command) -> Done:
        target = command.target
        bindings = self._bindings(target)
        sources = {b.name: (b.name, *(h.name for h in b.handlers())) for b in bindings}
        rows = [
            dataclasses.asdict(snapshot)
            for snapshot in self._runtime.snapshots()
            if target.fits(
                handlers=sources.get(snapshot.handler, (snapshot.handler,)),
                group=snapshot.group,
                topics=(snapshot.topic,),
                partition=snapshot.partition,
            )
        ]
        return rows, None

    def _config(self, _: Command) -> Done:
        return [row._asdict() for row in describe(self._app.loaded)], None

    def _stacks(self, _: Command) -> Done:
        """Of every thread, and of the calls that wait on the event loop."""
        frames = sys._current_frames()
        parts = []
        for thread in sorted(threading.enumerate(), key=lambda each: each.name):
            frame = frames.get(thread.ident or 0)
            text = "".join(traceback.format_stack(frame)) if frame is not None else "  (just ended)\n"
            parts.append(f"Thread {thread.name} ({thread.native_id}):\n{text}")
        for call in self._runtime.running():
            what = f"{call['handler']}, {TopicPartition(call['topic'], call['partition'])} offset {call['offset']}"
            stack = call.get("stack", "  (in a child process)\n")
            parts.append(f"Call of {what}, for {call['seconds']:.1f} s:\n{stack}")
        return "\n".join(parts), None

    # -- told ------------------------------------------------------------------------------------------

    def _pause(self, command: Command) -> Done:
        return self._tell_managers(command.target, lambda manager, target: manager.pause(target))

    def _resume(self, command: Command) -> Done:
        return self._tell_managers(command.target, lambda manager, target: manager.resume(target))

    def _tell_managers(
        self, target: Target, tell: Callable[[GroupManager, Target], queue.SimpleQueue[list[TopicPartition]]]
    ) -> Done:
        bindings = self._bindings(target)
        if target.handler is not None:
            self._check_is_alone(bindings, target.handler)
        answers = [(manager.name, tell(manager, target)) for manager in self._managers(bindings)]
        end = SYSTEM.monotonic() + _MANAGER_SECONDS
        partitions: list[TopicPartition] = []
        late = []
        for name, answer in answers:
            try:
                partitions += answer.get(timeout=max(0.0, end - SYSTEM.monotonic()))
            except queue.Empty:
                # it is in a hook or a rebalance, and will come to it
                late.append(name)
        return {"partitions": [place._asdict() for place in sorted(partitions)], "late": late}, None

    def _managers(self, bindings: Sequence[Binding]) -> list[GroupManager]:
        return [each for each in self._runtime.managers if any(binding in bindings for binding in each.bindings)]

    @staticmethod
    def _check_is_alone(bindings: Sequence[Binding], name: str) -> None:
        """Lanes belong to partitions: of tasks that share a topic none can be stopped without the others."""
        shared = next((b for b in bindings if len(b.tasks) > 1 and name in b.tasks), None)
        if shared is not None:
            raise CommandError(
                f"the task {name} shares its topic with other tasks",
                hint=f"name the topic {shared.topic}: all of its tasks are meant then",
            )

    def _rate(self, command: Command) -> Done:
        target = command.target
        if target.handler is None:
            raise CommandError("a rate is a handler's: name the handler")
        bindings = self._bindings(target)
        handler = next((h for h in self._handlers() if h.name == target.handler), None)
        if handler is None:
            raise CommandError(f"{target.handler} is no single handler", hint=f"there are {self._names()}")
        given = command.arguments.get("rate")
        try:
            rate = None if given in (None, "none") else units.rate(given)
        except ValueError as error:
            raise CommandError(f"rate={given!r} is not {error}, or none") from None
        self._check_has_own_pool(bindings, handler)
        self._runtime.set_rate(handler, rate)
        for manager in self._managers(bindings):
            manager.mailbox.put(Regulate(handler))
        return {"handler": handler.name, "rate": rate}, None

    def _check_has_own_pool(self, bindings: Sequence[Binding], handler: Handler[Any, Any]) -> None:
        """A rate is counted where a pool begins: one for several tasks would hold all of them."""
        for binding in bindings:
            for other in binding.handlers():
                if other is not handler and self._runtime.shares_pool(other, handler):
                    raise CommandError(
                        f"the task {handler.name} shares its pool with {other.name}",
                        hint="declare a rate or a concurrency for it: then it has its own",
                    )

    @staticmethod
    def _loglevel(command: Command) -> Done:
        level, name = command.arguments.get("level"), command.arguments.get("logger") or ""
        if not isinstance(level, str) or level.lower() not in LEVELS or not isinstance(name, str):
            raise CommandError(f"log level {level!r} is none of {', '.join(LEVELS)}")
        logger = logging.getLogger(name)
        before = logging.getLevelName(logger.level).lower()
        logger.setLevel(level.upper())
        return {"logger": name or "root", "level": level.lower(), "before": before}, None

    def _quiet(self, _: Command) -> Done:
        self._runtime.quiet()
        return {"running": len(self._runtime.running(with_stacks=False))}, lambda: self._runtime.wish("quiet")

    def _stop(self, _: Command) -> Done:
        if not self._runtime.can_wish:
            raise CommandError(
                "this worker runs inside another program, which alone can end it", hint="`quiet` has it take no more"
            )
        running = len(self._runtime.running(with_stacks=False))
        return {"running": running}, lambda: self._runtime.wish("stop")
