"""Settings that make no sense together: errors for the loader, warnings for `elsa check` and the worker's banner."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elsa.config import Settings


def errors(settings: Settings) -> Iterator[tuple[str, str]]:
    """What can not work, each as (what, what to do); Kafka's client refuses it or loses its membership."""
    yield from _of_http(settings)
    if settings.group_protocol != "classic":
        return
    session, heartbeat = settings.session_timeout, settings.heartbeat_interval
    if heartbeat * 3 > session:
        what = f"heartbeat_interval={heartbeat:g} s is more than a third of session_timeout={session:g} s"
        yield what, f"two late heartbeats would cost the membership: set it to at most {session / 3:.3g} s"
    if session > settings.max_poll_interval:
        what = f"session_timeout={session:g} s is longer than max_poll_interval={settings.max_poll_interval:g} s"
        yield what, "Kafka's client refuses that: raise max_poll_interval"


def _of_http(settings: Settings) -> Iterator[tuple[str, str]]:
    for name in ("http_key", "http_client_ca"):
        if getattr(settings, name) is not None and settings.http_cert is None:
            yield f"{name} is set without http_cert", "TLS on the metrics port needs the server's certificate as well"


def warnings(settings: Settings) -> Iterator[str]:
    """What works otherwise than it reads, each as one sentence that says what happens instead."""
    if settings.drain_timeout > (cap := settings.max_poll_interval * 0.4):
        yield (
            f"drain_timeout={settings.drain_timeout:g} s is cut to {cap:g} s at a rebalance: "
            "40 % of max_poll_interval is the most that is waited"
        )
    if settings.drain_timeout > settings.stop_timeout:
        yield (
            f"drain_timeout={settings.drain_timeout:g} s is longer than stop_timeout={settings.stop_timeout:g} s: "
            "a stopping worker waits only that long for running handlers"
        )
    if settings.max_in_flight > settings.max_in_flight_process:
        yield (
            f"max_in_flight={settings.max_in_flight} is never reached: "
            f"max_in_flight_process={settings.max_in_flight_process} is less"
        )
    if settings.max_bytes > settings.max_bytes_process:
        yield f"max_bytes={settings.max_bytes} is never reached: max_bytes_process={settings.max_bytes_process} is less"
    if settings.environment == "production" and settings.create_topics is True:
        yield "create_topics=true creates missing topics in production too: a misspelt topic name becomes a topic"
    yield from _unserved(settings)
    yield from _unverified(settings)


def _unserved(settings: Settings) -> Iterator[str]:
    """Who may read metrics, of a worker that serves none."""
    if settings.metrics_port is not None:
        return
    names = [name for name in ("http_cert", "http_token", "http_open") if getattr(settings, name)]
    if settings.http_host != type(settings)().http_host:
        names.insert(0, "http_host")
    if names:
        verb = "is" if len(names) == 1 else "are"
        yield f"{', '.join(names)} {verb} set without metrics_port: a worker serves neither metrics nor probes"


def _unverified(settings: Settings) -> Iterator[str]:
    """TLS that does not look whom it speaks to."""
    if str(settings.kafka.get("enable.ssl.certificate.verification", "true")).lower() == "false":
        yield (
            "kafka enable.ssl.certificate.verification=false: whoever stands between this client and the brokers reads "
            "everything, passwords too; name their authority instead (ssl.ca.location)"
        )
    elif str(settings.kafka.get("ssl.endpoint.identification.algorithm", "https")).lower() == "none":
        yield (
            "kafka ssl.endpoint.identification.algorithm=none: every certificate of the authority passes for the "
            "broker's; name the brokers as their certificates do instead"
        )
