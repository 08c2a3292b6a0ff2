"""`elsa monitor`: looks at consumer groups from outside, and serves what it sees to Prometheus."""

from __future__ import annotations

import click

from elsa.cli import is_debugging, output
from elsa.cli.parameters import Seconds, common, examples, loaded_of

#: beside that of a worker on the same machine
DEFAULT_PORT = 9465


@click.command(
    "monitor",
    short_help="Serve the lag of groups to Prometheus, from outside of workers.",
    epilog=examples(
        "elsa monitor -b localhost:9092",
        "elsa monitor --group billing --group 'shop-*' --interval 15s",
        "elsa monitor --http-host 0.0.0.0 --http-open --http-port 9500 --json-logs",
    ),
)
@click.option("-g", "--group", "groups", multiple=True, help="Only this group, or those like 'shop-*'; repeatable.")
@click.option("-t", "--topic", "topics", multiple=True, help="Only this topic; repeatable.")
@click.option("--interval", type=Seconds(), default="10s", show_default=True, help="Time from one look to the next.")
@click.option("--window", type=Seconds(), default="2m", show_default=True, help="What partitions are graded over.")
@click.option("--read-uncommitted", is_flag=True, help="Count to the high watermark, open transactions included.")
@click.option(
    "--http-port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="0 takes any free port."
)
@click.option("--http-host", help="Address of the port (127.0.0.1).")
@click.option(
    "--http-open", is_flag=True, default=None, help="Serve everybody who reaches it, also beyond this machine."
)
@click.option("--json-logs", is_flag=True, default=None, help="Log one JSON object a line.")
@common()
def command(
    *,
    groups: tuple[str, ...],
    topics: tuple[str, ...],
    interval: float,
    window: float,
    read_uncommitted: bool,
    http_port: int,
    http_host: str | None,
    http_open: bool | None,
    json_logs: bool | None,
    app: str | None,
    brokers: str | None,
) -> None:
    """Look at consumer groups again and again, and serve lag, members and grades on /metrics until it is told to stop.

    It joins no group and needs no worker. While Kafka is away it goes on, and says so. Its port takes the settings
    http_cert, http_key, http_client_ca and http_token (ELSA_HTTP_CERT ...), as a worker's does.
    """
    from elsa.cli.interrupts import stopped_by_signals
    from elsa.config import override
    from elsa.monitor.look import Request
    from elsa.monitor.service import serve
    from elsa.observe import logs

    if interval <= 0 or window <= 0:
        raise click.UsageError("--interval and --window have to be above 0")
    if window < interval:
        raise click.UsageError(
            f"a --window of {window:g} s never holds two looks at an --interval of {interval:g} s:"
            " give a longer window, or a shorter interval"
        )
    settings = override(loaded_of(app, brokers), http_host=http_host, http_open=http_open, json_logs=json_logs).settings
    logs.setup(settings.log_level, settings.json_logs)
    request = Request(groups, topics, read_committed=not read_uncommitted)
    with stopped_by_signals() as stop:
        serve(
            settings,
            request,
            interval=interval,
            window=window,
            port=http_port,
            stop=stop,
            quiet=not is_debugging(),
            on_start=lambda url: output.note(f"groups are looked at every {interval:g} s, metrics at {url}"),
        )
