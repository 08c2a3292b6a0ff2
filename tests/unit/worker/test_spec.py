from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from elsa.worker.spec import WorkerSpec, share


@given(total=st.integers(0, 10_000), processes=st.integers(1, 64))
def test_shares_add_up_and_differ_by_one_at_most(total: int, processes: int) -> None:
    shares = [share(total, processes, index) or 0 for index in range(processes)]

    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


def test_no_limit_is_no_share() -> None:
    assert share(None, 3, 0) is None


def test_the_message_is_json_and_names_everything_a_process_needs() -> None:
    spec = WorkerSpec(target="shop:app", options={"concurrency": 4}, topics=["orders"], burst=True, max_messages=5)
    message = spec.message(index=1, processes=2, slot=7, positions={"prices": {"0": 3}})

    assert json.loads(json.dumps(message)) == {
        "type": "spec",
        "target": "shop:app",
        "options": {"concurrency": 4},
        "topics": ["orders"],
        "weights": {},
        "exclude": [],
        "index": 1,
        "processes": 2,
        "slot": 7,
        "burst": True,
        "max_messages": 2,
        "max_messages_total": 5,
        "log_level": None,
        "json_logs": None,
        "positions": {"prices": {"0": 3}},
    }
