"""The dead letters of one topic for those who look after them; made by `App.dead_letters` and `elsa dlq`."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import threading
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from elsa import units
from elsa.clock import SYSTEM
from elsa.dead_letters import filters, topics
from elsa.dead_letters.copies import Edit
from elsa.dead_letters.destinations import Destinations
from elsa.dead_letters.ledger import Ledger
from elsa.dead_letters.letter import DeadLetter, parse_place
from elsa.dead_letters.run import INIT_SECONDS, STEP_SECONDS, Result, Run
from elsa.dead_letters.scan import Scan
from elsa.dead_letters.summary import Summary, summarise
from elsa.errors import KafkaError, UnknownDeadLetter, UnknownPartition, UnknownTopic
from elsa.kafka.transactions import TransactionalProducer
from elsa.names import is_dead_letter_topic
from elsa.trails import Trails

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from datetime import datetime

    from elsa.config import Settings
    from elsa.dead_letters.filters import Filter
    from elsa.dead_letters.marks import Marks
    from elsa.fetcher import Fetcher
    from elsa.groups import Groups
    from elsa.message import Message
    from elsa.topics import Topics

#: what a killed run's transaction may hide from readers at most, if nobody says it again
TRANSACTION_SECONDS = STEP_SECONDS


class Filters(TypedDict, total=False):
    """Which dead letters are meant: those that fit everything given; of several names one is enough.

    Names of handlers and errors may be given without their module, errors also as classes; `since` is included,
    `until` is not; `offsets` are (partition, offset) on the dead-letter topic.
    """

    handler: str | Iterable[str]
    error: str | type[BaseException] | Iterable[str | type[BaseException]]
    reason: str | Iterable[str]
    key: str | bytes | None
    since: datetime | None
    until: datetime | None
    offsets: Iterable[tuple[int, int]] | None


class DeadLetters:
    """The dead letters of one topic. Methods may be called from any thread; an iterator belongs to one at a time.

    `handlers` has the group of each handler of the app, None for one without a group; `named` are the dead-letter
    topics that they name themselves.
    A dead letter is open until it was replayed or dropped, and lies on its topic until that one's retention ends.
    Every method takes the same filters (see `Filters`) and raises UnknownTopic when there is no such topic,
    BrokerUnavailable when nobody answers, AuthorizationFailed naming the missing right.

    ```python
    letters = app.dead_letters("orders", group="billing")
    for letter in letters:
        print(letter.place, letter.error_type, letter.key)
    letters.replay(error=TimeoutError, rate=100)
    letters.drop(offsets=[(0, 17)])
    ```
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        *,
        topics: Topics,
        groups: Groups,
        fetcher: Fetcher,
        handlers: Mapping[str, str | None] | None = None,
        named: Collection[str] = (),
        trace_send: Callable[..., Any] | None = None,
    ) -> None:
        self.topic = topic
        self._settings = settings
        self._topics = topics
        self._groups = groups
        self._fetcher = fetcher
        self._handlers = handlers
        self._trace_send = trace_send
        self._is_known = is_dead_letter_topic(topic) or topic in named
        self._ledger = Ledger(topic, topics=topics, fetcher=fetcher)

    def __repr__(self) -> str:
        return f"<DeadLetters of {self.topic!r}>"

    # -- looking -------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[DeadLetter]:
        return self.list()

    def list(
        self,
        *,
        handled: bool = False,
        limit: int | None = None,
        stop: threading.Event | None = None,
        **wanted: Unpack[Filters],
    ) -> Iterator[DeadLetter]:
        """Iterate over the open ones (with `handled` over all), partition by partition, each in its order.

        Lazy, in bounded memory, and it ends: what dies meanwhile is not returned.
        """
        _check_count("limit", limit)
        scan, _, _ = self._scan(_chosen(self.list, wanted), again=handled, stop=stop or threading.Event())
        for count, letter in enumerate(scan, 1):
            yield letter
            if count == limit:
                return

    def summary(
        self, *, handled: bool = False, stop: threading.Event | None = None, **wanted: Unpack[Filters]
    ) -> Summary:
        """Count the open ones (with `handled` all) by reason, error type and handler."""
        return summarise(self.topic, self.list(handled=handled, stop=stop, **wanted))

    def get(self, which: str | tuple[int, int]) -> DeadLetter:
        """One dead letter, handled or not: by `partition:offset`, by its origin `topic:partition:offset`, or by id.

        Of several with one origin or id (replayed, and dead again) the youngest. Raises UnknownDeadLetter.
        """
        place = parse_place(which) if isinstance(which, str) else which
        if place is not None:
            found: Iterable[DeadLetter] = self.list(handled=True, offsets=[place])
        else:
            found = (one for one in self.list(handled=True) if which in (one.id, str(one.origin)))
        try:
            youngest = max(found, key=lambda one: one.timestamp or 0, default=None)
        except UnknownPartition:
            youngest = None
        if youngest is None:
            raise UnknownDeadLetter(
                f"{self.topic!r} has no dead letter {which if isinstance(which, str) else '{}:{}'.format(*which)!r}",
                topic=self.topic,
                hint=f"`elsa dlq list {self.topic} --all` shows them",
            )
        return youngest

    # -- handling ------------------------------------------------------------------------------------

    def replay(
        self,
        *,
        to: str | None = None,
        group: str | None = None,
        set_headers: object = (),
        drop_headers: str | Iterable[str] = (),
        again: bool = False,
        limit: int | None = None,
        rate: float | str | None = None,
        create: bool | None = None,
        dry_run: bool = False,
        stop: threading.Event | None = None,
        progress: Callable[[Result], None] | None = None,
        **wanted: Unpack[Filters],
    ) -> Result:
        """Send the open ones that the filters mean back to the group that failed, through its retry topic.

        Each is sent once, whenever and however often this is interrupted and called again; with `again` those that
        were replayed or dropped before are sent, too. `to` names another topic, `group` the group where the topic's
        name does not tell it. The copies have key, value and headers of the message, `elsa-origin` and
        `elsa-replayed`, by which they are handled however late it is; `set_headers` (in any form that a send accepts)
        and `drop_headers` change them. At most `limit` are sent, `rate` (100, "100/s", "10/m") a second;
        `create` says whether missing topics of Elsa's are made (default: as the setting `create_topics`). What cannot
        be sent is counted by reason in `Result.refused` and stays open. `stop` may be set to end it in order,
        `progress` hears of every transaction and how far the log is read.

        Raises TransactionFenced when somebody else begins the same. What was done before an error stays done, and the
        error's notes say how much that was.

        ```python
        result = app.dead_letters("orders.billing.dlq").replay(handler="bill", since=monday, dry_run=True)
        print(result.done, result.refused)
        ```
        """
        if to is not None and group is not None:
            raise ValueError("to= and group= say two places: give one of them")
        if to in (self.topic, self._ledger.name):
            raise ValueError(f"to={to!r} is where they are: name another topic")
        creates = self._settings.creates_topics if create is None else create
        destinations = Destinations(
            self.topic,
            topics=self._topics,
            groups=self._groups,
            to=to,
            group=group,
            handlers=self._handlers,
            creates=creates,
            is_dry=dry_run,
        )
        chosen = _chosen(self.replay, wanted)
        pace = None if rate is None else _read_rate(rate)
        destinations.require()
        result = self._run(
            chosen,
            destination=destinations.of,
            edit=Edit.make(set_headers, drop_headers),
            again=again,
            limit=limit,
            rate=pace,
            creates=creates,
            dry_run=dry_run,
            stop=stop,
            progress=progress,
        )
        result.warnings += destinations.warnings
        return result

    def drop(
        self,
        *,
        purge: bool = False,
        limit: int | None = None,
        create: bool | None = None,
        dry_run: bool = False,
        stop: threading.Event | None = None,
        progress: Callable[[Result], None] | None = None,
        **wanted: Unpack[Filters],
    ) -> Result:
        """Note of the open ones that the filters mean that nobody wants them back.

        They stay on the topic until its retention ends. `purge` deletes for good what lies below the first open one of
        each partition, whatever has become of it (Kafka can only delete from the beginning of a partition on).
        """
        result = self._run(
            _chosen(self.drop, wanted),
            destination=None,
            edit=Edit(),
            again=False,
            limit=limit,
            rate=None,
            creates=self._settings.creates_topics if create is None else create,
            dry_run=dry_run,
            stop=stop,
            progress=progress,
        )
        if purge and not dry_run and not result.is_interrupted:
            result.purged = self._purge()
        return result

    def _purge(self) -> dict[int, int]:
        bounds = self._topics.watermarks(self.topic)
        _, marks = self._ledger.load({partition: end for partition, (_, end) in bounds.items()})
        before = {partition: marks[partition].base for partition, (low, _) in bounds.items()}
        before = {partition: base for partition, base in before.items() if base > bounds[partition][0]}
        return self._topics.delete_records(self.topic, before) if before else {}

    def _run(
        self,
        wanted: Filter,
        *,
        again: bool,
        limit: int | None,
        rate: float | None,
        creates: bool,
        dry_run: bool,
        stop: threading.Event | None,
        progress: Callable[[Result], None] | None,
        **plan: Any,
    ) -> Result:
        _check_count("limit", limit)
        stop = stop or threading.Event()
        if not any(low < end for low, end in self._bounds(wanted).values()):
            return Result(is_dry=dry_run)
        with contextlib.ExitStack() as ends:
            producer = None
            if not dry_run:
                self._ledger.require(creates=creates)
                producer = TransactionalProducer(self._settings, self._ledger.name, timeout=TRANSACTION_SECONDS)
                ends.callback(producer.close)
                # before anything is read: what a predecessor has begun is settled after that
                producer.init(INIT_SECONDS)
            scan, topic_id, marks = self._scan(wanted, again=again, stop=stop)
            run = Run(
                scan,
                producer=producer,
                read_marks=self._marks,
                ledger=self._ledger.name,
                topic_id=topic_id,
                marks=marks,
                limit=limit,
                rate=rate,
                stop=stop,
                progress=progress or (lambda _: None),
                clock=SYSTEM,
                trails=Trails(self._trace_send),
                **plan,
            )
            try:
                return run()
            except KafkaError as error:
                if not dry_run:
                    error.add_note(_note(run.result))
                raise

    def _scan(self, wanted: Filter, *, again: bool, stop: threading.Event) -> tuple[Scan, str, dict[int, Marks]]:
        bounds = self._bounds(wanted)
        ends = {partition: end for partition, (_, end) in bounds.items()}
        topic_id, marks = self._ledger.load(ends)
        scan = Scan(
            self._stream,
            wanted,
            topic=self.topic,
            stop=stop,
            lows={partition: low for partition, (low, _) in bounds.items()},
            ends=ends,
            marks=marks,
            since=self._since(wanted, ends),
            again=again,
        )
        return scan, topic_id, marks

    def _marks(self) -> dict[int, Marks]:
        return self._ledger.load({partition: end for partition, (_, end) in self._bounds().items()})[1]

    def _bounds(self, wanted: Filter | None = None) -> dict[int, tuple[int, int]]:
        try:
            # an ordinary topic would be taken for one whose messages may all be dropped, and purged
            if self._is_known:
                return self._having(self._topics.watermarks(self.topic), wanted)
            cause = None
        except UnknownTopic as error:
            cause = error
        own = topics.of_source(self.topic, self._topics.list(internal=True))
        hint = f"its dead letters lie on {', '.join(own)}" if own else "`elsa dlq list` shows what there is"
        if not self._is_known:
            hint += "; one of another name needs the app whose handler says dead_letter="
        raise UnknownTopic(f"there is no dead-letter topic {self.topic!r}", topic=self.topic, hint=hint) from cause

    def _having(self, bounds: dict[int, tuple[int, int]], wanted: Filter | None) -> dict[int, tuple[int, int]]:
        for partition, offset in sorted(wanted.places) if wanted is not None else ():
            if partition not in bounds:
                raise UnknownPartition(
                    f"topic {self.topic!r} has no partition {partition}, so no dead letter {partition}:{offset}",
                    topic=self.topic,
                    partition=partition,
                    hint=f"its partitions are 0..{len(bounds) - 1}",
                )
        return bounds

    def _since(self, wanted: Filter, ends: Mapping[int, int]) -> dict[int, int]:
        """Where the first message of that time lies: nothing before has to be read."""
        if wanted.since is None:
            return {}
        found = self._topics.offsets_at(self.topic, wanted.since)
        return {partition: found.get(partition, end) for partition, end in ends.items()}

    def _stream(self, starts: Mapping[int, int], ends: Mapping[int, int]) -> Iterator[Message]:
        return self._fetcher.stream(self.topic, start=starts, end=ends, partitions=list(starts)) if starts else iter(())


def _chosen(method: Callable[..., Any], wanted: Filters) -> Filter:
    """The filters given to a method; raises TypeError for a name that neither they nor its options have."""
    for name in wanted:
        if name not in Filters.__annotations__:
            options = [option for option in inspect.signature(method).parameters if option != "wanted"]
            near = difflib.get_close_matches(name, [*Filters.__annotations__, *options], 1)
            hint = f"did you mean {near[0]}=?" if near else f"filters are {', '.join(Filters.__annotations__)}"
            raise TypeError(f"{method.__name__}() has no filter or option {name}=: {hint}")
    return filters.make(**wanted)


def _read_rate(rate: object) -> float:
    try:
        return units.per_second(rate)
    except ValueError:
        raise ValueError(
            f'rate={rate!r} is no number of messages a second above 0: give one, or a text like "100/s" or "10/m"'
        ) from None


def _check_count(name: str, count: object) -> None:
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise ValueError(f"{name}={count!r} is no number of messages, at least 1")


def _note(result: Result) -> str:
    unsure = f", {result.uncertain} more perhaps" if result.uncertain else ""
    return f"  {result.done} dead letters were done before{unsure}; say it again: none is done twice"
