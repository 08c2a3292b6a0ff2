"""Fetching, streaming and following leave no consumer group on the broker: the seed's users had to clean them up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from elsa.config import Settings
    from elsa.fetcher import Fetcher
    from elsa.groups import Groups

pytestmark = pytest.mark.broker


def test_no_group_is_left_behind(fetcher: Fetcher, groups: Groups, settings: Settings, data_set: str) -> None:
    fetcher.fetch(data_set)
    assert len(list(fetcher.stream(data_set))) == 30
    following: Any = fetcher.follow(data_set, start="earliest")
    next(following)

    assert [group.name for group in groups.list() if settings.name in group.name] == []
    following.close()

    assert [group.name for group in groups.list() if settings.name in group.name] == []
