"""A real Apache Kafka for development and tests, from pip packages alone."""

from __future__ import annotations

from elsa.broker.cluster import EmbeddedKafka

__all__ = ["EmbeddedKafka"]
