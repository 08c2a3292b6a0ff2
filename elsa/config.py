"""Settings of one App: what may be set, by which name, with which default, and `load`, which finds the values.

Called by `App`, by the commands that need no App, and by `elsa config`.
"""

from __future__ import annotations

import difflib
import functools
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from elsa import contradictions, environment
from elsa.errors import ConfigError
from elsa.redaction import HIDDEN, KafkaKeys, redact_brokers, redact_kafka
from elsa.units import Choice, Duration, Size, Whole, Words, boolean, bounds


def brokers(value: Any) -> str:
    """A broker list from `"host:port,host:port"` or a list of them; raises ValueError with what is allowed."""
    allowed = 'a list "host:port,host:port" with ports from 1 to 65535'
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError(allowed)
    found = [part.strip() for part in parts if part.strip()]
    if any("@" in part for part in found):
        raise ValueError("host:port without user and password; those are kafka sasl.username and sasl.password")
    for part in found:
        host, colon, port = part.rpartition("://")[2].rpartition(":")
        if (colon and "]" not in port and not (host and port.isdecimal() and 0 < int(port) < 65536)) or " " in part:
            raise ValueError(allowed)
    if not found:
        raise ValueError(allowed)
    return ",".join(found)


def kafka(value: Any) -> dict[str, Any]:
    """Dotted Kafka keys from a mapping; nested tables (TOML reads `sasl.password` as one) become dotted again."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError('a mapping of dotted Kafka keys, like {"security.protocol": "SSL"}')
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            found |= {f"{key}.{rest}": deep for rest, deep in kafka(inner).items()}
        elif inner is None or isinstance(inner, list | tuple | set):
            raise ValueError(f"a text, number or true/false for the Kafka key {key!r}")
        else:
            found[key] = inner
    return KafkaKeys(found)


def buckets(value: Any) -> dict[str, tuple[float, ...]]:
    """Bounds by metric from a mapping, or from its JSON text; raises ValueError."""
    allowed = 'rising numbers by metric, like {"elsa_process_duration_seconds": [0.1, 1, 10]}'
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError(allowed) from None
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(allowed)
    try:
        return {name: bounds(given) for name, given in value.items()}
    except ValueError:
        raise ValueError(allowed) from None


def text(value: Any) -> str:
    """A text that is not empty; raises ValueError."""
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise ValueError("a text that is not empty")


Seconds = Annotated[float, Duration()]
Count = Annotated[int, Whole()]
Bytes = Annotated[int, Size()]
Text = Annotated[str, text]


#: settings that are shown to nobody
_SECRETS = ("http_token",)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """Every setting with its default; made by `load`, never changed afterwards.

    Durations are seconds, sizes bytes. Each field `x` is also the environment variable `ELSA_X`, the
    key `x` of `elsa.toml` and of `[tool.elsa]`, and the keyword `x` of `App`.
    """

    name: Text = "elsa"
    brokers: Annotated[str, brokers] = "localhost:9092"
    #: dotted librdkafka keys for EVERY client (security, timeouts, ...)
    kafka: Annotated[Mapping[str, Any], kafka] = field(default_factory=dict)
    #: "development" creates missing topics, "production" waits for them
    environment: Literal["development", "production"] = "development"
    create_topics: Literal["dev"] | bool = "dev"
    default_partitions: Count = 6
    replication: Count | None = None

    # consumer groups
    group_protocol: Literal["classic", "consumer"] = "classic"
    static_membership: bool = True
    leave_on_stop: bool = True
    instance: Text | None = None
    runtime_dir: Text | None = None
    session_timeout: Seconds = 10.0
    heartbeat_interval: Seconds = 0.5
    max_poll_interval: Seconds = 300.0
    metadata_refresh: Seconds = 10.0

    # the engine
    concurrency: Count | None = None
    max_in_flight: Count = 1_000
    max_in_flight_process: Count = 10_000
    max_bytes: Bytes = 16 * 1024 * 1024
    max_bytes_process: Bytes = 256 * 1024 * 1024
    commit_interval: Seconds = 1.0
    commit_every: Count = 1_000
    drain_timeout: Annotated[float, Duration(0)] = 20.0
    stop_timeout: Annotated[float, Duration(0)] = 25.0
    processes: Count = 1

    #: whether dead letters (and messages in retry topics) say what the exception said, which may be personal
    dlq_exception_message: bool = True

    # the producer
    send_buffer: Count = 100_000
    send_linger: Annotated[float, Duration(0)] = 0.005
    send_timeout: Seconds = 120.0
    compression: Annotated[str, Choice("none", "gzip", "snappy", "lz4", "zstd")] = "none"
    partitioner: Annotated[str, Choice("murmur2", "md5", "random", "zero")] = "murmur2"

    # traces
    #: sets OpenTelemetry up by its own OTEL_* variables, in every process; needs elsa[otel]
    otel: bool = False
    #: "link": handling a message begins a trace of its own, with a link to the message's
    trace_parent: Literal["message", "link"] = "message"
    #: keys of OpenTelemetry's baggage that may cross Kafka
    trace_baggage: Annotated[tuple[str, ...], Words()] = ()
    #: without OpenTelemetry: what a handler sends carries the trace of the message that it handles
    trace_passthrough: bool = False
    trace_spans: Annotated[tuple[str, ...], Words("poll", "commit", "create")] = ()
    trace_attributes: Annotated[tuple[str, ...], Words("key", "body_size")] = ()

    # what people see
    log_level: Annotated[str, Choice("debug", "info", "warning", "error", "critical")] = "info"
    json_logs: bool = False
    #: 0 takes any free port
    metrics_port: Annotated[int, Whole(0, 65535)] | None = None
    http_host: Text = "127.0.0.1"
    #: PEM files: TLS for that port; clients have to show a certificate of these authorities
    http_cert: Text | None = None
    http_key: Text | None = None
    http_client_ca: Text | None = None
    #: what `/metrics` and `/statusz` ask for
    http_token: Text | None = None
    #: whether everybody who reaches an address beyond this machine may read them
    http_open: bool = False
    #: series of single partitions: auto means up to 500 of a process
    metrics_partition_labels: Annotated[str, Choice("auto", "on", "off")] = "auto"
    metrics_histograms: Annotated[str, Choice("full", "coarse")] = "full"
    metrics_buckets: Annotated[Mapping[str, Any], buckets] = field(default_factory=dict)

    @property
    def creates_topics(self) -> bool:
        """Whether missing topics are created when a worker starts."""
        return self.environment == "development" if self.create_topics == "dev" else bool(self.create_topics)

    def __repr__(self) -> str:
        shown = ", ".join(f"{f.name}={_shown(f.name, getattr(self, f.name))!r}" for f in fields(self))
        return f"Settings({shown})"


class Row(NamedTuple):
    """One line of `elsa config`: secrets are hidden in `value`."""

    name: str
    value: Any
    source: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and where each came from, by the field's name; Kafka keys as `kafka.<key>`."""

    settings: Settings
    sources: Mapping[str, str]

    @property
    def warnings(self) -> list[str]:
        """What works otherwise than it reads; shown by `elsa check` and the worker."""
        return list(contradictions.warnings(self.settings))


def load(
    overrides: Mapping[str, Any] = MappingProxyType({}),
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Loaded:
    """Settings from arguments, else `ELSA_*` variables, else `elsa.toml` or `[tool.elsa]`, else the defaults.

    The file is looked for from `cwd` upwards; in one folder `elsa.toml` wins over `pyproject.toml`. `ELSA_X_FILE`
    names a file that holds the value of `ELSA_X`; `ELSA_KAFKA__SASL__PASSWORD` is the Kafka key `sasl.password`;
    an empty variable counts as absent. Raises ConfigError for unknown names, malformed values and contradictions.

    >>> load({"brokers": "one:9092"}, env={"ELSA_DRAIN_TIMEOUT": "5s"}, cwd=Path("/")).settings.drain_timeout
    5.0
    """
    hints = _hints()
    layers = [
        _from_file((cwd or Path.cwd()).absolute()),
        environment.read(os.environ if env is None else env, hints),
        [(name, value, "argument") for name, value in overrides.items()],
    ]
    values: dict[str, Any] = {}
    sources = dict.fromkeys(hints, "default")
    for name, value, source in (entry for layer in layers for entry in layer):
        if name not in hints:
            raise ConfigError(f"unknown setting {name!r} ({source})", hint=did_you_mean(name, hints))
        converted = _converted(name, hints[name], value, source)
        if name == "kafka":
            sources |= {f"kafka.{key}": source for key in converted}
            converted = KafkaKeys({**values.get("kafka", {}), **converted})
        values[name] = converted
        sources[name] = source
    return Loaded(_checked(Settings(**values)), sources)


def override(loaded: Loaded, **values: Any) -> Loaded:
    """The settings with some replaced (None counts as not given), checked and named like arguments."""
    hints = _hints()
    given = {name: value for name, value in values.items() if value is not None}
    for name in given:
        if name not in hints:
            raise ConfigError(f"unknown setting {name!r} (argument)", hint=did_you_mean(name, hints))
    converted = {name: _converted(name, hints[name], value, "argument") for name, value in given.items()}
    return Loaded(
        _checked(replace(loaded.settings, **converted)), {**loaded.sources, **dict.fromkeys(given, "argument")}
    )


def describe(loaded: Loaded) -> list[Row]:
    """Every effective setting with its source, secrets hidden; each Kafka key is a row of its own."""
    rows = []
    for item in fields(Settings):
        value = getattr(loaded.settings, item.name)
        if item.name != "kafka":
            rows.append(Row(item.name, _shown(item.name, value), loaded.sources[item.name]))
            continue
        rows += [
            Row(f"kafka.{key}", shown, loaded.sources.get(f"kafka.{key}", "argument"))
            for key, shown in sorted(redact_kafka(value).items())
        ]
    return rows


def did_you_mean(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """A hint that names what is nearest to a misspelt name, else everything there is.

    >>> did_you_mean("broker", ["brokers", "name"])
    "did you mean 'brokers'?"
    """
    near = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"


@functools.cache
def _hints() -> dict[str, Any]:
    return get_type_hints(Settings, include_extras=True)


def _checked(settings: Settings) -> Settings:
    for what, hint in contradictions.errors(settings):
        raise ConfigError(what, hint=hint)
    return settings


def _shown(name: str, value: Any) -> Any:
    if name == "kafka":
        return redact_kafka(value)
    if name in _SECRETS and value is not None:
        return HIDDEN
    return redact_brokers(value) if name == "brokers" else value


def _converted(name: str, hint: Any, value: Any, source: str) -> Any:
    try:
        return _read(hint, value)
    except ValueError as error:
        shown = redact_brokers(str(value)) if name == "brokers" else HIDDEN if name in ("kafka", *_SECRETS) else value
        hint_text = (
            "Kubernetes sets such variables for its Services: set enableServiceLinks: false in the pod"
            if isinstance(value, str) and value.startswith("tcp://")
            else None
        )
        raise ConfigError(f"{name}={shown!r} ({source}) is not {error}", hint=hint_text) from None


def _read(hint: Any, value: Any) -> Any:
    """The value as the annotation wants it; raises ValueError with what is allowed."""
    origin = get_origin(hint)
    if origin is Annotated:
        return hint.__metadata__[0](value)
    if origin is Literal:
        return Choice(*get_args(hint))(value)
    if hint is bool:
        return boolean(value)
    assert origin in (Union, UnionType), hint
    return _read_union(get_args(hint), value)


def _read_union(hints: tuple[Any, ...], value: Any) -> Any:
    if type(None) in hints and (value is None or (isinstance(value, str) and value.strip().lower() == "none")):
        return None
    allowed = []
    for hint in hints:
        if hint is type(None):
            allowed.append("none")
            continue
        try:
            return _read(hint, value)
        except ValueError as error:
            allowed.append(str(error))
    raise ValueError(", or ".join(allowed))


def _from_file(cwd: Path) -> list[tuple[str, Any, str]]:
    for folder in (cwd, *cwd.parents):
        for name in ("elsa.toml", "pyproject.toml"):
            path = folder / name
            if not _is_file(path):
                continue
            table = _parsed(path)
            if name == "pyproject.toml":
                tool = table.get("tool", {})
                if "elsa" not in tool:
                    continue
                table = tool["elsa"]
            source = str(path) if name == "elsa.toml" else f"{path} [tool.elsa]"
            if not isinstance(table, dict):
                raise ConfigError(f"{source} is no table")
            return [(key, value, source) for key, value in table.items()]
    return []


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a parent folder that this user may not look into holds nothing for them
        return False


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
