"""`miniwsgi engine`: which engine an interpreter runs, and builds of the compiled one for others than our own."""

from __future__ import annotations

import sys

import click
from miniwsgi.codes import Code

from .flags import GroupedCommand
from .terminal import EXIT_RUNTIME, EXIT_USAGE, complain

EXIT_STATUSES = """\
Exit status:
  0  done
  1  not built: no compiler, no headers, a directory that cannot be written
  2  wrong usage; the interpreter cannot run an application
"""


@click.group(invoke_without_command=True)
@click.pass_context
def engine(context: click.Context) -> None:
    """List the engine's builds, or make one.

    The compiled engine is built for one version of CPython: miniwsgi comes with that for its own. An application in
    another one (app.python) runs the plain engine until there is a build for it. Alone, it lists them.
    """
    if context.invoked_subcommand is None:
        context.invoke(list_builds)


@engine.command(
    "list",
    cls=GroupedCommand,
    epilog=f"""\
Examples:
  miniwsgi engine list
  miniwsgi engine list --python /srv/shop/venv/bin/python

{EXIT_STATUSES}""",
)
@click.option("--python", "-p", metavar="PROGRAM", multiple=True, help="The interpreter to ask. Repeatable.")
def list_builds(python: tuple[str, ...] = ()) -> None:
    """List builds; say which engine runs, and why.

    Without --python it is said for miniwsgi's own interpreter. Whoever is asked loads the builds that are for it, too,
    each in a process of its own. Who asks matters: what other users could have written is not loaded.
    """
    from .. import engine_build
    from ..engine import builds

    status, asked = 0, []
    for program in python or (sys.executable,):
        try:
            found = engine_build.ask(program)
        except engine_build.NoInterpreter as error:
            complain(Code.PYTHON_UNUSABLE, str(error))
            status = EXIT_USAGE
            continue
        asked.append(found)
        click.echo(f"{program} ({found.name}): {found.engine}{found.path and f', {found.path}'}")
    click.echo(f"\nBuilds (those of the sources {builds.key()} fit):")
    for path, unfit in engine_build.existing(asked):
        click.echo(f"  {unfit or path}")
    sys.exit(status)


@engine.command(
    cls=GroupedCommand,
    epilog=f"""\
Examples:
  sudo miniwsgi engine build --python /srv/shop/venv/bin/python
      for an application that has another Python; then: systemctl reload miniwsgi
  miniwsgi engine build --python python3.13 --directory image/engines
      for an image, or a package

Environment:
  CC                     the compiler, instead of the interpreter's own
  MINIWSGI_ENGINE_FLAGS  more flags for it, such as -march=native

{EXIT_STATUSES}""",
)
@click.option("--python", "-p", metavar="PROGRAM", default=sys.executable, help="The interpreter to build it for.")
@click.option(
    "--directory",
    metavar="DIR",
    default="",
    type=click.Path(),
    help="Where to put it, in a directory of its own. [default: /usr/local/lib/miniwsgi/engines for root, "
    "~/.cache/miniwsgi/engines for others]",
)
def build(python: str, directory: str) -> None:
    """Build the compiled engine for an interpreter.

    Needs a C compiler and the interpreter's headers, and nothing from the network. The next start or reload of a daemon
    with that app.python takes it. An upgrade of miniwsgi calls for this command again.
    """
    from .. import engine_build

    try:
        for line in engine_build.build(python, directory):
            click.echo(line)
    except engine_build.BuildError as error:
        unknown = isinstance(error, engine_build.NoInterpreter)
        complain(Code.PYTHON_UNUSABLE if unknown else Code.ENGINE_NOT_BUILT, str(error))
        sys.exit(EXIT_USAGE if unknown else EXIT_RUNTIME)
