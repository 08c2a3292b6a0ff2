"""Sales are summed up on time: a task that is called every ten seconds and on the morning of each working day.

However many workers run, each period is reported once, also one that ended while none of them ran: the call says when
it was due, and sums up what Kafka has of the time before. A report that is made twice, because a process died between
its send and its commit, says the same again.

    elsa worker workers.reports:app
    elsa produce sales '{"product": "tea", "amount": 4.5}' --key tea
    elsa fetch reports --follow
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta

import msgspec

import elsa
from elsa.errors import UnknownTopic

app = elsa.App("reports")


class Sale(msgspec.Struct):
    """Something was sold."""

    product: str
    amount: float


class Report(msgspec.Struct):
    """What was sold from `begins` until `ends`, by product."""

    begins: datetime
    ends: datetime
    sold: dict[str, float]


@app.on_startup
def create_topics() -> None:
    """Make the topics that no handler reads."""
    if app.settings.creates_topics:
        for topic in ("sales", "reports"):
            # another worker process may be faster
            app.topics.create(topic, partitions=3, exist_ok=True)


@app.cron("0 8 * * MON-FRI", timezone="Europe/Copenhagen", name="morning", args=(24 * 3600,))
@app.every(10, name="now", args=(10,))
@app.task
def report(seconds: int, ctx: elsa.Context) -> None:
    """Report so many seconds before the call was due."""
    ends = datetime.fromtimestamp(float(dict(ctx.headers)["elsa-scheduled-at"] or 0), UTC)
    begins = ends - timedelta(seconds=seconds)
    sold: defaultdict[str, float] = defaultdict(float)
    try:
        for message in app.stream("sales", start=begins, end=ends):
            sale = msgspec.json.decode(message.value or b"", type=Sale)
            sold[sale.product] += sale.amount
    except UnknownTopic:
        return
    if sold:
        ctx.send("reports", Report(begins, ends, dict(sold)), key=begins.isoformat())
