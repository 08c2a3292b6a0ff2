"""Growing pauses."""

from __future__ import annotations

from elsa.policies.backoff import Backoff


def test_pauses_double_within_their_upper_half_and_reset() -> None:
    backoff = Backoff(first=1, most=4)
    pauses = [backoff.next() for _ in range(5)]

    for pause, limit in zip(pauses, [1, 2, 4, 4, 4], strict=True):
        assert limit / 2 <= pause <= limit
    assert backoff.failures == 5
    backoff.reset()
    assert backoff.next() <= 1
