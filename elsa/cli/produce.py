"""`elsa produce`: sends an argument, lines of text or lines of JSON to a topic."""

from __future__ import annotations

import contextlib
import sys
from typing import IO, TYPE_CHECKING

import click

from elsa.cli import output
from elsa.cli.parameters import Pair, common, examples, settings_of
from elsa.errors import EncodeError, UnknownPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from elsa.cli.shipment import Shipment
    from elsa.message import Record

#: how long the producer may take to end after ctrl-C
_HURRY_SECONDS = 1.0


@click.command(
    "produce",
    short_help="Send messages to a topic.",
    epilog=examples(
        "elsa produce orders '{\"id\": 1}' -k ann -H source=shell",
        "tail -f access.log | elsa produce access",
        "elsa produce orders --from-file orders.jsonl --json-lines",
        "elsa fetch orders --json | elsa produce orders-copy --json-lines",
        "elsa produce orders --tombstone -k ann",
    ),
)
@click.argument("topic")
@click.argument("value", required=False)
@click.option("-k", "--key", help="The key of every message that has none.")
@click.option("-H", "--header", "headers", type=Pair(), multiple=True, help="A header of every message; repeatable.")
@click.option("-p", "--partition", type=click.IntRange(min=0), help="The partition of every message that names none.")
@click.option(
    "--partitioner", type=click.Choice(["murmur2", "md5", "random", "zero"]), help="How keys become partitions."
)
@click.option("--json-lines", is_flag=True, help="Each line is an object: value, key, headers, partition, timestamp.")
@click.option("--from-file", type=click.File("rb"), help="Send the lines of a file (- is stdin).")
@click.option("--tombstone", is_flag=True, help="Send one message without any value.")
@common(json=True)
def command(
    *,
    topic: str,
    value: str | None,
    key: str | None,
    headers: tuple[tuple[str, str], ...],
    partition: int | None,
    partitioner: str | None,
    json_lines: bool,
    from_file: IO[bytes] | None,
    tombstone: bool,
    app: str | None,
    brokers: str | None,
    as_json: bool,
) -> int:
    """Send VALUE to TOPIC; without VALUE each line of stdin or of a file is a message.

    Everything is confirmed by Kafka before the command ends. With --json-lines a text value is sent as it is, null is
    a tombstone, {"$base64": "..."} stands for bytes, anything else is sent as JSON. A file is checked as a whole before
    its first line is sent; stdin is sent as it comes and stops at the first bad line.
    """
    from elsa.cli.hints import near_names
    from elsa.cli.shipment import Shipment
    from elsa.producer import Producer

    if sum((value is not None, from_file is not None, tombstone)) > 1:
        raise click.UsageError("give one of VALUE, --from-file and --tombstone")
    given = {"key": key, "headers": list(headers), "partition": partition, "partitioner": partitioner}
    options = {name: option for name, option in given.items() if option is not None}
    settings = settings_of(app, brokers)
    shipment = Shipment()
    producer = Producer(settings)
    try:
        with near_names(settings, topic):
            count = producer.warm_up(topic)
        if partition is not None and partition >= count:
            raise UnknownPartition(f"topic {topic!r} has no partition {partition}, only 0..{count - 1}", topic=topic)
        records = _records(value, from_file, json_lines=json_lines, tombstone=tombstone)
        with _progress(from_file, is_one=value is not None or tombstone) as progress:
            shipment.send(producer, topic, records, progress=progress, **options)
    finally:
        producer.close(_HURRY_SECONDS)
    return _report(topic, shipment, as_json=as_json)


def _records(
    value: str | None, file: IO[bytes] | None, *, json_lines: bool, tombstone: bool
) -> Iterable[tuple[int, Record]]:
    from elsa.cli.lines import BadLine, from_json, from_text
    from elsa.message import Record

    if tombstone:
        return [(1, Record(None))]
    if value is not None:
        file_or_value: Iterable[bytes] = [value.encode(errors="surrogateescape")]
    else:
        file_or_value = file or sys.stdin.buffer
        if file_or_value is sys.stdin.buffer and output.can_ask():
            output.note("one message a line, ctrl-D ends")
    if not json_lines:
        return from_text(file_or_value)
    if isinstance(file_or_value, list) or (file is not None and file.seekable()):
        try:
            for _ in from_json(file_or_value):
                pass
        except BadLine as error:
            raise EncodeError(f"{error}\n  nothing was sent") from error
        if file is not None:
            file.seek(0)
    return from_json(file_or_value)


@contextlib.contextmanager
def _progress(file: IO[bytes] | None, *, is_one: bool) -> Iterator[Callable[[Shipment], None]]:
    """A bar on stderr: of the file's bytes, or just a count when nobody knows how many will come."""
    if is_one or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    total = None
    if file is not None and file.seekable():
        total = file.seek(0, 2)
        file.seek(0)
    columns = (BarColumn(), TextColumn("{task.fields[count]:,} delivered"), TimeElapsedColumn())
    with Progress(*columns, console=output.console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, count=0)

        def show(shipment: Shipment) -> None:
            bar.update(task, count=shipment.delivered, completed=file.tell() if total and file else None)

        yield show


def _report(topic: str, shipment: Shipment, *, as_json: bool) -> int:
    places = {
        str(partition): {"count": count, "first": first, "last": last}
        for partition, (count, first, last) in sorted(shipment.places.items())
    }
    if as_json:
        output.line(
            {
                "topic": topic,
                "delivered": shipment.delivered,
                "failed": shipment.failed,
                "unconfirmed": shipment.unconfirmed,
                "reason": shipment.stopped or shipment.first_failure,
                "partitions": places,
            }
        )
    elif shipment.delivered == 1:
        ((partition, place),) = places.items()
        output.say(f"{topic}[{partition}]@{place['first']}")
    else:
        output.say(f"{shipment.delivered} messages delivered to {topic}")
    if shipment.failed > (shipment.stopped is not None):
        output.fail(f"{shipment.failed} messages were not delivered; the first: {shipment.first_failure}")
    if shipment.stopped is not None:
        output.fail(f"stopped at {shipment.stopped}\n  nothing of that line and after it was sent")
    if shipment.unconfirmed:
        output.fail(f"{shipment.unconfirmed} messages were sent and not confirmed: they may be written or not")
    return shipment.exit_code
