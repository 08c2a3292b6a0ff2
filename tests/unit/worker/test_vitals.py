"""What a worker process says of its health, from what its threads have left behind."""

from __future__ import annotations

import logging
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from elsa.clock import SYSTEM
from elsa.config import Settings
from elsa.observe.verdicts import Check
from elsa.observer import GroupObserver
from elsa.renewing import Renewing
from elsa.worker import vitals
from elsa.worker.pulse import Fatal, Pulse
from elsa.worker.readiness import Readiness
from elsa.worker.refusals import Refusals
from elsa.worker.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: how often it was to be looked whether the brokers answer
doubts: list[int] = []


def runtime(*, timeout: float | None = 5.0, running: float = 0.0, **facts: Any) -> Any:
    handler = SimpleNamespace(name="shop.bill", declared=SimpleNamespace(timeout=timeout))
    trouble = SimpleNamespace(refusals=Refusals(SYSTEM))
    manager = SimpleNamespace(name="billing", group="billing", pulse=Pulse(SYSTEM), is_ready=False, trouble=trouble)
    call = {"handler": "shop.bill", "topic": "orders", "partition": 3, "offset": 17, "seconds": running}
    return SimpleNamespace(
        app=SimpleNamespace(settings=Settings()),
        bindings=[SimpleNamespace(handlers=lambda: [handler])],
        managers=[manager],
        services=list(facts.get("services", ())),
        running=lambda **_: [call] if running else [],
        readiness=Readiness([]),
        is_stopping=facts.get("is_stopping", False),
        is_quiet=facts.get("is_quiet", False),
        brokers_answered=lambda: facts.get("brokers", (0.0, None)),
        doubt=lambda: doubts.append(1),
    )


def found(of: Any, probe: str) -> dict[str, Check]:
    return {check.name: check for check in Vitals(of).checks()[probe]}


def ago(seconds: float) -> float:
    return SYSTEM.monotonic() - seconds


def test_a_worker_that_is_well_is_live() -> None:
    checks = found(runtime(), "live")

    assert set(checks) == {"poll", "join", "client", "handler"}
    assert all(check.ok for check in checks.values())


def test_a_thread_that_has_not_polled_within_the_poll_interval_is_not() -> None:
    of = runtime()
    of.managers[0].pulse.polled_at = ago(301)
    check = found(of, "live")["poll"]

    assert (check.ok, check.about, check.limit) == (False, "billing", 300.0)


@pytest.mark.parametrize(("seconds", "ok"), [(590, True), (601, False)])
def test_a_join_that_stands_still_for_two_poll_intervals_is_not(seconds: float, *, ok: bool) -> None:
    of = runtime()
    of.managers[0].pulse.frozen = "wait-sync", ago(seconds)
    check = found(of, "live")["join"]

    assert check.ok is ok
    assert "'wait-sync'" in check.hint


@pytest.mark.parametrize(("seconds", "ok"), [(64, True), (66, False)])
def test_a_call_may_take_a_minute_beyond_its_own_timeout(seconds: float, *, ok: bool) -> None:
    check = found(runtime(running=seconds), "live")["handler"]

    assert (check.ok, check.about, check.limit) == (ok, "shop.bill", 65.0)
    assert "orders[3] offset 17" in check.hint


def test_a_handler_without_a_timeout_may_take_for_ever() -> None:
    assert "handler" not in found(runtime(timeout=None, running=1e6), "live")


@pytest.mark.parametrize(
    ("first", "last", "ok"),
    [(30, 1, True), (90, 1, False), (300, 70, True)],
    ids=["may be mended yet", "again and again", "long ago, nothing since"],
)
def test_a_client_that_fails_fatally_again_and_again_is_not(first: float, last: float, *, ok: bool) -> None:
    of = runtime()
    of.managers[0].pulse.fatal = Fatal(ago(first), ago(last), "fenced")

    assert found(of, "live")["client"].ok is ok


def test_kafka_that_is_away_costs_the_readiness_alone() -> None:
    of = runtime(brokers=(3.0, "no Kafka broker answered at kafka:9092"))
    of.managers[0].pulse.assigned()

    assert [name for name, check in found(of, "ready").items() if not check.ok] == ["brokers"]
    assert "no Kafka broker answered at kafka:9092" in found(of, "ready")["brokers"].hint
    assert all(check.ok for check in found(of, "live").values())


def test_an_answer_of_kafka_that_is_too_old_does_not_count() -> None:
    assert not found(runtime(brokers=(41.0, None)), "ready")["brokers"].ok
    assert not found(runtime(brokers=(None, None)), "ready")["brokers"].ok


def test_it_is_ready_once_assigned_and_not_while_it_takes_no_messages() -> None:
    of = runtime()
    assert not found(of, "ready")["assignment"].ok
    of.managers[0].pulse.assigned()
    assert all(check.ok for check in found(of, "ready").values())
    for ending in ("is_stopping", "is_quiet"):
        assert not found(runtime(**{ending: True}), "ready")["intake"].ok


def test_it_is_not_ready_while_it_is_out_of_its_group_or_its_thread_or_its_join_stands_still() -> None:
    def why(change: Callable[[Pulse], None]) -> str:
        of = runtime()
        pulse = of.managers[0].pulse
        pulse.assigned()
        change(pulse)
        check = found(of, "ready")["assignment"]
        assert check.about == "billing"
        return "" if check.ok else check.hint

    assert why(lambda pulse: None) == ""
    assert "it has lost its place in the group" in why(Pulse.thrown_out)
    assert "the thread that polls hangs" in why(lambda pulse: setattr(pulse, "polled_at", ago(301)))
    assert "stands still in 'wait-sync'" in why(lambda pulse: setattr(pulse, "frozen", ("wait-sync", ago(601))))
    assert why(lambda pulse: setattr(pulse, "frozen", ("wait-sync", ago(599)))) == ""


def test_it_is_not_ready_while_a_topic_is_refused() -> None:
    of = runtime()
    of.managers[0].pulse.assigned()
    of.managers[0].trouble.refusals.add("orders", "an ACL is missing: this client needs Read on topic 'orders'")
    check = found(of, "ready")["topics"]

    assert (check.ok, check.about) == (False, "billing")
    assert "this client needs Read on topic 'orders'" in check.hint
    assert all(check.ok for check in found(of, "live").values())


def test_it_has_started_when_its_clients_are_made() -> None:
    of = runtime()
    assert not found(of, "startup")["consumer"].ok
    of.managers[0].pulse.has_client = True
    assert found(of, "startup")["consumer"].ok


def test_a_beat_comes_when_something_has_changed_and_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vitals, "LOOK_SECONDS", 0.0)
    of = runtime()
    one = Vitals(of)
    first = one.beat()
    assert first is not None
    assert set(first["checks"]) == {"live", "ready", "startup"}
    assert one.beat() is None
    assert one.beat(at_once=True) is not None
    of.managers[0].pulse.assigned()
    assert one.beat() is not None
    assert one.beat() is None
    monkeypatch.setattr(vitals, "BEAT_SECONDS", 0.0)
    assert one.beat() is not None


class Service(Renewing):
    """A mover whose every turn hangs until it is let go."""

    what = ("mover", "the mover of delayed messages", "mover_restart")
    log = logging.getLogger("elsa.delays")
    group = "shop.mover"

    def __init__(self) -> None:
        super().__init__("shop", "shop-0", GroupObserver())
        self.hangs, self.goes_on = threading.Event(), threading.Event()
        self.error: type[BaseException] | None = None

    def _begin(self) -> float:
        self.hangs.set()
        self.goes_on.wait()
        self.goes_on.clear()
        if self.error is not None:
            raise self.error
        return 0.0

    def end(self) -> None:
        self.stop()
        self.goes_on.set()
        assert self.join(10)


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    made.start()
    assert made.hangs.wait(10)
    yield made
    made.end()


def late(service: Service, seconds: float) -> None:
    """Its turn has lasted for so long."""
    service.polled_at = ago(seconds)


@pytest.mark.parametrize(("seconds", "ok"), [(359, True), (361, False)])
def test_a_turn_of_the_mover_may_take_a_minute_beyond_the_poll_interval(
    service: Service, seconds: float, *, ok: bool
) -> None:
    late(service, seconds)
    check = found(runtime(services=[service]), "live")["mover"]

    assert (check.ok, check.about, check.limit) == (ok, "shop.mover", 360.0)
    assert "the thread of the mover of delayed messages hangs" in check.hint


def test_a_turn_that_returns_after_all_is_forgiven(service: Service) -> None:
    late(service, 400)
    of = runtime(services=[service])
    assert not found(of, "live")["mover"].ok

    service.hangs.clear()
    service.goes_on.set()
    assert service.hangs.wait(10)
    assert found(of, "live")["mover"].ok


def test_a_mover_that_hangs_while_kafka_is_away_is_not_to_blame(service: Service) -> None:
    late(service, 1e6)
    assert found(runtime(services=[service], brokers=(400.0, "no Kafka broker answered")), "live")["mover"].ok


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_of_the_mover_that_is_gone_is_not_alive_whatever_kafka_does(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    of = runtime(services=[service], brokers=(400.0, "no Kafka broker answered"))
    assert found(of, "live")["mover"].ok

    service.error = SystemExit
    service.goes_on.set()
    service._thread.join(10)
    check = found(of, "live")["mover"]
    assert (check.ok, check.about) == (False, "shop.mover")
    assert "the thread of the mover of delayed messages has ended" in check.hint
    assert "the mover of delayed messages ended" in caplog.messages


def test_one_that_was_told_to_end_has_not_died() -> None:
    service = Service()
    assert not service.has_died
    service.start()
    service.end()
    assert not service.has_died


def test_clients_that_fail_while_kafka_is_away_are_not_to_blame() -> None:
    of = runtime(brokers=(100.0, "no Kafka broker answered"))
    of.managers[0].pulse.fatal = Fatal(ago(90), ago(1), "fenced")

    assert found(of, "live")["client"].ok


def test_what_is_shown_of_a_check() -> None:
    assert Check(name="poll", ok=True, age=1.26, limit=5.0, hint="restart").document() == {
        "name": "poll",
        "ok": True,
        "age": 1.3,
        "limit": 5.0,
    }
    assert Check(name="poll", about="billing", ok=False, hint="restart").document()["hint"] == "restart"


def test_what_hangs_while_kafka_is_away_is_not_to_blame_until_it_is_back() -> None:
    facts: dict[str, Any] = {"brokers": (400.0, "no Kafka broker answered")}
    of = runtime(running=400.0)
    of.brokers_answered = lambda: facts["brokers"]
    of.managers[0].pulse.polled_at = ago(400)
    of.managers[0].pulse.frozen = "wait-sync", ago(4_000)
    one = Vitals(of)
    assert all(check.ok for check in one.checks()["live"])

    facts["brokers"] = (0.0, None)
    assert all(check.ok for check in one.checks()["live"])
    one._away_at = ago(301)
    failed = {check.name for check in one.checks()["live"] if not check.ok}
    assert failed == {"poll", "handler"}
    facts["brokers"] = (60.0, None)
    assert all(check.ok for check in one.checks()["live"] if check.name == "poll")
    facts["brokers"] = (0.0, None)
    one._away_at = ago(601)
    assert {check.name for check in one.checks()["live"] if not check.ok} == {"poll", "handler", "join"}


def test_a_thread_that_is_late_has_the_brokers_looked_for() -> None:
    doubts.clear()
    of = runtime()
    found(of, "live")
    assert doubts == []
    of.managers[0].pulse.polled_at = ago(151)
    found(of, "live")
    assert doubts == [1]
