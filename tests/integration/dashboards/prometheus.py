"""A real Prometheus on loopback for the tests of boards and alerts, and the promtool that comes with it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from elsa.broker.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

PATIENCE = 60.0


def require_prometheus() -> None:
    """Skip the test when Prometheus is not installed; with `CI=true` fail it."""
    absent = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    if not absent:
        return
    text = f"{' and '.join(absent)} cannot be found; on Debian and Ubuntu: apt install prometheus"
    if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
        pytest.fail(f"CI=true, and {text}", pytrace=False)
    pytest.skip(text)


def promtool(*arguments: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run it; what it said and its exit code."""
    return subprocess.run(
        ["promtool", *map(str, arguments)], input=text, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def until(is_so: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
    """Look until something is true and return it; fails the test after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not (found := is_so()):
        if time.monotonic() > end:
            pytest.fail(f"waited {timeout:g} s until {what}")
        time.sleep(0.2)  # the answers change once a second
    return found


class Prometheus:
    """One that scrapes every second; `watch` adds targets while it runs."""

    def __init__(self, folder: Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self._targets = folder / "targets.json"
        self._process = process
        self._watched: list[dict[str, Any]] = []

    def watch(self, job: str, address: str) -> None:
        """Scrape `address` (host:port) from now on, and wait for its first values."""
        self._watched.append({"targets": [address], "labels": {"job": job}})
        self._write(self._watched)
        query = f'up{{instance="{address}"}} == 1'
        until(lambda: self.query(query), f"Prometheus has scraped {address}")

    def forget(self, address: str) -> None:
        """Scrape it no more: it is gone on purpose."""
        self._watched = [each for each in self._watched if each["targets"] != [address]]
        self._write(self._watched)

    def _write(self, targets: list[dict[str, Any]]) -> None:
        fresh = self._targets.with_suffix(".new")
        fresh.write_text(json.dumps(targets))
        fresh.rename(self._targets)

    def get(self, path: str, **parameters: Any) -> Any:
        """The data of one answer of its HTTP API; fails the test when it refuses the question."""
        question = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.base}/api/v1/{path}?{question}", timeout=PATIENCE) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"Prometheus refuses {parameters}: {error.read().decode()}")

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The present values, or those of a moment."""
        moment = {} if at is None else {"time": at}
        return list(self.get("query", query=expression, **moment)["result"])

    def course(self, expression: str, start: float, end: float, step: float = 1.0) -> list[dict[str, Any]]:
        """The values over a time, as Grafana asks for them."""
        return list(self.get("query_range", query=expression, start=start, end=end, step=step)["result"])

    def firing(self) -> set[str]:
        """The alerts that fire, as its rules API tells."""
        groups = self.get("rules", type="alert")["groups"]
        return {rule["name"] for group in groups for rule in group["rules"] if rule["state"] == "firing"}

    def complaints(self) -> list[str]:
        """What its rules could not be evaluated for."""
        groups = self.get("rules")["groups"]
        return [rule["lastError"] for group in groups for rule in group["rules"] if rule.get("lastError")]

    def stop(self) -> None:
        """End it; harmless when it has ended."""
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE)


@contextlib.contextmanager
def prometheus(folder: Path, rules: Iterable[Path]) -> Iterator[Prometheus]:
    """A running Prometheus with these files of rules, and no targets yet."""
    (folder / "targets.json").write_text("[]")
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [{"job_name": "tests", "file_sd_configs": [{"files": [str(folder / "targets.json")]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    checked = promtool("check", "config", folder / "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    (port,) = free_ports(1)
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--enable-feature=exemplar-storage",
            ],
            stdout=log,
            stderr=log,
        )
    made = Prometheus(folder, port, process)
    try:
        until(lambda: _is_ready(made, process, folder), "Prometheus is ready")
        yield made
    finally:
        made.stop()


def _is_ready(made: Prometheus, process: subprocess.Popen[bytes], folder: Path) -> bool:
    if process.poll() is not None:
        pytest.fail(f"Prometheus has ended: {(folder / 'prometheus.log').read_text()[-2000:]}")
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{made.base}/-/ready", timeout=5) as answer:
        return bool(answer.status == 200)
    return False
