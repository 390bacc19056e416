"""`workers` as people read it: a table, a row a slot; one worker with all that is known of it."""

from __future__ import annotations

from collections.abc import Iterator

from ..client import messages
from . import text
from .options import Session

COLOURS = {
    "ready": "green",
    "booting": "yellow",
    "forking": "yellow",
    "waiting": "yellow",
    "draining": "cyan",
    "stuck": "red",
    "killed": "red",
}


def oldest(worker: messages.Worker) -> str:
    """The request that has run for longest, and how many others there are: "GET /report 12.3 s +2"."""
    if not worker.in_flight:
        return ""
    longest = max(worker.in_flight, key=lambda running: running.age_seconds)
    others = len(worker.in_flight) - 1
    return f"{running(longest)}{f' +{others}' if others else ''}"


def running(request: messages.RunningRequest) -> str:
    return f"{text.seconds(request.age_seconds)} {request.method} {request.path}"


def optional(value: object) -> str:
    return text.NOTHING if value is None else str(value)


def lines(workers: list[messages.Worker], session: Session) -> list[str]:
    """What `workers` prints."""
    header = ["SLOT", "PID", "GEN", "STATE", "AGE", "REQUESTS", "REQ/S", "RUN", "WAIT", "CONN", "RSS", "CPU"]
    right = "rrr.rrrrrrrr"
    if session.wide:
        header += ["PSS", "USS", "CPU TIME", "BEAT", "LOST", "LAST EXIT"]
        right += "rrrrr."
    header.append("RUNNING")

    def cell(column: int, said: str, padded: str) -> str:
        colour = COLOURS.get(said) if header[column] == "STATE" else None
        return session.styled(padded, fg=colour) if colour else padded

    rows = [_row(worker, session.wide) for worker in workers]
    width = None if session.wide else session.width()
    return text.table(
        header, rows, right=right, width=width, cell=cell, heading=lambda line: session.styled(line, bold=True)
    )


def _row(worker: messages.Worker, wide: bool) -> list[str]:
    due = "" if worker.next_in_seconds is None else f" {text.seconds(worker.next_in_seconds)}"
    row = [
        str(worker.slot),
        optional(worker.pid),
        optional(worker.generation),
        worker.state + due,
        text.age(worker.age_seconds),
        str(worker.requests),
        text.rate(worker.rate),
        str(len(worker.in_flight)),
        str(worker.waiting),
        str(worker.connections),
        text.size(worker.rss_bytes),
        text.percent(worker.cpu_percent),
    ]
    if wide:
        row += [
            text.size(worker.pss_bytes),
            text.size(worker.uss_bytes),
            text.seconds(worker.cpu_seconds),
            text.seconds(worker.heartbeat_age_seconds),
            str(worker.restarts),
            worker.last_exit or text.NOTHING,
        ]
    row.append(oldest(worker))
    return row


def one(worker: messages.Worker, session: Session) -> list[str]:
    """What `workers SLOT` prints."""
    facts = ((f"{name}:", said) for name, said in _facts(worker))
    return [f"{session.styled(f'{name:<15}', dim=True)}{text.clean(said)}" for name, said in facts]


def _facts(worker: messages.Worker) -> Iterator[tuple[str, str]]:
    yield "slot", str(worker.slot)
    yield "pid", optional(worker.pid)
    yield "generation", optional(worker.generation)
    since = f", for {text.age(worker.in_state_seconds)}" if worker.in_state_seconds is not None else ""
    yield "state", f"{worker.state}{since}{f': {worker.reason}' if worker.reason else ''}"
    if worker.next_in_seconds is not None:
        yield "next worker", f"in {text.seconds(worker.next_in_seconds)}"
    yield "age", text.age(worker.age_seconds)
    beat = worker.heartbeat_age_seconds
    yield "heartbeat", text.NOTHING if beat is None else f"{text.seconds(beat)} ago"
    yield "requests", f"{worker.requests}, {text.rate(worker.rate)}/s"
    yield "connections", str(worker.connections)
    shares = f"(shared fairly {text.size(worker.pss_bytes)}, its own {text.size(worker.uss_bytes)})"
    yield "memory", f"{text.size(worker.rss_bytes)} {shares}"
    yield "cpu", f"{text.percent(worker.cpu_percent)}, {text.seconds(worker.cpu_seconds)} in all"
    yield "lost", f"{text.count(worker.restarts, 'worker')} of this slot"
    yield "last exit", worker.last_exit or text.NOTHING
    yield "waiting", f"{text.count(worker.waiting, 'request')} for a thread"
    yield "running", text.count(len(worker.in_flight), "request")
    for request in sorted(worker.in_flight, key=lambda request: -request.age_seconds):
        yield "  thread " + str(request.thread), running(request)
