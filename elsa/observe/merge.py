"""The metrics of several processes as one page: `snapshot` in a worker process, `Merger` in its supervisor.

A worker process sends its snapshot over a pipe (`pack`); the supervisor unpacks, merges and serves.
Neither confluent_kafka nor prometheus_client is imported here.
"""

from __future__ import annotations

import base64
import marshal
import os
from threading import Lock
from typing import TYPE_CHECKING, Any

from elsa.clock import SYSTEM
from elsa.observe import catalogue
from elsa.observe.exposition import from_prometheus, render

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from elsa.clock import Clock
    from elsa.observe.exposition import Exemplar, Family, Labels, Sample

#: name of the first entry of a snapshot, whose help text tells one life of a process from another
LIFE = "_life"
#: ended processes whose late snapshots are still recognised
REMEMBERED_ENDS = 1_000
#: Sums are made of whole numbers: those of floats hang on the order, so a counter could fall by a rounding error, which
#: Prometheus takes for a restart. A power of two, so that nearly all floats are whole numbers of it.
_GRAIN = 2**40
#: identifies this process until it ends; a pid alone may come again
_BORN = SYSTEM.now()

#: (series, labels)
Key = tuple[str, "Labels"]
#: (kind, help, values, exemplars); what is summed is kept in parts of `_GRAIN`
Table = dict[str, tuple[str, str, dict[Key, float], dict[Key, "Exemplar"]]]


def snapshot(*sources: Any) -> list[Family]:
    """All values of `sources` now (PrometheusObserver, or prometheus_client registries), as plain tuples.

    `pack` makes a text of it for the way to the supervisor, `unpack` is its reverse.

    >>> from elsa.observe.metrics import PrometheusObserver
    >>> [name for name, *_ in snapshot(PrometheusObserver())]
    ['_life', 'elsa_commands_total', 'elsa_build_info']
    """
    families: list[Family] = [(LIFE, "", f"{os.getpid()}-{_BORN}", [])]
    for source in sources:
        families.extend(source.families() if hasattr(source, "families") else from_prometheus(source.collect()))
    return families


def pack(families: Sequence[Family]) -> str:
    """A snapshot as text for a message between two processes of one supervisor.

    >>> unpack(pack([("jobs_total", "counter", "Jobs.", [("jobs_total", (), 2, None)])]))
    [('jobs_total', 'counter', 'Jobs.', [('jobs_total', (), 2, None)])]
    """
    # as JSON, a page of a thousand partitions takes five times as long
    return base64.b64encode(marshal.dumps(list(families))).decode("ascii")


def unpack(text: str) -> list[Family]:
    """What `pack` has packed; only for what comes from one's own processes."""
    found: list[Family] = marshal.loads(base64.b64decode(text))  # noqa: S302 - the same program, the same user
    return found


class Merger:
    """Adds up the snapshots of several worker processes, so that no counter ever falls.

    Counters and histograms are summed, of exemplars the newest is kept; a process that ended leaves both in
    an account of the ended. Gauges are merged by the catalogue's rule and vanish with their process; gauges
    that are not in the catalogue (users' own, `process_*`) keep a label `process`.
    Every method may be called from any thread. `process_id` may be a slot that a successor takes over:
    a snapshot tells its own process, so a late one of an ended process is ignored.

    >>> merger = Merger()
    >>> merger.update(1, [("jobs_total", "counter", "Jobs.", [("jobs_total", (), 2, None)])])
    >>> merger.end(1)
    >>> b"jobs_total 2.0" in merger.render()
    True
    """

    def __init__(self, *, stale_after: float = 30.0, clock: Clock = SYSTEM) -> None:
        self._lock = Lock()
        self._clock = clock
        self._stale_after = stale_after
        self._live: dict[Hashable, tuple[str, float, Sequence[Family]]] = {}
        self._ended: Table = {}
        self._ended_lives: dict[Hashable, str] = {}
        self._own: dict[Key, float] = {}
        for metric in (catalogue.PROCESSES, catalogue.PROCESS_RESTARTS):
            (label,) = metric.labels
            for value in metric.values[label]:
                self._own[metric.name, ((label, value),)] = 0

    def update(self, process_id: Hashable, snapshot: Sequence[Family]) -> None:
        """Take the newest values of one process."""
        life = snapshot[0][2] if snapshot and snapshot[0][0] == LIFE else ""
        with self._lock:
            if life and self._ended_lives.get(process_id) == life:
                return
            if process_id in self._live and self._live[process_id][0] != life:
                self._end(process_id)
            self._live[process_id] = (life, self._clock.monotonic(), snapshot)

    def end(self, process_id: Hashable) -> None:
        """The process ended: its counters stay in the sums, its gauges vanish. Harmless when unknown."""
        with self._lock:
            self._end(process_id)

    def add(self, name: str, count: float = 1, /, **labels: str) -> None:
        """Count a fact of the supervisor itself (`elsa_worker_restarts_total`, `reason=`)."""
        key = self._key(name, "counter", labels)
        with self._lock:
            self._own[key] = self._own.get(key, 0) + count

    def set(self, name: str, value: float, /, **labels: str) -> None:
        """Set a gauge of the supervisor itself (`elsa_worker_processes`, `state=`)."""
        key = self._key(name, "gauge", labels)
        with self._lock:
            self._own[key] = value

    def families(self, stale: int | None = None) -> list[Family]:
        """The merged values: those of the catalogue in its order, then the rest by name.

        `stale` is how many processes have not answered, by default how many have sent nothing for a while.
        """
        with self._lock:
            table: Table = {
                name: (kind, text, dict(series), dict(exemplars))
                for name, (kind, text, series, exemplars) in self._ended.items()
            }
            live = sorted(self._live.items(), key=lambda item: item[1][1])
            own = dict(self._own)
        for process_id, (_, _, families) in live:
            _merge(table, families, str(process_id))
        if stale is None:
            limit = self._clock.monotonic() - self._stale_after
            stale = sum(1 for _, (_, seen, _) in live if seen < limit)
        own[catalogue.STALE_PROCESSES.name, ()] = stale
        for (name, labels), value in own.items():
            metric = catalogue.CATALOGUE[name]
            kept = _exact(value) if _is_summed(metric.kind) else value
            table.setdefault(name, (metric.kind, metric.help, {}, {}))[2][name, labels] = kept
        order = [name for name in catalogue.CATALOGUE if name in table]
        order += sorted(table.keys() - catalogue.CATALOGUE.keys())
        return [_family(name, *table[name]) for name in order]

    def render(self, *, openmetrics: bool = False, stale: int | None = None) -> bytes:
        """The merged page as text; `stale` as for `families`."""
        return render(self.families(stale), openmetrics=openmetrics)

    def _end(self, process_id: Hashable) -> None:
        if (entry := self._live.pop(process_id, None)) is not None:
            life, _, families = entry
            self._ended_lives[process_id] = life
            if len(self._ended_lives) > REMEMBERED_ENDS:
                del self._ended_lives[next(iter(self._ended_lives))]
            _merge(self._ended, [family for family in families if _is_summed(family[1])], str(process_id))

    def _key(self, name: str, kind: str, labels: dict[str, str]) -> Key:
        metric = catalogue.CATALOGUE.get(name)
        if metric is None or metric.kind != kind or set(metric.labels) != set(labels):
            raise ValueError(f"{name} with labels {sorted(labels)} is not a {kind} of elsa.observe.catalogue")
        return name, tuple((label, labels[label]) for label in metric.labels)


def _is_summed(kind: str) -> bool:
    return kind in {"counter", "histogram", "summary"}


def _exact(value: float) -> float:
    try:
        return int(value * _GRAIN)
    except (OverflowError, ValueError):  # not a number, or infinite: a user's histogram may have seen one
        return value


def _rounded(value: float) -> float:
    return value / _GRAIN if isinstance(value, int) else value


def _family(name: str, kind: str, text: str, series: dict[Key, float], exemplars: dict[Key, Exemplar]) -> Family:
    if _is_summed(kind):
        series = {key: _rounded(value) for key, value in series.items()}
    return name, kind, text, [(*key, value, exemplars.get(key)) for key, value in series.items()]


def _merge(table: Table, families: Iterable[Family], process: str) -> None:
    """Add one process to the table; processes come from the longest silent to the newest."""
    for name, kind, text, told in families:
        if name == LIFE:
            continue
        _, _, series, exemplars = table.setdefault(name, (kind, text, {}, {}))
        samples = told
        if _is_summed(kind):
            _keep_newest(exemplars, told)
            samples = [(sample, labels, _exact(value), None) for sample, labels, value, _ in told]
        metric = catalogue.CATALOGUE.get(name)
        rule = "sum" if _is_summed(kind) else metric.merge if metric else "process"
        if not series and rule != "process" and kind != "summary":
            # nothing to merge with: most of it, with one process
            series.update([((sample, labels), value) for sample, labels, value, _ in samples])
            if len(series) == len(samples):
                continue
            series.clear()
        for sample, pairs, value, _ in samples:
            labels = pairs
            if rule == "process" or (kind == "summary" and sample == name):
                labels = (*labels, ("process", process))
            key = (sample, labels)
            old = series.get(key)
            if old is None or rule in {"last", "process"}:
                series[key] = value
            elif rule == "sum":
                series[key] = old + value
            else:
                series[key] = max(old, value) if rule == "max" else min(old, value)


def _keep_newest(exemplars: dict[Key, Exemplar], samples: Iterable[Sample]) -> None:
    for sample, labels, _, exemplar in samples:
        if exemplar is not None:
            key = (sample, labels)
            old = exemplars.get(key)
            if old is None or (old[2] or 0) <= (exemplar[2] or 0):
                exemplars[key] = exemplar
