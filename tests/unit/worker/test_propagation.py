"""The context follows into threads that a handler starts, and only there."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from elsa.context import _ACTIVE, Context, NoContext, active, current
from elsa.worker import propagation


@pytest.fixture(autouse=True)
def installed() -> None:
    propagation.install()
    propagation.install()


def context() -> Context:
    site: Any = None
    return Context(site, (), None, 1)


def test_a_thread_started_in_a_handler_sees_its_context() -> None:
    mine = context()
    seen: list[Context | None] = []
    token = _ACTIVE.set(mine)
    try:
        thread = threading.Thread(target=lambda: seen.append(active()))
        thread.start()
    finally:
        _ACTIVE.reset(token)
    thread.join()

    assert seen == [mine]


def test_a_pool_shows_each_submitters_own_context() -> None:
    first, second = context(), context()
    with ThreadPoolExecutor(1) as pool:
        for mine in (first, second):
            token = _ACTIVE.set(mine)
            try:
                assert pool.submit(current).result() is mine
            finally:
                _ACTIVE.reset(token)
        assert pool.submit(active).result() is None or pool.submit(active).result() is first


def test_threads_of_elsa_and_threads_outside_handlers_get_none() -> None:
    seen: list[Context | None] = []
    token = _ACTIVE.set(context())
    try:
        own = threading.Thread(target=lambda: seen.append(active()), name="elsa-something")
        own.start()
    finally:
        _ACTIVE.reset(token)
    outside = threading.Thread(target=lambda: seen.append(active()))
    outside.start()
    own.join()
    outside.join()

    assert seen == [None, None]


def test_current_outside_a_handler_says_so() -> None:
    with pytest.raises(NoContext, match="works inside a handler only"):
        current()
