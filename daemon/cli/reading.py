"""The configuration that the command line names, or all its mistakes and exit status 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any, NoReturn

import click

from ..config import DEFAULT_PATH, Config, ConfigError, Problem, ReadConfig, daemons_environment, load
from ..config.machine import working_directory
from ..config.problems import Mistake
from .flags import flags_from
from .terminal import EXIT_USAGE, complain, styled, tell


def config_loader(options: dict[str, Any]) -> ReadConfig:
    """How to load the configuration, now and at each reload, from what was given on the command line.

    Raises click.UsageError if nothing names an application.
    """
    flags = flags_from(options)
    environ = daemons_environment()
    directory, uid = working_directory(environ), os.geteuid()
    path: str | None = options["config"]
    named = {"app.module", "app.factory"} & flags.keys()
    named |= {"MINIWSGI_APP_MODULE", "MINIWSGI_APP_FACTORY"} & environ.keys()
    if path is None and not named:
        if not os.path.lexists(DEFAULT_PATH):
            raise click.UsageError(
                "nothing to serve: name an application, as in\n\n"
                f"  {click.get_current_context().command_path} shop.wsgi:application\n\n"
                f"or a configuration file with -c FILE (there is no {DEFAULT_PATH})."
            )
        path = DEFAULT_PATH
    if path is not None:
        path = os.path.join(directory, path)
    return partial(load, path, flags, environ, directory=directory, uid=uid)  # it outlives the command line


def load_or_exit(load: Callable[[], Config], *, tell_notes: bool = True) -> Config:
    """The configuration; or all its mistakes on standard error, and exit status 2. A master logs its notes itself."""
    try:
        loaded = load()
    except ConfigError as error:
        exit_with_problems(error.problems)
    if tell_notes:
        tell(loaded.notes)
    return loaded


def exit_with_problems(problems: list[Problem]) -> NoReturn:
    count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
    click.echo(f"{styled('miniwsgi:', fg='red', bold=True)} {count} in the configuration", err=True)
    for problem in problems:
        click.echo(f"  {_with_hint(problem)}", err=True)
    sys.exit(EXIT_USAGE)


def _with_hint(problem: Problem) -> Problem:
    """What to do instead, if an unknown key is a setting of another server's."""
    if problem.mistake not in (Mistake.UNKNOWN_KEY, Mistake.UNKNOWN_SECTION):
        return problem
    from ..migration import hints

    hint = hints.for_key(problem.key.rpartition(".")[2])
    return replace(problem, expected=hint) if hint else problem


def require_watchfiles() -> None:
    """Exit with status 2 if --reload-on-change cannot work."""
    if find_spec("watchfiles") is None:
        complain(
            "--reload-on-change (server.reload_on_change) needs the package watchfiles: pip install 'miniwsgi[dev]'"
        )
        sys.exit(EXIT_USAGE)
