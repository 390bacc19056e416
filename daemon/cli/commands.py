"""What can be said to `miniwsgi`: serve | check | config | import | engine | install-service | explain | version.

What a command needs is imported when it runs: `--help` and completion stay quick.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click
from miniwsgi.codes import Code
from miniwsgi.codes.coded_usage import CodedUsage
from miniwsgi.codes.explain_command import explain_command

from .. import __version__
from ..config import Config, ReadConfig
from .engine import engine
from .flags import ConfigurationCommand, GroupedCommand, configuration_options
from .importing import import_configuration
from .reading import config_loader, load_or_exit, require_watchfiles
from .terminal import EXIT_BOOT, EXIT_RUNTIME, EXIT_STATUSES, EXIT_USAGE, complain, report, tell

ToServe = tuple[Config, ReadConfig]


def command_line() -> ToServe:
    """What `serve` is to serve, and how its configuration is read anew. The other commands run, and exit."""
    serving: list[ToServe] = []
    try:
        commands.main(prog_name="miniwsgi", obj=serving)
    except SystemExit:
        if not serving:
            raise
    return serving[0]


class Commands(CodedUsage):
    """The group, with an answer for those who forget `serve`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # as they are declared: the main one first

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            for argument in args[:2]:  # `miniwsgi shop:app`, and `miniwsgi run shop:app` as elsewhere
                if ":" in argument or "." in argument or "/" in argument:
                    raise click.UsageError(f"{error.message} To serve it: miniwsgi serve {argument}", ctx) from None
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
    cls=ConfigurationCommand,
    epilog=f"""\
Examples:
  miniwsgi serve shop.wsgi:application
      the object `application` of the module shop/wsgi.py
  miniwsgi serve shop.wsgi
      the same: a module alone is searched for `application`, `app`, `wsgi`
  miniwsgi serve ./shop.py
      a file; what it has of these, or what its create_app() returns
  miniwsgi serve --factory shop:create_app -b :8000 -w 4 --access-log -
      what create_app() returns; on every address; with an access log
  miniwsgi serve 'shop:create_app("x", debug=False)'
      a call with literal arguments is a factory's
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
@click.pass_obj
def serve(serving: list[ToServe], /, **options: Any) -> None:
    """Serve an application in the foreground until stopped.

    MODULE:CALLABLE names a module and the WSGI application in it; the current directory (or --chdir) is
    importable. FILE is its source, DIR/ a project with a miniwsgi.toml, or a pyproject.toml that has [tool.miniwsgi].
    It may be left out if the configuration file names the application.
    """
    from ..master.system.process import hold_signals, release_signals

    hold_signals()
    reload_config = config_loader(options)
    config = load_or_exit(reload_config, tell_notes=False)
    if config.server.reload_on_change:
        require_watchfiles()
    if config.server.pool == "single":
        release_signals()
        tell(config.notes)
        from .single import serve_single

        sys.exit(serve_single(config))
    serving.append((config, reload_config))


@commands.command(
    cls=ConfigurationCommand,
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
    environment that the configuration names, for root as server.user; app.boot_check is asked for. Certificates are
    read and verified. Nothing listens, and nothing that runs is disturbed.
    """
    from ..master.trial import check_application  # before the user changes, who may be barred from the library
    from .certificates import check_certificates

    load = config_loader(options)
    config = load_or_exit(load)
    if not check_certificates(config):  # as root, who reads them when the daemon starts
        sys.exit(EXIT_USAGE)
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
    complain(failure.code, failure.error, failure.traceback)
    sys.exit(EXIT_BOOT)


@commands.command(
    cls=ConfigurationCommand,
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
        from ..config.reference import reference as reference_page

        click.echo(reference_page(), nl=False)
        return
    from ..config.effective import as_data, as_toml

    effective = load_or_exit(config_loader(options))
    if as_json:
        import json

        click.echo(json.dumps(as_data(effective), indent=2, ensure_ascii=False))
    else:
        click.echo(as_toml(effective), nl=False)


commands.add_command(import_configuration)
commands.add_command(engine)


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
    from ..install_service import ServiceError, commands_after, install, this_service

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
        complain(Code.UNITS_NOT_INSTALLED, str(error))
        sys.exit(EXIT_RUNTIME)
    where = service.config or service.default_config
    click.echo(f"Next: the configuration, {where}; then: systemctl enable --now {service.unit}")


commands.add_command(explain_command("miniwsgi", EXIT_STATUSES))


@commands.command()
def version() -> None:
    """Print the version of miniwsgi and of Python."""
    import platform

    python = f"{platform.python_implementation()} {platform.python_version()}"
    click.echo(f"miniwsgi {__version__} ({python}, {sys.executable})")


def go_on_as_user(config: Config) -> None:
    """Return in a child that is the service's user, as the daemon would be. Its exit status becomes ours."""
    from ..master.system.process import StartError, drop_privileges

    sys.stdout.flush()
    pid = os.fork()
    if pid:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        sys.exit(status if status >= 0 else EXIT_RUNTIME)
    try:
        drop_privileges(config.server.user, config.server.group)
    except StartError as error:
        complain(error.code, str(error))
        sys.exit(EXIT_RUNTIME)
    report("user", config.server.user or f"group {config.server.group}", "as whom the rest is looked at")
