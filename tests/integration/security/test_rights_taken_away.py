"""A right on a topic that is taken from a running worker: it is not ready, says why, and comes right by itself.

The client tells a refused topic once, and not that it may be read again when nothing waits in it; so readiness is
looked at over a topic to which nothing is sent meanwhile. Without Describe the client loses sight of the topic and the
group gives its partitions up, with it only the fetches fail.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from elsa.config import Settings
from elsa.producer import Producer
from elsa.worker.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import Callable

    import elsa
    from elsa.observe.verdicts import Check

    from .conftest import Guarded

pytestmark = pytest.mark.broker

PATIENCE = 60.0


def until(is_so: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)  # a check tells nobody that it has changed


@pytest.mark.parametrize("has_describe", [True, False], ids=["Describe stays", "nothing stays"])
@pytest.mark.parametrize("group", ["workers", None], ids=["group", "standalone"])
def test_a_worker_that_may_not_read_its_topic_any_more_is_not_ready_until_it_may(
    guarded_kafka: Guarded, user_app: Callable[..., elsa.App], group: str | None, *, has_describe: bool
) -> None:
    topic, app = guarded_kafka.topic(2), user_app()
    name = None if group is None else f"{app.name}-{group}"
    if name is not None:
        guarded_kafka.grant("GROUP", name, "READ")
    guarded_kafka.grant("TOPIC", topic, "READ")
    if has_describe:
        guarded_kafka.grant("TOPIC", topic, "DESCRIBE")
    seen: list[bytes] = []

    @app.handler(topic, group=name, start="earliest")
    def handle(body: bytes) -> None:
        seen.append(body)

    producer = Producer(Settings(name=app.name, brokers=guarded_kafka.open))
    try:
        producer.send(topic, b"before").result(20)
        app.start()
        runtime: Any = app._runtime
        vitals = Vitals(runtime)

        def failed() -> list[Check]:
            # who loses sight of its only topic gives up its place in the group as well
            return [check for check in vitals.checks()["ready"] if not check.ok and check.name != "assignment"]

        until(lambda: seen and not failed(), "it is ready")
        guarded_kafka.revoke("TOPIC", topic, "READ")
        until(failed, "it is not ready")
        (check,) = failed()
        assert (check.name, check.about) == ("topics", runtime.managers[0].name)
        assert f"needs Read on topic '{topic}'" in check.hint
        assert f"--operation Read --topic {topic}" in check.hint

        # the brokers are asked a few times before they say yes
        looked_at = runtime._services.watcher.answered_at
        until(lambda: runtime._services.watcher.answered_at > looked_at + 5.0, "the watcher has looked again")
        assert [check.name for check in failed()] == ["topics"]

        guarded_kafka.grant("TOPIC", topic, "READ")
        until(lambda: not failed(), "it is ready again")
        producer.send(topic, b"after").result(20)
        until(lambda: b"after" in seen, "it goes on")
        until(lambda: all(check.ok for check in vitals.checks()["ready"]), "all is well")
    finally:
        producer.close(1)
