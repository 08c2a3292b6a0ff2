"""What the probes of `elsa monitor` answer, with the reason where it is no; pure, called by `watch`."""

from __future__ import annotations

from elsa.observe.verdicts import Check, Verdict, aged


def started() -> Verdict:
    """That the monitor serves: whoever gets an answer knows."""
    return Verdict("started", [])


def live(age: float, limit: float) -> Verdict:
    """Whether the loop has come round, `age` and `limit` in seconds; that Kafka is away does not count."""
    return Verdict("live", [aged("loop", age, limit, "the loop hangs: restart the monitor").document()])


def ready(age: float | None, limit: float, trouble: str) -> Verdict:
    """Whether what is shown is fresh (`age` None: nothing is); `trouble` is why the last look failed, if it has.

    >>> ready(75.04, 60.0, "Kafka is away").document()["checks"][0]["hint"]
    'what was seen last is older than 60 s, the last look failed: Kafka is away'
    """
    if trouble:
        last = f"the last look failed: {trouble}"
    else:
        last = "the first look is not done" if age is None else "the next look is not done"
    if age is None:
        check = Check(name="look", ok=False, limit=limit, hint=f"nothing has been seen yet, {last}")
    else:
        check = aged("look", age, limit, f"what was seen last is older than {limit:g} s, {last}")
    return Verdict("ready", [check.document()])
