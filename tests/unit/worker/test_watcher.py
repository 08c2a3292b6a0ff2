"""What the watcher says of the topics that it makes."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from elsa.testing.clock import FakeClock
from elsa.worker.watcher import Watcher


@pytest.mark.parametrize("is_new", [True, False])
def test_a_topic_is_said_to_be_created_by_who_has_created_it(*, is_new: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Another process of the worker may be faster; the topic is new to both."""
    settings = SimpleNamespace(creates_topics=True)
    app: Any = SimpleNamespace(settings=settings, create_declared=lambda topic, declared: is_new)
    binding: Any = SimpleNamespace(is_pattern=False, topic="orders", first=SimpleNamespace(declared=None))
    watcher = Watcher(app, [binding], [], FakeClock(), lambda text, code: None)
    with caplog.at_level(logging.INFO, "elsa.worker"):
        created = watcher._create_missing({})

    assert created == {"orders"}
    assert caplog.messages == (["topic created"] if is_new else [])
