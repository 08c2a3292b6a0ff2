"""The table of rights: complete names, no row twice, and the page that shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from elsa import acls
from elsa.acls import Place, Right
from elsa.cli.check import ROLES

PAGE = Path(__file__).parents[2] / "deploy" / "security.md"


def test_the_page_shows_the_table() -> None:
    text = PAGE.read_text()

    assert text.endswith(acls.table()), "write elsa.acls.table() to the end of deploy/security.md"


def test_the_command_knows_every_role() -> None:
    assert tuple(acls.ROLES) == ROLES


@pytest.mark.parametrize("role", acls.ROLES)
def test_rows_name_known_places_and_features_and_stand_once(role: str) -> None:
    rows = acls.ROLES[role]

    assert {place for row in rows for place in re.findall(r"{\w+}", row.name)} <= acls.PLACES.keys()
    assert {row.feature for row in rows} <= {"", *acls.FEATURES}
    assert len({(row.resource, row.name, row.operation, row.feature) for row in rows}) == len(rows)
    assert all(row.purpose for row in rows)


def test_rights_are_filled_in_and_stand_once() -> None:
    place = Place("orders", "billing", "orders.billing.dlq", "orders.billing.retry", "orders.billing.seen")

    found = acls.rights("worker", "shop", [place, place])

    assert [right.describe() for right in found] == [
        "Read on topic 'orders'",
        "Read on group 'billing'",
        "Write on topic 'orders.billing.dlq'",
        "Create on topic 'orders.billing.dlq'",
        "Read on topics 'shop.…'",
        "Write on topics 'shop.…'",
    ]


def test_a_topic_that_is_only_sent_to_needs_no_more_than_write() -> None:
    target = acls.Place("sums", features=frozenset({"sends"}), is_target=True)
    alone = acls.rights("worker", "shop", [], ("create", "delay"))
    beside = acls.rights("worker", "shop", [target], ("create", "delay"))

    assert [right.describe() for right in beside if right not in alone] == ["Write on topic 'sums'"]
    assert [right for right in alone if right not in beside] == []


def test_a_feature_brings_its_rights_where_it_is_used() -> None:
    places = [Place("a", "g", features=frozenset({"transactional"})), Place("b", features=frozenset({"sends"}))]

    found = [right.describe() for right in acls.rights("worker", "shop", places)]

    assert "Write on topic 'b'" in found
    assert "Write on topic 'a'" not in found
    assert "Write on transactional ids 'shop-…'" in found


@pytest.mark.parametrize(
    ("right", "command"),
    [
        (Right("group", "billing", "Read"), "--operation Read --group billing"),
        (Right("topic", "*", "Describe"), "--operation Describe --topic '*'"),
        (
            Right("transactional id", "shop-", "Write", is_prefix=True),
            "--operation Write --transactional-id shop- --resource-pattern-type prefixed",
        ),
        (Right("cluster", "", "DescribeConfigs"), "--operation DescribeConfigs --cluster"),
    ],
)
def test_the_command_grants_it(right: Right, command: str) -> None:
    said = right.command("ann", "one:9092")

    assert said == f"kafka-acls --bootstrap-server one:9092 --add --allow-principal User:ann {command}"


def test_users_of_the_embedded_broker_have_their_roles_operations_on_everything() -> None:
    for user, rights in acls.DEVELOPERS.items():
        wanted = {(row.resource, row.operation) for row in acls.ROLES[user]}

        assert {(right.resource, right.operation) for right in rights} == wanted
        assert all(right.name == acls.EVERY and not right.is_prefix for right in rights)
