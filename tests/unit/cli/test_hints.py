"""Near names beside errors about what does not exist."""

from __future__ import annotations

import pytest

from elsa.cli import hints
from elsa.config import Settings
from elsa.errors import BrokerUnavailable, ElsaError, UnknownGroup, UnknownTopic


def notes(error: ElsaError, name: str) -> list[str]:
    with pytest.raises(type(error)) as caught, hints.near_names(Settings(), name):
        raise error
    return list(getattr(caught.value, "__notes__", ()))


@pytest.fixture(autouse=True)
def there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "_topics", lambda _: ["orders", "invoices"])
    monkeypatch.setattr(hints, "_groups", lambda _: ["billing"])


def test_a_near_topic_or_group_is_named() -> None:
    assert notes(UnknownTopic("x"), "order") == ["  hint: did you mean 'orders'?"]
    assert notes(UnknownGroup("x"), "biling") == ["  hint: did you mean 'billing'?"]


def test_without_a_near_name_the_list_is_pointed_to_unless_there_is_a_hint_already() -> None:
    assert notes(UnknownTopic("x"), "zzz") == ["  hint: `elsa topics list` shows what there is"]
    assert notes(UnknownTopic("x", hint="create it"), "zzz") == []


def test_groups_that_do_not_exist_are_refused_by_name() -> None:
    with pytest.raises(UnknownGroup, match="there is no group 'biling', 'z\\*'") as caught:
        hints.refuse_groups(Settings(), ["biling", "z*"])

    assert caught.value.__notes__ == ["  hint: did you mean 'billing'?"]


def test_other_errors_pass_untouched() -> None:
    assert notes(BrokerUnavailable("x"), "order") == []


def test_a_hint_that_cannot_be_had_does_not_hide_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: Settings) -> list[str]:
        raise BrokerUnavailable

    monkeypatch.setattr(hints, "_topics", away)

    assert notes(UnknownTopic("x"), "order") == []
