"""Settings of one App: what may be set, by which name, with which default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting with its default; made by `load`, never changed afterwards.

    Durations are seconds, sizes bytes. Each field `x` is also the environment variable `ELSA_X`, the
    key `x` of `elsa.toml` and of `[tool.elsa]`, and the keyword `x` of `App`.
    """

    name: str = "elsa"
    brokers: str = "localhost:9092"
    #: dotted librdkafka keys for EVERY client (security, timeouts, ...)
    kafka: Mapping[str, Any] = field(default_factory=dict)
    #: "development" creates missing topics, "production" waits for them
    environment: Literal["development", "production"] = "development"
    create_topics: Literal["dev"] | bool = "dev"
    default_partitions: int = 6
    replication: int | None = None

    # consumer groups
    group_protocol: Literal["classic", "consumer"] = "classic"
    static_membership: bool = True
    leave_on_stop: bool = True
    instance: str | None = None
    runtime_dir: str | None = None
    session_timeout: float = 10.0
    heartbeat_interval: float = 0.5
    max_poll_interval: float = 300.0
    metadata_refresh: float = 10.0

    # the engine
    concurrency: int | None = None
    max_in_flight: int = 1_000
    max_in_flight_process: int = 10_000
    max_bytes: int = 16 * 1024 * 1024
    max_bytes_process: int = 256 * 1024 * 1024
    commit_interval: float = 1.0
    commit_every: int = 1_000
    drain_timeout: float = 20.0
    stop_timeout: float = 25.0
    processes: int = 1

    # the producer
    send_buffer: int = 100_000
    send_linger: float = 0.005
    send_timeout: float = 120.0
    compression: str = "none"
    partitioner: str = "murmur2"

    # what people see
    log_level: str = "info"
    json_logs: bool = False
    metrics_port: int | None = None
    http_host: str = "127.0.0.1"

    @property
    def creates_topics(self) -> bool:
        """Whether missing topics are created when a worker starts."""
        return self.environment == "development" if self.create_topics == "dev" else bool(self.create_topics)
