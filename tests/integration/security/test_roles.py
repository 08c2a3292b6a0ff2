"""Producer, monitor and operator do their work with the rights of the table, and not all of it without any of them.

And `elsa check --acl` says which one is missing, asked as that user, without changing anything. The worker's rights
have a file of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa import acls, exits, names
from elsa.acls import Place, Right
from elsa.config import Settings
from elsa.errors import AuthorizationFailed
from elsa.fetcher import Fetcher
from elsa.groups import Groups
from elsa.kafka.cluster import broker_config
from elsa.kafka.consumer import Committed, GroupConsumer
from elsa.message import TopicPartition
from elsa.monitor.look import Request
from elsa.monitor.scout import Scout
from elsa.producer import Producer
from elsa.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from .secure import Secure

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(240)]

PRODUCER_FEATURES = ("delay",)


class World:
    """A topic with a message, a group that has read it, and a dead letter; the work of each role on them."""

    def __init__(self, secure: Secure) -> None:
        self.secure = secure
        self.name = f"it-{uuid.uuid4().hex[:10]}"
        self.topic, self.group = f"{self.name}-orders", f"{self.name}-billing"
        self.dead = names.dead_letter_topic(self.topic, self.group, self.name)
        self.everything = Settings(name=self.name, brokers=secure.bootstrap, kafka=secure.broker.client())
        self._topics = Topics(self.everything)
        for name in (self.topic, self.dead):
            self._topics.create(name)
        headers = {"elsa-origin": f"{self.topic}:0:0", "elsa-handler": "bill", "elsa-reason": "exhausted"}
        producer = Producer(self.everything)
        for _ in range(2):
            producer.send(self.topic, b"v").result(20)
        producer.send(self.dead, b"v", headers=headers).result(20)
        producer.close(5)
        self._commit()

    def _commit(self) -> None:
        consumer = GroupConsumer(self.everything, self.group)
        try:
            for _ in range(100):
                error, _ = consumer.commit_now({TopicPartition(self.topic, 0): Committed(1, "")})
                if error is None:
                    return
                consumer.poll(0.2)
        finally:
            consumer.close()
        raise AssertionError(str(error))

    @property
    def places(self) -> list[Place]:
        return [Place(self.topic, self.group, self.dead)]

    def settings(self, rights: Iterable[Right]) -> Settings:
        return replace(self.everything, kafka=self.secure.user(rights), send_timeout=10.0)

    def refused(self, work: Callable[[Settings], Iterator[Callable[[], object]]], rights: Iterable[Right]) -> list[str]:
        """What of the role's work was refused to a user with these rights, in words."""
        found = []
        for step in work(self.settings(rights)):
            try:
                step()
            except AuthorizationFailed as error:
                found.append(str(error))
        return found

    # -- the roles' work -----------------------------------------------------------------------------

    def monitor(self, settings: Settings) -> Iterator[Callable[[], object]]:
        topics, groups = Topics(settings), Groups(settings)
        yield lambda: topics.watermarks(self.topic)
        yield lambda: groups.describe(self.group)
        yield lambda: groups.lag(self.group)

        def listed() -> None:
            if self.group not in [one.name for one in groups.list()] or self.topic not in topics.list():
                raise AuthorizationFailed("not everything is seen")

        yield listed

        def looked() -> None:
            with Scout(settings) as scout:
                look = scout.look(Request(groups=(self.group,)))
            # of a topic that may not be seen Kafka says nothing, as if the group had nothing to do with it
            if look.failures or look.groups[0].lag != 1:
                raise AuthorizationFailed(f"{look}")

        yield looked

    def producer(self, settings: Settings) -> Iterator[Callable[[], object]]:
        app = elsa.App(self.name, brokers=settings.brokers, kafka=settings.kafka, send_timeout=10)
        try:
            yield lambda: app.send(self.topic, b"v").result(20)
            yield lambda: app.send(self.topic, b"v", delay=60, id="later").result(20)
            yield lambda: app.cancel("later")
        finally:
            app.stop(2)

    def operator(self, settings: Settings) -> Iterator[Callable[[], object]]:
        topics, groups, made = Topics(settings), Groups(settings), f"{self.name}-made"
        app = elsa.App(self.name, brokers=settings.brokers, kafka=settings.kafka, send_timeout=10)
        try:
            yield lambda: Fetcher(settings).fetch(self.topic)
            yield lambda: app.send(self.topic, b"v").result(20)
            yield lambda: topics.create(made)
            yield lambda: topics.add_partitions(self.topic, 2)
            yield lambda: topics.describe(self.topic)
            yield lambda: topics.alter(self.topic, {"retention.ms": 86_400_000})
            yield lambda: list(app.dead_letters(self.dead).list())
            yield lambda: app.dead_letters(self.dead).replay()
            yield lambda: groups.reset(self.group, "earliest")
            yield lambda: groups.delete(self.group)
            yield lambda: topics.delete(self.dead)
            yield lambda: broker_config(settings)
        finally:
            app.stop(2)


def rights_of(role: str, world: World) -> list[Right]:
    return acls.rights(role, world.name, world.places, PRODUCER_FEATURES)


def _cases() -> list[tuple[str, int]]:
    roles = ("producer", "monitor", "operator")
    return [(role, number) for role in roles for number in range(len(acls.ROLES[role]))]


@pytest.mark.parametrize("role", ["producer", "monitor", "operator"])
def test_a_role_does_its_whole_work_with_its_rights(secure: Secure, role: str) -> None:
    world = World(secure)

    assert world.refused(getattr(world, role), rights_of(role, world)) == []


@pytest.mark.parametrize(("role", "number"), _cases())
def test_without_one_of_them_something_is_refused(secure: Secure, role: str, number: int) -> None:
    world = World(secure)
    rights = rights_of(role, world)
    assert len(rights) == len(acls.ROLES[role])

    assert world.refused(getattr(world, role), rights[:number] + rights[number + 1 :]) != []


# -- elsa check --acl ------------------------------------------------------------------------------------


def check(settings: Settings, folder: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the JSON and what people read."""
    keys = {f"ELSA_KAFKA__{key.replace('.', '__').upper()}": str(value) for key, value in settings.kafka.items()}
    env = {**os.environ, "ELSA_BROKERS": settings.brokers, "ELSA_NAME": settings.name, **keys}
    command = [sys.executable, "-m", "elsa", "check", *options, "--acl"]
    run = [
        subprocess.run([*command, *more], env=env, cwd=folder, capture_output=True, text=True, timeout=90)
        for more in (["--json"], [])
    ]
    assert run[0].returncode == run[1].returncode, run[0].stderr + run[1].stderr
    assert run[0].stdout, run[0].stderr
    return run[0].returncode, json.loads(run[0].stdout), run[1].stdout + run[1].stderr


def shop(world: World, folder: Path) -> str:
    """A module with an App of that world; its target."""
    (folder / "shop.py").write_text(
        f"import elsa\napp = elsa.App({world.name!r})\n"
        f"@app.handler({world.topic!r}, group={world.group!r}, transactional=True)\n"
        "def bill(body: bytes) -> None: ...\n"
    )
    return "shop:app"


def worker_rights(world: World) -> list[Right]:
    place = replace(world.places[0], features=frozenset({"transactional"}))
    return acls.rights("worker", world.name, [place], ["create", "delay"])


def test_a_worker_with_all_rights_passes_and_nothing_is_changed(secure: Secure, tmp_path: Path) -> None:
    world = World(secure)
    before = Topics(world.everything).list(internal=True), [one.name for one in Groups(world.everything).list()]

    code, told, said = check(world.settings(worker_rights(world)), tmp_path, shop(world, tmp_path))

    assert code == exits.OK, said
    assert told["ok"]
    assert told["role"] == "worker"
    assert told["unasked"] == [world.topic]
    assert f"not asked: Write on {world.topic!r}, topics that are not listed; where handlers send" in said
    # its own topics are not made yet; retries in a topic it may want or not
    assert {one["state"] for one in told["rights"] if one["needed"]} == {"granted", "unknown"}
    after = Topics(world.everything).list(internal=True), [one.name for one in Groups(world.everything).list()]
    assert set(after[0]) - {"__transaction_state"} == set(before[0]) - {"__transaction_state"}
    assert after[1] == before[1]


def test_a_topic_that_delayed_messages_go_to_is_checked_when_it_is_named(secure: Secure, tmp_path: Path) -> None:
    world = World(secure)

    code, told, said = check(
        world.settings(worker_rights(world)), tmp_path, shop(world, tmp_path), "--topic", world.topic
    )

    (lacking,) = [one for one in told["rights"] if one["state"] == "missing" and one["needed"]]
    assert code == exits.CHECK_FAILED
    assert (lacking["operation"], lacking["name"]) == ("Write", world.topic)
    assert told["unasked"] == []
    assert lacking["command"] in said


@pytest.mark.parametrize(
    "missing",
    ["Read on topic {topic}", "Read on group {group}", "Create on topic {dead}", "Write on transactional id {app}-"],
)
def test_a_missing_right_is_named_with_the_command_that_grants_it(secure: Secure, tmp_path: Path, missing: str) -> None:
    world = World(secure)
    name = missing.rsplit(maxsplit=1)[-1].format(topic=world.topic, group=world.group, dead=world.dead, app=world.name)
    operation, resource = missing.split(maxsplit=1)[0], missing.split(" on ")[1].rsplit(" ", 1)[0]
    kept = [r for r in worker_rights(world) if (r.operation, r.resource, r.name) != (operation, resource, name)]
    settings = world.settings(kept)

    code, told, said = check(settings, tmp_path, shop(world, tmp_path))

    (lacking,) = [one for one in told["rights"] if one["state"] == "missing" and one["needed"]]
    assert code == exits.CHECK_FAILED
    assert (lacking["operation"], lacking["resource"], lacking["name"]) == (operation, resource, name)
    user = settings.kafka["sasl.username"]
    option = {"topic": "--topic", "group": "--group"}.get(resource, "--transactional-id")
    assert f"--allow-principal User:{user} --operation {operation} {option} {name}" in lacking["command"]
    assert lacking["command"] in said


def test_a_producer_is_checked_by_the_topics_it_names(secure: Secure, tmp_path: Path) -> None:
    world = World(secure)
    settings = world.settings([Right("topic", world.topic, "Write")])

    ok, _, _ = check(settings, tmp_path, "--role", "producer", "--topic", world.topic)
    wrong, told, _ = check(settings, tmp_path, "--role", "producer", "--topic", world.dead)

    assert (ok, wrong) == (exits.OK, exits.CHECK_FAILED)
    assert [one["name"] for one in told["rights"] if one["state"] == "missing" and one["needed"]] == [world.dead]


@pytest.mark.parametrize("role", ["monitor", "operator"])
def test_roles_that_see_everything_are_checked_without_an_app(secure: Secure, tmp_path: Path, role: str) -> None:
    world = World(secure)

    ok, _, _ = check(world.settings(acls.ROLES[role]), tmp_path, "--role", role)
    wrong, told, _ = check(world.settings([]), tmp_path, "--role", role)

    assert (ok, wrong) == (exits.OK, exits.CHECK_FAILED)
    assert {one["state"] for one in told["rights"]} == {"missing"}
