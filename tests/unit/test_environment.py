"""How `ELSA_*` variables become settings; what a person sees of it stands in test_config."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from elsa.environment import read
from elsa.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("name", "brokers", "kafka", "metrics_port")


def test_a_variable_is_the_setting_of_its_lower_case_name() -> None:
    assert read({"ELSA_NAME": "shop", "HOME": "/"}, NAMES) == [("name", "shop", "environment ELSA_NAME")]


def test_two_underscores_are_a_dot_of_a_kafka_key() -> None:
    found = read({"ELSA_KAFKA__SSL__CA__LOCATION": "/ca"}, NAMES)

    assert found == [("kafka", {"ssl.ca.location": "/ca"}, "environment ELSA_KAFKA__SSL__CA__LOCATION")]


def test_only_the_last_newline_of_a_file_goes(tmp_path: Path) -> None:
    path = tmp_path / "name"
    path.write_bytes(b" shop\n\r\n")

    assert read({"ELSA_NAME_FILE": str(path)}, NAMES)[0][1] == " shop\n"


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "name"
    path.write_bytes(b"\xff")

    with pytest.raises(ConfigError, match=r"ELSA_NAME_FILE names the file .*, which cannot be read: it is not UTF-8"):
        read({"ELSA_NAME_FILE": str(path)}, NAMES)


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("ELSA_NAMES", "did you mean ELSA_NAME?"),
        ("ELSA_AP", "did you mean ELSA_APP?"),
        ("ELSA_METRIC_PORT", "did you mean ELSA_METRICS_PORT?"),
        ("ELSA_ZZZZZZ", "`elsa config` lists the settings"),
        ("ELSA_KAFKA", "ELSA_KAFKA__SASL__PASSWORD"),
        ("ELSA_KAFKA_SASL_PASSWORD_FILE", "ELSA_KAFKA__SASL__PASSWORD"),
    ],
)
def test_a_variable_that_is_no_setting_is_refused_with_a_hint(variable: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read({variable: "x"}, NAMES)

    assert f"{variable} (environment) is no setting of Elsa" in str(caught.value)
    assert hint in str(caught.value)
