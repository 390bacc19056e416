"""The commands that only look, beside status: workers, stack, metrics, config, events, top, ping, list, completion."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from .. import text
from ..client import RequestRefused, TransportError, messages
from ..exit_statuses import EXIT_STATUSES, Complaint, ExitStatus
from ..options import ControlCommand, Session, complete_metric, slot_argument

LIST_ANSWER_SECONDS = 2.0
FOLLOWED_LINES = 10  # that `events -f` shows of the past, as tail(1) does


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl workers
  miniwsgictl workers 3
      one worker, with every request that it runs
  miniwsgictl workers -o json | jq '.workers[].in_flight[].path'

{EXIT_STATUSES}""",
)
@slot_argument(required=False)
@click.pass_obj
def workers(session: Session, slot: int | None) -> None:
    """Show the workers, or the one in SLOT.

    The column RUN counts requests that run, WAIT those that wait for a thread; RUNNING has the one that has run for
    longest, and how many others there are.
    """
    from ..views import workers_view

    with session.client() as client:
        reply = client.workers() if slot is None else client.worker(slot)
    found = reply.value
    if session.json:
        session.echo_json(reply.raw)
    elif isinstance(found, messages.Worker):
        click.echo("\n".join(workers_view.one(found, session)))
    else:
        click.echo("\n".join(workers_view.lines(found.workers, session)))


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl stack 3

{EXIT_STATUSES}""",
)
@slot_argument()
@click.pass_obj
def stack(session: Session, slot: int) -> None:
    """Show what every thread of a worker is doing.

    The Python stacks of all its threads, the most recent call first. It works on a worker that hangs, too, also in C
    code, and harms none. Below a thread's heading stands the request that it runs; threads that wait for work are
    counted, and shown with -o wide.
    """
    from ..views import stack_view

    with session.client() as client:
        reply = client.stack(slot)
    found = reply.value
    if session.json:
        session.echo_json(reply.raw)
    else:
        click.echo("\n".join(stack_view.lines(found, every=session.wide)))
    if not found.answered:
        raise Complaint(ExitStatus.FAILED, f"worker {slot} (pid {found.pid}) gave no stacks")


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl metrics
      every family, a line each
  miniwsgictl metrics http_server_request_duration_seconds
      all series of one, with their percentiles
  miniwsgictl metrics miniwsgi_worker_
      those whose names begin so
  miniwsgictl metrics -o json | jq '.families[].name'

{EXIT_STATUSES}""",
)
@click.argument("name", metavar="[NAME]", required=False, shell_complete=complete_metric)
@click.pass_obj
def metrics(session: Session, name: str | None) -> None:
    """Show what is measured.

    The families that /metrics has, without those of the application; or NAME with every series, or all whose names
    begin so. Counters and histograms count from the start of the daemon. With -o wide, values are exact.
    """
    from ..views import metrics_view

    try:
        with session.client() as client:
            reply = client.metrics(name or "")
    except RequestRefused as error:
        if error.problem.status != 404:
            raise
        raise Complaint(ExitStatus.USAGE, error.problem.detail) from None
    if session.json:
        session.echo_json(reply.raw)
        return
    shown = metrics_view.details if name else metrics_view.summary
    click.echo("\n".join(shown(reply.value.families, session)))


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl config
      what is in force, and where each value comes from
  miniwsgictl config check
      whether the file on disk is valid, and what a reload would change
  miniwsgictl config check new.toml
      the same for another file; nothing it names is imported or run
  miniwsgictl config diff
      what a reload would change, as a difference

{EXIT_STATUSES}""",
)
@click.argument("action", metavar="[show|check|diff]", default="show", type=click.Choice(["show", "check", "diff"]))
@click.argument("file", metavar="[FILE]", required=False, type=click.Path())
@click.pass_obj
def config(session: Session, action: str, file: str | None) -> None:
    """Show the configuration in force, or check another one.

    Secrets are masked. FILE is read by this command and sent to the daemon (- is standard input); without it, check
    and diff take what the daemon would read at a reload.
    """
    from ..views import config_view

    if action == "show":
        if file is not None:
            raise click.UsageError(f"show prints what is in force; to look at a file: miniwsgictl config check {file}")
        with session.client() as client:
            view = client.config()
        if session.json:
            session.echo_json(view.raw)
        else:
            click.echo("\n".join(config_view.lines(view.value, session)))
        return
    sent = None if file is None else _read(file)
    with session.client() as client:
        reply = client.check_config(sent)
        where = file if file is not None else client.config().value.path or "flags and environment"
    report = reply.value
    if session.json:
        session.echo_json(reply.raw)
    if not report.valid:
        raise Complaint(ExitStatus.FAILED, config_view.mistakes(report.problems, where))
    if not session.json:
        for line in (
            config_view.verdict(report, where, session)
            if action == "check"
            else config_view.difference(report, session)
        ):
            click.echo(line)


def _read(file: str) -> str:
    try:
        with click.open_file(file, encoding="utf-8") as opened:
            found: str = opened.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise click.UsageError(f"{file} cannot be read: {reason}") from None
    return found


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl events
  miniwsgictl events -f
  miniwsgictl events -n 20 -o json | jq -r .message

{EXIT_STATUSES}""",
)
@click.option("--follow", "-f", is_flag=True, help="Go on as things happen, until interrupted or the daemon stops.")
@click.option(
    "--lines", "-n", metavar="N", type=click.IntRange(0, messages.MAX_EVENTS), default=None,
    help=f"Only the last N of the past. [default: all that are kept; with --follow {FOLLOWED_LINES}]",
)  # fmt: skip
@click.pass_obj
def events(session: Session, follow: bool, lines: int | None) -> None:
    """Show what happened.

    Workers that started and ended, reloads and other changes, slow requests and timeouts; the daemon keeps the last
    1000. With -o json, one JSON object a line.
    """
    import msgspec

    from ..views.events_view import line

    def show(raw: bytes, event: messages.Event) -> None:
        click.echo(text.clean_json(raw.decode("utf-8")) if session.json else line(event, session))
        sys.stdout.flush()

    with session.client() as client:
        if lines is None:
            lines = FOLLOWED_LINES if follow else messages.MAX_EVENTS
        past = client.events(limit=lines).value
        for event in past.events:
            show(msgspec.json.encode(event) if session.json else b"", event)
        if follow:
            for reply in client.follow(since=past.last_id):
                show(reply.raw, reply.value)
            session.note("the daemon has stopped")


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Keys:
  q, Ctrl-C   quit
  Up, Down    select a worker (also k, j)
  s, S        sort by the next column, the other way round
  +, -        one worker more, one fewer
  r           restart the selected worker
  R           reload
              before it changes anything, it asks
  d           what the selected worker is doing: its stacks
  ?           help

{EXIT_STATUSES}""",
)
@click.option(
    "--interval", "-d", metavar="SECONDS", type=click.FloatRange(0.2, 60), default=1.0,
    help="Time between two looks. [default: 1]",
)  # fmt: skip
@click.pass_obj
def top(session: Session, interval: float) -> None:
    """Watch the daemon live.

    Workers, request rate and latencies with their recent history, and the requests that run with their ages.
    """
    if session.json:
        raise click.UsageError("top is for people; for programs: miniwsgictl status -o json, workers -o json")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("top needs a terminal; elsewhere: miniwsgictl status, miniwsgictl workers")
    from ..top.app import run

    run(session, interval)


@click.command(
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl ping && echo it is there

{EXIT_STATUSES}""",
)
@click.pass_obj
def ping(session: Session) -> None:
    """Tell whether the daemon answers, and how fast."""
    with session.client() as client:
        client.log_level()  # connects
        started = time.perf_counter()
        found = client.status().value
        seconds = time.perf_counter() - started
    if session.json:
        import msgspec

        answer = {"socket": session.path, "pid": found.pid, "version": found.version, "state": found.state}
        answer["verdict"] = found.verdict.level
        session.echo_json(msgspec.json.encode({**answer, "seconds": round(seconds, 6)}))
    else:
        version = text.clean(found.version)
        state = _state(found.state, found.verdict.level)
        click.echo(f"miniwsgi {version} (pid {found.pid}) is {state}, answered in {text.seconds(seconds)}")


def _state(state: str, level: str | None) -> str:
    """In a word, or two if it is not healthy: "running", "running, degraded"."""
    return state if level in {"healthy", None} else f"{state}, {level}"


@click.command(
    "list",
    cls=ControlCommand,
    epilog=f"""\
Examples:
  miniwsgictl list
  miniwsgictl list -o json | jq -r '.[].socket'

{EXIT_STATUSES}""",
)
@click.pass_obj
def list_(session: Session) -> None:
    """List the daemons that run.

    Those whose control socket is in a runtime directory. INSTANCE is what --instance takes. With --socket or
    --instance only that one.
    """
    import os

    import msgspec

    from .. import socket_paths

    found: list[dict[str, Any]] = []
    every = socket_paths.all_sockets(os.environ, os.geteuid())
    names = {path: name for name, path in every}
    wanted = [(names.get(session.path, ""), session.path)] if session.named else every
    for name, path in wanted:
        entry = _entry(name, path)
        if entry is not None:
            found.append(entry)
    if session.json:
        session.echo_json(msgspec.json.encode(found))
        return
    if not found:
        places = [session.path] if session.named else socket_paths.directories(os.environ, os.geteuid())
        session.note("no daemon runs; looked in " + ", ".join(places))
        return
    header = ("INSTANCE", "PID", "STATE", "WORKERS", "UP", "VERSION", "APPLICATION", "SOCKET")
    rows = [
        (
            entry["instance"] or text.NOTHING,
            str(entry["pid"] or text.NOTHING),
            _state(entry["state"], entry["verdict"]),
            f"{entry['ready']}/{entry['target']}" if entry["pid"] else text.NOTHING,
            text.age(entry["uptime_seconds"]),
            entry["version"] or text.NOTHING,
            entry["application"] or text.NOTHING,
            entry["socket"],
        )
        for entry in found
    ]
    for line in text.table(header, rows, right=".r.rr", heading=lambda line: session.styled(line, bold=True)):
        click.echo(line)


def _entry(name: str, path: str) -> dict[str, Any] | None:
    """What `list` says of a socket; None if nobody listens on it."""
    from ..client import Client, Trouble

    entry: dict[str, Any] = {"instance": name, "socket": path}
    unknown = dict.fromkeys(("verdict", "pid", "version", "application", "ready", "target", "uptime_seconds"))
    try:
        with Client(path, answer_seconds=LIST_ANSWER_SECONDS) as client:
            found = client.status().value
    except RequestRefused:
        return {**entry, "state": "denied", **unknown}
    except TransportError as error:
        if error.trouble in {Trouble.FORBIDDEN, Trouble.LATE, Trouble.VERSION}:
            state = {Trouble.FORBIDDEN: "denied", Trouble.LATE: "no answer"}.get(error.trouble, "other version")
            return {**entry, "state": state, **unknown}
        return None
    return {
        **entry,
        "state": found.state,
        "verdict": found.verdict.level,
        "pid": found.pid,
        "version": found.version,
        "application": found.application,
        "ready": found.workers.ready,
        "target": found.workers.target,
        "uptime_seconds": found.uptime_seconds,
    }


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
