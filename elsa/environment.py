"""Reads `ELSA_*` variables into settings; called by `elsa.config.load`."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Self

from elsa.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

PREFIX = "ELSA_"
#: variables that Elsa reads and that are no settings, with what they are for
OTHERS = {
    "ELSA_APP": "the App of `elsa worker` and of every command with -A",
    "ELSA_DEBUG": "tracebacks instead of one-line errors on the command line",
}
#: `ELSA_TEST_*` belongs to the test fixtures
_TEST = "ELSA_TEST_"
#: what Kubernetes puts into each pod for a Service named `elsa` or `elsa-something`
_SERVICE_LINK = re.compile(
    r"ELSA_(\w+_)?(SERVICE_HOST=.*|SERVICE_PORT(_\w+)?=.*|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=.*|PORT=\w+://.*)"
)
_KAFKA = "ELSA_KAFKA__"
_FILE = "_FILE"


class FileValue(str):
    """A value that a file holds, and which file: whoever keeps it can look again."""

    __slots__ = ("path",)
    path: str

    def __new__(cls, text: str, path: str) -> Self:
        value = super().__new__(cls, text)
        value.path = path
        return value

    def __reduce__(self) -> tuple[type[FileValue], tuple[str, str]]:
        return FileValue, (str(self), self.path)

    def again(self) -> FileValue:
        """What the file holds now; the same as before when it cannot be read."""
        try:
            return FileValue(_stripped(Path(self.path).read_text(encoding="utf-8")), self.path)
        except (OSError, UnicodeDecodeError):
            return self


def read(env: Mapping[str, str], names: Collection[str]) -> list[tuple[str, object, str]]:
    """(setting, value, source) of every `ELSA_*` variable; raises ConfigError for one that is no setting.

    A variable `X_FILE` gives the content of the file it names as value of `X`.
    """
    found: list[tuple[str, object, str]] = []
    for variable in sorted(env):
        if not variable.startswith(PREFIX) or not env[variable].strip():
            continue
        if variable in OTHERS or variable.startswith(_TEST):
            continue
        setting = _setting(variable, names)
        if setting is not None:
            found.append(_entry(setting, env[variable], f"environment {variable}"))
            continue
        plain = variable.removesuffix(_FILE)
        setting = _setting(plain, names) if plain != variable else None
        if setting is not None:
            if env.get(plain, "").strip():
                raise ConfigError(f"{plain} and {variable} are both set", hint="keep one of them")
            content = _content(variable, env[variable])
            found.append(_entry(setting, content, f"file {env[variable]} ({variable})"))
        elif not _SERVICE_LINK.fullmatch(f"{variable}={env[variable]}"):
            raise ConfigError(f"{variable} (environment) is no setting of Elsa", hint=_hint(variable, names))
    return found


def _setting(variable: str, names: Collection[str]) -> str | None:
    """The setting of a variable: a field's name, or `kafka.` and a dotted Kafka key."""
    is_file = variable.endswith(_FILE) and not variable.endswith("_" + _FILE)
    if variable.startswith(_KAFKA) and not is_file:
        return "kafka." + variable.removeprefix(_KAFKA).replace("__", ".").lower()
    name = variable.removeprefix(PREFIX).lower()
    return name if name in names and name != "kafka" else None


def _entry(setting: str, value: str, source: str) -> tuple[str, object, str]:
    if setting.startswith("kafka."):
        return "kafka", {setting.removeprefix("kafka."): value}, source
    return setting, value, source


def _content(variable: str, path: str) -> str:
    try:
        content = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{variable} names the file {path}, which cannot be read: {reason}") from error
    return FileValue(_stripped(content), str(Path(path).absolute()))


def _stripped(content: str) -> str:
    return content.removesuffix("\n").removesuffix("\r")


def _hint(variable: str, names: Collection[str]) -> str:
    if variable == "ELSA_KAFKA" or (variable.startswith("ELSA_KAFKA_") and not variable.startswith(_KAFKA)):
        key = variable.removeprefix("ELSA_KAFKA").strip("_").removesuffix(_FILE).replace("_", "__") or "SASL__PASSWORD"
        return f"Kafka keys are written with two underscores for each dot: {_KAFKA}{key}"
    known = [*(PREFIX + name.upper() for name in names if name != "kafka"), *OTHERS]
    near = difflib.get_close_matches(variable, known, 1)
    return f"did you mean {near[0]}?" if near else "`elsa config` lists the settings"
