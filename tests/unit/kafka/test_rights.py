"""What a client may do is also told by a cluster that has only just started."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException

from elsa.config import Settings
from elsa.kafka import rights
from elsa.kafka.rights import Rights

if TYPE_CHECKING:
    import pytest


class Coordinator:
    """An admin client whose brokers answer with these, one after the other."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def describe_consumer_groups(self, names: list[str], **options: Any) -> dict[str, Future[Any]]:
        future: Future[Any] = Future()
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            future.set_exception(KafkaException(KafkaError(answer)))
        else:
            future.set_result(answer)
        return {names[0]: future}

    def poll(self, timeout: float) -> None:
        """Nothing to say."""


def test_a_group_whose_coordinator_is_being_chosen_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    told = SimpleNamespace(authorized_operations=[SimpleNamespace(name=name) for name in ("READ", "ALTER_CONFIGS")])
    brokers = Coordinator(KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS, told)
    monkeypatch.setattr(rights, "AdminClient", lambda config: brokers)

    assert Rights(Settings()).group("billing") == {"Read", "AlterConfigs"}
    assert not brokers.answers


def test_a_group_that_may_not_be_seen_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = Coordinator(KafkaError.GROUP_AUTHORIZATION_FAILED)
    monkeypatch.setattr(rights, "AdminClient", lambda config: brokers)

    assert Rights(Settings()).group("billing") == frozenset()
