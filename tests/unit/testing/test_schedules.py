"""Periodic tasks in the harness: they fire when its clock is moved."""

from __future__ import annotations

from datetime import UTC, datetime

import elsa


def test_periodic_tasks_fire_at_their_times_when_the_clock_is_moved(app: elsa.App) -> None:
    ran: list[tuple[str, str, float]] = []

    @app.cron("30 2 * * *", timezone="Europe/Copenhagen", name="night", args=("n",))
    @app.every(1800, name="often", args=("o",))
    @app.task
    def tick(what: str) -> None:
        ran.append((what, (elsa.current().message.header("elsa-id") or b"").decode(), round(t.clock.now() % 86_400)))

    # the clocks are changed at 01:00 UTC
    with app.test(now=datetime(2026, 3, 29, 0, 40, tzinfo=UTC)) as t:
        assert ran == []
        t.advance(3600)

        assert ran == [
            ("o", "often:2026-03-29T01:00:00Z", 3_600),
            ("n", "night:2026-03-29T01:00:00Z", 3_600),
            ("o", "often:2026-03-29T01:30:00Z", 5_400),
        ]
        assert len(t.sent(f"{app.name}.tasks")) == 3


def test_what_only_a_periodic_task_would_bring_is_not_waited_for(app: elsa.App) -> None:
    calls: list[int] = []

    @app.every(60)
    @app.task(name="t", retry=elsa.Retry(max_attempts=2, base=90, factor=1, jitter=False))
    def tick() -> None:
        calls.append(elsa.current().attempt)
        if len(calls) == 1:
            raise ValueError

    with app.test(now=30.0, raise_errors=False) as t:
        assert t.advance_to_next() == 0.0
        t.advance(30)
        assert calls == [1]
        # the retry at 150; a call at 120 waits behind it, in order
        assert t.advance_to_next() == 90.0
        assert calls == [1, 2, 1]
        assert t.advance_to_next() == 0.0
