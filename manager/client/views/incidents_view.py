"""Slow requests and lost workers as people read them: a table each, and with -v the stacks."""

from __future__ import annotations

from collections.abc import Iterator

from ... import messages
from .. import text
from ..options import Session

SLOW_COLUMNS = ("WHEN", "REQUEST", "ROUTE", "STATUS", "FOR", "QUEUED", "CPU", "WAIT", "WHERE")
CRASH_COLUMNS = ("#", "WHEN", "KIND", "SLOT", "PID", "GEN", "REQUEST", "FOR", "STATUS", "WHERE")
REQUEST_COLUMNS = 40  # of a path, in a table
COLOURS = {"crash": "red", "oom": "red", "wedge": "red", "timeout": "yellow"}
RUNS = "runs"  # instead of a status


def slow_lines(found: messages.SlowList, session: Session, *, every: bool) -> list[str]:
    """What `slow` prints; with `every` look and its stack."""
    if not found.requests:
        return [_none_slow(found)]
    lines = _table(SLOW_COLUMNS, [_slow_row(one, session) for one in found.requests], "....rrrr.", session)
    if every:
        for one in found.requests:
            lines += ["", *_verbose(one)]
    return [*lines, *_left_out(found)]


def crash_lines(found: messages.CrashList, session: Session, *, every: bool) -> list[str]:
    """What `crashes` prints; with `every` request that was in hand, and the stacks."""
    if not found.crashes:
        return ["no worker was lost since the daemon began"]
    lines = _table(CRASH_COLUMNS, [_crash_row(one, session) for one in found.crashes], "r..rrr.rr.", session)
    if found.repeated:
        lines.insert(0, session.styled(text.clean(found.repeated), fg="red", bold=True))
    if every:
        for one in found.crashes:
            lines += ["", *_crash(one, session)]
    return lines


def wait_seconds(request: messages.Incident) -> float | None:
    """How long it neither waited for a thread nor computed; None: not known."""
    if request.cpu_seconds is None:
        return None
    return max(0.0, request.age_seconds - (request.queued_seconds or 0.0) - request.cpu_seconds)


def _table(columns: tuple[str, ...], rows: list[list[str]], right: str, session: Session) -> list[str]:
    at = columns.index("KIND") if "KIND" in columns else -1

    def cell(column: int, said: str, padded: str) -> str:
        colour = COLOURS.get(said) if column == at else None
        return session.styled(padded, fg=colour) if colour else padded

    width = None if session.wide else session.width()
    return text.table(columns, rows, right=right, width=width, cell=cell, heading=session.heading)


def _slow_row(one: messages.Incident, session: Session) -> list[str]:
    return [
        text.clock(one.at, date=session.wide),
        _request(one, session),
        one.route or text.NOTHING,
        RUNS if one.running else str(one.status or text.NOTHING),
        text.seconds(one.age_seconds),
        text.seconds(one.queued_seconds),
        text.seconds(one.cpu_seconds),
        text.seconds(wait_seconds(one)),
        one.where or text.NOTHING,
    ]


def _crash_row(crash: messages.Crash, session: Session) -> list[str]:
    one = crash.requests[0] if crash.requests else None
    others = f" +{len(crash.requests) - 1}" if len(crash.requests) > 1 else ""
    return [
        str(crash.id),
        text.clock(crash.at, date=session.wide),
        crash.kind,
        str(crash.slot),
        str(crash.pid),
        str(crash.generation),
        f"{_request(one, session)}{others}" if one is not None else text.NOTHING,
        text.seconds(one.age_seconds if one is not None else None),
        str(one.status) if one is not None and one.status else text.NOTHING,
        crash.elsewhere or (one.where if one is not None else "") or crash.what,
    ]


def _request(one: messages.Incident, session: Session) -> str:
    said = f"{one.method} {one.path}"
    return said if session.wide or session.width() is None else text.cut(said, REQUEST_COLUMNS)


def _verbose(one: messages.Incident) -> Iterator[str]:
    """All that is known of a request."""
    route = f" (route {one.route})" if one.route else ""
    status = f", status {one.status}" if one.status else ", still running" if one.running else ""
    yield text.clean(f"{one.method} {one.path}{route}: {text.seconds(one.age_seconds)}{status}")
    trace = f", trace {one.trace_id}" if one.trace_id else ""
    thread = f", thread {one.thread}" if one.thread is not None else ""
    yield text.clean(f"  request id {one.request_id}{trace}; worker {one.slot} (pid {one.pid}){thread}")
    looks = one.looks or ([messages.Look(one.age_seconds, one.stack)] if one.stack else [])
    for look in looks:
        after = f"  after {text.seconds(look.age_seconds)}" if one.looks else "  its stack"
        yield f"{after}, the innermost call first:"
        yield from (text.clean(f"    {_frame(frame)}") for frame in look.stack)


def _frame(frame: messages.StackFrame) -> str:
    return f"{frame.file}:{frame.line} in {frame.function}"


def _crash(crash: messages.Crash, session: Session) -> Iterator[str]:
    head = f"#{crash.id} {text.clock(crash.at, date=True)} {crash.kind}: worker {crash.slot} (pid {crash.pid})"
    yield session.styled(text.clean(f"{head}, generation {crash.generation}, {crash.what}"), bold=True)
    if crash.repeated:
        yield text.clean(f"  {crash.repeated}")
    if crash.elsewhere:
        yield text.clean(f"  the thread that crashed ran no request: it was at {crash.elsewhere}")
    if not crash.requests:
        yield "  it had no request in hand"
    elif not crash.culprit_known and not crash.elsewhere:
        yield "  which of these was to blame is not known; the one that had run for longest comes first"
    for one in crash.requests:
        yield from (f"  {line}" for line in _verbose(one))
    if crash.stacks:
        old = f", {text.seconds(crash.stacks_age_seconds)} before" if crash.stacks_age_seconds else ""
        yield f"  all of its threads{old}:"
        yield from (f"  | {line}" for line in text.clean(crash.stacks, lines=True).splitlines())


def _none_slow(found: messages.SlowList) -> str:
    if not found.limit_seconds:
        return "log.slow_request is off: nothing is slow"
    return f"no request took {text.seconds(found.limit_seconds)} or longer (log.slow_request) since the daemon began"


def _left_out(found: messages.SlowList) -> Iterator[str]:
    if found.stacks_left_out:
        yield f"{text.count(found.stacks_left_out, 'request')} have no stack: too many were slow at once"
    if found.ends_left_out:
        ends = text.count(found.ends_left_out, "request")
        yield f"of {ends} the end was not told, too many ended at once: those have no status, or are not here at all"
