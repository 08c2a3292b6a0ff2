"""Logging of Elsa's processes: text for people, one JSON object a line for machines; the CLI calls `setup`.

The message being handled stands in every line that is written while it runs, user code's included.
Fields come as `extra={...}`; the text stays constant, so that lines can be counted.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import sys
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, TextIO

from elsa import headers as names
from elsa.clock import SYSTEM
from elsa.context import active

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.clock import Clock
    from elsa.context import Context

_COLOURS = {logging.DEBUG: "2", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "1;31"}
#: where a line that was held back keeps what surrounded it
_KEPT = "_elsa_fields"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "limit", _KEPT}
#: who repeats itself and knows no limit (while the collector is away, a retry every few seconds): one for each text
_REPEATS = "opentelemetry.exporter."
#: keys remembered by the rate limit before old ones are dropped
_MAX_KEYS = 1_000


def setup(level: str = "info", json_logs: bool = False, stream: TextIO | None = None) -> logging.Handler:  # noqa: FBT001, FBT002 - the setting's name
    """Write this process's logs to `stream` (stderr); a second call replaces the first one's handler.

    Raises ValueError for an unknown level. Colours only on a terminal, and never with NO_COLOR.

    >>> import io
    >>> out = io.StringIO()
    >>> handler = setup("info", json_logs=True, stream=out)
    >>> logging.getLogger("shop").info("order billed", extra={"amount": 9.5})
    >>> json.loads(out.getvalue())["amount"]
    9.5
    >>> logging.getLogger().removeHandler(handler)
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"log level {level!r} is none of debug, info, warning, error, critical")
    target = sys.stderr if stream is None else stream
    handler = _ElsaHandler(target)
    handler.setFormatter(JsonFormatter() if json_logs else TextFormatter(is_coloured=_has_colour(target)))
    root = logging.getLogger()
    for older in [each for each in root.handlers if isinstance(each, _ElsaHandler)]:
        root.removeHandler(older)
    root.addHandler(handler)
    root.setLevel(number)
    return handler


class _ElsaHandler(logging.StreamHandler[TextIO]):
    """Writes what the rate limit lets through, and later how much it has not; `setup` finds it by its type."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._limit = RateLimit()

    def filter(self, record: logging.LogRecord) -> Any:
        passes = self._limit.filter(record)
        for late in self._limit.late():
            self._write(late)
        return passes and super().filter(record)

    def close(self) -> None:
        for late in self._limit.late(at_once=True):
            self._write(late)
        super().close()

    def _write(self, record: logging.LogRecord) -> None:
        self.acquire()
        try:
            self.emit(record)
        finally:
            self.release()


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """The message being handled, the trace, and the record's own extra fields, which win."""
    kept: dict[str, Any] | None = getattr(record, _KEPT, None)
    if kept is not None:
        return kept | {"repeated": getattr(record, "repeated", 0)}
    context = active()
    found = {} if context is None else _of_call(context)
    # looked up, not imported: without opentelemetry there is no span to name
    if (trace := sys.modules.get("opentelemetry.trace")) is not None:
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            found |= {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}
    found |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
    return found


def _of_call(context: Context) -> dict[str, Any]:
    """The message of the call that runs here, of a batch the first one."""
    found: dict[str, Any] = {"group": context.group, "topic": context.topic, "partition": context.partition}
    if not context.has_messages:
        return {**found, "handler": context.handler}
    message = context.message
    found |= {"offset": message.offset, "handler": context.handler, "attempt": context.attempt}
    if (task := names.text(message.headers, names.TASK)) is not None:
        found["task"] = task
    if (identity := names.text(message.headers, names.ID)) is not None:
        found["message_id"] = identity
    if (count := len(context.messages)) > 1:
        found["messages"] = count
    return found


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in fields(record).items() if key not in line}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """`12:30:01.123 WARNING elsa.worker text (topic=orders partition=0)`, then the traceback."""

    def __init__(self, *, is_coloured: bool = False) -> None:
        super().__init__()
        self._is_coloured = is_coloured

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
        level = f"{record.levelname:<8}"
        shown = " ".join(f"{key}={value}" for key, value in fields(record).items() if key != "event")
        if self._is_coloured:
            colour = _COLOURS.get(record.levelno, "")
            level = f"\x1b[{colour}m{level}\x1b[0m" if colour else level
            shown = f"\x1b[2m{shown}\x1b[0m" if shown else ""
        line = f"{time} {level} {record.name} {record.getMessage()}"
        if shown:
            line += f" ({shown})"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        if record.stack_info:
            line += "\n" + record.stack_info
        return line


class RateLimit(logging.Filter):
    """Lets a repeated line pass once per `interval` seconds and says how many were held back.

    It looks at records that carry `extra={"limit": key}`; equal keys of one logger are the same line. Of
    OpenTelemetry's exporters those are the same whose text is, whatever is filled into it. The next line that passes
    has the count as `repeated`; when there is none, `late` gives the first that was held back, with it.
    """

    def __init__(self, interval: float = 60.0, clock: Clock = SYSTEM) -> None:
        super().__init__()
        self._interval = interval
        self._clock = clock
        self._lock = Lock()
        #: since when, how many were held since, and the first of those
        self._seen: dict[tuple[str, Any], tuple[float, int, logging.LogRecord | None]] = {}
        self._looks_at = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        limit = getattr(record, "limit", None)
        if limit is None and record.name.startswith(_REPEATS):
            limit = str(record.msg)
        if limit is None:
            return True
        key, now = (record.name, limit), self._clock.monotonic()
        with self._lock:
            since, held, first = self._seen.get(key, (-self._interval, 0, None))
            if now - since < self._interval:
                self._seen[key] = (since, held + 1, first or _stripped(record))
                return False
            if key not in self._seen and len(self._seen) >= _MAX_KEYS:
                self._seen = {each: entry for each, entry in self._seen.items() if now - entry[0] < self._interval}
            self._seen[key] = (now, 0, None)
        if held:
            record.repeated = held
        return True

    def late(self, *, at_once: bool = False) -> Iterator[logging.LogRecord]:
        """Lines that were held back and did not come again in time (`at_once`: at all), each with its count."""
        now = self._clock.monotonic()
        if now < self._looks_at and not at_once:
            return
        self._looks_at = now + self._interval / 10
        with self._lock:
            over = [key for key, (since, _, _) in self._seen.items() if at_once or now - since >= self._interval]
            gone = [self._seen.pop(key) for key in over]
        for _, held, first in gone:
            if first is not None:
                first.repeated = held
                yield first


def _stripped(record: logging.LogRecord) -> logging.LogRecord:
    """A line to be written later: what surrounds it now is kept, a traceback (and all that hangs on it) is not."""
    kept = copy.copy(record)
    kept.exc_info = kept.exc_text = kept.stack_info = None
    setattr(kept, _KEPT, fields(record))
    return kept


def _has_colour(stream: TextIO) -> bool:
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
