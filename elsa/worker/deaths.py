"""Counts the deaths of former processes that a slot's journal tells of; on the group manager's thread."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from elsa.worker.starts import QUESTION_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from elsa.worker.assigned import Assigned
    from elsa.worker.group import GroupManager

log = logging.getLogger("elsa.worker")


def count(manager: GroupManager, owned: Sequence[Assigned]) -> None:
    """Commit how often processes have died over messages of partitions that just came, before anything runs again.

    The next death would otherwise count as the first one. Raises what the broker says.
    """
    group, journal = manager.group, manager.assignment.caution.journal
    if group is None or journal is None:
        return
    told = [assigned for assigned in owned if _read(manager, assigned)]
    commits = {assigned.partition: commit for assigned in told if (commit := assigned.commit()) is not None}
    if commits:
        error, _ = manager.consumer.commit_now(commits)
        if error is not None:
            raise error
    for assigned in told:
        if assigned.partition in commits:
            assigned.confirm(commits[assigned.partition])
        journal.forget(group, assigned.partition)


def _read(manager: GroupManager, assigned: Assigned) -> bool:
    """Whether the journal tells of a partition; the deaths are added to those that are known."""
    journal = manager.assignment.caution.journal
    assert journal is not None
    assert manager.group is not None
    traces = journal.traces(manager.group, assigned.partition)
    before = dict(assigned.mishaps.deaths)
    for trace in traces:
        assigned.died(trace.first, trace.last)
    if assigned.mishaps.deaths == before:
        # what ran then was over and committed after all
        return bool(traces)
    if assigned.tracker.base < 0:
        # nothing was ever committed: it begins where the log does
        assigned.tracker.base, _ = manager.consumer.watermarks(assigned.partition, QUESTION_SECONDS)
    log.warning(
        "a worker process has died while it handled messages of this partition",
        extra={
            "event": "process_died",
            "topic": assigned.partition.topic,
            "partition": assigned.partition.partition,
            "deaths": {str(offset): deaths for offset, deaths in sorted(assigned.mishaps.deaths.items())[:10]},
        },
    )
    return True
