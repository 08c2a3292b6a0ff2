"""Writes what the monitor knows as metrics; pure, called by `watch` when it is scraped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.observe import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from elsa.monitor.grades import Grade, Key
    from elsa.monitor.look import GroupState
    from elsa.observe.exposition import Page


def add_groups(page: Page, groups: Iterable[GroupState], grades: Mapping[Key, Grade]) -> None:
    """The series of these groups; a grade that is not known yet is ok."""
    for group in groups:
        page.add(catalogue.GROUP_MEMBERS, (group.name,), group.members)
        page.add(catalogue.GROUP_INFO, (group.name, group.state), 1)
        for each in group.partitions:
            labels = (group.name, each.topic, str(each.partition))
            page.add(catalogue.GROUP_LAG, labels, each.lag)
            page.add(catalogue.GROUP_END, labels, each.end)
            if each.lag_seconds is not None:
                page.add(catalogue.GROUP_LAG_SECONDS, labels, each.lag_seconds)
            if each.committed is not None:
                page.add(catalogue.GROUP_COMMITTED, labels, each.committed)
            status = grades.get((group.name, each.topic, each.partition), "ok")
            for name in catalogue.GRADES:
                page.add(catalogue.GROUP_STATUS, (*labels, name), int(name == status))


def add_health(
    page: Page, *, is_up: bool, succeeded_at: float | None, look_seconds: float | None, errors: Mapping[str, int]
) -> None:
    """Whether the looks succeed."""
    page.add(catalogue.MONITOR_UP, (), int(is_up))
    if succeeded_at is not None:
        page.add(catalogue.MONITOR_LAST_SUCCESS, (), succeeded_at)
    if look_seconds is not None:
        page.add(catalogue.MONITOR_DURATION, (), look_seconds)
    for code, count in errors.items():
        page.add(catalogue.MONITOR_ERRORS, (code,), count)
