"""Runs the watch and its HTTP endpoint side by side until they are told to stop; called by `elsa monitor`."""

from __future__ import annotations

from threading import Event, Thread
from typing import TYPE_CHECKING

from elsa.monitor.scout import Scout
from elsa.monitor.verdicts import started
from elsa.monitor.watch import Watch
from elsa.observe.guard import Guard, settings_of
from elsa.observe.http import MetricsServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.config import Settings
    from elsa.monitor.look import Request


def serve(
    settings: Settings,
    request: Request,
    *,
    interval: float,
    window: float,
    port: int,
    stop: Event,
    quiet: bool,
    on_start: Callable[[str], object],
) -> None:
    """Look and serve until `stop` is set; `on_start` is told where the metrics are. Raises ConfigError."""
    guard = Guard.of(settings_of(settings))
    guard.check(settings.http_host)
    with Scout(settings, quiet=quiet) as scout:
        watch = Watch(scout, request, interval=interval, window=window)
        server = MetricsServer(
            watch.page,
            settings.http_host,
            port,
            status=watch.status,
            probes={"/livez": watch.live, "/readyz": watch.ready, "/startupz": started},
            render_openmetrics=lambda: watch.page(openmetrics=True),
            guard=guard,
            port_options="--http-port",
        )
        server.start()
        on_start(server.url)
        # not the main thread: a stop must not wait for a look that waits for Kafka
        looker = Looker(watch, stop)
        looker.start()
        stop.wait()
        scout.close()
        looker.join()
        server.stop()
    if looker.error is not None:
        raise looker.error


class Looker(Thread):
    """The watch's thread; should it fail, everything ends with its error."""

    def __init__(self, watch: Watch, stop: Event) -> None:
        super().__init__(name="elsa-monitor", daemon=True)
        self._watch = watch
        self._stopping = stop
        self.error: BaseException | None = None

    def run(self) -> None:
        """Until it is told to stop."""
        try:
            self._watch.run(self._stopping)
        except BaseException as error:  # told by the main thread, which must not wait for ever
            self.error = error
            self._stopping.set()
