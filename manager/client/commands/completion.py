"""`completion`: what a shell reads to complete commands."""

from __future__ import annotations

import click

from ..exit_statuses import EXIT_STATUSES
from ..options import ControlCommand


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Start-up files:
  bash  eval "$(miniwsgictl completion bash)"
  zsh   eval "$(miniwsgictl completion zsh)"
  fish  miniwsgictl completion fish | source

{EXIT_STATUSES}""",
)
@click.argument("shell", metavar="bash|zsh|fish", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands, options, slots and instances."""
    from click.shell_completion import ShellComplete, get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, shell
    complete = kind(ctx.find_root().command, {}, "miniwsgictl", "_MINIWSGICTL_COMPLETE")
    click.echo(ShellComplete.source(complete))  # without the check of bash's version, which would start one
