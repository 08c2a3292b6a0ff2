"""The options of a handler or task: checked when it is declared, never changed afterwards."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Literal

from elsa import units
from elsa.codecs import NAMED, Codec, resolve
from elsa.errors import DeclarationError, UnsupportedOption
from elsa.policies.retry import DEFAULT, NEVER, Retry

Start = Literal["earliest", "latest"] | int | datetime | dict[int, Any]

_WORDS = {
    "ordering": ("partition", "key", "none"),
    "executor": ("auto", "thread", "process"),
    "delivery": ("at_least_once", "at_most_once"),
    "on_exhausted": ("dead_letter", "skip", "stop"),
    "on_expired": ("skip", "dead_letter"),
    "on_out_of_range": ("earliest", "latest", "fail"),
}

_LEGAL_TOPIC = r"(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `@app.handler(...)` and `@app.task(...)` take beside topics, group and name."""

    ordering: str = "partition"
    concurrency: int | None = None
    executor: str = "auto"
    batch: int | None = None
    batch_wait: float = 0.1
    start: Any = None
    on_out_of_range: str = "earliest"
    partitions: tuple[int, ...] | None = None
    partitions_count: int | None = None
    topic_config: Mapping[str, str] | None = None
    retry: Retry = DEFAULT
    dead_letter: str | None = None
    on_exhausted: str = "dead_letter"
    max_dead_ratio: float | None = None
    delivery: str = "at_least_once"
    idempotent_by: Any = None
    transactional: bool = False
    timeout: float | None = None
    expires: float | None = None
    on_expired: str = "skip"
    rate: float | None = None
    max_in_flight: int | None = None
    max_tasks_per_child: int | None = None
    max_memory_per_child: int | None = None
    buckets: tuple[float, ...] | None = None
    codec: Codec = NAMED["json"]


def check(where: str, group: str | None, given: Mapping[str, Any]) -> Options:
    """Options from keywords; raises DeclarationError (with a hint) for what is unknown or contradicts itself."""
    known = {field.name for field in fields(Options)}
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"options are {', '.join(sorted(known))}"
            raise DeclarationError(f"{where}: unknown option {name!r}", hint=hint)
    values = {name: value for name, value in given.items() if name in known}
    _check_values(where, values)
    if group is None:
        _check_standalone(where, values)
    _check_at_most_once(where, group, values)
    _check_ratio(where, values)
    _check_idempotent(where, group, values)
    _check_transactional(where, group, values)
    _check_start(where, values)
    values["codec"] = resolve(values.get("codec", "json"))
    for name, read in (
        ("rate", units.rate),
        ("max_memory_per_child", units.size),
        ("expires", _lifetime),
        ("buckets", units.bounds),
    ):
        if values.get(name) is not None:
            values[name] = _read(where, name, values[name], read)
    if (retry := values.get("retry")) is False or ("retry" in values and retry is None):
        values["retry"] = NEVER
    if values.get("partitions") is not None:
        values["partitions"] = _partitions(where, group, values["partitions"])
    return Options(**values)


def _lifetime(value: Any) -> float:
    found = units.seconds(value.total_seconds() if isinstance(value, timedelta) else value)
    if found == 0:
        raise ValueError("a time to live: a duration above 0 seconds")
    return found


def _read(where: str, name: str, value: Any, read: Callable[[Any], Any]) -> Any:
    try:
        found = read(value)
    except ValueError as error:
        raise DeclarationError(f"{where}: {name}={value!r} is not {error}") from error
    return found


def _check_values(where: str, values: Mapping[str, Any]) -> None:
    for name in ("concurrency", "batch", "max_in_flight", "partitions_count", "max_tasks_per_child"):
        value = values.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise DeclarationError(f"{where}: {name}={value!r} is not a whole number above 0")
    for name in ("batch_wait", "timeout"):
        value = values.get(name)
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool) or value < 0):
            raise DeclarationError(f"{where}: {name}={value!r} is not a number of seconds")
    _check_topic_values(where, values)
    _check_together(where, values)
    _check_words(where, values)
    retry = values.get("retry", True)
    if not (retry in (None, False, True) or isinstance(retry, Retry)):
        raise DeclarationError(f"{where}: retry={retry!r} is no elsa.Retry", hint="retry=None means: never again")


def _check_standalone(where: str, values: Mapping[str, Any]) -> None:
    if _moves(values):
        raise DeclarationError(
            f'{where}: Retry(where="topic") needs a group, a standalone handler has no retry topic',
            hint='use where="memory", or give it a group',
        )


def _moves(values: Mapping[str, Any]) -> bool:
    """Whether what failed is tried again by topic."""
    retry = values.get("retry")
    return isinstance(retry, Retry) and retry.always_moves


def _check_transactional(where: str, group: str | None, values: Mapping[str, Any]) -> None:
    if values.get("transactional") is False or "transactional" not in values:
        return
    if values["transactional"] is not True:
        raise DeclarationError(f"{where}: transactional={values['transactional']!r} is neither True nor False")
    said = f"{where}: transactional=True"
    if group is None:
        raise DeclarationError(f"{said} needs a group: its offsets are part of the transaction", hint="add group=...")
    if _moves(values):
        raise DeclarationError(f'{said} with Retry(where="topic"): its copy could come twice', hint='where="memory"')
    if values.get("executor") == "process":
        raise UnsupportedOption(
            f'{said} and executor="process" is not available yet: what a child process sends is in no transaction',
            hint="leave one of them out",
        )
    if values.get("delivery") == "at_most_once":
        raise DeclarationError(
            f'{said} and delivery="at_most_once" are two answers to the same question', hint="leave one of them out"
        )
    if values.get("idempotent_by") is not None:
        raise DeclarationError(
            f"{said} and idempotent_by=: offsets and results are in one transaction, nothing comes twice",
            hint="leave one of them out",
        )


def _check_idempotent(where: str, group: str | None, values: Mapping[str, Any]) -> None:
    by = values.get("idempotent_by")
    if by is None:
        return
    if by != "id" and not callable(by):
        raise DeclarationError(
            f"{where}: idempotent_by={by!r} is unknown",
            hint='"id" for the header elsa-id, or a function that makes an id of an elsa.Message',
        )
    if group is None:
        raise DeclarationError(f"{where}: idempotent_by= needs a group, whose ids are kept", hint="add group=...")


def _check_at_most_once(where: str, group: str | None, values: Mapping[str, Any]) -> None:
    if values.get("delivery") != "at_most_once":
        return
    said = f'{where}: delivery="at_most_once"'
    if group is None:
        raise DeclarationError(f"{said} needs a group: a standalone handler commits nothing", hint="add group=...")
    if _moves(values):
        raise DeclarationError(f'{said} with Retry(where="topic"): its copy could run twice', hint='where="memory"')
    if values.get("on_exhausted") == "stop":
        raise DeclarationError(
            f'{said} with on_exhausted="stop": the message is committed before it fails, nothing can stop at it',
            hint='on_exhausted="dead_letter"',
        )


def _check_ratio(where: str, values: Mapping[str, Any]) -> None:
    ratio = values.get("max_dead_ratio")
    if ratio is None:
        return
    said = f"{where}: max_dead_ratio={ratio!r}"
    if not isinstance(ratio, int | float) or isinstance(ratio, bool) or not 0 <= ratio < 1:
        raise DeclarationError(f"{said} is no share of messages", hint="a number from 0 up to, not including, 1")
    if values.get("delivery") == "at_most_once":
        raise DeclarationError(
            f'{said} with delivery="at_most_once": the message is committed before it fails, nothing can stop at it',
            hint="leave one of them out",
        )
    if _moves(values):
        raise DeclarationError(
            f'{said} with Retry(where="topic"): what fails leaves its partition before it becomes a dead letter',
            hint='where="memory", or leave max_dead_ratio out',
        )


def _check_words(where: str, values: Mapping[str, Any]) -> None:
    for name, known in _WORDS.items():
        if name in values and values[name] not in known:
            allowed = ", ".join(f'"{word}"' for word in known[:-1]) + f' or "{known[-1]}"'
            raise DeclarationError(f"{where}: {name}={values[name]!r} is unknown", hint=f"use {allowed}")


def _check_topic_values(where: str, values: Mapping[str, Any]) -> None:
    name = values.get("dead_letter")
    if name is not None and (not isinstance(name, str) or not re.fullmatch(_LEGAL_TOPIC, name)):
        raise DeclarationError(
            f"{where}: dead_letter={name!r} is no legal topic",
            hint="a topic's name, or leave it out: {topic}.{group}.dlq",
        )
    config = values.get("topic_config")
    if config is not None and not (isinstance(config, Mapping) and all(isinstance(key, str) for key in config)):
        raise DeclarationError(
            f"{where}: topic_config={config!r} is no mapping", hint='like {"retention.ms": "86400000"}'
        )


def _check_together(where: str, values: Mapping[str, Any]) -> None:
    if values.get("timeout") == 0:
        raise DeclarationError(f"{where}: timeout=0 leaves no time to run", hint="timeout=None means: no limit")
    batch, most = values.get("batch"), values.get("max_in_flight")
    if batch is None and values.get("batch_wait") is not None:
        raise DeclarationError(f"{where}: batch_wait={values['batch_wait']!r} without batch", hint="add batch=N")
    for name in ("max_tasks_per_child", "max_memory_per_child"):
        if values.get(name) is not None and values.get("executor") != "process":
            raise DeclarationError(
                f'{where}: {name}={values[name]!r} without executor="process"',
                hint='add executor="process": only there is a handler\'s process a child that can be replaced',
            )
    if batch is not None and most is not None and batch > most:
        raise DeclarationError(
            f"{where}: batch={batch} never fills up with max_in_flight={most}", hint=f"max_in_flight={batch} or more"
        )


def _check_start(where: str, values: Mapping[str, Any]) -> None:
    def fine(start: Any) -> bool:
        if isinstance(start, datetime):
            if start.tzinfo is None:
                raise DeclarationError(
                    f"{where}: start={start!r} has no time zone", hint="add tzinfo=datetime.UTC, for example"
                )
            return True
        return start in ("earliest", "latest") or (
            isinstance(start, int) and not isinstance(start, bool) and start >= 0
        )

    start = values.get("start")
    parts = start.items() if isinstance(start, dict) else [(0, start)]
    if start is not None and not all(isinstance(p, int) and fine(s) for p, s in parts):
        raise DeclarationError(
            f"{where}: start={start!r} is not understood",
            hint='use "earliest", "latest", an offset, a datetime with a time zone, or {partition: one of these}',
        )


def _partitions(where: str, group: str | None, value: Any) -> tuple[int, ...]:
    if group is not None:
        raise DeclarationError(
            f"{where}: partitions= belongs to standalone handlers", hint="add group=None, or leave it out"
        )
    found = (value,) if isinstance(value, int) else tuple(value)
    if not found or len(set(found)) < len(found) or not all(isinstance(p, int) and p >= 0 for p in found):
        raise DeclarationError(f"{where}: partitions={value!r} is no list of partition numbers")
    return found


def check_group(where: str, group: Any) -> None:
    """Raise DeclarationError for what is no group's name and not None."""
    if group is not None and (not isinstance(group, str) or not group.strip()):
        raise DeclarationError(f"{where}: group={group!r} is no name", hint="group=None makes it standalone")


def check_topics(where: str, topics: Any) -> tuple[str, ...]:
    """The topics of a handler as a tuple; a name, a list of names, or one `^regex`."""
    if not isinstance(topics, str | list | tuple):
        raise DeclarationError(f"{where}: topic {topics!r} is neither a name nor a list of names")
    names = (topics,) if isinstance(topics, str) else tuple(topics)
    if not names:
        raise DeclarationError(f"{where}: no topic")
    for name in names:
        if not isinstance(name, str) or not name:
            raise DeclarationError(f"{where}: topic {name!r} is no name")
        if name.startswith("^"):
            try:
                re.compile(name)
            except re.error as error:
                raise DeclarationError(f"{where}: {name!r} is no regular expression: {error}") from error
        elif not re.fullmatch(_LEGAL_TOPIC, name):
            raise DeclarationError(
                f"{where}: topic {name!r} is not legal",
                hint="letters, digits, '.', '_' and '-', at most 249; a regex begins with '^'",
            )
    if len(set(names)) < len(names):
        raise DeclarationError(f"{where}: a topic is named twice in {names!r}")
    return names
