"""Reads the configuration of a broker; called by `elsa check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource

from elsa.kafka.config import client_config
from elsa.kafka.errors import facts_of, translate

if TYPE_CHECKING:
    from elsa.config import Settings


def broker_config(settings: Settings, *, timeout: float = 5.0) -> dict[str, str]:
    """Every setting of one broker of the cluster; raises BrokerUnavailable, AuthorizationFailed after `timeout` s.

    ```python
    broker_config(Settings())["group.min.session.timeout.ms"]   # "6000"
    ```
    """
    admin = AdminClient(client_config(settings, "admin"))
    try:
        broker = min(admin.list_topics(timeout=timeout).brokers)
        resource = ConfigResource(ConfigResource.Type.BROKER, str(broker))
        entries = admin.describe_configs([resource], request_timeout=timeout)[resource].result(timeout + 1.0)
    except KafkaException as error:
        raise translate(error, **facts_of(settings), operation="DescribeConfigs") from error
    return {name: str(entry.value) for name, entry in entries.items() if entry.value is not None}
