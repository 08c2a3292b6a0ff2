"""What every error code of the client library means for whoever meets it: one table, code -> class and reason.

Read by every adapter in this package that looks at a code; the texts for people are made by `errors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from confluent_kafka import KafkaError as ClientError


class Class(StrEnum):
    """What follows from an error.

    - retry: the client and the worker go on, the same call may pass; Elsa's error is `retryable`.
    - rebuild: this client is of no use any more and is made anew.
    - fatal: it stays so until somebody changes something. A call raises a clear error, a command ends with its exit
      code, a worker whose group is refused ends as well; one that works already says it once a minute and waits, as
      it does for a topic, whose neighbours go on.
    - ignore: no failure: a signal of the client, or an answer that says that there was nothing to do.
    """

    RETRY = "retry"
    REBUILD = "rebuild"
    FATAL = "fatal"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Meaning:
    """The class of a code, and in a few words what has happened."""

    name: Class
    reason: str


#: a call that met one of these got no answer
UNREACHABLE = """
    _TRANSPORT _ALL_BROKERS_DOWN _RESOLVE _TIMED_OUT _TIMED_OUT_QUEUE _WAIT_COORD BROKER_NOT_AVAILABLE
    NETWORK_EXCEPTION REQUEST_TIMED_OUT
"""
#: the group knows another state of this member; the client joins anew by itself
MEMBERSHIP = """
    ILLEGAL_GENERATION UNKNOWN_MEMBER_ID STALE_MEMBER_EPOCH FENCED_MEMBER_EPOCH _STATE _ASSIGNMENT_LOST
"""
OUT_OF_RANGE = "OFFSET_OUT_OF_RANGE _AUTO_OFFSET_RESET _LOG_TRUNCATION"
UNKNOWN_TOPIC = "UNKNOWN_TOPIC_OR_PART _UNKNOWN_TOPIC UNKNOWN_TOPIC_ID"
ACL = """
    TOPIC_AUTHORIZATION_FAILED GROUP_AUTHORIZATION_FAILED CLUSTER_AUTHORIZATION_FAILED
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED DELEGATION_TOKEN_AUTHORIZATION_FAILED
"""
#: another producer has the transactional id
FENCED_PRODUCER = "_FENCED PRODUCER_FENCED INVALID_PRODUCER_EPOCH"
FENCED_MEMBER = "FENCED_INSTANCE_ID UNRELEASED_INSTANCE_ID"
CREDENTIALS = "_AUTHENTICATION SASL_AUTHENTICATION_FAILED ILLEGAL_SASL_STATE"
TOKENS = """
    DELEGATION_TOKEN_AUTH_DISABLED DELEGATION_TOKEN_NOT_FOUND DELEGATION_TOKEN_OWNER_MISMATCH
    DELEGATION_TOKEN_REQUEST_NOT_ALLOWED DELEGATION_TOKEN_EXPIRED INVALID_PRINCIPAL_TYPE UNACCEPTABLE_CREDENTIAL
    PRINCIPAL_DESERIALIZATION_FAILURE
"""
#: this message is refused, others are not
MESSAGE = """
    MSG_SIZE_TOO_LARGE RECORD_LIST_TOO_LARGE INVALID_MSG_SIZE INVALID_RECORD INVALID_TIMESTAMP
    UNSUPPORTED_COMPRESSION_TYPE UNSUPPORTED_FOR_MESSAGE_FORMAT
"""
TOPIC = """
    TOPIC_EXCEPTION INVALID_PARTITIONS INVALID_REPLICATION_FACTOR INVALID_REPLICA_ASSIGNMENT INVALID_CONFIG
    POLICY_VIOLATION TOPIC_DELETION_DISABLED
"""
PURGED = "_PURGE_QUEUE _PURGE_INFLIGHT"

#: class -> what has happened -> the codes that say so
_MEANINGS: dict[Class, dict[str, str]] = {
    Class.RETRY: {
        "no Kafka broker answered": UNREACHABLE,
        "a connection to a broker broke": "_FAIL",
        "Kafka did not confirm the message in time": "_MSG_TIMED_OUT",
        "the producer's buffer is full": "_QUEUE_FULL",
        "a leader, coordinator or controller is moving": """
            LEADER_NOT_AVAILABLE NOT_LEADER_FOR_PARTITION REPLICA_NOT_AVAILABLE NOT_CONTROLLER NOT_COORDINATOR
            COORDINATOR_LOAD_IN_PROGRESS COORDINATOR_NOT_AVAILABLE FENCED_LEADER_EPOCH UNKNOWN_LEADER_EPOCH
            OFFSET_NOT_AVAILABLE STALE_CTRL_EPOCH STALE_BROKER_EPOCH TRANSACTION_COORDINATOR_FENCED
            PREFERRED_LEADER_NOT_AVAILABLE ELIGIBLE_LEADERS_NOT_AVAILABLE LISTENER_NOT_FOUND REBOOTSTRAP_REQUIRED
            UNKNOWN_CONTROLLER_ID _UNKNOWN_BROKER _WAIT_CACHE
        """,
        "too few replicas are in sync": "NOT_ENOUGH_REPLICAS NOT_ENOUGH_REPLICAS_AFTER_APPEND _ISR_INSUFF",
        "a broker's disk failed": "KAFKA_STORAGE_ERROR",
        "the broker met an error of its own, see its log": "UNKNOWN",
        "a quota of the cluster holds this back": "THROTTLING_QUOTA_EXCEEDED",
        "the group is rebalancing": "REBALANCE_IN_PROGRESS MEMBER_ID_REQUIRED",
        "the group knows another state of this member": MEMBERSHIP,
        "the client was not polled in time and has left the group": "_MAX_POLL_EXCEEDED",
        "the group has other members that have to go first": "INCONSISTENT_GROUP_PROTOCOL GROUP_MAX_SIZE_REACHED",
        "a transaction is still under way": "CONCURRENT_TRANSACTIONS UNSTABLE_OFFSET_COMMIT",
        "the transaction has to be made again": "TRANSACTION_ABORTABLE",
        "the fetch session ended": """
            FETCH_SESSION_ID_NOT_FOUND INVALID_FETCH_SESSION_EPOCH SHARE_SESSION_NOT_FOUND
            INVALID_SHARE_SESSION_EPOCH SHARE_SESSION_LIMIT_REACHED
        """,
        "data was damaged on its way": "INVALID_MSG",
        "another message of the same batch was refused": "_INVALID_DIFFERENT_RECORD",
        "the topic was made anew": "INCONSISTENT_TOPIC_ID",
        "it could not be done just now": """
            _IN_PROGRESS _PREV_IN_PROGRESS REASSIGNMENT_IN_PROGRESS OPERATION_NOT_ATTEMPTED _RETRY _OUTDATED _INTR
            _PARTIAL
        """,
    },
    Class.REBUILD: {
        "the client failed for good": "_FATAL _GAPLESS_GUARANTEE _INCONSISTENT _CRIT_SYS_RESOURCE _DESTROY",
        "another producer has the transactional id": FENCED_PRODUCER,
        "another worker has the group.instance.id": FENCED_MEMBER,
        "the broker has lost the thread of this producer": """
            OUT_OF_ORDER_SEQUENCE_NUMBER UNKNOWN_PRODUCER_ID INVALID_PRODUCER_ID_MAPPING INVALID_TXN_STATE
        """,
    },
    Class.FATAL: {
        "an ACL is missing": ACL,
        "the broker refused the credentials": CREDENTIALS,
        "the TLS handshake failed": "_SSL",
        "the broker does not offer this SASL mechanism": "UNSUPPORTED_SASL_MECHANISM",
        "the broker refused the delegation token or principal": TOKENS,
        "the topic does not exist": UNKNOWN_TOPIC,
        "the partition does not exist": "_UNKNOWN_PARTITION",
        "the group does not exist": "GROUP_ID_NOT_FOUND _UNKNOWN_GROUP",
        "there is no such thing": "RESOURCE_NOT_FOUND _NOENT LOG_DIR_NOT_FOUND",
        "the offset lies outside the log": OUT_OF_RANGE,
        "the message is refused": MESSAGE,
        "what came from the broker cannot be read": "_BAD_MSG _BAD_COMPRESSION _UNDERFLOW",
        "the message was dropped when the producer was closed": PURGED,
        "the topic exists already": "TOPIC_ALREADY_EXISTS",
        "the broker refused the operation on the topic": TOPIC,
        "the group still has members": "NON_EMPTY_GROUP GROUP_SUBSCRIBED_TO_TOPIC",
        "the group refused this member": """
            INVALID_GROUP_ID INVALID_SESSION_TIMEOUT UNSUPPORTED_ASSIGNOR INVALID_REGULAR_EXPRESSION
        """,
        "the commit's metadata is too large": "OFFSET_METADATA_TOO_LARGE INVALID_COMMIT_OFFSET_SIZE",
        "a setting or argument is wrong": """
            _INVALID_ARG _INVALID_TYPE _NOT_CONFIGURED _CONFLICT _EXISTING_SUBSCRIPTION _READ_ONLY _FS
            INVALID_REQUIRED_ACKS INVALID_TRANSACTION_TIMEOUT DUPLICATE_RESOURCE SECURITY_DISABLED
        """,
        "the program's own code failed": """
            _APPLICATION _KEY_SERIALIZATION _VALUE_SERIALIZATION _KEY_DESERIALIZATION _VALUE_DESERIALIZATION
        """,
        "the broker does not know this request": """
            UNSUPPORTED_VERSION INVALID_REQUEST _UNSUPPORTED_FEATURE _NOT_IMPLEMENTED _UNKNOWN_PROTOCOL
            MISMATCHED_ENDPOINT_TYPE UNSUPPORTED_ENDPOINT_TYPE
        """,
        "an error of brokers among themselves, or of clients of another kind": """
            INCONSISTENT_VOTER_SET INVALID_UPDATE_VERSION FEATURE_UPDATE_FAILED INVALID_REGISTRATION INVALID_VOTER_KEY
            DUPLICATE_VOTER VOTER_NOT_FOUND INVALID_RECORD_STATE FENCED_STATE_EPOCH STREAMS_INVALID_TOPOLOGY
            STREAMS_INVALID_TOPOLOGY_EPOCH STREAMS_TOPOLOGY_FENCED
        """,
    },
    Class.IGNORE: {
        "no error": "NO_ERROR",
        "the end of the partition is reached": "_PARTITION_EOF",
        "the client tells of its own work": "_ASSIGN_PARTITIONS _REVOKE_PARTITIONS _NODE_UPDATE _DESTROY_BROKER",
        "there was nothing to do": "_NO_OFFSET _NOOP ELECTION_NOT_NEEDED NO_REASSIGNMENT_IN_PROGRESS",
        "the message is written already": "DUPLICATE_SEQUENCE_NUMBER",
        "the client's telemetry was refused": "UNKNOWN_SUBSCRIPTION_ID TELEMETRY_TOO_LARGE",
    },
}
#: of a code that a later librdkafka has brought
_NEW = Meaning(Class.FATAL, "Kafka refused the operation")


def numbers(*names: str) -> frozenset[int]:
    """The codes with these names (separated by blanks), without those that this version of the client lacks."""
    single = " ".join(names).split()
    return frozenset(getattr(ClientError, name) for name in single if hasattr(ClientError, name))


TABLE: dict[int, Meaning] = {
    code: Meaning(kind, reason)
    for kind, reasons in _MEANINGS.items()
    for reason, names in reasons.items()
    for code in numbers(names)
}


def meaning(error: ClientError) -> Meaning:
    """What an error is, by its code; one that the client calls fatal has broken the client, whatever its code.

    >>> meaning(ClientError(ClientError.NOT_COORDINATOR)).name
    <Class.RETRY: 'retry'>
    """
    found = TABLE.get(error.code(), _NEW)
    return Meaning(Class.REBUILD, found.reason) if error.fatal() else found
