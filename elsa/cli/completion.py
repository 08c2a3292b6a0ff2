"""`elsa completion`: the script that lets a shell complete `elsa`'s commands and options."""

from __future__ import annotations

import click

from elsa.cli.parameters import examples

_NAME = "elsa"
_VARIABLE = "_ELSA_COMPLETE"


@click.command(
    "completion",
    short_help="Print the completion script of a shell.",
    epilog=examples(
        'eval "$(elsa completion bash)"                                  in ~/.bashrc',
        'eval "$(elsa completion zsh)"                                   in ~/.zshrc',
        "elsa completion fish > ~/.config/fish/completions/elsa.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(*, shell: str) -> None:
    """Print the script that makes SHELL complete elsa's commands and options."""
    from click.shell_completion import get_completion_class

    from elsa.cli import cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, _NAME, _VARIABLE).source())
