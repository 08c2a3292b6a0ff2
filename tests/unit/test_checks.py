"""What `elsa check` judges, without a broker."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from elsa import App, checks
from elsa.config import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KAFKA_4 = {
    "group.coordinator.rebalance.protocols": "classic,consumer",
    "group.min.session.timeout.ms": "6000",
    "group.max.session.timeout.ms": "1800000",
}
_NUMBERS = itertools.count(1)


def app_with(topic: str | list[str] = "orders", options: Mapping[str, Any] | None = None, **settings: Any) -> App:
    app = App(f"checked-{next(_NUMBERS)}", **settings)

    @app.handler(topic, **(options or {}))
    def bill(order: dict[str, Any]) -> None: ...

    return app


def levels(app: App, partitions: Mapping[str, int]) -> Sequence[tuple[str, str]]:
    return [(finding.level, finding.what) for finding in checks.of_app(app, partitions)][1:]


def worst(app: App, partitions: Mapping[str, int]) -> checks.Finding:
    return list(checks.of_app(app, partitions))[-1]


def test_sound_settings_are_one_ok() -> None:
    assert [finding.level for finding in checks.of_settings(Settings())] == ["ok"]


def test_doubtful_settings_are_warnings() -> None:
    (finding,) = checks.of_settings(Settings(drain_timeout=30))

    assert finding.level == "warning"
    assert "drain_timeout=30 s is longer than stop_timeout=25 s" in finding.text


def test_a_broker_with_both_protocols_suits_both() -> None:
    classic = list(checks.of_broker(Settings(), KAFKA_4))
    consumer = list(checks.of_broker(Settings(group_protocol="consumer"), KAFKA_4))

    assert [(f.level, f.what) for f in classic] == [("ok", "group protocol"), ("ok", "session timeout")]
    assert [(f.level, f.what) for f in consumer] == [("ok", "group protocol")]


def test_a_broker_that_says_nothing_has_the_classic_protocol_only() -> None:
    (finding,) = checks.of_broker(Settings(group_protocol="consumer"), {})

    assert finding.level == "error"
    assert finding.text == "group_protocol='consumer' is not offered by the broker, only classic"


@pytest.mark.parametrize("seconds", [5, 1801])
def test_a_session_timeout_outside_the_brokers_limits_is_an_error(seconds: int) -> None:
    *_, finding = checks.of_broker(Settings(session_timeout=seconds), KAFKA_4)

    assert (finding.level, finding.what) == ("error", "session timeout")
    assert "(6 to 1800 s)" in finding.text


def test_an_app_without_handlers_is_doubtful() -> None:
    (finding,) = checks.of_app(App(f"checked-{next(_NUMBERS)}"), {})

    assert finding.level == "warning"


def test_a_topic_with_enough_partitions_is_fine() -> None:
    assert levels(app_with(), {"orders": 6}) == [("ok", "topic orders")]


def test_a_missing_topic_is_an_error_where_nobody_creates_it() -> None:
    finding = worst(app_with(environment="production"), {"order": 6})

    assert (finding.level, finding.what) == ("error", "topic orders")
    assert finding.hint == "did you mean 'order'?"
    assert worst(app_with(environment="production"), {}).hint == "elsa topics create orders"


def test_a_missing_topic_that_the_worker_creates_is_fine_unless_it_looks_misspelt() -> None:
    assert levels(app_with(), {"invoices": 3}) == [("ok", "topic orders")]
    assert levels(app_with(), {"order": 3}) == [("warning", "topic orders")]


def test_more_processes_than_partitions_are_idle() -> None:
    finding = worst(app_with(processes=4), {"orders": 3})

    assert finding.level == "warning"
    assert finding.text == "3 partitions for 4 worker processes: 1 are idle"


@pytest.mark.parametrize(("options", "settings"), [({"concurrency": 8}, {}), ({}, {"concurrency": 8})])
def test_a_concurrency_that_the_partitions_do_not_allow_is_doubtful(
    options: dict[str, Any], settings: dict[str, Any]
) -> None:
    finding = worst(app_with(options=options, **settings), {"orders": 6})

    assert finding.level == "warning"
    assert "6 partitions are worked on at most 6 at a time" in finding.text


def test_partitions_that_do_not_exist_are_an_error() -> None:
    finding = worst(app_with(options={"group": None, "partitions": [1, 9]}), {"orders": 6})

    assert finding.level == "error"
    assert "wants [9]" in finding.text


def test_a_pattern_counts_what_matches() -> None:
    assert levels(app_with("^orders-"), {"orders-eu": 1, "orders-us": 1}) == [("ok", "topics ^orders-")]
    assert levels(app_with("^orders-"), {"invoices": 1}) == [("warning", "topics ^orders-")]


def test_schedules_are_named_with_their_next_time_and_their_topic_is_looked_at() -> None:
    def found(partitions: Mapping[str, int], **settings: Any) -> list[tuple[str, str, str, str]]:
        app = App(f"checked-{next(_NUMBERS)}", **settings)
        app.cron("0 9 1 1 *", name="yearly")(app.task(name="t", topic="calls")(lambda: None))
        known = {name.format(app=app.name): count for name, count in partitions.items()} | {"calls": 1}
        return [(f.level, f.what, f.text, f.hint) for f in checks.of_app(app, known) if "schedule" in f.what]

    (named,) = found({"{app}.schedules": 8}, create_topics=False)
    *_, missing = found({}, create_topics=False)
    *_, small = found({"{app}.schedules": 3})

    assert named[:2] == ("ok", "schedule yearly")
    assert named[2].startswith("0 9 1 1 * UTC, calls t, to calls; next at 2")
    assert named[2].endswith("-01-01T09:00:00Z")
    assert [one[1] for one in found({})] == ["schedule yearly"]
    assert missing[0] == small[0] == "error"
    assert "does not exist, and periodic tasks do not fire" in missing[2]
    assert "has 3 partitions, not 8" in small[2]
    assert missing[3].endswith(".schedules --partitions 8")


@pytest.mark.parametrize(
    ("settings", "level", "text"),
    [
        ({}, "error", "metrics and status would be open to everybody who reaches 0.0.0.0"),
        ({"http_open": True}, "warning", "metrics, status and probes are served beyond this machine without"),
        ({"http_cert": "/gone.pem"}, "error", "the certificate of the metrics port can not be used: /gone.pem"),
    ],
)
def test_a_metrics_port_that_is_open_or_can_not_open_is_told(settings: dict[str, Any], level: str, text: str) -> None:
    (finding,) = checks.of_settings(Settings(metrics_port=9464, http_host="0.0.0.0", **settings))

    assert (finding.level, finding.what) == (level, "metrics port")
    assert finding.text.startswith(text)
    (unserved,) = checks.of_settings(Settings(http_host="0.0.0.0", **settings))
    assert (unserved.level, "without metrics_port" in unserved.text) == ("warning", True)
