from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from elsa.broker.diagnosis import explain, log_sizes
from elsa.broker.node import Node
from elsa.errors import BrokerStartError, DataDirectoryError, EmbeddedBrokerError, PortInUse

if TYPE_CHECKING:
    from pathlib import Path


def _node(root: Path, *, log: str = "", console: str = "") -> Node:
    node = Node(1, root / "node-1", 20_001, 21_001)
    node.folder.mkdir()
    node.log.write_text(log)
    node.console.write_text(console)
    return node


@pytest.mark.parametrize(
    ("log", "kind", "advice"),
    [
        ("java.io.IOException: No space left on device", DataDirectoryError, "is full\n  hint: free some space"),
        ("java.net.BindException: Address already in use", PortInUse, "21001 of 127.0.0.1 was taken"),
        ("RuntimeException: No readable meta.properties files found.", DataDirectoryError, "hint: remove the folder"),
        ("RuntimeException: Error: node ID not found in /x", DataDirectoryError, "hint: remove the folder"),
        ("OutOfMemoryError", BrokerStartError, "    OutOfMemoryError"),
        ("", BrokerStartError, "(empty)"),
    ],
)
def test_the_log_decides_what_is_raised(tmp_path: Path, log: str, kind: type[EmbeddedBrokerError], advice: str) -> None:
    error = explain(_node(tmp_path, log=log), tmp_path, "it stopped")

    assert kind is type(error)
    assert str(error).startswith("it stopped")
    assert advice in str(error)


def test_the_console_counts_as_well(tmp_path: Path) -> None:
    error = explain(_node(tmp_path, console="Error: Could not find class kafka.Kafka"), tmp_path, "it stopped")

    assert "Could not find class kafka.Kafka" in str(error)


def test_what_an_earlier_run_logged_is_not_blamed(tmp_path: Path) -> None:
    node = _node(tmp_path, log="No space left on device\n")
    before = log_sizes(node)
    with node.log.open("a") as log:
        log.write("something else\n")

    error = explain(node, tmp_path, "it stopped", since=before)

    assert BrokerStartError is type(error)
    assert "something else" in str(error)


def test_a_log_that_was_rolled_meanwhile_is_read_whole(tmp_path: Path) -> None:
    node = _node(tmp_path, log="No space left on device\n")

    error = explain(node, tmp_path, "it stopped", since=(10_000, 0))

    assert DataDirectoryError is type(error)


def test_only_the_end_of_a_long_log_is_shown(tmp_path: Path) -> None:
    node = _node(tmp_path, log="\n".join(f"line {n}" for n in range(100)))

    text = str(explain(node, tmp_path, "it stopped"))

    assert "line 99" in text
    assert "line 80" not in text
