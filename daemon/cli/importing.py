"""`miniwsgi import`: another server's configuration as a commented miniwsgi.toml."""

from __future__ import annotations

import os
import sys
from typing import Any

import click
from miniwsgi.codes import Code

from .. import __version__
from .flags import GroupedCommand, complete_words
from .terminal import EXIT_RUNTIME, EXIT_USAGE, complain, tell

EPILOG = """\
Examples:
  miniwsgi import gunicorn.conf.py -o miniwsgi.toml
      the file is executed, in a process of its own
  miniwsgi import --python venv/bin/python gunicorn.conf.py
      if it imports what only the application's environment has
  miniwsgi import -- gunicorn -w 4 --timeout 60 shop:app
      a command as it is typed, with the file that it names or finds
  miniwsgi import Procfile --select web
      a process of a Procfile
  miniwsgi import uwsgi.ini
      also .yaml, .xml and .json
  miniwsgi import unit.json --select shop
      an application of NGINX Unit: curl --unix-socket … http://localhost/config

Exit status:
  0  written
  1  the file of -o exists already, or cannot be written
  2  wrong usage; what was given cannot be read, or is not understood
"""
COMMAND = "miniwsgi.command"  # in the context: what stood after "--"


class ImportCommand(GroupedCommand):
    """What stands after "--" is a command of another server's, with flags that are not ours."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[COMMAND] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)


@click.command("import", cls=ImportCommand, epilog=EPILOG)
@click.argument("file", metavar="[FILE | -- COMMAND ...]", required=False, type=click.Path())
@click.option("--output", "-o", metavar="FILE", type=click.Path(), help="Write to FILE. It is not overwritten.")
@click.option("--force", "-f", is_flag=True, help="Overwrite the file of -o.")
@click.option(
    "--from",
    "kind",
    metavar="SERVER",
    default="",
    shell_complete=complete_words(("gunicorn", "uwsgi", "unit", "procfile")),
    help="gunicorn|uwsgi|unit|procfile, if FILE's name does not tell.",
)
@click.option(
    "--select", metavar="NAME", default="", help="A process of a Procfile, a section of uWSGI, an application of Unit."
)
@click.option("--python", metavar="PROGRAM", default="", help="The interpreter that executes a gunicorn.conf.py.")
@click.option(
    "--chdir",
    metavar="DIR",
    default="",
    type=click.Path(),
    help="Where the other server was started. [default: the current directory if FILE is below it, else FILE's]",
)
@click.pass_context
def import_configuration(ctx: click.Context, /, file: str | None, **options: Any) -> None:
    """Turn another server's configuration into ours.

    FILE is a gunicorn.conf.py, a uwsgi.ini, a configuration of NGINX Unit (JSON) or a Procfile; or COMMAND starts
    gunicorn or uWSGI. What is printed is a miniwsgi.toml with comments: what became what, what is built in, what has
    no equivalent
    and what to do, and what will behave differently. Nothing is started or changed.
    """
    from ..config import Note
    from ..migration.trouble import ImportTrouble

    try:
        text, warnings = _made(file, ctx.meta.get(COMMAND), options)
    except ImportTrouble as trouble:
        complain(Code.NOT_TRANSLATED, str(trouble))
        sys.exit(EXIT_USAGE)
    tell(Note(Code.NOT_CARRIED_OVER, warning) for warning in warnings)
    _write(text, options["output"], options["force"])


def _made(file: str | None, command: list[str] | None, options: dict[str, Any]) -> tuple[str, list[str]]:
    """What is to be written, and what should be known. Raises ImportTrouble, click.UsageError."""
    from ..config.environment import daemons_environment
    from ..migration import commands, commented_toml, sources
    from ..migration.asked import Asked
    from ..migration.trouble import ImportTrouble

    if (file is None) == (command is None):
        raise click.UsageError(
            "one thing to import: a file, as in miniwsgi import gunicorn.conf.py,\n"
            "or a command after --, as in miniwsgi import -- gunicorn -w 4 shop:app"
        )
    if options["kind"] and options["kind"] not in sources.KINDS:
        raise click.UsageError(f"--from {options['kind']}: expected one of {', '.join(sources.KINDS)}")
    directory = os.path.abspath(options["chdir"] or _directory(file))
    if not os.path.isdir(directory):
        raise ImportTrouble(f"--chdir {options['chdir']}: there is no such directory")
    if file is not None and not file.startswith("python:"):
        file = os.path.abspath(file)
    asked = Asked(directory, options["python"], daemons_environment())
    if command is not None:
        draft = commands.from_words(command, asked)
    else:
        assert file is not None
        draft = sources.import_file(file, asked, options["kind"], options["select"])
    if options["python"] and "app.python" not in draft.lines:
        draft.set("app.python", os.path.abspath(options["python"]) if "/" in options["python"] else options["python"])
    draft.finish()
    if options["output"]:
        draft.relative_to(options["output"])
    return commented_toml.written(draft, __version__), draft.warnings


def _directory(file: str | None) -> str:
    here = os.getcwd()
    if file is None or file.startswith("python:"):
        return here
    path = os.path.abspath(file)
    return here if path.startswith(here.rstrip("/") + "/") else os.path.dirname(path)


def _write(text: str, output: str | None, force: bool) -> None:
    data = text.encode("utf-8", "replace")
    if not output:
        click.echo(data, nl=False)
        return
    try:
        with open(output, "wb" if force else "xb") as file:
            file.write(data)
    except FileExistsError:
        complain(Code.OUTPUT_NOT_WRITTEN, f"{output} exists already: --force overwrites it")
        sys.exit(EXIT_RUNTIME)
    except OSError as error:
        complain(Code.OUTPUT_NOT_WRITTEN, f"{output}: {error.strerror}")
        sys.exit(EXIT_RUNTIME)
