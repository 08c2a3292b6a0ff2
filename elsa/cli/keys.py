"""Reads single keys from a terminal while something else is drawn on it; for `elsa top`."""

from __future__ import annotations

import os
import select
import sys
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

#: how long the rest of an escape sequence may take
_SEQUENCE_SECONDS = 0.05
_SIZE = 64

ESCAPE = "esc"
ENTER = "enter"
BACKSPACE = "backspace"
#: the terminal is gone
END = "end"
_NAMES = {"\x1b": ESCAPE, "\r": ENTER, "\n": ENTER, "\x7f": BACKSPACE, "\x08": BACKSPACE, "": END}


class Keyboard:
    """Keys without enter and without echo, in `with`; ctrl-C stays a signal, and the terminal is left as it was."""

    def __init__(self) -> None:
        self._descriptor = sys.stdin.fileno()
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        import termios
        import tty

        self._before = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        import termios

        if self._before is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    def read(self, timeout: float) -> list[str]:
        """The keys that were pressed, waiting at most so many seconds for the first; arrows and their like are none."""
        if not self._is_ready(timeout):
            return []
        text = os.read(self._descriptor, _SIZE).decode(errors="replace")
        if text.startswith("\x1b") and (len(text) > 1 or self._is_ready(_SEQUENCE_SECONDS)):
            if len(text) == 1:
                os.read(self._descriptor, _SIZE)
            return []
        return [_NAMES.get(each, each) for each in text or [""]]

    def _is_ready(self, timeout: float) -> bool:
        return bool(select.select([self._descriptor], [], [], timeout)[0])
