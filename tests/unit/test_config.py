"""The settings and where they come from."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from elsa.config import Settings, describe, load, override
from elsa.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

NOWHERE = Path("/")


def loaded(env: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    return load(overrides, env=env or {}, cwd=NOWHERE).settings


def refused(env: Mapping[str, str] | None = None, **overrides: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(overrides, env=env or {}, cwd=NOWHERE)
    return str(caught.value)


def test_without_anything_the_defaults_hold() -> None:
    assert Settings() == loaded()


def test_every_default_passes_its_own_check() -> None:
    defaults = Settings()
    given = {row.name: getattr(defaults, row.name) for row in describe(load(env={}, cwd=NOWHERE))}

    assert defaults == loaded(**given)


def test_arguments_win_over_the_environment_over_the_file_over_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "elsa.toml").write_text('name = "file"\nbrokers = "file:1"\nprocesses = 3\n')
    env = {"ELSA_NAME": "environment", "ELSA_BROKERS": "environment:1"}

    found = load({"name": "argument"}, env=env, cwd=tmp_path)

    assert (
        found.settings.name,
        found.settings.brokers,
        found.settings.processes,
        found.settings.drain_timeout,
    ) == ("argument", "environment:1", 3, 20.0)
    assert ("argument", "environment ELSA_BROKERS", str(tmp_path / "elsa.toml"), "default") == tuple(
        found.sources[name] for name in ("name", "brokers", "processes", "drain_timeout")
    )


def test_kafka_keys_of_all_sources_are_merged_key_by_key(tmp_path: Path) -> None:
    (tmp_path / "elsa.toml").write_text('[kafka]\nsecurity.protocol = "SSL"\n"ssl.ca.location" = "/ca"\n')
    env = {"ELSA_KAFKA__SECURITY__PROTOCOL": "SASL_SSL"}

    found = load({"kafka": {"debug": "broker"}}, env=env, cwd=tmp_path)

    assert found.settings.kafka == {"security.protocol": "SASL_SSL", "ssl.ca.location": "/ca", "debug": "broker"}
    assert found.sources["kafka.security.protocol"] == "environment ELSA_KAFKA__SECURITY__PROTOCOL"
    assert str(tmp_path / "elsa.toml") == found.sources["kafka.ssl.ca.location"]


def test_the_file_is_found_in_a_parent_folder(tmp_path: Path) -> None:
    (tmp_path / "elsa.toml").write_text('name = "parent"')
    (deep := tmp_path / "a" / "b").mkdir(parents=True)

    assert load(env={}, cwd=deep).settings.name == "parent"


def test_elsa_toml_wins_over_pyproject_in_the_same_folder(tmp_path: Path) -> None:
    (tmp_path / "elsa.toml").write_text('name = "own"')
    (tmp_path / "pyproject.toml").write_text('[tool.elsa]\nname = "project"')

    assert load(env={}, cwd=tmp_path).settings.name == "own"


def test_a_nearer_pyproject_wins_over_a_farther_elsa_toml(tmp_path: Path) -> None:
    (tmp_path / "elsa.toml").write_text('name = "far"')
    (near := tmp_path / "near").mkdir()
    (near / "pyproject.toml").write_text('[tool.elsa]\nname = "near"')

    found = load(env={}, cwd=near)

    assert found.settings.name == "near"
    assert f"{near / 'pyproject.toml'} [tool.elsa]" == found.sources["name"]


def test_a_pyproject_without_elsa_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "elsa.toml").write_text('name = "far"')
    (near := tmp_path / "near").mkdir()
    (near / "pyproject.toml").write_text('[project]\nname = "x"')

    assert load(env={}, cwd=near).settings.name == "far"


def test_a_broken_file_is_named_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "elsa.toml").write_text("name = \n")

    with pytest.raises(ConfigError, match=r"elsa\.toml is not valid TOML: .*line 1"):
        load(env={}, cwd=tmp_path)


def test_a_tool_table_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('tool.elsa = "yes"')

    with pytest.raises(ConfigError, match=r"\[tool\.elsa\] is no table"):
        load(env={}, cwd=tmp_path)


def test_an_unknown_key_of_a_file_is_refused_with_a_near_name(tmp_path: Path) -> None:
    (tmp_path / "elsa.toml").write_text('broker = "x"')

    with pytest.raises(ConfigError) as caught:
        load(env={}, cwd=tmp_path)

    assert f"unknown setting 'broker' ({tmp_path / 'elsa.toml'})\n  hint: did you mean 'brokers'?" == str(caught.value)


def test_an_unknown_argument_is_refused_with_a_near_name() -> None:
    assert refused(proceses=2) == "unknown setting 'proceses' (argument)\n  hint: did you mean 'processes'?"


def test_an_unknown_variable_is_refused_with_a_near_name() -> None:
    expected = "ELSA_BROKER (environment) is no setting of Elsa\n  hint: did you mean ELSA_BROKERS?"

    assert expected == refused({"ELSA_BROKER": "x:1"})


@pytest.mark.parametrize(
    "variable",
    [
        "ELSA_APP",
        "ELSA_DEBUG",
        "ELSA_TEST_BROKERS",
        "ELSA_PORT",
        "ELSA_SERVICE_HOST",
        "ELSA_WORKER_SERVICE_PORT_HTTP",
        "ELSA_PORT_9090_TCP_ADDR",
        "OTHER",
    ],
)
def test_variables_of_the_command_line_tests_and_kubernetes_are_no_settings(variable: str) -> None:
    assert Settings() == loaded({variable: "tcp://10.0.0.1:9090"})


def test_an_empty_variable_counts_as_absent() -> None:
    assert Settings() == loaded({"ELSA_METRICS_PORT": "", "ELSA_NAME": " "})


def test_a_service_link_that_looks_like_a_setting_is_explained() -> None:
    assert "enableServiceLinks: false" in refused({"ELSA_METRICS_PORT": "tcp://10.0.0.1:9090"})


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("drain_timeout", 30, 30.0),
        ("drain_timeout", 1.5, 1.5),
        ("drain_timeout", "30s", 30.0),
        ("drain_timeout", "500ms", 0.5),
        ("drain_timeout", "2", 2.0),
        ("max_poll_interval", "5m", 300.0),
        ("max_bytes", "16MB", 16 * 1024 * 1024),
        ("max_bytes", "1GiB", 1024**3),
        ("max_bytes", 1000, 1000),
        ("static_membership", "no", False),
        ("json_logs", "ON", True),
        ("create_topics", "dev", "dev"),
        ("create_topics", "false", False),
        ("create_topics", True, True),
        ("environment", "Production", "production"),
        ("log_level", "DEBUG", "debug"),
        ("brokers", ["a:1", "b:2"], "a:1,b:2"),
        ("brokers", " a:1 , b ", "a:1,b"),
        ("brokers", "[::1]:9092", "[::1]:9092"),
        ("brokers", "SSL://a:1", "SSL://a:1"),
        ("replication", "3", 3),
        ("replication", "none", None),
        ("metrics_port", 0, 0),
        ("metrics_partition_labels", "OFF", "off"),
        ("metrics_histograms", "coarse", "coarse"),
        ("metrics_buckets", {"elsa_commit_duration_seconds": [1, 2.5]}, {"elsa_commit_duration_seconds": (1.0, 2.5)}),
        ("metrics_buckets", '{"elsa_batch_messages": [10]}', {"elsa_batch_messages": (10.0,)}),
        ("send_linger", 0, 0.0),
    ],
)
def test_values_are_converted_by_the_annotation(name: str, given: Any, expected: object) -> None:
    assert expected == getattr(loaded(**{name: given}), name)


@pytest.mark.parametrize(
    ("name", "given", "allowed"),
    [
        ("drain_timeout", "soon", 'a duration: seconds (30, 1.5) or a text like "500ms", "30s", "5m", "2h"'),
        ("drain_timeout", -1, "a duration"),
        ("drain_timeout", True, "a duration"),
        ("session_timeout", 0, "a duration of at least 0.001 s"),
        ("max_bytes", "much", 'a text like "64kB", "16MB", "1GB"'),
        ("max_bytes", 0, "a size of at least 1 bytes"),
        ("processes", 0, "a whole number of at least 1"),
        ("processes", 1.5, "a whole number of at least 1"),
        ("processes", True, "a whole number of at least 1"),
        ("metrics_port", 70000, "a whole number from 0 to 65535, or none"),
        ("json_logs", "maybe", "true or false"),
        ("metrics_partition_labels", True, "one of auto, on, off"),
        ("metrics_histograms", "fine", "one of full, coarse"),
        ("metrics_buckets", "0.1, 1", "rising numbers by metric"),
        ("metrics_buckets", {"elsa_batch_messages": [2, 1]}, "rising numbers by metric"),
        ("metrics_buckets", {"elsa_batch_messages": 3}, "rising numbers by metric"),
        ("trace_spans", '["poll","commit"]', "a list of poll, commit, create, written poll,commit"),
        ("trace_attributes", "size", "a list of key, body_size, written key,body_size"),
        ("trace_baggage", 5, "a list of words, written tenant,user"),
        ("compression", "zip", "one of none, gzip, snappy, lz4, zstd"),
        ("partitioner", "crc", "one of murmur2, md5, random, zero"),
        ("environment", "prod", "one of development, production"),
        ("create_topics", "always", "one of dev, or true or false"),
        ("brokers", "", "host:port,host:port"),
        ("brokers", "a:port", "host:port,host:port"),
        ("brokers", "a:99999", "host:port,host:port"),
        ("brokers", [1], "host:port,host:port"),
        ("name", "", "a text that is not empty"),
        ("kafka", "x", "a mapping of dotted Kafka keys"),
        ("kafka", {"a": [1]}, "for the Kafka key 'a'"),
    ],
)
def test_a_wrong_value_is_named_with_its_source_and_what_is_allowed(name: str, given: Any, allowed: str) -> None:
    text = refused(**{name: given})

    assert text.startswith(f"{name}=")
    assert "(argument) is not " in text
    assert allowed in text


def test_a_wrong_variable_is_named() -> None:
    expected = "processes='many' (environment ELSA_PROCESSES) is not a whole number of at least 1"

    assert expected == refused({"ELSA_PROCESSES": "many"})


def test_a_file_variable_gives_the_content_without_the_last_newline(tmp_path: Path) -> None:
    (secret := tmp_path / "password").write_text(" p w \n")

    found = load(env={"ELSA_KAFKA__SASL__PASSWORD_FILE": str(secret)}, cwd=NOWHERE)

    assert found.settings.kafka == {"sasl.password": " p w "}
    assert f"file {secret} (ELSA_KAFKA__SASL__PASSWORD_FILE)" == found.sources["kafka.sasl.password"]


def test_a_file_variable_works_for_plain_settings(tmp_path: Path) -> None:
    (path := tmp_path / "brokers").write_text("a:1\n")

    assert loaded({"ELSA_BROKERS_FILE": str(path)}).brokers == "a:1"


def test_a_kafka_key_that_ends_in_file_is_not_taken_for_a_secret_file() -> None:
    env = {"ELSA_KAFKA__SASL__OAUTHBEARER__ASSERTION__PRIVATE__KEY__FILE": "/key"}

    assert loaded(env).kafka == {"sasl.oauthbearer.assertion.private.key.file": "/key"}


def test_a_missing_secret_file_names_variable_and_file() -> None:
    expected = "ELSA_NAME_FILE names the file /nowhere/x, which cannot be read: No such file or directory"

    assert expected == refused({"ELSA_NAME_FILE": "/nowhere/x"})


def test_a_variable_and_its_file_variant_contradict() -> None:
    assert "ELSA_NAME and ELSA_NAME_FILE are both set" in refused({"ELSA_NAME": "a", "ELSA_NAME_FILE": "/x"})


def test_kafka_keys_with_single_underscores_are_refused_with_the_right_form() -> None:
    assert "ELSA_KAFKA__SASL__PASSWORD" in refused({"ELSA_KAFKA_SASL_PASSWORD": "x"})


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"heartbeat_interval": 5, "session_timeout": 10}, "heartbeat_interval=5 s is more than a third"),
        ({"session_timeout": 400}, "session_timeout=400 s is longer than max_poll_interval=300 s"),
    ],
)
def test_timeouts_that_cannot_work_together_are_refused(given: dict[str, Any], text: str) -> None:
    assert text in refused(**given)


def test_group_timeouts_are_not_compared_under_the_new_protocol() -> None:
    assert loaded(group_protocol="consumer", heartbeat_interval=9).group_protocol == "consumer"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, None),
        ({"max_poll_interval": 10}, "drain_timeout=20 s is cut to 4 s at a rebalance"),
        ({"drain_timeout": 60}, "is longer than stop_timeout=25 s"),
        ({"max_in_flight": 20_000}, "max_in_flight=20000 is never reached"),
        ({"max_bytes": "1GB"}, "max_bytes=1073741824 is never reached"),
        ({"environment": "production", "create_topics": True}, "in production too"),
    ],
)
def test_settings_that_work_otherwise_than_they_read_are_warned_of(given: dict[str, Any], text: str | None) -> None:
    warnings = load(given, env={}, cwd=NOWHERE).warnings

    assert warnings == [] if text is None else any(text in warning for warning in warnings)


SECRETS = {
    "sasl.password": "s3cret",
    "ssl.key.pem": "s3cret",
    "ssl.key.password": "s3cret",
    "sasl.oauthbearer.config": "s3cret",
    "sasl.oauthbearer.client.secret": "s3cret",
    "sasl.jaas.config": "s3cret",
}


def test_secrets_appear_neither_in_the_representation_nor_in_the_description() -> None:
    found = load({"kafka": {**SECRETS, "sasl.username": "ann"}}, env={}, cwd=NOWHERE)

    shown = f"{found} {found.settings!r} {describe(found)} {found.settings}"

    assert "s3cret" not in shown
    assert "ann" in shown


def test_brokers_with_credentials_are_refused_and_never_shown() -> None:
    text = refused({"ELSA_BROKERS": "ann:s3c,ret@one:9092"})

    assert "brokers='***@one:9092'" in text
    assert "sasl.username" in text
    assert "ret" not in repr(Settings(brokers="ann:s3c,ret@one:9092"))


def test_a_malformed_kafka_mapping_is_not_shown() -> None:
    assert "s3cret" not in refused(kafka={"sasl": {"password": ["s3cret"]}})


def test_the_description_has_a_row_for_each_setting_and_kafka_key() -> None:
    rows = {row.name: row for row in describe(load({"kafka": {"debug": "all"}}, env={}, cwd=NOWHERE))}

    assert rows["kafka.debug"] == ("kafka.debug", "all", "argument")
    assert rows["processes"] == ("processes", 1, "default")


def test_override_replaces_and_checks_and_leaves_out_none() -> None:
    before = load({"name": "shop"}, env={}, cwd=NOWHERE)

    after = override(before, brokers="a:1", processes=None)

    assert (after.settings.name, after.settings.brokers, after.settings.processes) == ("shop", "a:1", 1)
    assert (after.sources["brokers"], after.sources["processes"]) == ("argument", "default")
    with pytest.raises(ConfigError, match="unknown setting 'broker'"):
        override(before, broker="x")
    with pytest.raises(ConfigError, match="brokers='a:b'"):
        override(before, brokers="a:b")


def test_settings_travel_to_other_processes() -> None:
    settings = loaded(kafka={"sasl.password": "x"})

    assert settings == pickle.loads(pickle.dumps(settings))


def test_the_real_environment_and_folder_are_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ELSA_NAME", "real")
    (tmp_path / "elsa.toml").write_text("processes = 2")

    found = load().settings

    assert (found.name, found.processes) == ("real", 2)


def test_the_token_of_the_metrics_port_is_shown_to_nobody() -> None:
    found = load({"http_token": "tiger"}, env={}, cwd=NOWHERE)

    assert "tiger" not in repr(found.settings)
    assert next(row.value for row in describe(found) if row.name == "http_token") == "***"
    assert "7" not in refused(http_token=7)


@pytest.mark.parametrize("name", ["http_key", "http_client_ca"])
def test_tls_needs_the_certificate_of_the_server(name: str) -> None:
    assert f"{name} is set without http_cert" in refused({f"ELSA_{name.upper()}": "file.pem"})
