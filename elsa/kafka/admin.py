"""The cluster as elsa.topics, elsa.groups and elsa.fetcher operate it: Elsa's values and errors, one client for all."""

from __future__ import annotations

from elsa.kafka.clusterclient import TIMEOUT_SECONDS
from elsa.kafka.group_operations import GroupInfo, GroupOperations, MemberInfo
from elsa.kafka.offset_operations import OffsetOperations
from elsa.kafka.topic_operations import PartitionInfo, Writable

__all__ = ["TIMEOUT_SECONDS", "Admin", "GroupInfo", "MemberInfo", "PartitionInfo", "Writable"]


class Admin(OffsetOperations, GroupOperations):
    """Every method may be called from any thread; each takes at most `timeout` seconds and raises Elsa's errors.

    Half as long again where the client had lost a group's coordinator and was made anew.
    """
