"""Page views become visits: a class with state that takes batches.

A visit ends when its visitor looks at nothing for half an hour. Finished visits go to `visits`; those that
go on are the handler's state, kept in memory and in the compacted topic `visits.open`, from which `setup`
reads them when the partition comes to another process. A visit may be sent twice when a process dies between
its two sends; visitor and number tell.

    elsa worker workers.sessions:app
    elsa produce views '{"visitor": "ann", "page": "/", "time": 0}' --key ann
    elsa produce views '{"visitor": "ann", "page": "/buy", "time": 9000}' --key ann
    elsa fetch visits --follow
"""

from __future__ import annotations

import msgspec

import elsa
from elsa.errors import UnknownTopic

GAP_SECONDS = 1_800.0

app = elsa.App("sessions")


class View(msgspec.Struct):
    """Somebody looked at a page; `time` in seconds since the epoch."""

    visitor: str
    page: str
    time: float


class Visit(msgspec.Struct):
    """Views of one visitor without a gap; `number` counts the visitor's visits from 1.

    `offset` is that of the last view counted: a view that comes again after a crash is left out.
    """

    visitor: str
    number: int
    started: float
    ended: float
    pages: int
    offset: int


@app.on_startup
def create_topics() -> None:
    """Make the topics that are only written to, the state's with as many partitions as the views have."""
    if app.settings.creates_topics:
        partitions = app.topics.list().get("views") or app.settings.default_partitions
        # another worker process may be faster
        app.topics.create("visits", partitions=partitions, exist_ok=True)
        app.topics.create("visits.open", partitions=partitions, config={"cleanup.policy": "compact"}, exist_ok=True)


@app.handler("views", name="visits", batch=500, batch_wait=0.2)
class Visits:
    """The open visits of one partition."""

    def setup(self, ctx: elsa.Context) -> None:
        """Read the open visits back."""
        self.open: dict[str, Visit] = {}
        try:
            for message in app.stream("visits.open", partitions=[ctx.partition]):
                visit = msgspec.json.decode(message.value or b"", type=Visit)
                self.open[visit.visitor] = visit
        except UnknownTopic:
            return

    def handle_batch(self, views: list[View], ctx: elsa.Context) -> None:
        """Count a batch of views; each visitor's visit is sent once, however many views the batch has of it."""
        changed: dict[str, Visit] = {}
        sent = []
        for view, message in zip(views, ctx.messages, strict=True):
            visit = changed.get(view.visitor) or self.open.get(view.visitor)
            if visit is not None and message.offset <= visit.offset:
                continue
            if visit is not None and view.time - visit.ended > GAP_SECONDS:
                sent.append(ctx.send("visits", visit, key=view.visitor))
                changed[view.visitor] = first_view(view, visit.number + 1, message.offset)
            elif visit is None:
                changed[view.visitor] = first_view(view, 1, message.offset)
            else:
                changed[view.visitor] = msgspec.structs.replace(
                    visit, ended=max(visit.ended, view.time), pages=visit.pages + 1, offset=message.offset
                )
        # the partition of these views, so that setup finds it there
        sent += [ctx.send("visits.open", v, key=k, partition=ctx.partition) for k, v in changed.items()]
        for delivery in sent:
            delivery.result(30)
        # only now: a batch that is tried again must find what it found before
        self.open.update(changed)


def first_view(view: View, number: int, offset: int) -> Visit:
    """The visit that begins with this view."""
    return Visit(view.visitor, number, view.time, view.time, 1, offset)
