"""Looks at consumer groups: a handful of requests for all of them; runs in the process that `scout` starts."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

from elsa.clock import SYSTEM
from elsa.errors import AuthorizationFailed, ElsaError, KafkaError, UnknownPartition, UnknownTopic, name_of
from elsa.kafka import heads
from elsa.kafka.inquiry import Inquiry
from elsa.monitor.look import DEAD, Edges, Failure, Look, Seen, concerned, owners
from elsa.monitor.reports import Reports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from elsa.clock import Clock
    from elsa.config import Settings
    from elsa.message import TopicPartition
    from elsa.monitor.look import Place, Report, Request

#: states of a topic or partition that went away between two requests
_GONE = (UnknownTopic, UnknownPartition)
_PATTERN = frozenset("*?[")


class Survey:
    """Looks as often as it is asked, from one thread; keeps its clients and what it has read between the looks."""

    def __init__(self, settings: Settings, *, clock: Clock = SYSTEM) -> None:
        self._settings = settings
        self._clock = clock
        self._inquiry = Inquiry(settings)
        self._reports: Reports | None = None
        #: (partition, offset) -> when the first message from there on was written: that never changes
        self._written: dict[Place, float] = {}

    def look(self, request: Request) -> Look:
        """One look; raises what the cluster as a whole refuses."""
        began = self._clock.monotonic()
        counts = self._inquiry.partition_counts()
        names, unmatched, failures = self._names(request)
        described = self._inquiry.describe(names)
        # before the ends: nobody commits beyond an end that is looked at later
        committed = self._inquiry.committed(names)
        seen = []
        for name in names:
            info, offsets = described[name], committed[name]
            if isinstance(info, ElsaError):
                failures.append(_failure("group", name, info))
            elif isinstance(offsets, ElsaError):
                failures.append(_failure("group", name, offsets))
            elif info.state != DEAD or name in request.groups:
                # one that nobody has named and that is gone since it was listed is none
                held = owners(info.members)
                seen.append(Seen(info, offsets, held, sorted(concerned(offsets, held, counts, request.topics))))
        everything = sorted({where for each in seen for where in each.partitions})
        edges = Edges(
            self._edges(everything, failures, request, end=False), self._edges(everything, failures, request, end=True)
        )
        written = self._ages({place for each in seen for place in each.places(edges)}, request, failures)
        now = self._clock.now()
        groups = tuple(each.state(edges, written, now) for each in seen)
        reports = self._follow(request.app, failures)
        return Look(now, self._clock.monotonic() - began, groups, tuple(failures), reports, unmatched)

    def _names(self, request: Request) -> tuple[list[str], tuple[str, ...], list[Failure]]:
        """The groups to look at, and the patterns that match none; those named are looked at whether they exist or not.

        While a broker does not tell its groups, no pattern is known to match none.
        """
        named = {name for name in request.groups if not _PATTERN & set(name)}
        if request.groups and len(named) == len(request.groups):
            return sorted(named), (), []
        there, errors = self._inquiry.groups()
        patterns = [name for name in request.groups if name not in named] or ["*"]
        found = {pattern: {name for name in there if fnmatch.fnmatchcase(name, pattern)} for pattern in patterns}
        unmatched = [pattern for pattern in request.groups if not errors and pattern in found and not found[pattern]]
        failures = [_failure("cluster", "", error) for error in errors]
        return sorted(named.union(*found.values())), tuple(unmatched), failures

    def _edges(
        self, partitions: Sequence[TopicPartition], failures: list[Failure], request: Request, *, end: bool
    ) -> dict[TopicPartition, int]:
        """The begins or ends of those that still exist."""
        found = {}
        for where, answer in self._inquiry.offsets(partitions, end=end, read_committed=request.read_committed).items():
            if not isinstance(answer, ElsaError):
                found[where] = answer
            elif not isinstance(answer, _GONE) and end:
                failures.append(_failure("partition", str(where), answer))
        return found

    def _ages(self, places: set[Place], request: Request, failures: list[Failure]) -> dict[Place, float | None]:
        """When what each group has next was written, read only where that is not known from the look before.

        The message itself is asked, because its timestamp is exact: a guess from how fast ends moved knows nothing at
        the first look, and is wrong where producers pause.
        """
        found: dict[Place, float | None] = {}
        if request.read_committed:
            found.update((place, self._written[place]) for place in places if place in self._written)
        deadline = self._clock.monotonic() + request.ages_seconds
        # groups that read one topic stand at different places: one place of each partition at a time
        while (missing := places - found.keys()) and (left := deadline - self._clock.monotonic()) > 0:
            turn = dict(sorted(missing, reverse=True))
            read = self._read(turn, left, request, failures)
            found |= {(where, turn[where]): moment for where, moment in read.items()}
            places -= {(where, offset) for where, offset in turn.items() if where not in read}
        if request.read_committed:  # what is open may still be aborted, so it is read each time
            self._written = {place: moment for place, moment in found.items() if moment is not None}
        return found

    def _read(
        self, offsets: dict[TopicPartition, int], seconds: float, request: Request, failures: list[Failure]
    ) -> dict[TopicPartition, float | None]:
        """As `heads.timestamps`; a topic that may not be read is told and left out."""
        deadline = self._clock.monotonic() + seconds
        offsets = dict(offsets)
        while offsets and (left := deadline - self._clock.monotonic()) > 0:
            try:
                return heads.timestamps(self._settings, offsets, left, read_committed=request.read_committed)
            except KafkaError as error:
                if not isinstance(error, _GONE):
                    failures.append(_failure("age", error.topic or "", error))
                if error.topic is None or not isinstance(error, (AuthorizationFailed, *_GONE)):
                    return {}
                offsets = {where: offset for where, offset in offsets.items() if where.topic != error.topic}
        return {}

    def _follow(self, app: str | None, failures: list[Failure]) -> Mapping[str, Report] | None:
        if app is None:
            return {}
        if self._reports is None:
            self._reports = Reports(self._settings, app)
        try:
            return self._reports.read()
        except ElsaError as error:
            self._reports.close()
            failures.append(_failure("cluster", "", error))
            return {}


def _failure(what: str, name: str, error: ElsaError) -> Failure:
    text = str(error).partition("\n")[0]
    return Failure(what, name, name_of(error), text)
