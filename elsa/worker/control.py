"""The conversation between supervisor and worker process: JSON lines over a socketpair; used by both sides.

| who speaks | messages |
|---|---|
| supervisor | `spec` (first of all), `stop` (deadline, leave), `quiet`, `now`, `scrape` (id), `status` (id) |
| worker process | `hello` (pid, banner, settings), `ready` (slot), `failed` (code, error, fatal), `positions`, |
|  | `samples` (id, snapshot), `status` (id, status), `blocked` (calls), `finished` (reason), |
|  | `wish` (`quiet` or `stop`: of all processes, told by an operator to this one), |
|  | `beat` (checks: of its health by probe, when one has changed and every few seconds), |
|  | `ending` (seconds: it drains, and sends no beats for so long) |

The end of the stream means that the other side is gone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import socket
from threading import Condition, Lock, Thread, current_thread
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

#: names the worker process's end of the socketpair in its environment
FD_VARIABLE = "ELSA_CONTROL_FD"
#: bytes kept for a peer that does not read; what comes on top is refused, the sender is never held up
MAX_PENDING = 32 * 1024 * 1024
_CHUNK = 256 * 1024

Message = dict[str, Any]

_log = logging.getLogger(__name__)


class ControlChannel:
    """One end of the conversation.

    `send` may be called from any thread and never blocks. Reading belongs to one owner: either the thread that
    `start` makes (the worker process), or a loop that watches `fileno()` and calls `receive` and `flush` (the
    supervisor). The lock guards the bytes that wait to be sent.

    >>> left, right = socket.socketpair()
    >>> sender, receiver = ControlChannel(left), ControlChannel(right)
    >>> sender.send({"type": "quiet"})
    True
    >>> receiver.receive()
    [{'type': 'quiet'}]
    >>> sender.close(), receiver.receive(), receiver.is_open
    (None, [], False)
    >>> receiver.close()
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._lock = Lock()
        self._sent = Condition(self._lock)
        self._pending = bytearray()
        self._parts: list[bytes] = []
        self._peer_is_gone = False
        self._is_broken = False
        self._is_closed = False
        self._thread: Thread | None = None
        # wakes the reader's thread when there is something to send
        self._wake_reader, self._wake_writer = -1, -1
        #: lines that were no message; a peer's bug, shown by whoever owns this end
        self.damaged = 0

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> Self | None:
        """The worker process's end, None when no supervisor started this process.

        The variable is taken out and the descriptor is made private, so that programs which the user's code starts
        neither see nor hold them.
        """
        number = environ.pop(FD_VARIABLE, None)
        if number is None:
            return None
        sock = socket.socket(fileno=int(number))
        sock.set_inheritable(False)
        return cls(sock)

    @property
    def is_open(self) -> bool:
        """Whether the peer is there and this end is not closed."""
        return not (self._peer_is_gone or self._is_closed)

    @property
    def has_pending(self) -> bool:
        """Whether something waits until the peer reads."""
        return bool(self._pending)

    def fileno(self) -> int:
        """For selectors; -1 once closed."""
        return self._socket.fileno()

    def send(self, message: Mapping[str, Any]) -> bool:
        """Send, or keep what the peer can't take yet; False when it is gone or has stopped reading."""
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            if not self.is_open or self._is_broken or len(self._pending) > MAX_PENDING:
                return False
            self._pending += line
            self._write()
            if self._pending:
                self._wake()
            return not self._is_broken

    def flush(self) -> None:
        """Send what waits, as far as the peer takes it; for loops that saw `fileno()` writable."""
        with self._lock:
            self._write()

    def receive(self) -> list[Message]:
        """Every message that has arrived, without waiting; `is_open` tells afterwards whether more can come."""
        found: list[Message] = []
        while self.is_open:
            try:
                data = self._socket.recv(_CHUNK)
            except BlockingIOError:
                break
            except OSError:  # reset: it ended with unread messages of ours
                data = b""
            if not data:
                self._gone()
                break
            found += self._split(data)
        return found

    def start(self, on_message: Callable[[Message], None], on_end: Callable[[], None]) -> None:
        """Read in a thread of its own: `on_message` per message, `on_end` once when the peer is gone.

        Neither is called after `close`. They run in that thread and must not block it.
        """
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)
        self._thread = Thread(target=self._read, args=(on_message, on_end), name="elsa-control", daemon=True)
        self._thread.start()

    def close(self, flush_seconds: float = 0.0) -> None:
        """Wait so long for the peer to take what is pending, then close; idempotent."""
        with self._lock:
            if self._is_closed:
                return
            # only the thread of `start` goes on sending in the background
            if self._thread is not None and self._thread is not current_thread():
                self._sent.wait_for(lambda: not self._pending or self._peer_is_gone, flush_seconds)
            self._is_closed = True
            self._wake()
        if self._thread is not None and self._thread is not current_thread():
            self._thread.join()
        for descriptor in (self._wake_reader, self._wake_writer):
            if descriptor >= 0:
                os.close(descriptor)
        self._socket.close()

    def _wake(self) -> None:
        if self._wake_writer >= 0:
            with contextlib.suppress(BlockingIOError):  # full: the reader has reasons enough to wake up
                os.write(self._wake_writer, b"\0")

    def _write(self) -> None:
        """With the lock held."""
        while self._pending and self.is_open:
            try:
                count = self._socket.send(self._pending)
            except BlockingIOError:
                return
            except OSError:  # broken pipe: nobody will ever read it
                # what the peer said before it ended can still be read
                self._is_broken = True
                self._pending.clear()
                break
            del self._pending[:count]
        self._sent.notify_all()

    def _gone(self) -> None:
        with self._lock:
            self._peer_is_gone = True
            self._pending.clear()
            self._sent.notify_all()

    def _split(self, data: bytes) -> list[Message]:
        """The messages that `data` completes; the rest is kept in parts, so that a big one isn't copied per chunk."""
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = b"".join([*self._parts, lines[0]])
            self._parts = []
        if rest:
            self._parts.append(rest)
        found = []
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if isinstance(message, dict) and isinstance(message.get("type"), str):
                found.append(message)
            else:
                self.damaged += 1
        return found

    def _read(self, on_message: Callable[[Message], None], on_end: Callable[[], None]) -> None:
        # not `select.select`, which fails for descriptors above 1023
        poll = select.poll()
        poll.register(self._wake_reader, select.POLLIN)
        while self.is_open:
            poll.register(self._socket, select.POLLIN | (select.POLLOUT if self._pending else 0))
            ready = dict(poll.poll())
            if self._wake_reader in ready:
                os.read(self._wake_reader, 4096)
            if self._is_closed:
                return
            self.flush()
            for message in self.receive():
                if not self._is_closed:
                    _call(on_message, message)
        if not self._is_closed:
            _call(on_end)


def _call(callback: Callable[..., None], *args: Message) -> None:
    try:
        callback(*args)
    except Exception:
        # the border to the process: without this thread it would never hear that its supervisor is gone
        _log.exception("a control message was not obeyed", extra={"event": "control_failed"})
