"""The `miniwsgi` command, and the place where all parts are put together.

    miniwsgi serve | check | config | install-service | version

Exit status: 0 a clean stop, 1 a failure while running, 2 usage or configuration, 3 the application did not boot.
What a command needs is imported when it runs: `--help` and completion stay quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NoReturn

import click

from . import __version__
from .cli_options import GroupedCommand, configuration_options, flags_from

if TYPE_CHECKING:
    from .config import Config, ReadConfig
    from .config.problems import Problem

EXIT_RUNTIME, EXIT_USAGE, EXIT_BOOT = 1, 2, 3

EXIT_STATUSES = """\
Exit status:
  0  stopped cleanly
  1  failed while starting or running, such as a port in use
  2  wrong usage or configuration; nothing was started
  3  the application did not boot
"""


class Commands(click.Group):
    """The group, with an answer for those who forget `serve`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # as they are declared: the main one first

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if ":" in args[0] or "." in args[0] or "/" in args[0]:
                raise click.UsageError(f"{error.message} To serve it: miniwsgi serve {args[0]}", ctx) from None
            raise

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        formatter.write(self.epilog or "")


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog=f"""\
Examples:
  miniwsgi serve shop.wsgi:application
  miniwsgi serve --factory shop:create_app --bind :8000 --workers 4
  miniwsgi serve -c /etc/miniwsgi/shop.toml
  miniwsgi check -c /etc/miniwsgi/shop.toml

{EXIT_STATUSES}
Completion, in the shell's start-up file:
  bash  eval "$(_MINIWSGI_COMPLETE=bash_source miniwsgi)"
  zsh   eval "$(_MINIWSGI_COMPLETE=zsh_source miniwsgi)"
  fish  _MINIWSGI_COMPLETE=fish_source miniwsgi | source
""",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def commands() -> None:
    """A WSGI server that is run like a system service.

    It supervises a pool of workers, reloads code and configuration without losing a request, and keeps the old
    code running when the new code does not boot.
    """


@commands.command(
    cls=GroupedCommand,
    epilog=f"""\
Examples:
  miniwsgi serve shop.wsgi:application
      the object `application` of the module shop/wsgi.py
  miniwsgi serve shop.wsgi
      the same: a plain module is searched for `application`, then `app`
  miniwsgi serve --factory shop:create_app -b :8000 -w 4 --access-log -
      what create_app() returns; on every address; with an access log
  miniwsgi serve shop.wsgi -b unix:/run/shop/http.sock
      behind a proxy on the same machine
  miniwsgi serve -c shop.toml --log-level debug
      a configuration file, and a flag that wins over it
  miniwsgi serve shop:app --pool single
      one process in the foreground, for pdb

Signals to the master:
  TERM, INT   stop when what is running has been answered; again: at once
  QUIT        stop at once
  HUP         reload code and configuration; if that fails, go on as before
  USR1        reopen log files
  TTIN, TTOU  one worker more, one worker fewer

{EXIT_STATUSES}""",
)
@configuration_options
def serve(**options: Any) -> None:
    """Serve an application in the foreground until stopped.

    MODULE:CALLABLE names a module and the WSGI application in it; the current directory (or --chdir) is
    importable. It may be left out if the configuration file names the application.
    """
    from .master.system.process import hold_signals, release_signals

    hold_signals()
    reload_config = config_loader(options)
    config = load_or_exit(reload_config, tell_notes=False)
    if config.server.reload_on_change:
        require_watchfiles()
    if config.server.pool == "single":
        release_signals()
        tell(config.notes)
        sys.exit(serve_single(config))
    from .master.main import run

    sys.exit(run(config, reload_config))


@commands.command(
    cls=GroupedCommand,
    epilog=f"""\
Examples:
  miniwsgi check -c /etc/miniwsgi/shop.toml
  miniwsgi check shop.wsgi:application

{EXIT_STATUSES}""",
)
@configuration_options
def check(**options: Any) -> None:
    """Validate the configuration; import the application.

    The application is imported as it would be for serving: by the interpreter, in the directory and with the
    environment that the configuration names, for root as server.user; app.boot_check is asked for. Nothing listens,
    and nothing that runs is disturbed.
    """
    from .master.trial import check_application  # before the user changes, who may be barred from the library

    load = config_loader(options)
    config = load_or_exit(load)
    if os.geteuid() == 0 and (config.server.user or config.server.group):
        go_on_as_user(config)
        config = load_or_exit(load, tell_notes=False)  # as a reload reads it
    report("configuration", config.path or "from flags and environment", "valid")
    for path in config.app.env_files:
        report("environment file", path, "read")
    failure = check_application(config)
    if failure is None:
        report("application", config.app.target, f"imported from {config.app.directory}")
        if config.app.boot_check:
            report("boot check", config.app.boot_check, "answered")
        return
    report("application", config.app.target, "did not boot", failed=True)
    complain(failure.error, failure.traceback)
    sys.exit(EXIT_BOOT)


@commands.command(
    cls=GroupedCommand,
    epilog="""\
Examples:
  miniwsgi config -c /etc/miniwsgi/shop.toml
  miniwsgi config shop.wsgi --workers 8 --json
""",
)
@configuration_options
@click.option("--json", "as_json", is_flag=True, help="As JSON: sizes in bytes, durations in seconds.")
@click.option("--reference", is_flag=True, help="Describe every key, as Markdown, and exit.")
def config(as_json: bool, reference: bool, **options: Any) -> None:
    """Print the effective configuration and its origins.

    Beside each value stands where it comes from: default, file, environment or flag. What looks like a secret in
    app.env is masked.
    """
    if reference:
        from .config.reference import reference as reference_page

        click.echo(reference_page(), nl=False)
        return
    from .config.effective import as_data, as_toml

    effective = load_or_exit(config_loader(options))
    if as_json:
        import json

        click.echo(json.dumps(as_data(effective), indent=2, ensure_ascii=False))
    else:
        click.echo(as_toml(effective), nl=False)


@commands.command(
    cls=GroupedCommand,
    epilog="""\
Examples:
  sudo /opt/web/venv/bin/miniwsgi install-service
      miniwsgi.service, for the application of /etc/miniwsgi/miniwsgi.toml
  sudo /opt/web/venv/bin/miniwsgi install-service --instance shop
      miniwsgi@shop.service, for that of /etc/miniwsgi/shop.toml
  miniwsgi install-service --dry-run
      what would be written

Then: systemctl enable --now miniwsgi, or miniwsgi@shop
""",
)
@click.option("--instance", "-i", metavar="NAME", default="", help="Install the template, for this instance.")
@click.option("--config", "-c", metavar="FILE", default="", type=click.Path(), help="The service's configuration.")
@click.option("--root", metavar="DIR", default="/", type=click.Path(), help="Write below DIR, to make an image.")
@click.option("--dry-run", is_flag=True, help="Print the files and what would be run; change nothing.")
def install_service(instance: str, config: str, root: str, dry_run: bool) -> None:
    """Install systemd units for this interpreter.

    For a miniwsgi that pip installed: the units of the Debian package, with the path of this installation's commands,
    and the service's user. An upgrade with pip calls for this command again, and for a restart of the service.
    """
    from .install_service import ServiceError, commands_after, install, this_service

    try:
        service = this_service(instance, config)
        if dry_run:
            files = service.files()
            for path, text in files.items():
                click.echo(f"# --- {path}\n{text}")
            click.echo("# --- then\n" + "\n".join(" ".join(command) for command in commands_after(files, root)))
            return
        for line in install(service, root):
            click.echo(line)
    except ServiceError as error:
        complain(str(error))
        sys.exit(EXIT_RUNTIME)
    where = service.config or service.default_config
    click.echo(f"Next: the configuration, {where}; then: systemctl enable --now {service.unit}")


@commands.command()
def version() -> None:
    """Print the version of miniwsgi and of Python."""
    import platform

    python = f"{platform.python_implementation()} {platform.python_version()}"
    click.echo(f"miniwsgi {__version__} ({python}, {sys.executable})")


def go_on_as_user(config: Config) -> None:
    """Return in a child that is the service's user, as the daemon would be. Its exit status becomes ours."""
    from .master.system.process import StartError, drop_privileges

    sys.stdout.flush()
    pid = os.fork()
    if pid:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        sys.exit(status if status >= 0 else EXIT_RUNTIME)
    try:
        drop_privileges(config.server.user, config.server.group)
    except StartError as error:
        complain(str(error))
        sys.exit(EXIT_RUNTIME)
    report("user", config.server.user or f"group {config.server.group}", "as whom the rest is looked at")


# --- the configuration -----------------------------------------------------------------------------
def config_loader(options: dict[str, Any]) -> ReadConfig:
    """How to load the configuration, now and at each reload, from what was given on the command line.

    Raises click.UsageError if nothing names an application.
    """
    from .config import DEFAULT_PATH, daemons_environment, load
    from .config.machine import working_directory

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

    def read(text: str | None = None) -> Config:
        return load(path, flags, environ, directory=directory, uid=uid, text=text)

    return read


def load_or_exit(load: Callable[[], Config], *, tell_notes: bool = True) -> Config:
    """The configuration; or all its mistakes on standard error, and exit status 2. A master logs its notes itself."""
    from .config.problems import ConfigError

    try:
        loaded = load()
    except ConfigError as error:
        exit_with_problems(error.problems)
    if tell_notes:
        tell(loaded.notes)
    return loaded


def tell(notes: Iterable[str]) -> None:
    """What is no mistake but should be known."""
    for note in notes:
        click.echo(f"{styled('miniwsgi:', fg='yellow')} {note}", err=True)


def exit_with_problems(problems: list[Problem]) -> NoReturn:
    count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
    click.echo(f"{styled('miniwsgi:', fg='red', bold=True)} {count} in the configuration", err=True)
    for problem in problems:
        click.echo(f"  {problem}", err=True)
    sys.exit(EXIT_USAGE)


def require_watchfiles() -> None:
    """Exit with status 2 if --reload-on-change cannot work."""
    from importlib.util import find_spec

    if find_spec("watchfiles") is None:
        complain(
            "--reload-on-change (server.reload_on_change) needs the package watchfiles: pip install 'miniwsgi[dev]'"
        )
        sys.exit(EXIT_USAGE)


# --- what is said ----------------------------------------------------------------------------------
def styled(text: str, **style: Any) -> str:
    """Coloured for a terminal on standard error, unless $NO_COLOR is set (no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stderr.isatty()
    return text if plain else click.style(text, **style)


def complain(error: str, traceback: str = "") -> None:
    """An error on standard error: what the application said first, then the line that sums it up."""
    if traceback:
        click.echo(traceback, err=True)
    click.echo(f"{styled('miniwsgi:', fg='red', bold=True)} {error}", err=True)


def report(what: str, which: str, result: str, failed: bool = False) -> None:
    """A line of `check`."""
    mark = click.style(result, fg="red" if failed else "green") if _colour_output() else result
    click.echo(f"{what + ':':<18}{which}: {mark}")


def _colour_output() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


# --- pool single -----------------------------------------------------------------------------------
def serve_single(config: Config) -> int:
    """Serve in this very process, without a master. Returns the exit status."""
    from miniwsgi.metrics.scoreboard import Board

    from .config import application_environment, worker_settings
    from .log.error_log import detect_journal
    from .master.running.configurations import socket_options
    from .master.sockets.listeners import BindError, open_listeners
    from .master.system.process import StartError, drop_privileges
    from .master.system.systemd import listen_fds
    from .worker.lifecycle import run_single

    server = config.server
    if server.umask is not None:
        os.umask(server.umask)
    try:
        listeners = open_listeners(server.bind, socket_options(config), passed=listen_fds(os.environ))
        drop_privileges(server.user, server.group)
    except (BindError, StartError) as error:
        complain(str(error))
        return EXIT_RUNTIME
    board = Board.create()
    settings = worker_settings(
        config,
        generation=1,
        listeners=[listener.for_workers() for listener in listeners],
        scoreboard_fd=board.fd,
        journal=config.log.file == "-" and detect_journal(),
    )
    for listener in listeners:
        listener.socket.detach()  # the worker closes it when it stops; the path stays ours to remove
    environment = application_environment(config, os.environ)
    os.environ.clear()
    os.environ.update(environment)

    def clean_up() -> None:
        for listener in listeners:
            listener.close()

    try:
        return run_single(settings, clean_up)
    finally:
        clean_up()


def main() -> NoReturn:
    """The entry point."""
    commands.main(prog_name="miniwsgi")
    raise AssertionError("click exits")
