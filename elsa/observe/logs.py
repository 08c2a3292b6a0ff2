"""Logging of Elsa's processes: text for people, one JSON object a line for machines; the CLI calls `setup`.

The message being handled stands in every line that is written while it runs, user code's included.
Fields come as `extra={...}`; the text stays constant, so that lines can be counted.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, TextIO

from elsa.clock import SYSTEM
from elsa.context import active

if TYPE_CHECKING:
    from elsa.clock import Clock

_COLOURS = {logging.DEBUG: "2", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "1;31"}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "limit"}
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
    handler.addFilter(RateLimit())
    root = logging.getLogger()
    for older in [each for each in root.handlers if isinstance(each, _ElsaHandler)]:
        root.removeHandler(older)
    root.addHandler(handler)
    root.setLevel(number)
    return handler


class _ElsaHandler(logging.StreamHandler[TextIO]):
    """A type of its own, so that `setup` finds what it added before."""


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """The message being handled, the trace, and the record's own extra fields, which win."""
    found: dict[str, Any] = {}
    if (context := active()) is not None:
        message = context.message
        found = {
            "group": context.group,
            "topic": message.topic,
            "partition": message.partition,
            "offset": message.offset,
            "handler": context.handler,
            "attempt": context.attempt,
        }
    # looked up, not imported: without opentelemetry there is no span to name
    if (trace := sys.modules.get("opentelemetry.trace")) is not None:
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            found |= {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}
    found |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
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

    It looks at records that carry `extra={"limit": key}`; equal keys of one logger are the same line.
    """

    def __init__(self, interval: float = 60.0, clock: Clock = SYSTEM) -> None:
        super().__init__()
        self._interval = interval
        self._clock = clock
        self._lock = Lock()
        self._seen: dict[tuple[str, Any], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        limit = getattr(record, "limit", None)
        if limit is None:
            return True
        key, now = (record.name, limit), self._clock.monotonic()
        with self._lock:
            since, held = self._seen.get(key, (-self._interval, 0))
            if now - since < self._interval:
                self._seen[key] = (since, held + 1)
                return False
            if key not in self._seen and len(self._seen) >= _MAX_KEYS:
                self._seen = {each: entry for each, entry in self._seen.items() if now - entry[0] < self._interval}
            self._seen[key] = (now, 0)
        if held:
            record.repeated = held
        return True


def _has_colour(stream: TextIO) -> bool:
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
