"""`elsa lag` shows how far groups are behind, and its exit codes say whether that is too far."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from elsa import exits
from elsa.cli import cli

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from click.testing import Result

    from elsa.producer import Producer

    Commit = Callable[[str, str, Mapping[int, int]], None]
    Lag = Callable[..., Result]

pytestmark = pytest.mark.broker


@pytest.fixture
def lag(brokers: str, clean_environment: None) -> Lag:
    """`lag("billing", "--check", ...)` in this process."""
    return lambda *argv: CliRunner().invoke(cli, ["lag", "-b", brokers, *argv], catch_exceptions=False)


@pytest.fixture
def billing(producer: Producer, topic: Any, group: Any, commit: Commit) -> tuple[str, str]:
    """A group without members that is 3 and 1 behind in the two partitions of a topic."""
    name, used = topic(partitions=2), group()
    for partition, count in ((0, 5), (1, 1)):
        producer.produce(name, ["x"] * count, partition=partition)
    commit(used, name, {0: 2, 1: 0})
    return used, name


def test_the_table_and_the_document_tell_the_same(lag: Lag, billing: tuple[str, str]) -> None:
    used, name = billing
    shown = lag(used)
    (group,) = json.loads(lag(used, "--json").stdout)["groups"]

    rows = [line.split() for line in shown.stdout.splitlines()]
    assert rows[0] == ["group", "state", "topic", "partition", "committed", "end", "lag", "age", "owner"]
    assert [row[:7] for row in rows[1:]] == [
        [used, "empty", name, "0", "2", "5", "3"],
        [used, "empty", name, "1", "0", "1", "1"],
    ]
    assert f"{used}: 4 messages behind, the oldest for" in shown.stderr
    assert (group["group"], group["lag"], group["members"]) == (used, 4, 0)
    assert [each["lag"] for each in group["partitions"]] == [3, 1]
    assert shown.exit_code == exits.OK


@pytest.mark.parametrize(
    ("limits", "code", "text"),
    [
        (["--max-messages", "4"], exits.OK, "ok"),
        (["--max-messages", "3"], exits.OVER_LIMIT, "4 messages behind, 3 are allowed"),
        (["--max-age", "1h"], exits.OK, "ok"),
        (["--max-age", "1ms"], exits.OVER_LIMIT, "its oldest message has waited for"),
        (["--grade", "--window", "1s"], exits.OVER_LIMIT, "stop in "),
    ],
)
def test_the_exit_code_of_a_check_says_whether_a_limit_holds(
    lag: Lag, billing: tuple[str, str], limits: list[str], code: int, text: str
) -> None:
    used, _ = billing
    ran = lag(used, "--check", *limits)
    document = json.loads(lag(used, "--check", *limits, "--json").stdout)

    assert ran.exit_code == code
    assert text in ran.stdout
    assert used in ran.stdout
    assert [each["group"] for each in document["over"]] == ([used] if code else [])


def test_an_unknown_group_is_named_with_a_near_one(lag: Lag, billing: tuple[str, str]) -> None:
    used, _ = billing
    for argv in ([f"{used}x"], [f"{used}x", "--check", "--max-messages", "9"]):
        ran = lag(*argv)

        assert (ran.exit_code, ran.stdout) == (exits.NOT_FOUND, "")
        assert f"did you mean '{used}'?" in ran.stderr


def test_a_pattern_that_matches_no_group_is_no_group(lag: Lag, billing: tuple[str, str]) -> None:
    used, _ = billing
    pattern = f"{used}?x*"
    for argv in ([pattern], [pattern, "--check", "--max-messages", "9"], ["--json", pattern]):
        ran = lag(*argv)

        assert ran.exit_code == exits.NOT_FOUND
        assert f"there is no group '{pattern}'" in ran.stderr
        assert "hint: " in ran.stderr
    assert json.loads(ran.stdout)["unknown"] == [pattern]

    ran = lag(f"{used}*", pattern, "--check", "--max-messages", "9")
    assert ran.exit_code == exits.NOT_FOUND
    assert ran.stdout.split() == ["ok", used]


def test_a_topic_that_nobody_reads_is_named_with_a_near_one(lag: Lag, billing: tuple[str, str], topic: Any) -> None:
    used, name = billing
    for argv in ([], ["--check", "--max-messages", "9"], ["--json"]):
        ran = lag(used, "-t", name, "-t", f"{name}x", *argv)
        assert ran.exit_code == exits.NOT_FOUND
        assert not ran.stdout.startswith("ok")
        assert f"no group here reads topic '{name}x'" in ran.stderr
        assert f"did you mean '{name}'?" in ran.stderr

    other = topic()
    ran = lag(used, "-t", other, "--check", "--max-messages", "9")
    assert ran.exit_code == exits.NOT_FOUND
    assert f"no group here reads topic '{other}'" in ran.stderr
    assert "did you mean" not in ran.stderr


def test_no_broker_has_its_own_code(clean_environment: None) -> None:
    ran = CliRunner().invoke(cli, ["lag", "-b", "127.0.0.1:1", "--check", "--max-messages", "9"])

    assert ran.exit_code == exits.BROKER
    assert "127.0.0.1:1" in ran.stderr


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--check"], "--check needs a limit"),
        (["--max-messages", "1"], "limits of --check: add it"),
        (["--watch", "--grade"], "give one of them"),
        (["--interval", "5s"], "--interval belongs to --watch: add it"),
        (["--window", "5s"], "--window belongs to --grade: add it"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(lag: Lag, argv: list[str], text: str) -> None:
    ran = lag(*argv)

    assert ran.exit_code == exits.USAGE
    assert text in ran.stderr


def test_watching_goes_on_until_it_is_interrupted(brokers: str, billing: tuple[str, str]) -> None:
    used, _ = billing
    env = {name: value for name, value in os.environ.items() if not name.startswith("ELSA_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "elsa", "lag", "-b", brokers, used, "--watch", "--interval", "100ms", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        text=True,
    )
    assert process.stdout is not None
    lines = [json.loads(process.stdout.readline()) for _ in range(3)]
    process.terminate()
    process.communicate(timeout=60)

    assert [each["groups"][0]["lag"] for each in lines] == [4, 4, 4]
    assert lines[0]["at"] < lines[2]["at"]
    assert process.returncode == exits.INTERRUPTED
