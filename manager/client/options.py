"""What every command has: the common options, accepted before and after its name, and the session they make.

A command gets the session as its first argument. Errors of the daemon become complaints with their exit status here,
in one place.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, TypeVar

import click

from . import socket_paths, text
from .client import ANSWER_SECONDS, Client, Reply, RequestRefused, TransportError
from .exit_statuses import Complaint, ExitStatus, colourful, complaint

COMMON_HEADING = "Common options, also before the command"
OWN = "Options"
WATCH_SECONDS = 2.0
PROMISED_SECONDS = 0.1  # for an answer: in less than that nobody need have one
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
LOOKS_LIKE_A_NUMBER = re.compile(r"-[0-9]+")
DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|)")
_UNITS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
Parsed = Callable[[click.Context, click.Parameter, str | None], float | None]


class Output(Enum):
    TABLE = "table"
    JSON = "json"
    WIDE = "wide"


@dataclass(slots=True)
class Session:
    """Which daemon, how long, and how to show what it says. `end`: when all must be over, of time.monotonic()."""

    path: str
    named: bool = False  # by --socket or --instance
    output: Output = Output.TABLE
    timeout_seconds: float | None = None
    colour: bool = True
    end: float | None = None

    @property
    def wide(self) -> bool:
        return self.output is Output.WIDE

    @property
    def json(self) -> bool:
        return self.output is Output.JSON

    def client(self) -> Client:
        """Connects when it is first used."""
        return Client(self.path, answer_seconds=self.timeout_seconds or ANSWER_SECONDS, end=self.end)

    def check_time_for(self, seconds: float, option: str) -> None:
        """A look takes so long, as `option` says: --timeout must not end before. Raises click.UsageError."""
        timeout = self.timeout_seconds
        if timeout is not None and timeout <= seconds:
            said = f"--timeout {timeout:g} ends before a look of {text.seconds(seconds)} does"
            raise click.UsageError(f"{said}: allow more, or look for less with {option}")

    # --- what is printed ---

    def styled(self, said: str, **style: Any) -> str:
        """Coloured if standard output is a terminal that wants it."""
        return click.style(said, **style) if self.colour and colourful(sys.stdout) else said

    def heading(self, line: str) -> str:
        """The first line of a table."""
        return self.styled(line, bold=True)

    def width(self) -> int | None:
        """Columns of the terminal on standard output; None: it is none, nothing is cut."""
        return text.terminal_width() if sys.stdout.isatty() else None

    def echo_json(self, raw: bytes) -> None:
        """What the daemon sent, indented."""
        from msgspec.json import format as indented

        click.echo(text.clean_json(indented(raw, indent=2).decode("utf-8")))

    def progress(self, said: str = "") -> None:
        """In place of what this wrote last, on the terminal that standard error is; nothing: an empty line."""
        click.echo(f"\r\033[K{said}", err=True, nl=False)

    def note(self, said: str) -> None:
        """For people, beside the result: on standard error."""
        click.echo(text.clean(said, lines=True), err=True)


def duration(least: float, most: float) -> Parsed:
    """A callback that makes seconds of "10", "10s", "2m", "50ms", from `least` to `most`."""

    def parse(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
        if value is None:
            return None
        found = DURATION.fullmatch(value.strip())
        seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
        if not found or not least <= seconds <= most:
            expected = f"from {text.seconds(least)} to {text.age(most)}, as in 10, 500ms or 2m"
            raise click.BadParameter(f"{value!r}: expected a time {expected}", ctx, param)
        return seconds

    return parse


def repeat(session: Session, watch: bool, ask: Callable[[Client], Reply[T]], show: Callable[[Reply[T]], None]) -> None:
    """Ask and show; with `watch` every two seconds, each time on an empty screen, until there is no answer.

    Raises TransportError, RequestRefused, Complaint.
    """
    with session.client() as client:
        reply = ask(client)
        while True:
            if watch and not session.json and session.width() is not None:
                click.clear()
            show(reply)
            if not watch:
                return
            time.sleep(client.left(WATCH_SECONDS))
            if client.left(PROMISED_SECONDS) < PROMISED_SECONDS:
                raise out_of_time()
            asked = time.monotonic()
            try:
                reply = ask(client)
            except TransportError as error:
                raise complaint(error, session.path, text.seconds(time.monotonic() - asked)) from None


def out_of_time() -> Complaint:
    """The end of what would have gone on: --timeout is over, and nothing is wrong with the daemon."""
    return Complaint(ExitStatus.TIMED_OUT, "", f"{click.get_current_context().info_name} ended after --timeout")


def _seconds(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value < 1e9:
        raise click.BadParameter("expected a number of seconds above 0", ctx, param)
    return value


def _instance(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not socket_paths.INSTANCE.fullmatch(value):
        raise click.BadParameter(f"{value!r}: letters, digits and :_.\\@- are what an instance may consist of")
    return value


def _complete_instance(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    found = socket_paths.all_sockets(os.environ, os.geteuid())
    return sorted({name for name, _ in found if name and name.startswith(incomplete)})


class CommonOption(click.Option):
    """One of those that every command has."""


def common_options() -> list[click.Parameter]:
    """A fresh set of them."""
    return [
        CommonOption(
            ["--socket", "-s"],
            metavar="PATH",
            type=click.Path(readable=False),  # whether it can be used, connect(2) says
            help="The daemon's control socket. [default: $MINIWSGI_CONTROL, or control.sock in the unit's, the "
            "user's or the system's runtime directory, such as /run/miniwsgi/control.sock]",
        ),
        CommonOption(
            ["--instance", "-i"],
            metavar="NAME",
            callback=_instance,
            shell_complete=_complete_instance,
            help="The daemon of that name: its socket is NAME/control.sock in a runtime directory. See list.",
        ),
        CommonOption(
            ["--output", "-o"],
            metavar="table|json|wide",
            type=click.Choice([output.value for output in Output]),
            help="table: for people. wide: more columns. json: as the daemon says it, for programs.",
        ),
        CommonOption(
            ["--timeout"],
            metavar="SECONDS",
            type=float,
            callback=_seconds,
            help=f"How long the whole command may take; then exit status 4. [default: {ANSWER_SECONDS:.0f} s for each "
            "answer, and a change as long as it needs]",
        ),
        CommonOption(
            ["--no-color"],
            is_flag=True,
            default=None,
            help="No colours. So does NO_COLOR in the environment, and an output that is no terminal.",
        ),
    ]


COMMON = tuple(option.name or "" for option in common_options())


def session_from(given: dict[str, Any]) -> Session:
    """The session that the options ask for. Raises click.UsageError."""
    path, instance = given.get("socket"), given.get("instance")
    if path and instance:
        raise click.UsageError("--socket and --instance each name a daemon: give one of them")
    if not path and not instance:
        path = os.environ.get("MINIWSGI_CONTROL")
    if not path:
        path = socket_paths.find(os.environ, os.geteuid(), instance)
    timeout = given.get("timeout")
    return Session(
        path=path,
        named=bool(given.get("socket") or given.get("instance")),
        output=Output(given.get("output") or "table"),
        timeout_seconds=timeout,
        colour=not given.get("no_color"),
        end=None if timeout is None else time.monotonic() + timeout,
    )


class ControlCommand(click.Command):
    """A command of `miniwsgictl`."""

    allows_negative_numbers: ClassVar[bool] = False

    def __init__(self, *args: Any, **attributes: Any) -> None:
        attributes["params"] = [*(attributes.get("params") or []), *common_options()]
        super().__init__(*args, **attributes)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if self.allows_negative_numbers and "--" not in args:
            numbers = [arg for arg in args if LOOKS_LIKE_A_NUMBER.fullmatch(arg)]
            if numbers:  # `scale -2`: after a --, it is no option
                args = [*(arg for arg in args if arg not in numbers), "--", *numbers]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        given = dict(ctx.find_root().params)
        for name in COMMON:
            value = ctx.params.pop(name, None)
            if value is not None:
                given[name] = value
        session = ctx.obj = session_from(given)
        try:
            return super().invoke(ctx)
        except Complaint as error:
            found = error
        except (TransportError, RequestRefused) as error:
            found = complaint(error, session.path, text.seconds(session.timeout_seconds or ANSWER_SECONDS))
        except KeyboardInterrupt:
            found = Complaint(ExitStatus.INTERRUPTED, "", "interrupted")
        found.show()
        return ctx.exit(found.status)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_options(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            formatter.write_paragraph()
            formatter.write(self.epilog)


class NumbersCommand(ControlCommand):
    """One whose argument may be -2."""

    allows_negative_numbers = True


def write_options(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """The command's own options, then the common ones; those of the group in one."""
    groups: dict[str, list[tuple[str, str]]] = {OWN: [], COMMON_HEADING: []}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
        if record is not None:
            common = isinstance(parameter, CommonOption) and not isinstance(command, click.Group)
            groups[COMMON_HEADING if common else OWN].append(record)
    for heading, records in groups.items():
        if records:
            with formatter.section(heading):
                formatter.write_dl(records, col_max=26)


def _ask(ctx: click.Context, ask: Callable[[Client], Iterable[str]]) -> list[str]:
    """What a daemon that runs proposes to the shell; nothing if it does not answer at once."""
    root = ctx.find_root().params
    given = {name: ctx.params.get(name) or root.get(name) for name in COMMON}
    try:
        with Client(session_from(given).path, answer_seconds=0.5) as client:
            return list(ask(client))
    except (TransportError, RequestRefused, click.UsageError):
        return []


def complete_metric(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The names of metrics, from what runs."""
    found = _ask(ctx, lambda client: [family.name for family in client.metrics().value.families])
    return [name for name in found if name.startswith(incomplete)]


def _complete_slot(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """From what runs."""
    slots = _ask(ctx, lambda client: [str(worker.slot) for worker in client.workers().value.workers])
    return [slot for slot in slots if slot.startswith(incomplete)]


def slot_argument(required: bool = True) -> Callable[[F], F]:
    """SLOT."""
    metavar = "SLOT" if required else "[SLOT]"
    decorator: Callable[[F], F] = click.argument(
        "slot", type=click.IntRange(0), metavar=metavar, required=required, shell_complete=_complete_slot
    )
    return decorator


def slots_argument() -> Callable[[F], F]:
    """Any number of them."""
    decorator: Callable[[F], F] = click.argument(
        "slots", type=click.IntRange(0), metavar="[SLOT]...", nargs=-1, shell_complete=_complete_slot
    )
    return decorator
