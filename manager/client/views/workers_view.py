"""`workers` as people read it: a table, a row a slot; one worker with all that is known of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ... import messages
from .. import text
from ..options import Session
from .status_view import errors, running_hook

NOT_RESPONDING = "not responding"
LEADER = "*"  # before the slot of the worker that leads
COLUMNS = (
    "SLOT", "PID", "GEN", "REVISION", "STATE", "AGE", "REQUESTS", "REQ/S", "4XX", "4XX%", "5XX", "5XX%", "RUN", "WAIT",
    "CONN", "RSS", "CPU",
)  # fmt: skip
WIDE_COLUMNS = ("PSS", "USS", "CPU TIME", "BEAT", "RESTARTS", "LAST EXIT")
REQUEST_COLUMNS = 16  # that the request which has run for longest needs at least
# What a narrow screen does without, the first of it first.
DISPENSABLE = ("REVISION", "4XX%", "4XX", "WAIT", "REQUESTS", "AGE", "5XX", "CONN", "CPU", "PID", "GEN", "5XX%")
COLOURS = {
    NOT_RESPONDING: "red",
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


def longest_first(worker: messages.Worker) -> list[messages.RunningRequest]:
    """The requests that it runs."""
    return sorted(worker.in_flight, key=lambda request: -request.age_seconds)


def running(request: messages.RunningRequest) -> str:
    return f"{text.seconds(request.age_seconds)} {request.method} {request.path}"


def condition(worker: messages.Worker) -> str:
    """Its state, or that it does not respond: that is no state of its life, and what an operator is to see of it."""
    silent = worker.not_responding_seconds is not None and worker.state == "ready"
    return NOT_RESPONDING if silent else worker.state


def optional(value: object) -> str:
    return text.NOTHING if value is None else str(value)


def lines(workers: list[messages.Worker], session: Session) -> list[str]:
    """What `workers` prints. A terminal gets the columns that it has room for."""
    rows = [_cells(worker) for worker in workers]
    header = [*COLUMNS, *(WIDE_COLUMNS if session.wide else ()), "RUNNING"]
    if not any(worker.revision for worker in workers):
        header.remove("REVISION")
    width = None if session.wide else session.width()
    if width is not None:
        widths = {name: 2 + max(map(len, (name, *(row[name] for row in rows)))) for name in header[:-1]}
        dropped = text.left_out(widths, _dispensable(workers), width - REQUEST_COLUMNS)
        header = [name for name in header if name not in dropped]

    def cell(column: int, said: str, padded: str) -> str:
        colour = COLOURS.get(said) if header[column] == "STATE" else None
        return session.styled(padded, fg=colour) if colour else padded

    return text.table(
        header,
        [[row[name] for name in header] for row in rows],
        right="".join("." if name in {"STATE", "LAST EXIT", "RUNNING"} else "r" for name in header),
        width=width,
        cell=cell,
        heading=session.heading,
    )


def _dispensable(workers: list[messages.Worker]) -> Sequence[str]:
    """DISPENSABLE; where workers run different code, no screen is too narrow to say so."""
    differ = len({worker.revision for worker in workers if worker.state == "ready"}) > 1
    return [name for name in DISPENSABLE if name != "REVISION"] if differ else DISPENSABLE


def figures(worker: messages.Worker) -> dict[str, str]:
    """What tables of workers show of one, by column, but for the request that has run for longest."""
    return {
        "SLOT": f"{LEADER}{worker.slot}" if worker.leader is not None else str(worker.slot),
        "PID": optional(worker.pid),
        "GEN": optional(worker.generation),
        "REVISION": optional(worker.revision),
        "STATE": condition(worker),
        "AGE": text.age(worker.age_seconds),
        "REQUESTS": str(worker.requests),
        "REQ/S": text.rate(worker.rate),
        "4XX": str(worker.client_errors),
        "4XX%": text.share(worker.last_60s.client_errors),
        "5XX": str(worker.server_errors),
        "5XX%": text.share(worker.last_60s.server_errors),
        "RUN": str(len(worker.in_flight)),
        "WAIT": str(worker.waiting),
        "CONN": f"{worker.connections}{f'+{worker.sockets}' if worker.sockets else ''}",
        "RSS": text.size(worker.rss_bytes),
        "CPU": text.percent(worker.cpu_percent),
    }


def _cells(worker: messages.Worker) -> dict[str, str]:
    cells = {
        **figures(worker),
        "PSS": text.size(worker.pss_bytes),
        "USS": text.size(worker.uss_bytes),
        "CPU TIME": text.seconds(worker.cpu_seconds),
        "BEAT": text.seconds(worker.heartbeat_age_seconds),
        "RESTARTS": str(worker.restarts),
        "LAST EXIT": worker.last_exit or text.NOTHING,
        "RUNNING": oldest(worker),
    }
    if worker.next_in_seconds is not None:
        cells["STATE"] += f" {text.seconds(worker.next_in_seconds)}"
    return cells


def one(worker: messages.Worker, session: Session) -> list[str]:
    """What `workers SLOT` prints."""
    requests = ((f"  thread {request.thread}", running(request)) for request in longest_first(worker))
    known = ((f"{name}:", said) for name, said in (*facts(worker), *requests))
    return [f"{session.styled(f'{name:<15}', dim=True)}{text.clean(said)}" for name, said in known]


def facts(worker: messages.Worker) -> Iterator[tuple[str, str]]:
    """All that is known of one, by name, but for each request that it runs."""
    yield "slot", str(worker.slot)
    yield "pid", optional(worker.pid)
    yield "generation", optional(worker.generation)
    if worker.revision is not None:
        yield "revision", worker.revision
    since = f", for {text.age(worker.in_state_seconds)}" if worker.in_state_seconds is not None else ""
    yield "state", f"{worker.state}{since}{f': {worker.reason}' if worker.reason else ''}"
    if worker.next_in_seconds is not None:
        yield "next worker", f"in {text.seconds(worker.next_in_seconds)}"
    if worker.leader is not None:
        yield "leader", worker.leader
    yield "age", text.age(worker.age_seconds)
    beat = worker.heartbeat_age_seconds
    yield "heartbeat", text.NOTHING if beat is None else f"{text.seconds(beat)} ago"
    if worker.not_responding_seconds is not None:
        yield "responding", f"not for {text.seconds(worker.not_responding_seconds)}"
    yield "requests", f"{worker.requests}, {text.rate(worker.rate)}/s"
    yield "answers", errors(worker, worker.last_60s)
    yield "connections", text.connections(worker.connections, worker.sockets)
    shares = f"(shared fairly {text.size(worker.pss_bytes)}, its own {text.size(worker.uss_bytes)})"
    yield "memory", f"{text.size(worker.rss_bytes)} {shares}"
    yield "cpu", f"{text.percent(worker.cpu_percent)}, {text.seconds(worker.cpu_seconds)} in all"
    yield "restarts", f"{worker.restarts}, after workers that were lost"
    yield "last exit", worker.last_exit or text.NOTHING
    yield "waiting", f"{text.count(worker.waiting, 'request')} for a thread"
    for hook in worker.hooks:
        yield "hook", running_hook(hook)
    yield "running", text.count(len(worker.in_flight), "request")
