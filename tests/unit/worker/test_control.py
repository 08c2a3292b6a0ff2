from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa.worker import control
from elsa.worker.control import ControlChannel

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 30.0


@pytest.fixture
def pair() -> Iterator[tuple[ControlChannel, ControlChannel]]:
    left, right = (ControlChannel(end) for end in socket.socketpair())
    yield left, right
    left.close()
    right.close()


class Inbox:
    def __init__(self) -> None:
        self.messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.ended = threading.Event()

    def get(self) -> dict[str, Any]:
        return self.messages.get(timeout=PATIENCE)


def test_messages_arrive_in_order(pair: tuple[ControlChannel, ControlChannel]) -> None:
    left, right = pair
    for number in range(3):
        assert left.send({"type": "status", "id": number})

    assert [message["id"] for message in right.receive()] == [0, 1, 2]


def test_nothing_said_is_no_end(pair: tuple[ControlChannel, ControlChannel]) -> None:
    assert pair[1].receive() == []
    assert pair[1].is_open


STREAM = b'{"type":"a","text":"\xc3\xa6"}\n{"type":"b"}\n'


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=5).map(sorted))
def test_lines_cut_anywhere_become_the_same_messages(cuts: list[int]) -> None:
    raw, other = socket.socketpair()
    with raw, contextlib.closing(ControlChannel(other)) as channel:
        found = []
        for start, end in zip([0, *cuts], [*cuts, len(STREAM)], strict=True):
            raw.sendall(STREAM[start:end])
            found += channel.receive()

    assert found == [{"type": "a", "text": "æ"}, {"type": "b"}]


@pytest.mark.parametrize("line", [b"{", b"[]", b"{}", b'{"type":1}', b"", b"\xff"])
def test_damaged_lines_are_counted_and_passed_over(line: bytes) -> None:
    raw, other = socket.socketpair()
    with raw:
        channel = ControlChannel(other)
        raw.sendall(line + b'\n{"type":"quiet"}\n')

        assert channel.receive() == [{"type": "quiet"}]
        assert channel.damaged == 1
        channel.close()


def test_the_last_words_of_a_peer_that_is_gone_are_heard(pair: tuple[ControlChannel, ControlChannel]) -> None:
    left, right = pair
    left.send({"type": "finished", "reason": "burst"})
    left.close()
    right.send({"type": "stop"})

    assert right.receive() == [{"type": "finished", "reason": "burst"}]
    assert not right.is_open
    assert right.send({"type": "stop"}) is False


def test_a_sender_is_never_held_up_by_a_peer_that_does_not_read(
    pair: tuple[ControlChannel, ControlChannel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "MAX_PENDING", 1_000_000)
    left, _ = pair
    sent = 0
    while left.send({"type": "samples", "snapshot": "x" * 100_000}):
        sent += 1
        assert sent < 1000

    assert left.has_pending
    assert left.is_open


def test_a_big_message_passes_through_loops_that_flush_and_receive(pair: tuple[ControlChannel, ControlChannel]) -> None:
    left, right = pair
    left.send({"type": "samples", "snapshot": "x" * 5_000_000})
    found: list[dict[str, Any]] = []
    while not found:
        left.flush()
        found = right.receive()

    assert len(found[0]["snapshot"]) == 5_000_000
    assert not left.has_pending


def test_a_reader_thread_gives_messages_and_the_end(pair: tuple[ControlChannel, ControlChannel]) -> None:
    left, right = pair
    inbox = Inbox()
    right.start(inbox.messages.put, inbox.ended.set)
    left.send({"type": "quiet"})
    assert inbox.get() == {"type": "quiet"}
    left.close()

    assert inbox.ended.wait(PATIENCE)


def test_a_reader_thread_sends_what_was_pending(pair: tuple[ControlChannel, ControlChannel]) -> None:
    left, right = pair
    inbox = Inbox()
    left.start(lambda _: None, lambda: None)
    left.send({"type": "samples", "snapshot": "x" * 5_000_000})
    right.start(inbox.messages.put, inbox.ended.set)

    assert len(inbox.get()["snapshot"]) == 5_000_000


def test_close_waits_until_the_peer_has_read(pair: tuple[ControlChannel, ControlChannel]) -> None:
    left, right = pair
    inbox = Inbox()
    left.start(lambda _: None, lambda: None)
    left.send({"type": "samples", "snapshot": "x" * 5_000_000})
    right.start(inbox.messages.put, inbox.ended.set)
    left.close(flush_seconds=PATIENCE)

    assert len(inbox.get()["snapshot"]) == 5_000_000


def test_close_is_idempotent_and_may_come_from_the_reader_thread(pair: tuple[ControlChannel, ControlChannel]) -> None:
    left, right = pair
    closed = threading.Event()

    def obey(_: dict[str, Any]) -> None:
        right.close()
        closed.set()

    ended = threading.Event()
    right.start(obey, ended.set)
    left.send({"type": "now"})
    assert closed.wait(PATIENCE)
    right.close()

    assert not ended.is_set()


def test_a_callback_that_raises_is_logged_and_the_next_message_still_comes(
    pair: tuple[ControlChannel, ControlChannel], caplog: pytest.LogCaptureFixture
) -> None:
    left, right = pair
    inbox = Inbox()

    def obey(message: dict[str, Any]) -> None:
        if message["type"] == "quiet":
            raise ValueError("broken")
        inbox.messages.put(message)

    right.start(obey, inbox.ended.set)
    left.send({"type": "quiet"})
    left.send({"type": "now"})

    assert inbox.get() == {"type": "now"}
    assert "a control message was not obeyed" in caplog.text


def test_many_threads_may_send_at_once(pair: tuple[ControlChannel, ControlChannel]) -> None:
    left, right = pair
    inbox = Inbox()
    right.start(inbox.messages.put, inbox.ended.set)
    left.start(lambda _: None, lambda: None)

    def send(name: int) -> None:
        for number in range(200):
            left.send({"type": "positions", "thread": name, "number": number, "filler": "x" * 3000})

    threads = [threading.Thread(target=send, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [inbox.get() for _ in range(800)]

    for name in range(4):
        assert [m["number"] for m in found if m["thread"] == name] == list(range(200))


def test_the_environment_gives_the_process_its_private_end() -> None:
    left, right = socket.socketpair()
    right.set_inheritable(True)
    environ = {control.FD_VARIABLE: str(right.detach()), "HOME": "/"}
    channel = ControlChannel.from_environment(environ)

    assert channel is not None
    assert environ == {"HOME": "/"}
    assert not os.get_inheritable(channel.fileno())
    channel.close()
    left.close()


def test_without_a_supervisor_there_is_no_channel() -> None:
    assert ControlChannel.from_environment({}) is None
