"""`elsa dlq` on real Kafka: what an operator sees, what is changed, and the codes that scripts go by."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa import exits
from elsa.topics import Topics

from .conftest import bodies

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.cli.conftest import Elsa

    from .conftest import MakeWorld, World

pytestmark = pytest.mark.broker


def test_topics_are_listed_with_what_is_open(run: Elsa, world: World) -> None:
    world.die(3)
    world.die(1, first=3, error="builtins.ValueError")
    world.letters.drop(offsets=[(0, 0)])

    lines = run("dlq", "list").out.splitlines()
    found = {one["topic"]: one for one in map(json.loads, run("dlq", "list", "--all", "--json").out.splitlines())}

    assert lines[0].split() == ["topic", "open", "oldest", "newest", "most", "often"]
    row = next(line for line in lines if line.startswith(world.name))
    assert row.split()[1] == "3"
    assert "builtins.TimeoutError (" in row
    one = found[world.name]
    assert (one["open"], one["handled"]) == (3, 1)
    assert one["errors"] == {"builtins.TimeoutError": 3, "builtins.ValueError": 1}
    assert one["handlers"] == {"shop.bill": 4}


def test_a_topic_that_is_deleted_while_all_are_counted_is_left_out(
    run: Elsa, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.die(1)
    there = Topics.list

    def with_a_ghost(topics: Topics, **options: Any) -> list[str]:
        return [*there(topics, **options), f"{world.name}.gone.dlq"]

    monkeypatch.setattr(Topics, "list", with_a_ghost)
    ran = run("dlq", "list")

    assert ran.code == exits.OK
    assert any(line.startswith(world.name) for line in ran.out.splitlines())
    assert "gone" not in ran.out


def test_the_letters_of_a_topic_are_listed(run: Elsa, make_world: MakeWorld) -> None:
    world = make_world(1)
    world.die(3)

    lines = run("dlq", "list", world.name, "-n", "2")
    (line,) = run("dlq", "list", world.name, "--offset", "0:1", "--json").out.splitlines()

    heading, *rows = lines.out.splitlines()
    assert heading.split() == ["place", "died", "handler", "reason", "attempts", "key", "origin", "error", "says"]
    assert [row.split()[0] for row in rows] == ["0:0", "0:1"]
    assert rows[1].split()[3:] == [
        "shop.bill",
        "exhausted",
        "5",
        "k1",
        f"{world.source}:1:1",
        "builtins.TimeoutError",
        *["the", "bank", "is", "away", "(1)"],
    ]
    assert "there are more than these 2" in lines.err
    found = json.loads(line)
    assert (found["value"], found["key"], found["place"], found["is_handled"]) == ("body 1", "k1", "0:1", False)
    assert found["origin"] == {"topic": world.source, "partition": 1, "offset": 1}


def test_handled_ones_are_listed_when_asked_for(run: Elsa, make_world: MakeWorld) -> None:
    world = make_world(1)
    world.die(2)
    world.letters.drop(limit=1)

    open_ones = run("dlq", "list", world.name).out.splitlines()
    every = run("dlq", "list", world.name, "--all").out.splitlines()

    assert [line.split()[0] for line in open_ones[1:]] == ["0:1"]
    assert [(line.split()[0], line.split()[-1]) for line in every[1:]] == [("0:0", "yes"), ("0:1", "no")]


def test_one_letter_is_shown_with_traceback_and_body(run: Elsa, make_world: MakeWorld) -> None:
    world = make_world(1)
    world.die(2)

    shown = run("dlq", "show", world.name, "0:1").out
    found = json.loads(run("dlq", "show", world.name, f"{world.source}:1:1", "--json").out)
    missing = run("dlq", "show", world.name, "0:9")

    assert "the bank is away (1)" in shown
    assert "Traceback (most recent call last):\n  at the bank" in shown
    assert shown.endswith("\nbody 1\n")
    assert found["traceback"].endswith("at the bank")
    assert found["id"] == "id-1"
    assert missing.code == exits.NOT_FOUND
    assert "has no dead letter '0:9'" in missing.err
    assert f"elsa dlq list {world.name} --all" in missing.err


def test_what_a_terminal_would_obey_is_shown_as_text(run: Elsa, make_world: MakeWorld) -> None:
    world = make_world(1)
    world.die(1, key="\x1b[2J", handler="\x1b]0;x\x07", error="a\x1bb")

    assert "\x1b" not in run("dlq", "show", world.name, "0:0").out
    assert "\x1b" not in run("dlq", "list", world.name).out
    assert "\x1b" not in run("dlq", "list").out


def test_a_replay_says_what_went_where(run: Elsa, world: World) -> None:
    world.die(3)

    dry = run("dlq", "replay", world.name, "--dry-run")
    done = run("dlq", "replay", world.name, "-H", "tenant=us", "--drop-header", "elsa-id", "--rate", "100/s")
    nothing = run("dlq", "replay", world.name)

    assert dry.out == f"would have replayed 3 dead letters of {world.name}\n  3 to {world.retry}\n"
    assert (dry.code, dry.err) == (exits.OK, "nothing was changed (--dry-run)\n")
    assert (done.code, done.out) == (
        exits.OK,
        f"replayed 3 dead letters of {world.name}\n  3 to {world.retry}\n",
    )
    assert {one.headers[1] for one in world.read(world.retry)} == {("tenant", b"us")}
    assert (nothing.code, nothing.out) == (exits.OK, f"replayed 0 dead letters of {world.name}\n")


def test_a_replay_for_programs(run: Elsa, world: World) -> None:
    world.die(2)

    found = json.loads(run("dlq", "replay", world.name, "--limit", "1", "--json").out)

    assert found == {
        "topic": world.name,
        "operation": "replay",
        "dry_run": False,
        "done": 1,
        "targets": {world.retry: 1},
        "refused": {},
        "uncertain": 0,
        "interrupted": False,
        "purged": {},
    }


def test_what_has_no_way_back_is_a_failure(run: Elsa, world: World) -> None:
    world.die(1)
    world.app.produce(world.name, ["body 1"])

    ran = run("dlq", "replay", world.name)

    assert ran.code == exits.FAILED
    assert "replayed 1 dead letters" in ran.out
    assert "1 stay: they do not say where they came from (no readable elsa-origin): name a topic with --to" in ran.err


def test_an_app_tells_the_group_and_its_topics(run: Elsa, world: World, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "import elsa\n"
        f"app = elsa.App({world.app.name + '-code'!r})\n"
        f"@app.handler({world.source!r}, name='shop.bill', group='billing', dead_letter={world.source + '.lost'!r})\n"
        "def bill(body: str) -> None: ...\n"
    )
    lost = f"{world.source}.lost"
    world.app.topics.create(lost, partitions=1)
    world.name = lost
    world.die(1)

    unknown = run.start("dlq", "replay", lost)
    listed = run.start("dlq", "list", "-A", "shop", "--json")
    _, refused = unknown.communicate(timeout=60)
    found, _ = listed.communicate(timeout=60)
    replayed = run.start("dlq", "replay", lost, "-A", "shop")
    out, err = replayed.communicate(timeout=60)

    assert unknown.returncode == exits.NOT_FOUND
    assert b"one of another name needs the app whose handler says dead_letter=" in refused
    assert json.loads(found)["topic"] == lost
    assert out.decode().splitlines()[1:] == [f"  1 to {world.source}.billing.retry"], err


def test_a_drop_asks_first(run: Elsa, world: World) -> None:
    world.die(4)

    unanswered = run("dlq", "drop", world.name)
    dry = run("dlq", "drop", world.name, "--dry-run", "--key", "k1")
    done = run("dlq", "drop", world.name, "--yes", "--key", "k1", "--json")

    assert unanswered.code == exits.USAGE
    assert f"Drop 4 dead letters of {world.name}? Nobody can answer here: add --yes" in unanswered.err
    assert dry.out == f"would have dropped 1 dead letters of {world.name}\n"
    assert json.loads(done.out)["done"] == 1
    world.letters.replay()
    assert world.values(world.retry) == bodies(0, 2, 3)


def test_a_purge_says_how_far_it_went(run: Elsa, make_world: MakeWorld) -> None:
    world = make_world(1)
    world.die(3)

    ran = run("dlq", "drop", world.name, "--yes", "--purge", "--limit", "2")

    assert ran.out == f"dropped 2 dead letters of {world.name}\n  deleted for good below 0:2\n"
    assert world.values(world.name) == bodies(2)


def test_a_topic_that_is_not_there_comes_with_a_near_name(run: Elsa, world: World) -> None:
    ran = run("dlq", "list", world.name.replace(".dlq", "x.dlq"))

    assert ran.code == exits.NOT_FOUND
    assert f"did you mean {world.name!r}?" in ran.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("list", "x.dlq", "--offset", "7"), "'7' is not partition:offset, like 0:17"),
        (("list", "x.dlq", "--since", "yesterday"), "'yesterday' is neither a time"),
        (("list", "x.dlq", "--since", "earliest"), "'earliest' is neither a time"),
        (("list", "--limit", "3"), "--limit goes with a TOPIC"),
        (("list", "--offset", "0:3"), "--offset goes with a TOPIC"),
        (("replay", "x.dlq", "--rate", "0"), "'0' is no rate above 0"),
        (("replay", "x.dlq", "--rate", "fast"), "'fast' is no rate above 0"),
        (("replay", "x.dlq", "-H", "name"), "'name' is not name=value"),
        (("replay", "x.dlq", "--limit", "0"), "Invalid value for '-n'"),
        (("replay", "x.dlq", "--to", "x", "--group", "y"), "to= and group= say two places"),
        (("replay", "x.dlq", "--to", "x.dlq"), "is where they are: name another topic"),
    ],
)
def test_wrong_arguments(run: Elsa, arguments: tuple[str, ...], text: str) -> None:
    ran = run("dlq", *arguments)

    assert ran.code == exits.USAGE
    assert text in ran.err


def test_a_reason_that_is_none_comes_with_those_that_there_are(run: Elsa, world: World) -> None:
    world.die(3)
    world.die(1, first=3, reason="\x1b[2J")

    strange = run("dlq", "list", world.name, "--reason", "nonsense")
    replayed = run("dlq", "replay", world.name, "--reason", "nonsense", "--dry-run")
    known = run("dlq", "list", world.name, "--reason", "timeout")
    foreign = run("dlq", "list", world.name, "--reason", "\x1b[2J")
    everywhere = run("dlq", "list", "--reason", "nonsense", "--json")

    text = f"{world.name} has no dead letter with the reason 'nonsense'; it has exhausted (3), \\x1b[2J (1)\n"
    assert (strange.code, strange.err.endswith(text)) == (exits.OK, True)
    assert (replayed.code, text in replayed.err) == (exits.OK, True)
    assert known.err.startswith("no open dead letters")
    assert "reason" not in known.err + foreign.err
    assert "nothing was given up for the reason 'nonsense'; Elsa's are exhausted, rejected" in everywhere.err


def test_a_partition_that_is_not_there(run: Elsa, world: World) -> None:
    ran = run("dlq", "list", world.name, "--offset", "99:1")

    assert (ran.code, ran.out) == (exits.NOT_FOUND, "")
    assert f"topic '{world.name}' has no partition 99" in ran.err


def test_a_group_that_nobody_has_is_doubted(run: Elsa, world: World) -> None:
    world.die(1)

    for more in (["--dry-run", "--json"], []):
        ran = run("dlq", "replay", world.name, "--group", "nobody", *more)
        assert ran.code == exits.OK
        assert f"warning: group 'nobody' has committed nothing of topic '{world.source}'" in ran.err


def test_a_delayed_message_whose_target_is_gone(run: Elsa, world: World) -> None:
    name = f"{world.source}.delay.dlq"
    headers = {
        "elsa-target": f"{world.source}.gone:1",
        "elsa-origin": f"{world.source}.delay.16:0:5",
        "elsa-reason": "undeliverable",
    }
    world.app.topics.create(name, partitions=1)
    world.app.produce(name, elsa.Record("body 0", headers=headers))

    gone = run("dlq", "replay", name)
    elsewhere = run("dlq", "replay", name, "--to", world.source)

    assert gone.code == exits.NOT_FOUND
    assert f"topic '{world.source}.gone' does not exist" in gone.err
    assert f"elsa topics create {world.source}.gone" in gone.err
    assert (elsewhere.code, elsewhere.out.splitlines()[1:]) == (exits.OK, [f"  1 to {world.source}"])


def test_no_broker(run: Elsa) -> None:
    ran = run("dlq", "replay", "x.dlq", "-b", "127.0.0.1:1")

    assert ran.code == exits.BROKER
