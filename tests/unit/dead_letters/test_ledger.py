"""The topic that keeps what is handled: found, made, or refused when it would forget."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from elsa.dead_letters.ledger import CONFIG, Ledger
from elsa.dead_letters.marks import Marks, records
from elsa.errors import AuthorizationFailed, KafkaError, TopicError, UnknownTopic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TOPIC, NAME = "orders.billing.dlq", "orders.billing.dlq-handled"


class Cluster:
    """One ledger topic (None: it is missing) with its cleanup.policy."""

    def __init__(self, found: Sequence[tuple[bytes | None, bytes | None]] | None, policy: str | Exception = "compact"):
        self.found = found
        self.policy = policy
        self.made: list[tuple[str, int, dict[str, str]]] = []

    def id(self, topic: str) -> str:
        assert topic == TOPIC
        return "id"

    def exists(self, topic: str) -> bool:
        assert topic == NAME
        return self.found is not None

    def create(self, topic: str, *, partitions: int, config: dict[str, str], exist_ok: bool) -> None:
        assert exist_ok
        self.made.append((topic, partitions, config))
        self.found = []

    def describe(self, topic: str) -> Any:
        if isinstance(self.policy, Exception):
            raise self.policy
        return SimpleNamespace(config={"cleanup.policy": self.policy})

    def stream(self, topic: str) -> Iterator[Any]:
        if self.found is None:
            raise UnknownTopic(f"no {topic}")
        return iter([SimpleNamespace(key=key, value=value) for key, value in self.found])


def ledger(there: Cluster) -> Ledger:
    return Ledger(TOPIC, topics=there, fetcher=there)  # type: ignore[arg-type]  # duck-typed


def test_without_a_ledger_all_is_open() -> None:
    assert ledger(Cluster(None)).load({0: 5, 1: 0}) == ("id", {0: Marks(), 1: Marks()})


def test_marks_are_loaded_up_to_the_end_of_the_log() -> None:
    found = list(records("id", 0, Marks(), Marks().handle([7, 9], base=5)))
    _, marks = ledger(Cluster(found)).load({0: 8})

    assert [marks[0].has(offset) for offset in (4, 5, 7, 9)] == [True, False, True, False]


def test_records_of_somebody_else_are_an_error() -> None:
    with pytest.raises(KafkaError, match=rf"{NAME}.*cannot be read: .*none of Elsa's\n.*elsa topics delete {NAME}"):
        ledger(Cluster([(b"ann", b"1")])).load({0: 8})


def test_a_missing_one_is_made_where_that_is_wanted() -> None:
    there = Cluster(None)
    ledger(there).require(creates=True)

    assert there.made == [(NAME, 1, CONFIG)]


def test_a_missing_one_is_an_error_elsewhere() -> None:
    with pytest.raises(UnknownTopic, match=rf"--create .*elsa topics create {NAME}"):
        ledger(Cluster(None)).require(creates=False)


def test_one_that_would_forget_is_refused() -> None:
    with pytest.raises(
        TopicError, match=rf"would forget .*'delete'\n.*elsa topics alter {NAME} cleanup.policy=compact"
    ):
        ledger(Cluster([], "delete")).require(creates=True)


def test_one_that_may_not_be_described_is_trusted() -> None:
    ledger(Cluster([], AuthorizationFailed("no"))).require(creates=False)
