"""The short forms on the default App: `elsa.handler`, `elsa.produce`, `elsa.fetch`, `elsa.create_topic`, ..."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elsa.app import default_app, sole_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from elsa.fetcher import FetchResult
    from elsa.handlers import Handler
    from elsa.message import Message, RecordMetadata
    from elsa.producer import Delivery


def handler(topic: str | list[str], **options: Any) -> Callable[[Any], Handler[Any, Any]]:
    """`App.handler` on the default App.

    ```python
    @elsa.handler("orders")
    def bill(order: dict) -> None: ...
    ```
    """
    return default_app().handler(topic, **options)


def task(target: Any = None, **options: Any) -> Any:
    """`App.task` on the default App.

    ```python
    @elsa.task
    def welcome(user_id: int) -> None: ...

    welcome.send(42)
    ```
    """
    return default_app().task(target, **options) if target is not None else default_app().task(**options)


def send(topic: str, value: Any, **options: Any) -> Delivery:
    """`App.send` on the default App: `elsa.send("orders", {"id": 1}, key="ann").result(10)`."""
    return default_app().send(topic, value, **options)


def produce(topic: str, messages: Any, **options: Any) -> list[RecordMetadata]:
    """`App.produce` on the default App: `elsa.produce("orders", [("k", b"v")])`, confirmed when it returns."""
    return default_app().produce(topic, messages, **options)


def cancel(id: str, **options: Any) -> None:  # noqa: A002 - as in App.cancel
    """`App.cancel` on the default App: `elsa.cancel(delivery.id)` takes a delayed message back.

    Where the default App is not used it is the only App of this process, for a message waits in the topics of its App;
    raises DeclarationError among several.
    """
    sole_app().cancel(id, **options)


def fetch(topic: str, **options: Any) -> FetchResult:
    """`App.fetch` on the default App: `elsa.fetch("orders", partition=0, offset=3).messages`."""
    return default_app().fetch(topic, **options)


def stream(topic: str, **options: Any) -> Iterator[Message]:
    """`App.stream` on the default App: `for message in elsa.stream("orders", end=10): ...`."""
    return default_app().stream(topic, **options)


def search(topic: str, predicate: Callable[[Message], bool], **options: Any) -> Iterator[Message]:
    """`App.search` on the default App: `elsa.search("orders", lambda m: m.partition == 2)`."""
    return default_app().search(topic, predicate, **options)


def search_keys(topic: str, text: str | bytes, **options: Any) -> Iterator[Message]:
    """`App.search_keys` on the default App: `list(elsa.search_keys("orders", "ann"))`."""
    return default_app().search_keys(topic, text, **options)


def search_values(topic: str, text: str | bytes, **options: Any) -> Iterator[Message]:
    """`App.search_values` on the default App: `list(elsa.search_values("orders", "refund"))`."""
    return default_app().search_values(topic, text, **options)


def list_topics(**options: Any) -> dict[str, int]:
    """Topics with their partition counts: `elsa.list_topics()["orders"]`."""
    return default_app().topics.list(**options)


def topic_exists(name: str) -> bool:
    """Whether there is such a topic; raises BrokerUnavailable when nobody answers."""
    return default_app().topics.exists(name)


def create_topic(name: str, **options: Any) -> None:
    """Create a topic and wait until it is usable: `elsa.create_topic("orders", partitions=6)`."""
    default_app().topics.create(name, **options)


def delete_topic(name: str, **options: Any) -> None:
    """Delete a topic: `elsa.delete_topic("orders", missing_ok=True)`."""
    default_app().topics.delete(name, **options)
