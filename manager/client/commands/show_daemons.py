"""`ping` and `list`: whether a daemon answers, and which ones there are."""

from __future__ import annotations

import os
import time
from typing import Any

import click
import msgspec

from .. import socket_paths, text
from ..client import Client, RequestRefused, TransportError, Trouble
from ..exit_statuses import EXIT_STATUSES
from ..options import ControlCommand, Session

LIST_ANSWER_SECONDS = 2.0


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
        answer = {"socket": session.path, "pid": found.pid, "version": found.version, "state": found.state}
        answer["verdict"] = found.verdict.level
        session.echo_json(msgspec.json.encode({**answer, "seconds": round(seconds, 6)}))
    else:
        version = text.clean(found.version)
        state = _state(found.state, found.verdict.level)
        click.echo(f"miniwsgi {version} (pid {found.pid}) is {state}, answered in {text.seconds(seconds)}")


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
    for line in text.table(header, rows, right=".r.rr", heading=session.heading):
        click.echo(line)


def _entry(name: str, path: str) -> dict[str, Any] | None:
    """What `list` says of a socket; None if nobody listens on it."""

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


def _state(state: str, level: str | None) -> str:
    """In a word, or two if it is not healthy: "running", "running, degraded"."""
    return state if level in {"healthy", None} else f"{state}, {level}"
