"""Exit codes of every `elsa` command and of worker processes, in one place (documented in the README)."""

from __future__ import annotations

OK = 0
#: the operation failed for a reason that no other code names
FAILED = 1
#: wrong arguments, unknown or contradicting settings, a wrong declaration
USAGE = 2
#: `app:module` could not be imported or holds no App
APP_NOT_FOUND = 3
#: no broker answered, or it refused the credentials
BROKER = 4
#: a topic, partition, group or offset that was named does not exist
NOT_FOUND = 5
#: stopped by force: the deadline passed with handlers running, or a second signal came
FORCED = 6
#: a worker process failed at its start, or died and could not be replaced
WORKER_FAILED = 7
#: `elsa check` found something that is wrong
CHECK_FAILED = 8
#: interrupted by ctrl-C outside a worker
INTERRUPTED = 130
