"""RESULTS.md: a results file as tables that read on a web page and in a terminal.

Every server of a workload has a row; what does not count stands at the end of its table with the reason. Draw the
plots first: those that lie in `results/` beside the page are linked.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.document import CPU, MEMORY, P50, P99, P999, QUIET, RATE, SYSTEM, USER, Cell, Document, ratio
from bench.figures import Row, Spread, Verdict, spread
from bench.promises import all_verdicts
from bench.report import MISSING, TARGET_HEADINGS, target_cells
from bench.servers import OURS

PLOTS = "results"
WIDTH = 120


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the road: what was published of it once, and which servers stand for it here."""

    name: str
    published: str  # requests/s
    servers: tuple[str, ...]


ROAD = (
    Step("the standard library, no WSGI", MISSING, ("stdlib-http",)),
    Step("one process, one request at a time", "never filled in", ("single",)),
    Step("a process per connection", "739", ("fork",)),
    Step("non-blocking, one process", "4,128", ("epoll-1", "miniwsgi")),
    Step("pre-forked workers", MISSING, ("prefork",)),
    Step("gunicorn, pre-forked", "3,613", ("gunicorn-sync",)),
)


def write_markdown(document: dict[str, Any], path: Path) -> None:
    """Write the page, whole or not at all. Raises DocumentError when it is not a results file."""
    parts = _page(Document(document), document, path.parent / PLOTS)
    text = "\n".join(_wrapped(part) for part in parts).rstrip() + "\n"
    scratch = path.with_name(path.name + ".new")
    scratch.write_text(text, "utf-8")
    scratch.replace(path)


def _page(document: Document, data: dict[str, Any], plots: Path) -> Iterator[str]:
    yield "# Results\n"
    yield "How the comparison is made and how to read it: [docs/benchmarks.md](../docs/benchmarks.md).\n"
    if document.data.get("interrupted"):
        yield "**The run was interrupted: this is what it had measured.**\n"
    yield from _road(document)
    yield from _targets(all_verdicts(data))
    yield from _images(plots, "overview", "Our rate beside the best peer's, workload by workload")
    yield "## Workloads\n"
    yield (
        "Requests a second and CPU are medians of the rounds, with the lowest and highest in parentheses; the CPU is"
        " that of the whole server, user + system. × peer and × floor are ratios to the fastest peer and the fastest"
        " floor of the table, medians of the rounds' own ratios. p50 / p99 / p99.9 are flat out, where they tell how"
        " long the queue is. Ours are **bold**, floors *slanted*; † the load generator had no time to spare, so that"
        " only the CPU tells, and the ratio is a bound.\n"
    )
    if screening := document.settings.get("screening"):
        rounds = f"{screening['rounds']} round{'s' * (screening['rounds'] != 1)}"
        yield (
            f"‡ {rounds} of {screening['seconds']:g} s only, before the others: of every workload's"
            f" peers the best {screening['best']}, by each figure that its targets compare, went on from there. Who did"
            " not is nobody's best peer and has no ratio.\n"
        )
    for name in document.workloads:
        yield from _workload(document, name, plots)
    yield from _images(plots, "memory", "Memory of each server under load")
    yield from _operations(document)
    yield from _measured(document)


# --- parts ------------------------------------------------------------------------------------------------------


def _road(document: Document) -> Iterator[str]:
    if not any(name in document.servers for step in ROAD for name in step.servers if name != OURS):
        return
    yield "## The road\n"
    yield (
        "The steps on the way from a single process to this server, each of which can be run, beside the figures"
        " that were once published for them: of another machine, another interpreter and another application, so"
        " that only their order compares.\n"
    )
    main = next((name for name in document.workloads if name == "hello"), next(iter(document.workloads), ""))
    afresh = next((name for name in document.workloads if "connection" in name or "close" in name), "")
    headings = ["step", "published, requests/s", "here", "requests/s", "CPU µs a request"]
    if afresh:
        headings.append("a connection each, requests/s")
    lines = []
    for step in ROAD:
        for name in step.servers:
            why = str(document.servers.get(name, {}).get("missing") or "")
            line = [step.name, step.published, name, *_rate_and_cpu(document.cells.get((main, name)), why)]
            if afresh:
                line.append(_rate_and_cpu(document.cells.get((afresh, name)), why)[0])
            lines.append(line)
    yield from _table(headings, lines, right={1, 3, 4, 5})
    yield ""


def _rate_and_cpu(cell: Cell | None, missing: str) -> tuple[str, str]:
    void = missing if cell is None else cell.void
    if cell is None or void:
        return f"void: {void}" if void else MISSING, MISSING
    return _count(cell.spread(RATE)) + " ‡" * cell.screened, _decimal(cell.median(CPU))


def _targets(rows: Sequence[Row]) -> Iterator[str]:
    count = {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    yield "## Targets\n"
    yield f"{count[Verdict.MET]} met, {count[Verdict.MISSED]} missed, {count[Verdict.VOID]} void.\n"
    marked = {verdict.value: f"**{verdict.value}**" for verdict in (Verdict.MISSED, Verdict.VOID)}
    lines = [[marked.get(cell, cell) for cell in target_cells(row)] for row in rows]
    yield from _table(TARGET_HEADINGS, lines, right={2, 4, 5})
    yield ""


def _workload(document: Document, name: str, plots: Path) -> Iterator[str]:
    about = document.workloads[name]
    yield f"### {name}\n"
    counted = [(about[key], key) for key in ("connections", "threads", "workers") if about.get(key)]
    settings = [f"{count:,} {key if count > 1 else key[:-1]}" for count, key in counted]
    described = ", ".join(filter(None, [str(about.get("what") or ""), *settings]))
    if described:
        yield f"{described[0].upper()}{described[1:]}.\n"
    cells = document.of(name)
    counting = document.counting(name)
    peer, floor = document.best_peer(name), document.floor(name)
    lines = []
    for cell in counting:
        times = " / ".join(_decimal(value, 1e3) for value in map(cell.median, (P50, P99, P999)))
        used = cell.spread(CPU)
        lines.append(
            [
                _name(cell),
                _count(cell.spread(RATE)) + " †" * cell.saturated + " ‡" * cell.screened,
                MISSING if cell.screened else _ratio(cell, peer),
                _ratio(cell, floor if floor is None or floor.screened == cell.screened else None),
                MISSING
                if used is None
                else f"{used.median:,.1f} ({_decimal(cell.median(USER))} + {_decimal(cell.median(SYSTEM))})",
                times,
                _decimal(cell.data.get("system_calls")),
                _decimal(cell.median(MEMORY), 1 / (1 << 20)),
                str(cell.errors),
            ]
        )
    void = sorted((cell for cell in cells if cell.void), key=lambda cell: cell.server)
    lines += [[_name(cell), f"void: {cell.void}", "", "", "", "", "", "", str(cell.errors or "")] for cell in void]
    headings = ["server", "requests/s", "× peer", "× floor", "CPU µs (user + system)", "p50 / p99 / p99.9, ms"]
    yield from _table([*headings, "calls", "PSS, MiB", "errors"], lines, right=set(range(1, 9)))
    yield ""
    yield from _fixed(counting)
    yield from _notes(cells)
    yield from _images(plots, name, f"{name}: requests a second and CPU a request")
    yield from _images(plots, f"{name}-latency", f"{name}: latency at a fixed rate")


def _fixed(cells: Iterable[Cell]) -> Iterator[str]:
    found = sorted((cell for cell in cells if cell.fixed), key=lambda cell: (cell.fixed.get("p99") or 1e9, cell.server))
    if not found:
        return
    yield "At a fixed rate, counted from when each request was due:\n"
    lines = []
    for cell in found:
        times = [_decimal(cell.fixed.get(name), 1e3) for name in ("p50", "p99", "p999", "late_p99")]
        lines.append([_name(cell), f"{cell.fixed.get('rate') or 0:,.0f}", *times])
    headings = ["server", "requests/s", "p50, ms", "p99, ms", "p99.9, ms", "sent late, p99, ms"]
    yield from _table(headings, lines, right=set(range(1, 6)))
    yield ""


def _notes(cells: Sequence[Cell]) -> Iterator[str]:
    found = []
    for cell in cells:
        notes = [str(cell.data.get("note") or ""), *_extra(cell.data.get("extra") or {})]
        if said := "; ".join(filter(None, notes)):
            found.append(f"- {cell.server}: {_escaped(said)}")
    if noisy := [cell.server for cell in cells if not cell.void and cell.noisy]:
        found.append(f"- others used the processors meanwhile: {', '.join(noisy)}")
    if found:
        yield "\n".join(found) + "\n"


def _extra(extra: Mapping[str, Any]) -> Iterator[str]:
    for name, value in extra.items():
        if name in _SHARES:
            yield f"{_SHARES[name]} " + ", ".join(f"{share:.0%}" for share in value)
        elif name == "speed":
            yield f"{value:.2f} × its speed without them"
        elif name == "bytes_each" and "idle" in extra:
            continue
        elif name == "idle":
            yield f"{value['connections']:,} idle connections at {value['bytes_each']:,.0f} bytes each"
        else:
            yield f"{name.replace('_', ' ')} {f'{value:,.4g}' if isinstance(value, float) else value}"


def _images(plots: Path, name: str, what: str) -> Iterator[str]:
    if (plots / f"{name}.svg").exists():
        yield f"![{what}]({PLOTS}/{name}.svg)\n"


def _operations(document: Document) -> Iterator[str]:
    if not document.operations:
        return
    yield "## Operations\n"
    lines: list[list[str]] = []
    void: list[list[str]] = []
    for one in document.operations:
        values = spread(float(value) for value in one.get("values") or [])
        why = str(one.get("void") or "") or ("" if values else "not measured")
        failed = one.get("failed_requests")
        figure = f"void: {why}" if why or values is None else _amount(values, str(one.get("unit") or ""))
        line = [str(one["name"]), _server(document, str(one["server"])), figure]
        line += [MISSING if failed is None else f"{failed:,}", str(one.get("note") or "")]
        (void if why else lines).append(line)
    order = list(dict.fromkeys(str(one["name"]) for one in document.operations))
    ranked = sorted(lines, key=lambda line: order.index(line[0])) + sorted(void, key=lambda line: order.index(line[0]))
    headings = ["operation", "server", "median (lowest–highest)", "failed requests", "note"]
    yield from _table(headings, ranked, right={2, 3})
    yield ""


def _measured(document: Document) -> Iterator[str]:
    machine, settings = document.machine, document.settings
    yield "## How it was measured\n"
    memory = machine.get("memory_bytes")
    parts = [
        str(machine.get("cpu") or ""),
        f"{machine['cores']} cores" if machine.get("cores") else "",
        f"{memory / (1 << 30):.1f} GiB of memory" if memory else "",
        f"Linux {machine['kernel']}" if machine.get("kernel") else "",
        f"Python {machine['python']}" if machine.get("python") else "",
        str(machine.get("compiler") or "no C compiler"),
        f"wrk {machine['wrk']}".replace("wrk wrk", "wrk") if machine.get("wrk") else "",
    ]
    said = f"{', '.join(filter(None, parts))}. "
    if settings.get("rounds"):
        said += (
            f"{settings['rounds']} interleaved rounds of {settings.get('seconds', 0):g} s after"
            f" {settings.get('warm_up', 0):g} s of warm-up, {settings.get('connections', '?')} connections unless a"
            " workload says otherwise. "
        )
    pinned = [",".join(map(str, settings.get(name) or [])) for name in ("server_cpus", "load_cpus")]
    said += f"Servers on processor {pinned[0]}, load on {pinned[1]}. " if all(pinned) else "Nothing was pinned. "
    if limit := _followed(document):
        said += f"The load generator followed to {limit:,.0f} requests/s; from there, only CPU a request is judged. "
    if settings.get("rate_share"):
        said += f"Fixed rates are {settings['rate_share']:.0%} of what the slowest can do. "
    if (settings.get("others") or 0.0) > QUIET:
        said += f"**The machine was not quiet: others used {settings['others']:.0%} of a core.** "
    if settings.get("quick"):
        said += "This was the quick run. "
    took = document.data.get("took_seconds") or 0
    yield said + f"Started {document.data.get('started', '?')}, took {took / 60:.0f} min.\n"
    if document.versions:
        yield "Versions: " + ", ".join(f"{name} {value}" for name, value in document.versions.items()) + ".\n"
    lines = []
    for name, one in document.servers.items():
        command = f"`{_without_folders(one['command'])}`" if one.get("command") and not one.get("missing") else ""
        lines.append([name, str(one.get("what") or ""), str(one.get("missing") or "") or command])
    if lines:
        yield from _table(["server", "what it is", "started as, or why it is missing"], lines)


def _followed(document: Document) -> float | None:
    """The least rate of hello-world at which the load generator had no time to spare."""
    rates = [cell.median(RATE) or 0.0 for cell in document.of("hello") if not cell.void and cell.saturated]
    return min(rates, default=None)


# --- text -------------------------------------------------------------------------------------------------------


def _table(headings: Sequence[str], lines: Sequence[Sequence[str]], right: Iterable[int] = ()) -> Iterator[str]:
    """Rows with their columns padded, but the last; what stands in `right` is aligned there."""
    aligned = set(right)
    rows = [list(headings), *([_escaped(cell) for cell in line] for line in lines)]
    # a reason in the place of a figure may be long, and makes no column wide
    widths = [
        max(len(row[column]) for row in rows if not row[column].startswith("void: ")) for column in range(len(headings))
    ]
    if len(headings) - 1 not in aligned:
        widths[-1] = len(headings[-1])
    rule = ["-" * (width - 1) + ":" if column in aligned else "-" * width for column, width in enumerate(widths)]
    for row in [rows[0], rule, *rows[1:]]:
        shown = (
            cell.rjust(width) if column in aligned and not cell.startswith("void: ") else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield f"| {' | '.join(shown)} |"


def _wrapped(part: str) -> str:
    """A paragraph in lines that a terminal shows whole; tables, lists, headings and images as they are."""
    return part if part.startswith(("|", "-", "#", "!")) else textwrap.fill(part, WIDTH) + "\n" * part.endswith("\n")


def _without_folders(command: str) -> str:
    """A command as it would be typed anywhere: programs and files by their names."""
    return re.sub(r"(?<![\w.~/-])/(?:[^\s/:]+/)+", "", command)


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _name(cell: Cell) -> str:
    return _marked(cell.server, cell.kind)


def _server(document: Document, name: str) -> str:
    return _marked(name, str(document.servers.get(name, {}).get("kind", "peer")))


def _marked(name: str, kind: str) -> str:
    return {"ours": f"**{name}**", "floor": f"*{name}*"}.get(kind, name)


def _count(found: Spread | None) -> str:
    if found is None:
        return MISSING
    digits = 0 if found.median >= 100 else 1
    return f"{found.median:,.{digits}f} ({found.low:,.{digits}f}–{found.high:,.{digits}f})"


def _ratio(cell: Cell, reference: Cell | None) -> str:
    """The ratio of the rates; only a bound where the load generator was what limited one of them."""
    value = ratio(cell, reference)
    if value is None or reference is None:
        return MISSING
    bound = {(False, True): "≤ ", (True, False): "≥ "}.get((cell.saturated, reference.saturated), "")
    return f"{bound}{value:.2f}" + " †" * (cell.saturated and reference.saturated and cell.server != reference.server)


def _decimal(value: float | None, scale: float = 1.0) -> str:
    """Three digits that count, in the unit that `scale` makes."""
    if value is None:
        return MISSING
    scaled = value * scale
    return f"{scaled:,.{0 if scaled >= 1000 else 1 if scaled >= 10 else 2}f}"


_SHARES = {"answered": "requests by worker", "shares": "shares of the workers"}  # those of processor time
_BYTES = ((1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))
_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def _amount(found: Spread, unit: str) -> str:
    """An operation's values in the unit that reads best."""
    units = {"s": _SECONDS, "seconds": _SECONDS, "bytes": _BYTES, "B": _BYTES}.get(unit, ((1.0, unit),))
    size, shown = next((one for one in units if found.median >= one[0]), units[-1])
    low, middle, high = (_decimal(value / size) for value in (found.low, found.median, found.high))
    return f"{middle} {shown}".rstrip() + ("" if found.count == 1 else f" ({low}–{high})")
