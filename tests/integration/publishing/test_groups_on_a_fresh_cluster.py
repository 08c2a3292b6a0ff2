"""Offsets of a group that was never there, asked of a cluster that has just started.

Its coordinator is loading or moving then. The client's own call for it ended the process (confluent-kafka
2.16), so this runs in a process of its own and looks at how that ended.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from elsa.broker import EmbeddedKafka

pytestmark = pytest.mark.broker

SCRIPT = """
import sys
from elsa.config import Settings
from elsa.groups import Groups
groups = Groups(Settings(brokers=sys.argv[1]))
print(groups.committed("nobody"))
"""


def test_the_offsets_of_an_unknown_group_are_empty_on_a_fresh_cluster() -> None:
    with EmbeddedKafka(ephemeral=True) as kafka:
        found = subprocess.run(
            [sys.executable, "-c", SCRIPT, kafka.bootstrap], capture_output=True, text=True, timeout=60
        )

    assert (found.returncode, found.stdout) == (0, "{}\n"), found.stderr
