"""The command `elsa`: the root group, which imports a command when it is called, and ends every run with its code."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, cast

import click

from elsa import __version__, exits
from elsa.errors import ElsaError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: every command with its one line of help, so that `elsa --help` imports none of them (a test compares the lines)
SECTIONS = {
    "Run": {
        "worker": "Run the handlers of an app.",
        "dev": "Write an app with a broker, a worker and a reload in one command.",
        "demo": "Watch a worker on real Kafka and real data, in one command.",
        "broker": "Run a real Apache Kafka on this machine.",
    },
    "Messages": {
        "produce": "Send messages to a topic.",
        "fetch": "Read messages of a topic, without a consumer group.",
        "dlq": "List, show, replay and drop dead letters.",
    },
    "Operate": {
        "healthcheck": "Ask the worker of this machine whether it is well.",
        "inspect": "Ask the running workers: who they are, what they do and own.",
        "control": "Steer the running workers: pause, resume, rate, quiet, stop.",
        "topics": "List, create, describe, alter and delete topics.",
        "groups": "List and describe consumer groups, their lag and offsets.",
        "lag": "Show how far groups are behind, or check it against limits.",
        "top": "Watch groups, partitions, workers and handlers, live.",
        "monitor": "Serve the lag of groups to Prometheus, from outside of workers.",
        "check": "Check brokers, topics and settings before a deploy.",
        "config": "Show the effective settings and where each comes from.",
    },
    "Shell": {
        "completion": "Print the completion script of a shell.",
    },
}

_EXAMPLES = """\b
Examples:
  elsa worker shop:app               run the handlers of an app
  elsa dev shop:app                  the same while writing it, with a broker
  elsa produce orders '{"id": 1}'    send one message
  elsa fetch orders --follow         watch a topic
  elsa lag billing                   how far behind a group is
  elsa dlq list                      what was given up, and why
  elsa inspect active -A shop:app    what runs now
"""
_CODES = "\n".join(["\b", "Exit codes:", *(f"  {code:>3}  {text}" for code, text in exits.MEANINGS.items())])


#: what a full disk and its like say of a file that output was sent to
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Root(click.Group):
    """Finds commands by module name, and turns what they raise into one line on stderr and an exit code."""

    is_debugging = False

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [name for section in SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        return cast("click.Command", importlib.import_module(f"elsa.cli.{cmd_name}").command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], known, 1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()), col_max=12)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=text)
            for section in SECTIONS.values()
            for name, text in section.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        self.is_debugging = self.is_debugging or os.environ.get("ELSA_DEBUG", "0").lower() not in ("", "0", "false")
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            if sys.stdout is None:  # `>&-`: what nobody can read is not worth a traceback
                sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _forget_stdout()
            raise click.exceptions.Exit(exits.PIPE_CLOSED) from None
        except (KeyboardInterrupt, click.Abort):
            click.echo(err=True)  # ends the terminal's ^C line
            raise click.exceptions.Exit(exits.INTERRUPTED) from None
        except ElsaError as error:
            if self.is_debugging:
                traceback.print_exc()
            report(error)
            raise click.exceptions.Exit(exits.code_of(error)) from None
        except OSError as error:
            if error.filename is not None or error.errno not in _UNWRITABLE:
                raise
            _forget_stdout()
            report(ElsaError(f"the output cannot be written: {error.strerror}"))
            raise click.exceptions.Exit(exits.FAILED) from None
        finally:
            self.is_debugging = False
        if isinstance(result, int) and not isinstance(result, bool):
            raise click.exceptions.Exit(result)
        return result


def report(error: BaseException) -> None:
    """Tell a person what went wrong: `error:` in red, the text, and the notes that were added on its way."""
    from elsa.cli import output

    output.fail("\n".join([str(error), *getattr(error, "__notes__", ())]))


def set_debugging(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    """Callback of `--debug`, which may stand before or after the command."""
    root = ctx.find_root().command
    if value and isinstance(root, Root):
        root.is_debugging = True


def is_debugging() -> bool:
    """Whether `--debug` or ELSA_DEBUG asks for tracebacks and the Kafka client's own log lines."""
    context = click.get_current_context(silent=True)
    root = context.find_root().command if context else None
    return isinstance(root, Root) and root.is_debugging


def _forget_stdout() -> None:
    """The reader is gone: what is still buffered must not fail once more when Python ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(
    cls=Root,
    epilog=f"{_EXAMPLES}\n{_CODES}",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", prog_name="elsa")
@click.option(
    "--debug", is_flag=True, expose_value=False, callback=set_debugging, help="Show tracebacks (also ELSA_DEBUG=1)."
)
def cli() -> None:
    """Elsa: a task framework on Apache Kafka.

    Settings come from arguments, ELSA_* variables and elsa.toml; `elsa config` shows them.
    """


def main() -> None:
    """Entry point of the console script."""
    cli.main(prog_name="elsa")
