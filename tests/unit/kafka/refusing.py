"""librdkafka's mock cluster by its C functions: only they can have a request refused or answered late."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: of the topics `t` and `u`
PARTITIONS = 4


class RefusingMock:
    """One broker; `answer` says how the next requests of a kind are refused."""

    def __init__(self) -> None:
        # loaded by confluent_kafka before
        path = re.search(r"\S*librdkafka\S*", Path("/proc/self/maps").read_text())
        assert path is not None
        self._library = library = ctypes.CDLL(path.group())
        library.rd_kafka_conf_new.restype = library.rd_kafka_new.restype = ctypes.c_void_p
        library.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
        library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        text = ctypes.create_string_buffer(512)
        config = ctypes.c_void_p(library.rd_kafka_conf_new())
        library.rd_kafka_conf_set(config, b"log_level", b"0", text, ctypes.c_size_t(512))
        self._owner = ctypes.c_void_p(library.rd_kafka_new(0, config, text, ctypes.c_size_t(512)))
        self._cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(self._owner, 1))
        self.bootstrap = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        for topic in (b"t", b"u"):
            library.rd_kafka_mock_topic_create(self._cluster, topic, PARTITIONS, 1)

    def answer(self, request: int, errors: Sequence[int]) -> None:
        """The next requests of this kind get these errors."""
        codes = (ctypes.c_int * len(errors))(*errors)
        push = self._library.rd_kafka_mock_push_request_errors_array
        push(self._cluster, ctypes.c_int16(request), ctypes.c_size_t(len(errors)), codes)

    def slow_down(self, milliseconds: int) -> None:
        """Every answer takes so long."""
        self._library.rd_kafka_mock_broker_set_rtt(self._cluster, ctypes.c_int32(-1), ctypes.c_int(milliseconds))

    def stop(self) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._owner)
