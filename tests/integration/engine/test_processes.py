"""`executor="process"`: calls run in child processes, and what kills a child fails the message it ran and no other.

The handlers stand in a module of their own, because children import it.
"""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

import elsa
from elsa.observe.metrics import PrometheusObserver

from .jobs import is_alive
from .waiting import Log, stays, total, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from .jobs import Jobs

pytestmark = pytest.mark.broker

_BATCH = """

@app.handler({topic!r} + ".batch", executor="process", batch=10, batch_wait=0.2, retry=None)
def handle_batch(jobs: list[Job], ctx: elsa.Context):
    for index, job in enumerate(jobs):
        if job.do == "blame":
            raise elsa.BatchError(index, ValueError("this one"))
        tell(job.do, job.n)
"""

_TASKS = """

@app.task(topic={topic!r} + ".tasks", name="in_child", executor="process")
def in_child(ctx: elsa.Context):
    tell(ctx.handler, 0)

@app.task(topic={topic!r} + ".tasks", name="kills", executor="process", retry=None)
def kills(ctx: elsa.Context):
    tell(ctx.handler, 0)
    os.kill(os.getpid(), signal.SIGKILL)

@app.task(topic={topic!r} + ".tasks", name="in_thread")
def in_thread(): pass
"""


def test_calls_run_in_children_that_end_with_the_worker(jobs: Callable[..., Jobs]) -> None:
    found = jobs("concurrency=2")
    found.send(("where", 0), key="k", headers={"h": "1"})
    found.send(*(("nothing", n) for n in range(1, 20)))
    with found.app:
        found.committed(20)

    calls = found.told("where", "nothing")
    assert sorted(n for _, n, _ in calls) == list(range(20))
    pids = {pid for *_, pid in calls}
    assert os.getpid() not in pids
    assert len(pids) <= 2
    # hooks prepare every process that runs handlers
    assert {pid for *_, pid in found.told("startup")} >= pids
    assert not any(is_alive(pid) for pid in pids)


def test_what_kills_a_child_fails_its_own_message_only(jobs: Callable[..., Jobs]) -> None:
    found = jobs("concurrency=2, retry=elsa.Retry(max_attempts=2, base=0)")
    fatal = ["exit", "sys.exit", "kill", "memory"]
    found.send(*(("nothing", n) for n in range(20)))
    found.send(*((do, n) for n, do in enumerate(fatal)))
    found.send(*(("nothing", n) for n in range(20, 40)))
    with found.app:
        dead = found.dead(4)
        found.committed(44)

    assert sorted(n for _, n, _ in found.told("nothing")) == list(range(40))
    assert {do: len(found.told(do)) for do in fatal} == dict.fromkeys(fatal, 2)
    texts = {json.loads(letter.value)["do"]: letter.header("elsa-error-message").decode() for letter in dead}
    assert "ended with exit code 3" in texts["exit"]
    assert "ended with exit code 4" in texts["sys.exit"]
    assert "was killed by SIGKILL" in texts["kill"]
    assert "memory runs out" in texts["kill"]
    assert all(letter.header("elsa-error-type") == b"elsa.errors.ChildEnded" for letter in dead)


def test_a_call_over_its_time_is_killed_and_follows_its_policy(jobs: Callable[..., Jobs]) -> None:
    found = jobs("concurrency=2, timeout=0.5, retry=elsa.Retry(max_attempts=2, base=0)")
    found.send(("sleep", 1), *(("nothing", n) for n in range(10)))
    with found.app:
        (letter,) = found.dead(1)
        found.committed(11)

    assert letter.header("elsa-reason") == b"timeout"
    assert "ran longer than 0.5 s" in letter.header("elsa-error-message").decode()
    calls = found.told("sleep")
    assert len(calls) == len({pid for *_, pid in calls}) == 2
    assert len(found.told("nothing")) == 10


def test_children_are_replaced_after_so_many_calls(jobs: Callable[..., Jobs]) -> None:
    found = jobs("concurrency=1, max_tasks_per_child=3")
    found.send(*(("nothing", n) for n in range(9)))
    with found.app:
        found.committed(9)

    pids = [pid for *_, pid in found.told("nothing")]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3]


def test_children_are_replaced_when_they_have_grown(jobs: Callable[..., Jobs]) -> None:
    found = jobs('concurrency=1, max_memory_per_child="180MB"')
    found.send(*(("eat", n) for n in range(8)))
    with found.app:
        found.committed(8)

    assert 2 <= len({pid for *_, pid in found.told("eat")}) <= 4


def test_errors_come_back_as_what_they_were(jobs: Callable[..., Jobs]) -> None:
    """Also those that cannot be pickled; the policy sees the class where there is one."""
    found = jobs("retry=elsa.Retry(max_attempts=3, base=0, ignore=(ValueError, Awkward))")
    found.send(("value", 1), ("awkward", 2), ("local", 3), ("defer", 4))
    found.app.produce(found.name, "{")
    with found.app:
        dead = {letter.offset: letter for letter in found.dead(5)}
        found.committed(5)

    by_offset = {int(letter.header("elsa-origin").rpartition(b":")[2]): letter for letter in dead.values()}
    kinds = {offset: letter.header("elsa-error-type").decode() for offset, letter in by_offset.items()}
    assert kinds[0] == "builtins.ValueError"
    assert kinds[1].endswith(".Awkward")
    assert by_offset[1].header("elsa-error-message") == b"1 and 2"
    assert b"in work" in by_offset[0].header("elsa-traceback")
    assert (
        "returned a Local that cannot be handed to another process"
        in by_offset[2].header("elsa-error-message").decode()
    )
    assert "returned DEFER from a child process" in by_offset[3].header("elsa-error-message").decode()
    assert by_offset[4].header("elsa-reason") == b"decode"
    assert [len(found.told(do)) for do in ("value", "awkward", "local")] == [1, 1, 3]


def test_what_a_call_asks_for_is_done(jobs: Callable[..., Jobs], log: Log) -> None:
    """A retry when it says so and not by the policy, no dead letter for what is skipped, one with its own reason."""
    found = jobs("concurrency=1, retry=elsa.Retry(max_attempts=2, base=600, jitter=False)")
    found.send(("later", 1), ("reject", 2), ("skip", 3))
    with found.app:
        (letter,) = found.dead(1)
        found.committed(3)

    assert json.loads(letter.value)["n"] == 2
    assert letter.header("elsa-error-message") == b"not wanted"
    assert [len(found.told(do)) for do in ("later", "reject", "skip")] == [2, 1, 1]


def test_the_attempt_after_one_that_was_killed_knows_how_far_it_was(jobs: Callable[..., Jobs]) -> None:
    found = jobs("concurrency=1, timeout=1, retry=elsa.Retry(max_attempts=3, base=0)")
    found.send(("resume", 7))
    with found.app:
        found.committed(1)

    assert [progress for _, progress, _ in found.told("resume from")] == [None, 7, 14]
    assert len({pid for *_, pid in found.told("resume")}) == 3


def test_what_a_call_sends_is_confirmed_before_its_message_is_done(jobs: Callable[..., Jobs], log: Log) -> None:
    found = jobs("concurrency=2, retry=elsa.Retry(max_attempts=1)")
    found.app.topics.create(f"{found.name}.out", partitions=1)
    found.send(*(("send", n) for n in range(10)), ("send too much", 99))
    with found.app:
        (letter,) = found.dead(1)
        found.committed(11)

    assert json.loads(letter.value)["n"] == 99
    assert b"MessageTooLarge" in letter.header("elsa-error-type")
    assert sorted(json.loads(one.value or b"")["n"] for one in log.read(f"{found.name}.out")) == list(range(10))


def test_a_heartbeat_shows_how_far_a_call_is(jobs: Callable[..., Jobs]) -> None:
    found = jobs(drain=0.2)
    found.send(("beat", 7))
    found.app.start()
    try:
        (call,) = until(
            lambda: [one for one in found.app._runtime.running() if one["progress"]], "the call tells its progress"
        )
        assert (call["offset"], call["attempt"], call["progress"]) == (0, 1, {"page": 7})
        # where its thread waits for the child tells nothing
        assert "stack" not in call
    finally:
        found.app.stop(3)


def test_a_stop_is_told_to_the_call_which_may_end_well(jobs: Callable[..., Jobs], log: Log) -> None:
    found = jobs()
    found.send(("polite", 1))
    with found.app:
        found.wait_told(1, "polite")

    assert len(found.told("was told")) == 1
    assert log.committed(found.app.name, found.name) == 1


def test_a_call_that_does_not_end_is_killed_at_the_deadline_and_comes_again(
    jobs: Callable[..., Jobs], log: Log
) -> None:
    found = jobs(drain=0.5)
    found.send(("sleep", 1))
    found.app.start()
    ((*_, pid),) = found.wait_told(1, "sleep")
    found.app.stop(5)

    assert not is_alive(pid)
    assert log.committed(found.app.name, found.name) in (None, 0)
    assert log.partitions(f"{found.name}.{found.app.name}.dlq") == 0


def test_a_module_that_cannot_be_imported_there_halts_the_partition_and_loses_nothing(
    jobs: Callable[..., Jobs], log: Log, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = jobs()
    monkeypatch.setenv("JOBS_BROKEN", "1")
    found.send(("nothing", 1))
    with found.app:
        until(lambda: "no import today" in caplog.text, "the child's error is shown")
        stays(lambda: log.partitions(f"{found.name}.{found.app.name}.dlq") == 0, 0.5, "no dead letter")
        monkeypatch.delenv("JOBS_BROKEN")
        found.committed(1)


def test_a_batch_is_one_call_and_its_members_have_their_own_fates(jobs: Callable[..., Jobs], log: Log) -> None:
    found = jobs(extra=_BATCH)
    name = f"{found.name}.batch"
    found.app.topics.create(name, partitions=1)
    bodies = [json.dumps({"do": do, "n": n}) for n, do in enumerate(["one", "two", "blame", "four"])]
    found.app.produce(name, [*bodies[:1], "{", *bodies[1:]])
    with found.app:
        dead = log.wait_for(f"{name}.{found.app.name}.dlq", 2)
        log.wait_committed(found.app.name, name, 5)

    assert sorted(letter.header("elsa-reason") or b"" for letter in dead) == [b"decode", b"exhausted"]
    assert [do for do, *_ in found.told("one", "two", "four")] == ["one", "two", "four"]


def test_signals_that_end_a_child_are_named() -> None:
    from elsa.worker.child import how_it_ended

    assert how_it_ended(-signal.SIGKILL) == "was killed by SIGKILL"


def test_tasks_in_children_are_counted_each_by_its_name(jobs: Callable[..., Jobs]) -> None:
    found = jobs(extra=_TASKS)
    topic, metrics = f"{found.name}.tasks", PrometheusObserver()
    found.app.observer = metrics
    found.app.topics.create(topic, partitions=1)
    calls = [task for _ in range(3) for task in ("in_child", "kills", "nobody", "in_thread")]
    found.app.produce(topic, [elsa.Record(b"[[], {}]", headers={"elsa-task": task}) for task in calls])

    def by_task(metric: str, **labels: str) -> dict[str, float]:
        names = ("in_child", "kills", "in_thread", f"tasks of {topic}")
        values = {task: total(metrics, metric, handler=task, **labels) for task in names}
        return {task: value for task, value in values.items() if value}

    with found.app:
        found.wait_told(3, "in_child")
        until(lambda: sum(by_task("elsa_dead_letters_total").values()) == 6, "what fails is a dead letter")
        until(lambda: by_task("elsa_messages_processed_total", outcome="ok") == {"in_child": 3, "in_thread": 3}, "end")
        until(lambda: by_task("elsa_messages_in_progress") == {}, "nobody is at work")

    assert by_task("elsa_dead_letters_total") == {"kills": 3, f"tasks of {topic}": 3}
    assert by_task("elsa_handler_exceptions_total", error_type="elsa.errors.ChildEnded") == {"kills": 3}
    assert by_task("elsa_messages_processed_total", outcome="dead") == by_task("elsa_dead_letters_total")
    # what they are called there is what they are called here
    assert len(found.told("in_child")) == len(found.told("kills")) == 3
