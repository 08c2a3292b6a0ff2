"""Exit codes of every `elsa` command and of worker processes, in one place (documented in `elsa --help`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

OK = 0
#: the operation failed for a reason that no other code names
FAILED = 1
#: wrong arguments, unknown or contradicting settings, a wrong declaration
USAGE = 2
#: `app:module` could not be imported or holds no App
APP_NOT_FOUND = 3
#: no broker answered, or it refused the credentials, or an ACL is missing
BROKER = 4
#: a topic, partition, group, offset or handler that was named does not exist
NOT_FOUND = 5
#: stopped by force: the deadline passed with handlers running, or a second signal came
FORCED = 6
#: a worker process failed at its start, or died and could not be replaced
WORKER_FAILED = 7
#: `elsa check` found something that is wrong
CHECK_FAILED = 8
#: no running worker answered a command
NO_WORKER = 9
#: `elsa lag --check` found a group that is over a limit
OVER_LIMIT = 10
#: interrupted by ctrl-C outside a worker
INTERRUPTED = 130
#: whoever read the output went away (what a shell reports for SIGPIPE)
PIPE_CLOSED = 141

#: one line each for `elsa --help`
MEANINGS: Mapping[int, str] = {
    OK: "done",
    FAILED: "failed, also in part",
    USAGE: "wrong arguments, settings or declarations",
    APP_NOT_FOUND: "the app could not be imported",
    BROKER: "no broker answered, it refused the credentials, or an ACL is missing",
    NOT_FOUND: "no such topic, partition, offset, group or handler",
    FORCED: "stopped by force while handlers were running",
    WORKER_FAILED: "a worker process could not start or be replaced",
    CHECK_FAILED: "`elsa check` found something wrong",
    NO_WORKER: "no running worker answered",
    OVER_LIMIT: "`elsa lag --check` found more than was allowed",
    INTERRUPTED: "interrupted by ctrl-C",
    PIPE_CLOSED: "the reader of the output went away",
}

#: the first class that fits decides
_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (errors.AppNotFound, APP_NOT_FOUND),
    (errors.ConfigError, USAGE),
    (errors.DeclarationError, USAGE),
    (errors.PortInUse, USAGE),
    (errors.BrokerUnavailable, BROKER),
    (errors.AuthenticationFailed, BROKER),
    (errors.AuthorizationFailed, BROKER),
    (errors.UnknownTopic, NOT_FOUND),
    (errors.UnknownPartition, NOT_FOUND),
    (errors.OffsetOutOfRange, NOT_FOUND),
    (errors.UnknownGroup, NOT_FOUND),
    (errors.NoWorker, NO_WORKER),
    (errors.UnknownTarget, NOT_FOUND),
    (errors.UnknownDeadLetter, NOT_FOUND),
    (errors.ForcedStop, FORCED),
    (errors.WorkerStartError, WORKER_FAILED),
)


def code_of(error: BaseException) -> int:
    """The exit code that says what kind of error it was.

    >>> code_of(errors.UnknownTopic()), code_of(RuntimeError())
    (5, 1)
    """
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)
