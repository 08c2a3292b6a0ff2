from __future__ import annotations

from pathlib import Path

import pytest

from elsa.broker.node import Node, format_command, run_command, server_properties, write_configuration


def _cluster(root: Path, size: int) -> list[Node]:
    return [Node(n, root / f"node-{n}", 20_000 + n, 21_000 + n) for n in range(1, size + 1)]


@pytest.mark.parametrize(("size", "replicas", "in_sync"), [(1, "1", "1"), (3, "3", "2")])
def test_replication_fits_the_size_of_the_cluster(size: int, replicas: str, in_sync: str) -> None:
    nodes = _cluster(Path("/data"), size)

    settings = server_properties(nodes[0], nodes, {})

    assert {replicas} == {value for key, value in settings.items() if key.endswith("replication.factor")}
    assert {in_sync} == {value for key, value in settings.items() if key.endswith(("min.isr", "min.insync.replicas"))}


def test_every_listener_is_on_the_loopback_interface() -> None:
    nodes = _cluster(Path("/data"), 3)

    settings = server_properties(nodes[1], nodes, {})

    assert settings["listeners"] == "PLAINTEXT://127.0.0.1:20002,CONTROLLER://127.0.0.1:21002"
    assert settings["controller.quorum.voters"] == "1@127.0.0.1:21001,2@127.0.0.1:21002,3@127.0.0.1:21003"


def test_given_properties_win() -> None:
    nodes = _cluster(Path("/data"), 1)

    settings = server_properties(nodes[0], nodes, {"num.partitions": "7", "message.max.bytes": "99"})

    assert settings["num.partitions"] == "7"
    assert settings["message.max.bytes"] == "99"


def test_paths_survive_the_properties_format(tmp_path: Path) -> None:
    node = Node(1, tmp_path / "mön = däta\\😀", 20_001, 21_001)

    write_configuration(node, {"log.dirs": str(node.data), "odd key": " led by a blank"})

    written = node.configuration.read_text("ascii").splitlines()
    assert f"log.dirs={tmp_path}/m\\u00f6n = d\\u00e4ta\\\\\\ud83d\\ude00/data" == written[0]
    assert written[1] == "odd\\ key=\\ led by a blank"


def test_commands_carry_the_heap_the_log_and_the_jars(tmp_path: Path) -> None:
    node = _cluster(tmp_path, 1)[0]
    jars = [Path("/jars/a.jar"), Path("/jars/b.jar")]

    run = run_command(Path("/bin/java"), jars, node, heap_megabytes=256)
    formatting = format_command(Path("/bin/java"), jars, node, "cluster")

    assert run[:2] == ["/bin/java", "-Xmx256m"]
    assert f"-Delsa.broker.log={node.log}" in run
    assert ["-cp", "/jars/a.jar:/jars/b.jar", "kafka.Kafka", str(node.configuration)] == run[-4:]
    assert ["format", "--cluster-id", "cluster", "--config", str(node.configuration)] == formatting[-5:]
