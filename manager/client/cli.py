"""The `miniwsgictl` command: its group, what stands before a command, and the entry point.

What a command needs is imported when it runs: `status` is to be there in a wink.
"""

from __future__ import annotations

import io
import sys
from typing import Any, NoReturn

import click
from miniwsgi.codes.coded_usage import CodedUsage
from miniwsgi.codes.explain_command import explain_command

from .commands import (
    change,
    completion,
    examine,
    show_config,
    show_daemons,
    show_events,
    show_incidents,
    show_inside,
    show_metrics,
    show_routes,
    show_top,
    show_workers,
    status,
)
from .exit_statuses import EXIT_STATUSES
from .options import common_options, write_options


class ControlCommands(CodedUsage):
    """The group. Commands stand in the order in which they are declared."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """By what one wants, not in one flat list; summaries begin in one column."""
        column = max(map(len, self.commands))
        for heading, found in COMMANDS.items():
            with formatter.section(heading):
                rows = [(str(command.name).ljust(column), command) for command in found]
                limit = formatter.width - column - 6
                formatter.write_dl([(name, command.get_short_help_str(limit)) for name, command in rows])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        formatter.write(self.epilog or "")


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version("miniwsgi")
        except PackageNotFoundError:
            found = "(not installed)"
        click.echo(f"miniwsgictl {found}")
        ctx.exit()


@click.group(
    cls=ControlCommands,
    params=[
        *common_options(),
        click.Option(
            ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version."
        ),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog=f"""\
Examples:
  miniwsgictl status
  miniwsgictl why
  miniwsgictl reload
  miniwsgictl --instance shop scale 8

{EXIT_STATUSES}  10, 20   why, doctor: a warning, something critical
  0, 1, 2  status --check: healthy, degraded, down

Environment:
  MINIWSGI_CONTROL  the control socket, as --socket
  NO_COLOR          no colours, as --no-color
""",
)
def commands(**_: Any) -> None:
    """See, explain, scale, reload and stop a running miniwsgi daemon.

    Every answer says what happened: a change is waited for, and the exit status tells whether it was done.
    """


COMMANDS: dict[str, tuple[click.Command, ...]] = {
    "What runs": (
        status.status,
        show_workers.workers,
        show_top.top,
        show_events.events,
        show_metrics.metrics,
        show_config.config,
        show_daemons.list_,
        show_daemons.ping,
    ),
    "What is wrong": (
        examine.why,
        show_routes.routes,
        show_incidents.slow,
        show_incidents.crashes,
        show_workers.stack,
        show_inside.profile,
        show_inside.memory,
        examine.doctor,
        explain_command("miniwsgictl", EXIT_STATUSES),
    ),
    "Changes": (
        change.reload,
        change.restart,
        change.scale,
        change.drain,
        change.undrain,
        change.stop,
        change.log_level,
    ),
    "For the shell": (completion.completion,),
}
for _commands in COMMANDS.values():
    for _command in _commands:
        commands.add_command(_command)


def main() -> NoReturn:
    """The entry point."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a locale without "●" is no reason to fail
    commands.main(prog_name="miniwsgictl")
    raise AssertionError("click exits")
