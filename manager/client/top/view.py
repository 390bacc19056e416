"""The screen of `top` as lines of text for a width and a height. A pure function of the model."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence

from rich.text import Text

from ... import messages
from .. import text
from ..views.operation_view import progress
from ..views.status_view import VERDICT_COLOURS, percentiles, reasons
from ..views.workers_view import COLOURS as WORKER_COLOURS
from ..views.workers_view import DISPENSABLE, NOT_RESPONDING, REQUEST_COLUMNS, condition, figures, oldest, optional
from . import panes
from .keyboard import KEYS_HELP
from .model import PANES, SORTS, Model, Page, Pane

SMALLEST = (40, 12)  # columns, lines
NAME_COLUMNS = 12  # before what a line of the head says
BLOCKS = "▁▂▃▄▅▆▇█"

HELP = f"""\
{textwrap.indent(KEYS_HELP, " ")} (before a key changes anything, it asks)

 REQ/S  requests a second, over 10 s    RUN   requests that run
 WAIT   requests that wait for a thread CONN  connections, +WebSockets
 CPU    of one CPU                      RUNNING  the oldest request, +others
 5XX    answers of 500 to 599           5XX%  their share of the last minute's
 exceptions: the application let them through   rejected: answered by the server
 aborted: cut off by clients                   timeouts: what took too long
"""


def draw(model: Model, width: int, height: int, where: str, clock: str) -> list[Text]:
    """`height` lines at most, each no wider than `width`. `where`: the socket; `clock`: the time of the day."""
    if width < SMALLEST[0] or height < SMALLEST[1]:
        return [Text(f"too small: {SMALLEST[0]}×{SMALLEST[1]} at least"[:width])]
    if model.page is Page.WORKER:
        return _worker(model, width, height)
    if model.page is Page.TEXT:
        shown = wrapped(model.text, width)[model.scrolled :]
        hint = "Up, Down: scroll   any other key: back"
        return _page(model.title, shown, width, height, hint)
    return _main(model, width, height, where, clock)


def text_lines(height: int) -> int:
    """How many lines of a text page fit."""
    return height - 2


def wrapped(said: str, width: int) -> list[str]:
    """The lines of a text, long ones broken: nothing of a stack is to be missed."""
    found = []
    for line in said.splitlines():
        rest = text.clean(line.expandtabs(4))
        while len(rest) > width:
            found.append(rest[:width])
            rest = "        " + rest[width:]
        found.append(rest)
    return found


def _page(title: str, lines: Iterable[str], width: int, height: int, hint: str) -> list[Text]:
    found = [_bar(title, "", width)]
    found += [Text(text.cut(line, width)) for line in list(lines)[: text_lines(height)]]
    found += [Text("")] * (height - 1 - len(found))
    return [*found, Text(text.cut(f" {hint}", width), "dim")]


# --- the main page ------------------------------------------------------------------------------------------------


def _main(model: Model, width: int, height: int, where: str, clock: str) -> list[Text]:
    if model.snapshot is None:
        return [_bar("miniwsgictl top", clock, width), Text(text.cut(model.trouble or f"asking {where} …", width))]
    head = _head(model, width, clock)
    room = max(1, height - len(head) - 1)
    lines = [*head, *_body(model, room, width)][: height - 1]
    lines += [Text("")] * (height - 1 - len(lines))
    return [*lines, _footer(model, width)]


def _body(model: Model, room: int, width: int) -> list[Text]:
    if model.pane is Pane.ROUTES:
        return panes.routes(model, room, width)
    if model.pane is Pane.EVENTS:
        return panes.events(model, room, width)
    workers, running = model.workers(), model.running()
    shares = _shares(room, len(workers), len(running))
    body = _workers(model, workers, shares[0], width)
    return [*body, *_running(running, shares[1], width)] if shares[1] else body


def _worker(model: Model, width: int, height: int) -> list[Text]:
    worker, stack = model.worker_of_page(), model.stack
    title = panes.worker_title(worker, model.selected)
    found = [line for line in panes.worker_lines(worker, stack) for line in (wrapped(line, width) or [""])]
    model.scroll(0, len(found) - text_lines(height))
    page = _page(title, found[model.scrolled :], width, height, WORKER_KEYS)
    return [*page[:-1], _said(model, width) or page[-1]]


def _shares(room: int, workers: int, running: int) -> tuple[int, int]:
    """Lines for the table of workers and for that of requests, each with its heading; 0: left out."""
    wanted = (workers + 1, running + 2 if running else 0)  # a blank line stands between them
    if sum(wanted) <= room:
        return wanted
    for_running = min(wanted[1], max(room - wanted[0], room // 3))
    if for_running < 3:
        for_running = 0
    return room - for_running, for_running


def _bar(left: str, right: str, width: int) -> Text:
    """A line in reverse, its text at both ends."""
    left = text.cut(f" {text.clean(left)}", max(0, width - len(right) - 2))
    return Text(f"{left}{' ' * (width - len(left) - len(right) - 1)}{right} "[:width], "reverse bold")


def _head(model: Model, width: int, clock: str) -> list[Text]:
    assert model.snapshot is not None
    status = model.snapshot.status
    code = text.generation(status.generation, status.revision)
    generation = "" if status.generation is None else f"  generation {code}"
    state = "NO ANSWER" if model.trouble else f"{status.state}  up {text.age(status.uptime_seconds)}"
    paused = "PAUSED  " if model.paused else ""
    name, rest, pid = text.clean(status.application), text.clean(f"  {state}{generation}"), f"  pid {status.pid}"
    room = width - len(clock) - 3 - len(paused) - len(rest)
    if len(name) + len(pid) > room:  # which code runs says more than a pid, or the whole of a long name
        name, pid = text.cut(name, max(NAME_COLUMNS, room)), ""
    title = f"{paused}{name}{rest}{pid}"
    requests, counts = status.requests, status.workers
    return [
        _bar(title, clock, width),
        *_verdict(status.verdict, width),
        _line("workers", _counts(counts), width),
        _spark("requests", _rates(requests), model.rates, width),
        _spark("duration", _latency(status.duration), model.slowest, width),
        _line("queue time", Text(_latency(status.queue_time)), width),
        _line("now", Text(_now(status, *model.busy())), width),
        _line("answers", _answers(requests), width),
        _under_way(model, status, width),
    ]


def _verdict(judged: messages.Verdict, width: int) -> list[Text]:
    """The weightiest reason whole, on as many lines as it needs; of the others those that one line has room for."""
    room = width - NAME_COLUMNS
    first, *others = reasons(judged) or [""]
    said = f"{judged.level}: {first}"
    for number, reason in enumerate(others, 1):
        more = f"{said}; {reason}"
        if len(more) + (3 if number < len(others) else 0) > room:
            said += "; …"
            break
        said = more
    lines = textwrap.wrap(said, room) or [""]
    style = f"bold {VERDICT_COLOURS[judged.level]}"
    return [_line("" if number else "verdict", Text(line, style), width) for number, line in enumerate(lines)]


def _line(name: str, said: Text, width: int) -> Text:
    line = Text.assemble((f" {name:<{NAME_COLUMNS - 1}}", "dim"), said)
    line.truncate(width, overflow="ellipsis")
    return line


def _counts(counts: messages.WorkerCounts) -> Text:
    found = Text(f"{counts.ready}/{counts.target} ready", "green" if counts.ready >= counts.target else "yellow")
    others = (
        ("busy", counts.busy),
        ("booting", counts.booting),
        ("draining", counts.draining),
        ("stuck", counts.stuck),
        (NOT_RESPONDING, counts.not_responding),
    )
    for word, number in others:
        if number or word == "busy":
            found.append(f"  {number} {word}", "red" if word in {"stuck", NOT_RESPONDING} else "default")
    if counts.override is not None:
        found.append(f"  scaled to {counts.override}, configured {counts.configured}", "yellow")
    return found


def _rates(requests: messages.RequestCounts) -> str:
    rates = requests.rates
    return (
        f"{text.rate(rates.last_1s):>6}/s  10 s {text.rate(rates.last_10s)}  1 min {text.rate(rates.last_60s)}  "
        f"total {requests.total}"
    )


def _latency(latency: messages.Latency) -> str:
    if not latency.count:
        return "none in the last minute"
    return percentiles(latency.shown)


def _queues(listeners: Sequence[messages.ListenerStatus]) -> str:
    known = [listener for listener in listeners if listener.queued is not None]
    if not known:
        return ""
    fullest = max(known, key=lambda listener: listener.queued or 0)
    return f"   accept queue {fullest.queued}/{optional(fullest.queue_limit)}"


def _now(status: messages.Status, running_now: int, capacity: int) -> str:
    requests = status.requests
    share = f" of {capacity} ({text.share(min(1.0, running_now / capacity))})" if capacity else ""
    running = f"run {requests.in_flight}{share}  wait {requests.waiting}  conn {status.connections}"
    if status.sockets:
        running += f"  websockets {status.sockets}"
    return running + _queues(status.listeners)


def _answers(requests: messages.RequestCounts) -> Text:
    """Errors since the start; in brackets their share of the last minute's answers."""
    found, lately = Text(), requests.last_60s
    parts = (
        ("4xx", requests.client_errors, lately.client_errors, ""),
        ("5xx", requests.server_errors, lately.server_errors, "red"),
    )
    for name, number, share, style in parts:
        shown = f" ({text.share(share)})" if share is not None else ""
        found.append(f"{name} {number}{shown}  ", style if share else "")
    return found.append(
        f"exceptions {requests.errors}  timeouts {requests.timed_out}  rejected {requests.rejected}  "
        f"aborted {requests.aborted}"
    )


def _under_way(model: Model, status: messages.Status, width: int) -> Text:
    """One line: no daemon, a change, or how the last reload ended."""
    if model.trouble:
        return Text(text.cut(f" {text.clean(model.trouble)}", width), "bold red")
    if status.operations:
        return Text(text.cut(f" {progress(status.operations[0])}", width), "bold cyan")
    last = status.last_reload
    if last is None:
        return Text("")
    said = f" last reload {last.result} {text.ago(last.ended_at)}, took {text.seconds(last.seconds)}"
    failed = last.result != "succeeded"
    return Text(text.cut(text.clean(said + (f": {last.error}" if failed else "")), width), "red" if failed else "dim")


def _spark(name: str, said: str, history: Iterable[float | None], width: int) -> Text:
    """A line with a sparkline in what room it leaves."""
    line = _line(name, Text(said), width)
    column = max(62 if width >= 80 else 0, line.cell_len + 2)
    room = width - column - 1
    if room >= 8:
        line.append(" " * (column - line.cell_len)).append(sparkline(history, room), "cyan")
    return line


def sparkline(history: Iterable[float | None], width: int) -> str:
    """The latest `width` values as bars, the highest one full; nothing where there is no value."""
    values = list(history)[-width:]
    top = max((value for value in values if value is not None and value < math.inf), default=0.0)
    bars = [" " if value is None else BLOCKS[_level(value, top)] for value in values]
    return "".join(bars).rjust(width)


def _level(value: float, top: float) -> int:
    if value == math.inf:
        return len(BLOCKS) - 1
    return 0 if top <= 0 else min(len(BLOCKS) - 1, int(value / top * (len(BLOCKS) - 1) + 0.5))


# --- its tables ---------------------------------------------------------------------------------------------------

WIDTHS = {  # of the columns; negative: aligned to the left
    "SLOT": 4,
    "PID": 7,
    "GEN": 3,
    "STATE": -8,
    "AGE": 6,
    "REQUESTS": 8,
    "REQ/S": 6,
    "4XX": 5,
    "4XX%": 5,
    "5XX": 5,
    "5XX%": 5,
    "RUN": 3,
    "WAIT": 4,
    "CONN": 5,
    "RSS": 8,
    "CPU": 5,
}


def _fit(said: str, columns: int) -> str:
    return said.ljust(-columns) if columns < 0 else said.rjust(columns)


def _workers(model: Model, workers: Sequence[messages.Worker], lines: int, width: int) -> list[Text]:
    shown_columns = _columns(width, workers)
    order = SORTS[model.sort].column
    heading = Text(style="bold underline")
    for name, columns in (*shown_columns, ("RUNNING", -8)):
        heading.append(" ")
        heading.append(_fit(name, columns), "reverse" if name == order else "")
    heading.truncate(width, pad=True)
    if not workers and model.filter:
        return [heading, panes.nothing_found(model, width)]
    rows = lines - 1
    slots = [worker.slot for worker in workers]
    selected = slots.index(model.selected) if model.selected in slots else 0
    first = max(0, min(selected - rows // 2, len(workers) - rows))
    found = [heading]
    for worker in workers[first : first + rows]:
        found.append(_row(worker, shown_columns, width, selected=worker.slot == model.selected))
    return found


def _columns(width: int, workers: Sequence[messages.Worker]) -> tuple[tuple[str, int], ...]:
    """Those that leave room for what runs: on a narrow screen some are left out."""
    widths = dict(WIDTHS)
    if any(condition(worker) == NOT_RESPONDING for worker in workers):
        widths["STATE"] = -len(NOT_RESPONDING)
    needed = {name: 1 + abs(columns) for name, columns in widths.items()}
    dropped = text.left_out(needed, DISPENSABLE, width - REQUEST_COLUMNS)
    return tuple((name, columns) for name, columns in widths.items() if name not in dropped)


def _row(worker: messages.Worker, columns: Sequence[tuple[str, int]], width: int, *, selected: bool) -> Text:
    cells = figures(worker)
    row = Text()
    for name, wide in columns:
        row.append(" ").append(_fit(cells[name], wide), WORKER_COLOURS[cells[name]] if name == "STATE" else "")
    row.append(" ").append(text.clean(oldest(worker)))
    row.truncate(width, overflow="ellipsis", pad=True)
    if selected:
        row.stylize("reverse")
    return row


def _running(running: Sequence[tuple[int, messages.RunningRequest]], lines: int, width: int) -> list[Text]:
    heading = Text(f" {'RUNNING FOR':>11} {'SLOT':>4} {'THREAD':>6}  REQUEST", "bold underline")
    heading.truncate(width, pad=True)
    found = [Text(""), heading]
    for slot, request in running[: lines - 2]:
        said = (
            f" {text.seconds(request.age_seconds):>11} {slot:>4} {request.thread:>6}  {request.method} {request.path}"
        )
        style = "red" if request.age_seconds >= 10 else "yellow" if request.age_seconds >= 1 else ""
        found.append(Text(text.cut(text.clean(said), width), style))
    return found


WORKER_KEYS = "Up, Down: scroll   d: stacks anew   r: restart   K: kill   any other key: back"
KEYS = " q quit  ? help  Tab {}  / filter  p pause  Enter worker  s sort  +/- scale"


def _said(model: Model, width: int) -> Text | None:
    """What is asked, or was done last."""
    if model.question:
        return Text(text.cut(f" {model.question}  y: yes, any other key: no", width), "bold yellow")
    if model.message.said:
        style = "bold red" if model.message.bad else "bold green"
        return Text(text.cut(f" {text.clean(model.message.said)}", width), style)
    return None


def _footer(model: Model, width: int) -> Text:
    if weightier := _said(model, width):
        return weightier
    if model.typing:
        return Text(text.cut(f" filter: {model.filter}_   Enter: keep it  Esc: show all", width), "bold yellow")
    if model.filter or model.paused:
        said = [f"filter: {model.filter}  /: change it  Esc: show all"] if model.filter else []
        said += ["PAUSED  p: go on"] if model.paused else []
        return Text(text.cut(f" {'   '.join(said)}", width), "bold yellow")
    upcoming = PANES[(PANES.index(model.pane) + 1) % len(PANES)].value
    return Text(text.cut(KEYS.format(upcoming), width), "dim")
