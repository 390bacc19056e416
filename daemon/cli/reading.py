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
from miniwsgi.codes import Code

from ..config import (
    DEFAULT_PATH,
    Config,
    ConfigError,
    Problem,
    ReadConfig,
    configuration_of,
    daemons_environment,
    is_project_file,
    load,
)
from ..config.machine import working_directory
from ..config.problems import Mistake
from .flags import flags_from
from .terminal import EXIT_USAGE, complain, styled, tell


def config_loader(options: dict[str, Any]) -> ReadConfig:
    """How to load the configuration, now and at each reload, from what was given on the command line.

    Raises click.UsageError if nothing names an application.
    """
    environ = daemons_environment()
    directory, uid = working_directory(environ), os.geteuid()
    path: str | None = options["config"]
    if project := project_directory(options["module"], directory):
        path = _projects_configuration(project, options)
        options = {**options, "module": None}
    flags = flags_from(options)
    named = {"app.module", "app.factory"} & flags.keys()
    named |= {"MINIWSGI_APP_MODULE", "MINIWSGI_APP_FACTORY"} & environ.keys()
    if path is None:
        path = configuration_of(directory)
    if path is None and not named:
        if not os.path.lexists(DEFAULT_PATH):
            raise click.UsageError(_nothing_to_serve())
        path = DEFAULT_PATH
    if path is not None:
        path = os.path.join(directory, path)
        if is_project_file(path):
            project = os.path.dirname(os.path.normpath(path))
    return partial(load, path, flags, environ, directory=directory, home=project or directory, uid=uid)


def project_directory(argument: str | None, directory: str) -> str:
    """The absolute path of the directory that is to be served, if the argument is one and no package; else ""."""
    path = os.path.normpath(os.path.join(directory, os.path.expanduser(argument or "")))
    if not argument or not os.path.isdir(path):
        return ""
    is_package = os.path.isfile(os.path.join(path, "__init__.py"))
    if "/" in argument or argument in (".", ".."):
        return "" if is_package and configuration_of(path) is None else path
    # A directory by its bare name is a module's name, too; but one without any source of its own serves nothing.
    is_module = is_package or os.path.isfile(f"{path}.py")
    return "" if is_module or configuration_of(path) is None else path


def _projects_configuration(project: str, options: dict[str, Any]) -> str:
    """The file in a directory that is to be served. Raises click.UsageError."""
    if options["config"] or options["app__factory"]:
        other = "-c FILE" if options["config"] else "--factory"
        raise click.UsageError(f"{options['module']} is a directory, whose configuration is served: leave out {other}.")
    if path := configuration_of(project):
        return path
    raise click.UsageError(
        f"{project} has neither a miniwsgi.toml nor a pyproject.toml with [tool.miniwsgi]. To serve an application "
        f"in it:\n\n  {click.get_current_context().command_path} --chdir {options['module']} shop.wsgi:application"
    )


def _nothing_to_serve() -> str:
    return (
        "nothing to serve: name an application, as in\n\n"
        f"  {click.get_current_context().command_path} shop.wsgi:application\n\n"
        "or a configuration file with -c FILE (there is no miniwsgi.toml here, no pyproject.toml with [tool.miniwsgi], "
        f"and there is no {DEFAULT_PATH})."
    )


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
        click.echo(f"  {problem.code} {_with_hint(problem)}", err=True)
    sys.exit(EXIT_USAGE)


def _with_hint(problem: Problem) -> Problem:
    """What to do instead, if an unknown key is a setting of another server's."""
    if problem.mistake not in (Mistake.UNKNOWN_KEY, Mistake.UNKNOWN_SECTION):
        return problem
    from ..migration import hints

    hint = hints.for_key(problem.key.rpartition(".")[2], problem.expected)
    return replace(problem, expected=hint) if hint else problem


def require_watchfiles() -> None:
    """Exit with status 2 if --reload-on-change cannot work."""
    if find_spec("watchfiles") is None:
        complain(
            Code.WATCHFILES_MISSING,
            "--reload-on-change (server.reload_on_change) needs the package watchfiles: pip install 'miniwsgi[dev]'",
        )
        sys.exit(EXIT_USAGE)
