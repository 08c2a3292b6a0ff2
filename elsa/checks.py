"""What `elsa check` finds: pure judgements over settings, a broker's configuration and the topics there are."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from elsa import contradictions
from elsa.errors import ConfigError
from elsa.names import schedules_topic
from elsa.observe.guard import Guard, settings_of
from elsa.policies.schedule import iso, moment
from elsa.schedules import topic as schedules
from elsa.schedules.declared import SHARDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from elsa.app import App
    from elsa.config import Settings
    from elsa.registry import Binding

_PROTOCOLS = "group.coordinator.rebalance.protocols"
_LIMITS = ("group.min.session.timeout.ms", "group.max.session.timeout.ms")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `what` it was, and what to do when it is not `ok`."""

    level: Literal["ok", "warning", "error"]
    what: str
    text: str
    hint: str = ""


def of_settings(settings: Settings) -> Iterator[Finding]:
    """Settings that contradict each other or work otherwise than they read."""
    clean = True
    for finding in _of_endpoint(settings):
        clean = False
        yield finding
    for text in contradictions.warnings(settings):
        clean = False
        yield Finding("warning", "settings", text)
    if clean:
        yield Finding("ok", "settings", "no setting contradicts another")


def _of_endpoint(settings: Settings) -> Iterator[Finding]:
    """What a worker would say of its metrics port before it opens it."""
    if settings.metrics_port is None:
        return
    guard = Guard.of(settings_of(settings))
    try:
        guard.check(settings.http_host)
        guard.context()
    except ConfigError as error:
        yield Finding("error", "metrics port", str(error).partition("\n")[0], error.hint or "")
        return
    if (warning := guard.warning(settings.http_host)) is not None:
        yield Finding("warning", "metrics port", warning)


def of_broker(settings: Settings, config: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the broker takes the group protocol and the session timeout."""
    protocols = config.get(_PROTOCOLS, "classic").replace(" ", "").split(",")
    if settings.group_protocol not in protocols:
        text = f"group_protocol={settings.group_protocol!r} is not offered by the broker, only {', '.join(protocols)}"
        yield Finding("error", "group protocol", text, 'set group_protocol="classic", or enable it on the brokers')
        return
    yield Finding("ok", "group protocol", f"the broker offers {settings.group_protocol}")
    if settings.group_protocol != "classic":
        return
    low, high = (float(config.get(name, default)) / 1000 for name, default in zip(_LIMITS, ("0", "inf"), strict=True))
    if low <= settings.session_timeout <= high:
        yield Finding("ok", "session timeout", f"{settings.session_timeout:g} s is within the broker's limits")
    else:
        text = f"session_timeout={settings.session_timeout:g} s is refused by the broker ({low:g} to {high:g} s)"
        yield Finding("error", "session timeout", text, "change session_timeout, or the broker's limits")


def of_app(app: App, partitions: Mapping[str, int]) -> Iterator[Finding]:
    """Whether the topics of the app's handlers exist and have enough partitions; `partitions` counts them all."""
    bindings = app.registry.bindings()
    if not bindings:
        yield Finding("warning", "handlers", f"the app {app.name!r} has no handlers", "declare one with @app.handler")
        return
    yield Finding("ok", "handlers", f"the app {app.name!r} has {len(app.registry)} handlers")
    yield from _schedules(app, partitions)
    for binding in bindings:
        if binding.is_pattern:
            yield from _pattern(binding, partitions)
        elif binding.topic in partitions:
            yield from _size(app.settings, binding, partitions[binding.topic])
        else:
            yield _missing(app.settings, binding, partitions)


def _schedules(app: App, partitions: Mapping[str, int]) -> Iterator[Finding]:
    now = moment(app.clock.now())
    for schedule in app.schedules:
        following = iso(schedule.rule.next(now))
        yield Finding("ok", f"schedule {schedule.name}", f"{schedule.describe()}; next at {following}")
    name = schedules_topic(app.name)
    count = partitions.get(name, 0)
    is_made = not count and app.settings.creates_topics
    if app.schedules and count < SHARDS and not is_made:
        text, hint = schedules.obstacle(name, count)
        yield Finding("error", "schedules", f"{text}, and periodic tasks do not fire", hint)


def _pattern(binding: Binding, partitions: Mapping[str, int]) -> Iterator[Finding]:
    matching = [topic for topic in partitions if binding.matches(topic)]
    what = f"topics {binding.topic}"
    if matching:
        yield Finding("ok", what, f"{len(matching)} topics match")
    else:
        yield Finding("warning", what, "no topic matches yet", "the worker takes up those that come later")


def _missing(settings: Settings, binding: Binding, partitions: Mapping[str, int]) -> Finding:
    what = f"topic {binding.topic}"
    near = difflib.get_close_matches(binding.topic, partitions, 1)
    if settings.creates_topics:
        similar = f"; there is {near[0]!r}, is that meant?" if near else ""
        text = f"it does not exist, the worker creates it with {settings.default_partitions} partitions{similar}"
        return Finding("warning" if near else "ok", what, text)
    hint = f"did you mean {near[0]!r}?" if near else f"elsa topics create {binding.topic}"
    return Finding("error", what, f"it does not exist, and {binding.name} waits for it", hint)


def _size(settings: Settings, binding: Binding, count: int) -> Iterator[Finding]:
    what = f"topic {binding.topic}"
    wanted = binding.first.declared.partitions or ()
    absent = [partition for partition in wanted if partition >= count]
    if absent:
        yield Finding("error", what, f"it has {count} partitions, {binding.name} wants {absent}", "correct partitions=")
        return
    served = len(wanted) or count
    if served < settings.processes:
        text = f"{served} partitions for {settings.processes} worker processes: {settings.processes - served} are idle"
        yield Finding("warning", what, text, f"elsa topics add-partitions {binding.topic} {settings.processes}")
        return
    concurrency = max((h.declared.concurrency or settings.concurrency or 0) for h in binding.handlers())
    if concurrency * settings.processes > served:
        text = (
            f"{served} partitions are worked on at most {served} at a time, because each keeps its order; concurrency "
            f"{concurrency} in {settings.processes} processes is never reached"
        )
        hint = f"elsa topics add-partitions {binding.topic} {concurrency * settings.processes}, or lower concurrency"
        yield Finding("warning", what, text, hint)
        return
    yield Finding("ok", what, f"{count} partitions for {binding.name}")
