"""The options of the `miniwsgi` commands, made from the configuration keys that have a flag; help in groups.

Values are passed on as texts: the configuration validates them, so that all mistakes are reported at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from ..config.declaration import Key
from ..config.keys import KEYS
from ..config.kinds import Boolean, Choice, Path
from ..engine import choice

OTHER = "Other"  # the heading of what belongs to one command; it comes last
F = TypeVar("F", bound=Callable[..., Any])

# Group, and in it: key path, short flag, what stands for the value.
GROUPS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Application",
        (
            ("app.factory", "", ""),
            ("app.directory", "", "DIR"),
            ("app.python", "", "PROGRAM"),
            ("app.preload", "", "auto|true|false"),
            ("app.env", "-e", "NAME=VALUE"),
            ("app.hooks", "", "MODULE"),
        ),
    ),
    (
        "Serving",
        (
            ("server.bind", "-b", "ADDRESS"),
            ("static", "", "PATH=DIR"),
            ("server.workers", "-w", "N"),
            ("server.threads", "-t", "N"),
            ("server.pool", "", "epoll|prefork|fork|single"),
            ("server.engine", "", "|".join((choice.AUTO, *choice.names()))),
            ("server.reload_on_change", "", ""),
        ),
    ),
    (
        "Process",
        (
            ("server.user", "", "USER"),
            ("server.group", "", "GROUP"),
            ("server.umask", "", "OCTAL"),
            ("server.pid_file", "", "FILE"),
        ),
    ),
    (
        "Logs",
        (
            ("log.access_log", "", "FILE|-|off"),
            ("log.level", "", "debug|info|warning|error"),
            ("log.format", "", "text|json"),
        ),
    ),
    (
        "Management",
        (
            ("control.socket", "", "PATH|off"),
            ("metrics.bind", "", "ADDRESS|off"),
        ),
    ),
)
# Where the key's line says too much, or the wrong thing, for a flag; docs/configuration.md has the whole.
HELP = {
    "app.factory": "MODULE:CALLABLE is called and returns the application. Literal arguments may follow it: "
    "'shop:create_app(\"x\", debug=False)'.",
    "app.python": "The interpreter that runs the application, such as its virtual environment's.",
    "app.preload": "Import the application once, before forking. auto: unless that leaves threads behind.",
    "app.env": "An environment variable for the application.",
    "app.hooks": "A module of functions that are called as workers come and go, such as shop.hooks.",
    "server.bind": "Where to listen: HOST:PORT, :PORT, [IPV6]:PORT, unix:/path, unix:@abstract, fd:N, systemd:NAME.",
    "static": "Files below a prefix of URLs, answered by the server itself: /static/=static.",
    "server.threads": "Threads a worker that may run the application (pool epoll).",
    "server.pool": "epoll: many connections, threads when the application blocks. prefork: one request at a "
    "time. fork: a process a connection. single: one foreground process, for debuggers.",
    "server.reload_on_change": "Reload when source files change. For development; needs miniwsgi[dev].",
    "server.user": "The user to become once the listeners are open.",
    "server.umask": "The file mode creation mask, such as 0027.",
    "control.socket": "The Unix socket of the control API.",
    "metrics.bind": "Where Prometheus metrics and health endpoints are served.",
}


class GroupedOption(click.Option):
    """An option that knows under which heading it stands in the help."""

    def __init__(self, *args: Any, group: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose help shows its options by group, and its epilogue as it is written."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                groups.setdefault(getattr(parameter, "group", OTHER), []).append(record)
        for group, records in sorted(groups.items(), key=lambda item: item[0] == OTHER):
            with formatter.section(group):
                formatter.write_dl(records, col_max=26)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            formatter.write_paragraph()
            formatter.write(self.epilog)


class ConfigurationCommand(GroupedCommand):
    """A command that takes `configuration_options`, with an answer for those who give it another server's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        self._refuse_a_switch(ctx, args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            from ..migration import hints

            if hint := hints.for_flag(error.option_name):
                raise click.UsageError(f"No such option: {error.option_name}: {hint}", ctx) from None
            raise

    @staticmethod
    def _refuse_a_switch(ctx: click.Context, args: list[str]) -> None:
        """gunicorn's --preload has no value: with ours the next flag would be taken for it."""
        after = args[args.index("--preload") + 1 :][:1] if "--preload" in args else ["auto"]
        if not after or after[0].startswith("-"):
            from ..migration import hints

            said = hints.for_flag("--preload")
            raise click.UsageError(f"--preload: expected auto, true or false after it: {said}", ctx)


def configuration_options(command: F) -> F:
    """Give a command what to serve and all the options that make a configuration."""
    argument: Callable[[F], F] = click.argument("module", metavar="[MODULE:CALLABLE|FILE|DIR/]", required=False)
    decorators = [argument]
    decorators.append(
        click.option(
            "--config",
            "-c",
            metavar="FILE",
            envvar="MINIWSGI_CONFIG",
            cls=GroupedOption,
            group="Configuration",
            type=click.Path(),
            help="A configuration file (TOML). Flags win over it. The default is miniwsgi.toml, or pyproject.toml with "
            "[tool.miniwsgi], in the current directory; without MODULE:CALLABLE then /etc/miniwsgi/miniwsgi.toml.",
        )
    )
    decorators.append(
        click.option(
            "--set",
            "settings",
            metavar="KEY=VALUE",
            multiple=True,
            cls=GroupedOption,
            group="Configuration",
            shell_complete=_complete_key,
            help="Set any key of the configuration, such as timeouts.request=30s. Repeatable.",
        )
    )
    for group, rows in GROUPS:
        decorators += [_option(KEYS[path], short, metavar, group) for path, short, metavar in rows]
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def _option(key: Key, short: str, metavar: str, group: str) -> Callable[[F], F]:
    names = [key.flag, *([short] if short else []), key.path.replace(".", "__")]
    attributes: dict[str, Any] = {"cls": GroupedOption, "group": group, "help": _help(key), "default": None}
    if isinstance(key.kind, Boolean) or key.path == "app.factory":
        return click.option(*names, is_flag=True, **attributes)
    if isinstance(key.kind, Choice):
        attributes["shell_complete"] = complete_words(key.kind.words)
    elif isinstance(key.kind, Path):
        attributes["type"] = click.Path()
    return click.option(*names, metavar=metavar, multiple=key.kind.many, **attributes)


def _help(key: Key) -> str:
    text = HELP.get(key.path, key.doc)
    if key.kind.many and "Repeatable" not in text:
        text += " Repeatable."
    if isinstance(key.kind, Boolean) or key.path == "app.factory":
        return text
    if not key.computed and not key.default:
        off = key.kind.show(key.default).strip('"')
        return f"{text} [default: off]" if off == "off" else text
    default = key.computed or key.kind.show(key.default).strip('[]"')
    return f"{text} [default: {default}]"


def complete_words(words: tuple[str, ...]) -> Callable[..., list[str]]:
    return lambda ctx, param, incomplete: [word for word in words if word.startswith(incomplete)]


def _complete_key(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(f"{path}=") for path in KEYS if path.startswith(incomplete)]


def flags_from(options: Mapping[str, Any]) -> dict[str, object]:
    """What the options say, by key path, for `config.load`. Raises click.UsageError."""
    flags: dict[str, object] = {}
    for setting in options["settings"]:
        path, equals, value = setting.partition("=")
        if not equals:
            raise click.UsageError(f"--set {setting}: expected KEY=VALUE, as in --set server.workers=4")
        flags[path.strip()] = value
    module, is_factory = options["module"], options["app__factory"]
    if is_factory and not module:
        raise click.UsageError(
            "--factory tells what MODULE:CALLABLE is, and that is missing. "
            "In a configuration file, write app.factory instead of app.module."
        )
    if module is not None:
        flags["app.factory" if is_factory else "app.module"] = module
    for path in KEYS:
        value = options.get(path.replace(".", "__"))
        if value not in (None, (), False) and path != "app.factory":
            flags[path] = value
    return flags
