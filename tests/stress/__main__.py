"""`make stress`: breaks what can break under a numbered stream, and accounts for every message."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.stress.peers import compare
from tests.stress.run import Options, Report, Run
from tests.stress.schedule import FAULTS
from tests.stress.table import table


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 when every promise was kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the stream lasts (10)")
    parser.add_argument("--seed", type=int, help="repeat the faults of an earlier run")
    parser.add_argument("--rate", type=float, default=40.0, help="messages a second of each kind (40)")
    parser.add_argument("--workers", type=int, default=2, help="workers at first (2)")
    parser.add_argument("--session", type=float, default=6.0, help="session timeout in seconds (6)")
    parser.add_argument("--fault", action="append", choices=tuple(FAULTS), help="only this one (may be repeated)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the account there")
    parser.add_argument("--keep", action="store_true", help="keep the logs also when all is well")
    parser.add_argument("--peers", action="store_true", help="compare with Celery and taskiq instead: one kill each")
    options = parser.parse_args(arguments)
    # so that nothing is left running
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if options.peers:
        return compare.main(say)
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    say(f"seed {seed}: python -m tests.stress --minutes {options.minutes:g} --seed {seed} repeats the faults")
    folder = Path(tempfile.mkdtemp(prefix="elsa-stress-"))
    chosen = Options(
        seed,
        options.minutes * 60,
        per_second=options.rate,
        workers=options.workers,
        session=options.session,
        faults=tuple(options.fault or FAULTS),
    )
    report = Run(chosen, folder, say).execute()
    return conclude(report, folder, options.json, keep=options.keep)


def conclude(report: Report, folder: Path, json_path: Path | None, *, keep: bool) -> int:
    """Print the account; 1 when a promise was broken, and the logs are kept then."""
    print(table(report))
    for path in (folder / "report.json", json_path):
        if path:
            path.write_text(report.as_json())
    for complaint in report.complaints:
        print(f"broken: {complaint}", file=sys.stderr)
    if report.complaints or keep:
        say(f"logs, journals and Kafka's own folder: {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if report.complaints else 0


def say(text: str) -> None:
    """Tell how far it is, beside the account."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
