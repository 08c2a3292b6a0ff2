"""A missing ACL is said with its resource and operation, wherever the broker finds it missing.

The broker only says "Topic authorization failed"; which right on what a call needs is known here. Each test has a user
with too few rights, reads what Elsa says, and where it matters grants what was asked for and sees that it was enough.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from elsa import exits
from elsa.config import Settings
from elsa.errors import AuthorizationFailed, TransactionAborted
from elsa.groups import Groups
from elsa.kafka import probe
from elsa.kafka.admin import Admin
from elsa.kafka.cluster import broker_config
from elsa.kafka.consumer import Committed, GroupConsumer
from elsa.kafka.membership import Proof
from elsa.kafka.reader import Reader
from elsa.kafka.transactions import TransactionalProducer
from elsa.message import TopicPartition
from elsa.producer import Producer
from elsa.schedules.declared import SHARDS
from elsa.topics import Topics

from .conftest import READER, USER
from .secure import command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import elsa

    from .conftest import Guarded

pytestmark = pytest.mark.broker


def granting(operation: str) -> str:
    """What the command says of the right and who lacks it."""
    return f"--allow-principal User:{USER} --operation {operation}"


def needs(operation: str, resource: str, name: str) -> Any:
    """Expects the error that names the right, and the command that grants it."""
    said = rf"needs {operation} on {resource} '{name}'(.|\n)*kafka-acls .*{granting(operation)} .*{name}"
    return pytest.raises(AuthorizationFailed, match=said)


def test_producing_to_an_unknown_or_unwritable_topic_needs_write(guarded_kafka: Guarded) -> None:
    hidden, readable, own = guarded_kafka.topic(), guarded_kafka.topic(), guarded_kafka.topic()
    guarded_kafka.grant("TOPIC", readable, "DESCRIBE")
    guarded_kafka.grant("TOPIC", own, "WRITE")
    producer = Producer(guarded_kafka.settings())
    try:
        with needs("Write", "topic", hidden):
            producer.send(hidden, b"v")
        with needs("Write", "topic", readable):
            producer.send(readable, b"v").result(20)
        guarded_kafka.grant("TOPIC", readable, "WRITE")

        assert producer.send(readable, b"v").result(20).offset == 0
        assert producer.send(own, b"v").result(20).offset == 0
    finally:
        producer.close(1)


def test_reading_needs_read(guarded_kafka: Guarded) -> None:
    topic = guarded_kafka.topic()
    guarded_kafka.grant("TOPIC", topic, "DESCRIBE")
    with Reader(guarded_kafka.settings()) as reader:
        reader.assign(topic, {0: 0})
        with needs("Read", "topic", topic):
            for _ in range(100):
                reader.read(0.2)


def test_a_commit_names_the_topic_that_may_not_be_read(guarded_kafka: Guarded) -> None:
    topic, group = guarded_kafka.topic(), "it-commits"
    guarded_kafka.grant("TOPIC", topic, "DESCRIBE")
    guarded_kafka.grant("GROUP", group, "READ")
    consumer = GroupConsumer(guarded_kafka.settings(), group)
    try:
        # the first questions may come before the coordinator is known
        for _ in range(50):
            error, is_fenced = consumer.commit_now({TopicPartition(topic, 0): Committed(1, "")})
            if isinstance(error, AuthorizationFailed):
                break
            consumer.poll(0.2)
    finally:
        consumer.close()

    assert f"needs Read on topic '{topic}'" in str(error)
    assert not is_fenced


def test_operations_name_what_they_need(guarded_kafka: Guarded) -> None:
    settings = guarded_kafka.settings()
    topic = guarded_kafka.topic()
    admin, topics, groups = Admin(settings), Topics(settings), Groups(settings)
    with pytest.raises(AuthorizationFailed, match=r"needs Create on topic 'it-new', or on the cluster"):
        topics.create("it-new")
    with needs("Delete", "topic", topic):
        admin.delete_topic(topic, 10)
    with needs("DescribeConfigs", "topic", topic):
        admin.topic_config(topic, 10)
    with needs("AlterConfigs", "topic", topic):
        admin.alter_topic_config(topic, {"retention.ms": "1"}, 10)
    with needs("Alter", "topic", topic):
        admin.add_partitions(topic, 2, 10)
    with needs("Describe", "group", "it-foreign"):
        groups.describe("it-foreign")
    with needs("Delete", "group", "it-foreign"):
        admin.delete_group("it-foreign", 10)
    guarded_kafka.grant("TOPIC", topic, "DESCRIBE")
    with needs("Describe", "group", "it-foreign"):
        groups.committed("it-foreign")
    with pytest.raises(AuthorizationFailed, match=r"needs DescribeConfigs on the cluster(.|\n)*--cluster"):
        broker_config(settings, timeout=10)


def test_a_transaction_needs_write_on_its_id_and_read_on_the_group(guarded_kafka: Guarded) -> None:
    name = "it-transaction"
    producer = TransactionalProducer(guarded_kafka.settings(), name)
    with needs("Write", "transactional id", name):
        producer.init(20)
    producer.close()
    guarded_kafka.grant("TRANSACTIONAL_ID", name, "WRITE")
    topic = guarded_kafka.topic()
    guarded_kafka.grant("TOPIC", topic, "WRITE")
    settings = guarded_kafka.settings()
    producer, consumer = TransactionalProducer(settings, name), GroupConsumer(settings, "it-foreign")
    proof = Proof("it-foreign", consumer._consumer.consumer_group_metadata())
    try:
        producer.init(20)
        producer.begin()
        producer.produce(topic, b"v", key=None)
        with pytest.raises(Exception, match="needs Read on group 'it-foreign'"):
            producer.send_offsets({TopicPartition(topic, 0): Committed(1, "")}, proof, 20)
    finally:
        consumer.close()
        producer.close()


@pytest.mark.parametrize("seconds", [0.0, 1.0], ids=["at once", "later"])
@pytest.mark.parametrize("also", [False, True], ids=["alone", "with others"])
def test_a_transaction_names_what_it_may_not_write_to(
    guarded_kafka: Guarded,
    *,
    also: bool,
    seconds: float,
) -> None:
    """Whichever call meets it, the offsets on their way to the coordinator or what comes after."""
    name, group = f"it-{uuid.uuid4().hex[:8]}", "it-writes"
    source, denied, allowed = guarded_kafka.topic(), guarded_kafka.topic(), guarded_kafka.topic()
    guarded_kafka.grant("TRANSACTIONAL_ID", name, "WRITE")
    guarded_kafka.grant("GROUP", group, "READ")
    guarded_kafka.grant("TOPIC", source, "READ")
    guarded_kafka.grant("TOPIC", denied, "DESCRIBE")
    guarded_kafka.grant("TOPIC", allowed, "WRITE")
    settings = guarded_kafka.settings()
    producer, consumer = TransactionalProducer(settings, name), GroupConsumer(settings, group)
    proof = Proof(group, consumer._consumer.consumer_group_metadata())
    try:
        producer.init(20)
        producer.begin()
        producer.produce(denied, b"v", key=None)
        if also:
            producer.produce(allowed, b"v", key=None)
        producer.flush(seconds)
        with pytest.raises(TransactionAborted) as raised:
            producer.send_offsets({TopicPartition(source, 0): Committed(1, "")}, proof, 20)
            producer.commit(20)
    finally:
        consumer.close()
        producer.close()

    several = "', '".join(sorted([denied, allowed]))
    wanted = f"one of the topics '{several}'" if also else f"topic '{denied}'"
    assert f"needs Write on {wanted}" in str(raised.value)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_worker_without_its_group_ends_and_says_why(
    guarded_kafka: Guarded, user_app: Callable[..., elsa.App], protocol: str
) -> None:
    topic, app = guarded_kafka.topic(), user_app(group_protocol=protocol)
    guarded_kafka.grant("TOPIC", topic, "READ")

    @app.handler(topic, group="it-foreign")
    def handle(body: bytes) -> None: ...

    app.start()
    runtime: Any = app._runtime

    assert runtime.ended.wait(30)
    assert runtime.failure_code == exits.BROKER
    assert "needs Read on group 'it-foreign'" in runtime.failure
    assert f"{granting('Read')} --group it-foreign" in runtime.failure


def test_a_topic_that_may_not_be_read_waits_for_its_acl(
    guarded_kafka: Guarded, user_app: Callable[..., elsa.App]
) -> None:
    topic, app = guarded_kafka.topic(), user_app()
    guarded_kafka.grant("GROUP", f"{app.name}-workers", "READ")
    guarded_kafka.grant("TOPIC", topic, "WRITE")
    seen, said = threading.Event(), threading.Event()

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if f"needs Read on topic '{topic}'" in text and f"{granting('Read')} --topic {topic}" in text:
                said.set()

    @app.handler(topic, group=f"{app.name}-workers")
    def handle(body: bytes) -> None:
        seen.set()

    heard = Heard()
    logging.getLogger("elsa.worker").addHandler(heard)
    producer = Producer(guarded_kafka.settings())
    try:
        producer.send(topic, b"v").result(20)
        app.start()

        assert said.wait(30)
        assert not seen.is_set()
        guarded_kafka.grant("TOPIC", topic, "READ")

        assert seen.wait(30)
    finally:
        logging.getLogger("elsa.worker").removeHandler(heard)
        producer.close(1)


def test_schedules_wait_for_the_right_on_their_group_and_say_so(
    guarded_kafka: Guarded, user_app: Callable[..., elsa.App], caplog: pytest.LogCaptureFixture
) -> None:
    app = user_app()
    probe.create_topic(guarded_kafka.open, f"{app.name}.tasks", 1)
    probe.create_topic(guarded_kafka.open, f"{app.name}.schedules", SHARDS)
    for operation in ("READ", "WRITE"):
        guarded_kafka.grant("TOPIC", app.name, operation, is_prefix=True)
    guarded_kafka.grant("TRANSACTIONAL_ID", app.name, "WRITE", is_prefix=True)
    guarded_kafka.grant("GROUP", app.name, "READ")
    fired = threading.Event()

    @app.every(1)
    @app.task
    def tick() -> None:
        fired.set()

    app.start()

    for _ in range(300):
        said = [record.getMessage() for record in caplog.records if record.name == "elsa.schedules"]
        if any(f"needs Read on group '{app.name}.scheduler'" in text for text in said):
            break
        threading.Event().wait(0.1)
    else:
        pytest.fail(f"the missing right was not said: {said}")
    assert not fired.is_set()
    guarded_kafka.grant("GROUP", f"{app.name}.scheduler", "READ")

    assert fired.wait(60)


def test_a_producer_that_may_write_nowhere_fails_its_messages_at_once_and_is_made_anew(guarded_kafka: Guarded) -> None:
    topic = guarded_kafka.topic()
    guarded_kafka.grant("TOPIC", topic, "DESCRIBE", READER)
    producer = Producer(guarded_kafka.settings(READER))
    try:
        with pytest.raises(AuthorizationFailed, match=r"needs IdempotentWrite on the cluster, or Write on any topic"):
            producer.send(topic, b"v").result(20)
        guarded_kafka.grant("TOPIC", topic, "WRITE", READER)

        assert producer.send(topic, b"v").result(20).offset == 0
    finally:
        producer.close(1)


def test_elsa_worker_without_its_group_ends_with_the_code_of_the_broker(guarded_kafka: Guarded, tmp_path: Path) -> None:
    topic, settings = guarded_kafka.topic(), guarded_kafka.settings()
    guarded_kafka.grant("TOPIC", topic, "READ")
    (tmp_path / "refused_app.py").write_text(
        f"""
import elsa

app = elsa.App({settings.name!r}, brokers={settings.brokers!r}, kafka={dict(settings.kafka)!r})

@app.handler({topic!r}, group="it-foreign")
def handle(body: bytes) -> None: ...
"""
    )
    ended = subprocess.run(
        [sys.executable, "-m", "elsa", "worker", "refused_app:app", "--processes", "1"],
        cwd=tmp_path,
        env={**os.environ, "ELSA_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert ended.returncode == exits.BROKER, ended.stderr
    assert "needs Read on group 'it-foreign'" in ended.stderr
    assert f"{granting('Read')} --group it-foreign" in ended.stderr


@pytest.mark.parametrize("sees_topic", [False, True])
def test_elsa_produce_ends_with_the_code_of_the_broker_and_the_whole_command(
    guarded_kafka: Guarded, *, sees_topic: bool
) -> None:
    topic, settings = guarded_kafka.topic(), guarded_kafka.settings()
    guarded_kafka.grant("TOPIC", guarded_kafka.topic(), "WRITE")
    if sees_topic:
        guarded_kafka.grant("TOPIC", topic, "DESCRIBE")

    ended = command(settings, "produce", topic, "v")

    assert ended.returncode == exits.BROKER, ended.stderr
    granted = f"kafka-acls --bootstrap-server {settings.brokers} --add {granting('Write')} --topic {topic}"
    assert granted in ended.stderr


@pytest.mark.parametrize("line", ["fetch", "dlq show"])
def test_reading_commands_name_the_user_that_needs_read(guarded_kafka: Guarded, line: str) -> None:
    topic = f"{guarded_kafka.topic()}.dlq"
    probe.create_topic(guarded_kafka.open, topic, 1)
    guarded_kafka.grant("TOPIC", topic, "DESCRIBE", is_prefix=True)
    producer = Producer(Settings(brokers=guarded_kafka.open))
    producer.produce(topic, b"v")
    producer.close(5)

    ended = command(guarded_kafka.settings(), *line.split(), topic, *(["0:0"] if line == "dlq show" else []))

    assert ended.returncode == exits.BROKER, ended.stderr
    assert f"{granting('Read')} --topic {topic}" in ended.stderr


def test_a_standalone_handler_needs_read_on_its_topic_and_no_group(
    guarded_kafka: Guarded, user_app: Callable[..., elsa.App]
) -> None:
    topic, app = guarded_kafka.topic(), user_app()
    guarded_kafka.grant("TOPIC", topic, "READ")
    guarded_kafka.grant("TOPIC", topic, "WRITE")
    seen = threading.Event()

    @app.handler(topic, group=None, start="earliest")
    def handle(body: bytes) -> None:
        seen.set()

    app.producer.send(topic, b"v").result(20)
    app.start()

    assert seen.wait(30)
    runtime: Any = app._runtime
    assert runtime.failure is None
