"""`transactional=True` on Kafka: a reader of committed messages sees each result once, and none of a failed call."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import elsa
from elsa.control.protocol import Target
from elsa.kafka.transactions import TransactionalProducer

from .waiting import Log, Seen, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def test_results_and_offsets_come_together(make_app: Callable[..., elsa.App], topic: Topics, log: Log) -> None:
    app, name, out = make_app(), topic(3), topic(2)

    @app.handler(name, ordering="key", transactional=True, retry=elsa.Retry(base=0.1))
    def double(body: int, ctx: elsa.Context) -> None:
        ctx.send(out, body * 2, key=str(body))
        if body % 7 == 0 and ctx.attempt == 1:
            raise ValueError

    app.produce(name, [(str(n), str(n).encode()) for n in range(300)])
    with app:
        until(lambda: sum(log.committed(app.name, name, p) or 0 for p in range(3)) == 300, "everything is committed")

    assert sorted(int(message.value or b"") for message in log.read(out)) == [n * 2 for n in range(300)]


def test_an_aborted_transaction_is_handled_again(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, name, out = make_app(), topic(2), topic(1)
    commit, broken = TransactionalProducer.commit, threading.Event()

    def fails(self: TransactionalProducer, timeout: float) -> None:
        if self.id.endswith("-tx") and not broken.is_set():
            broken.set()
            raise elsa.errors.TransactionAborted("made up", code="_TEST")
        commit(self, timeout)

    monkeypatch.setattr(TransactionalProducer, "commit", fails)

    @app.handler(name, transactional=True)
    def copy(body: int, ctx: elsa.Context) -> None:
        ctx.send(out, body)

    app.produce(name, [elsa.Record(str(n).encode(), partition=n % 2) for n in range(100)])
    with app:
        until(lambda: sum(log.committed(app.name, name, p) or 0 for p in range(2)) == 100, "everything is committed")

    assert broken.is_set()
    assert sorted(int(message.value or b"") for message in log.read(out)) == list(range(100))


def test_a_result_that_is_too_large_ends_as_a_dead_letter(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log
) -> None:
    app, name, out = make_app(), topic(1), topic(1, {"max.message.bytes": "1000"})

    @app.handler(name, transactional=True, ordering="none", retry=elsa.Retry(max_attempts=2, base=0.1))
    def copy(body: bytes, ctx: elsa.Context) -> None:
        ctx.send(out, bytes(range(256)) * 8 if body == b"big" else body)

    app.produce(name, [b"a", b"big", b"b"])
    with app:
        (dead,) = log.wait_for(f"{name}.{app.name}.dlq", 1)
        log.wait_committed(app.name, name, 3)

    assert dead.value == b"big"
    assert sorted(message.value or b"" for message in log.read(out)) == [b"a", b"b"]


def test_deliveries_are_done_with_their_transaction(make_app: Callable[..., elsa.App], topic: Topics, log: Log) -> None:
    app, name, out = make_app(), topic(1), topic(1)
    seen: Seen[elsa.Delivery] = Seen()

    @app.handler(name, transactional=True)
    def copy(body: str, ctx: elsa.Context) -> None:
        seen(ctx.send(out, body))

    app.produce(name, ["a"])
    with app:
        (delivery,) = seen.wait(1)
        metadata = delivery.result(20)

    assert (metadata.topic, metadata.partition, metadata.offset) == (out, 0, 0)


def break_commits(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """While the event is not set, transactions of handlers are aborted at their end."""
    commit, heals = TransactionalProducer.commit, threading.Event()

    def fails(self: TransactionalProducer, timeout: float) -> None:
        if "-tx" in self.id and not heals.is_set():
            raise elsa.errors.TransactionAborted("made up", code="_TEST")
        commit(self, timeout)

    monkeypatch.setattr(TransactionalProducer, "commit", fails)
    return heals


def test_a_stop_commits_nothing_whose_results_were_not(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last commit of a stop is not one of transactions."""
    name, out = topic(2), topic(1)
    heals = break_commits(monkeypatch)
    group = ""
    for _ in range(2):
        app = make_app(drain_timeout=3.0)
        group = group or app.name
        seen: Seen[int] = Seen()

        @app.handler(name, group=group, name="copy", transactional=True)
        def copy(body: int, ctx: elsa.Context, seen: Seen[int] = seen) -> None:
            ctx.send(out, body)
            seen(body)

        if not heals.is_set():
            app.produce(name, [elsa.Record(str(n).encode(), partition=n % 2) for n in range(100)])
        with app:
            if heals.is_set():
                for partition in range(2):
                    log.wait_committed(group, name, 50, partition)
            else:
                seen.wait(100)
        if not heals.is_set():
            assert [log.committed(group, name, p) for p in range(2)] == [None, None]
            heals.set()

    assert sorted(int(message.value or b"") for message in log.read(out)) == list(range(100))


def test_a_halt_beside_an_aborted_transaction_commits_nothing_of_it(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, name, out = make_app(), topic(1), topic(1)
    heals = break_commits(monkeypatch)
    bad = threading.Event()
    bad.set()

    @app.handler(name, transactional=True, on_exhausted="stop", retry=None)
    def copy(body: int, ctx: elsa.Context) -> None:
        if body == 20 and bad.is_set():
            raise ValueError
        ctx.send(out, body)

    app.produce(name, [str(n).encode() for n in range(40)])
    with app:
        until(lambda: [s.paused for s in app._runtime.snapshots()] == ["halted"], "it is halted")
        heals.set()
        bad.clear()
        for manager in app._runtime.managers:
            manager.resume(Target())
        log.wait_committed(app.name, name, 40)

    assert [int(message.value or b"") for message in log.read(out)] == list(range(40))


def test_a_transaction_that_is_aborted_during_a_stop_does_not_hold_the_stop(
    make_app: Callable[..., elsa.App],
    topic: Topics,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While another one still runs: the worker of its partition has ended, and nothing of it can be waited for."""
    app, name, out = make_app(), topic(2), topic(1)
    reached, goes_on, runs, ends = (threading.Event() for _ in range(4))

    def fails(self: TransactionalProducer, timeout: float) -> None:
        if self.id.endswith("-tx"):
            reached.set()
            assert goes_on.wait(30)
            raise elsa.errors.TransactionAborted("made up", code="_TEST")

    monkeypatch.setattr(TransactionalProducer, "commit", fails)

    @app.handler(name, transactional=True)
    def copy(body: int, ctx: elsa.Context) -> None:
        if ctx.partition == 1:
            runs.set()
            assert ends.wait(30)
        else:
            ctx.send(out, body)

    app.produce(name, [elsa.Record(b"1", partition=partition) for partition in range(2)])
    with app:
        assert reached.wait(30)
        assert runs.wait(30)
        (manager,) = app._runtime.managers
        stop = threading.Thread(target=app.stop)
        stop.start()
        until(lambda: manager.stopping is not None and len(manager.assignment.ending) == 1, "only one still runs")
        goes_on.set()
        until(lambda: manager.transactions._under_way is None, "the transaction is over")
        ends.set()
        stop.join()

    assert manager.handover.stopped_cleanly
    assert "drain_timeout" not in [getattr(record, "event", None) for record in caplog.records]
    assert log.committed(app.name, name, 0) is None
