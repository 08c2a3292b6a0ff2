"""The boards hold together: Grafana's own model reads them, panels fit, each has an id, a unit and a question."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.alarms import Places
from dashboards.build import HERE, differing, files, main
from dashboards.thresholds import Thresholds

if TYPE_CHECKING:
    from pathlib import Path

register_default_plugins()

NAMES = ("overview", "handlers", "topics", "runtime", "scheduler")
WIDTH = 24


def load(name: str) -> Any:
    return json.loads((HERE / f"{name}.json").read_text())


def panels(name: str) -> list[Any]:
    return [each for each in load(name)["panels"] if each["type"] != "row"]


def test_what_is_committed_is_what_the_generator_makes() -> None:
    assert differing(HERE, files(Thresholds(), Places())) == [], "run `make dashboards`"


def test_the_generator_runs_as_a_script_from_anywhere(tmp_path: Path) -> None:
    subprocess.run([sys.executable, HERE / "build.py", "--out", tmp_path], cwd=tmp_path, check=True)
    subprocess.run([sys.executable, HERE / "build.py", "--out", tmp_path, "--check"], cwd=tmp_path, check=True)

    assert differing(tmp_path, files(Thresholds(), Places())) == []


def test_check_names_the_file_that_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path)]) == 0
    (tmp_path / "topics.json").write_text("{}")

    assert main(["--out", str(tmp_path), "--check"]) == 1
    assert re.fullmatch(r".*/topics.json is not what build.py makes; run `make dashboards`\n", capsys.readouterr().err)


def through_the_model(data: Any) -> Any:
    """Decoded and encoded again, with the models of each kind of panel and query; what they do not know is dropped."""
    return json.loads(JSONEncoder().encode(Dashboard.from_json(json.loads(json.dumps(data)))))


@pytest.mark.parametrize("name", NAMES)
def test_grafanas_model_reads_and_writes_it_unchanged(name: str) -> None:
    assert load(name) == through_the_model(load(name))


@pytest.mark.parametrize("place", ["", "options", "options.legend", "fieldConfig.defaults", "targets.0"])
def test_a_misspelt_key_does_not_come_through(place: str) -> None:
    data = load("overview")
    (panel,) = [each for each in data["panels"] if each["title"] == "Throughput"]
    for part in filter(None, place.split(".")):
        panel = panel[int(part) if part.isdecimal() else part]
    panel["misspelt"] = 1

    assert data != through_the_model(data)


@pytest.mark.parametrize("name", NAMES)
def test_panels_fit_and_none_lies_on_another(name: str) -> None:
    places = [each["gridPos"] for each in load(name)["panels"]]
    for place in places:
        assert place["w"] > 0
        assert place["h"] > 0
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= WIDTH
    for one, other in itertools.combinations(places, 2):
        is_beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        is_below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert is_beside or is_below, (one, other)


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_filled_to_the_edge(name: str) -> None:
    by_top: dict[int, int] = {}
    for panel in panels(name):
        place = panel["gridPos"]
        by_top[place["y"]] = by_top.get(place["y"], 0) + place["w"]

    assert set(by_top.values()) == {WIDTH}


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_unique(name: str) -> None:
    ids = [each["id"] for each in load(name)["panels"]]

    assert len(set(ids)) == len(ids)
    assert None not in ids


@pytest.mark.parametrize("name", NAMES)
def test_each_panel_has_a_title_a_question_a_unit_and_a_query(name: str) -> None:
    titles = [each["title"] for each in panels(name)]
    assert len(set(titles)) == len(titles)
    for panel in panels(name):
        assert "?" in panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        letters = [each["refId"] for each in panel["targets"]]
        assert letters
        assert len(set(letters)) == len(letters)


@pytest.mark.parametrize("name", NAMES)
def test_variables_links_and_annotations(name: str) -> None:
    data = load(name)

    assert data["uid"] == f"elsa-{name}"
    # All jobs are those of Elsa: `process_*` is exported by everybody
    assert [each.get("allValue") for each in data["templating"]["list"]] == [None, None, ".*", ".*", ".*"]
    assert [each["name"] for each in data["templating"]["list"]] == ["datasource", "job", "group", "topic", "handler"]
    assert [(each["type"], each["tags"]) for each in data["links"]] == [("dashboards", ["elsa"])]
    assert data["tags"] == ["elsa"]
    assert [each["name"] for each in data["annotations"]["list"]] == ["Deploys", "Rebalances"]


def test_no_variable_is_used_that_is_not_there() -> None:
    own = {"datasource", "job", "group", "topic", "handler", "__all"}
    for name in NAMES:
        used = set(re.findall(r"\$\{?(\w+)", (HERE / f"{name}.json").read_text()))
        assert used - own <= {"__rate_interval", "__range", "__url_time_range", "__all_variables"}


def test_panels_of_the_overview_lead_to_boards_that_are_there() -> None:
    urls = [link["url"] for panel in panels("overview") for link in panel.get("links") or []]
    boards = {url.partition("?")[0].removeprefix("/d/elsa-") for url in urls}

    assert boards == {"topics", "handlers", "runtime"}
    assert boards <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_query_of_buckets_with_exemplars_asks_for_them(name: str) -> None:
    for panel in panels(name):
        for target in panel["targets"]:
            if "elsa_process_duration_seconds_bucket" in target["expr"]:
                assert target["exemplar"] is True, panel["title"]


def test_a_threshold_reaches_boards_and_alerts(tmp_path: Path) -> None:
    main(["--out", str(tmp_path), "--set", "lag_age_seconds=77"])

    assert "group_topic:elsa_consumer_lag_seconds:max > 77" in (tmp_path / "alerts/alerts.yaml").read_text()
    overview = json.loads((tmp_path / "overview.json").read_text())
    (oldest,) = [each for each in overview["panels"] if each["title"] == "Oldest message"]
    assert oldest["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"] == 77


def test_places_of_runbooks_and_grafana_reach_the_alerts(tmp_path: Path) -> None:
    main(["--out", str(tmp_path), "--runbooks", "https://wiki.example/elsa/", "--grafana", "https://grafana.example"])
    text = (tmp_path / "alerts/alerts.yaml").read_text()

    assert "runbook_url: https://wiki.example/elsa/ElsaDeadLetters.md" in text
    assert "dashboard_url: https://grafana.example/d/elsa-overview?var-group=" in text


def test_faster_shortens_windows_and_patience_alone() -> None:
    text = files(Thresholds(faster=60), Places())["alerts/alerts.yaml"]

    assert "increase(elsa_dead_letters_total[10s])" in text
    assert "elsa_consumer_lag_seconds:max > 300\n    for: 5s" in text


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("lag=3", "there is no threshold 'lag'; there are lag_age_seconds, "),
        ("error_ratio=much", "threshold error_ratio needs a number, as in error_ratio=60, not 'much'"),
        ("error_ratio", "threshold error_ratio needs a number"),
        ("faster=0", "threshold faster has to be above 0, not 0"),
        ("error_ratio=5", "threshold error_ratio is a share of 1 and has to be below it, not 5"),
    ],
)
def test_a_bad_threshold_is_refused(setting: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--set", setting])

    assert complaint in capsys.readouterr().err
