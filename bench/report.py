"""The table for people on the terminal, what was measured on, and the file for machines."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.document import CPU, P50, P99, RATE, Cell, Document
from bench.figures import NOT_MEASURED, Row, Verdict

HEADINGS = ("measurement", "server", "figure", "", "note")
TARGET_HEADINGS = ("workload", "figure", "ours", "best peer", "theirs", "ratio", "target", "verdict", "note")
MISSING = "–"


def cells(row: Row) -> tuple[str, ...]:
    """A row as the table's columns."""
    return (row.name, row.server, row.figure, row.verdict.value, row.note)


def target_cells(row: Row) -> tuple[str, ...]:
    """A row that has a target as the columns of the targets' table."""
    ours, theirs = (MISSING if value is None else number(value) for value in (row.value, row.theirs))
    shown = MISSING if row.ratio is None else f"{row.ratio:.2f}"
    verdict = row.verdict.value or "no target"
    return (row.name, row.figure, ours, row.peer or MISSING, theirs, shown, row.target, verdict, row.note)


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}"


def rows_of(data: dict[str, Any]) -> list[Row]:
    """A row for each server under each workload, and for each operation. Raises DocumentError."""
    document = Document(data)
    found = [_cell_row(cell) for name in document.workloads for cell in document.of(name)]
    names = list(dict.fromkeys(one["name"] for one in document.operations))
    for one in sorted(document.operations, key=lambda one: names.index(one["name"])):
        values = [float(value) for value in one.get("values") or []]
        shown = ", ".join(f"{value:,.3g}" for value in values)
        verdict = Verdict.NONE if values else Verdict.VOID
        failed = one.get("failed_requests")
        notes = [f"{failed} failed requests" if failed is not None else "", one.get("note", ""), one.get("void", "")]
        note = "; ".join(filter(None, notes))
        figure = f"{shown} {one['unit']}" if values else "–"
        found.append(Row(one["name"], one["server"], figure, values[0] if values else None, verdict=verdict, note=note))
    return found


def _cell_row(cell: Cell) -> Row:
    if cell.void:
        return Row(cell.workload, cell.server, "–", None, verdict=Verdict.VOID, note=cell.void)
    rates, cpu = cell.spread(RATE), cell.median(CPU)
    assert rates is not None
    figure = f"{rates.median:,.0f} req/s" + (f" · CPU {cpu:.1f} µs" if cpu is not None else "")
    notes = [f"{rates.low:,.0f}–{rates.high:,.0f}"]
    times = [f"{name} {value * 1e3:.2f} ms" for name, of in (("p50", P50), ("p99", P99)) if (value := cell.median(of))]
    notes.append(", ".join(times))
    if cell.fixed:
        notes.append(f"at {cell.fixed['rate']:,.0f}/s p99 {cell.fixed['p99'] * 1e3:.2f} ms")
    if calls := cell.data.get("system_calls"):
        notes.append(f"{calls:.2f} system calls")
    if cell.saturated:
        notes.append("wrk was saturated: compare CPU")
    notes.append(str(cell.data.get("note") or ""))
    return Row(cell.workload, cell.server, figure, rates.median, note="; ".join(filter(None, notes)))


def print_table(headings: Sequence[str], body: Sequence[Sequence[str]], title: str) -> None:
    """A table on standard output: by rich when it is there, else plain columns."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        print(title)
        print(plain(headings, body))
        return
    colours = {"met": "green", "missed": "red", "void": "yellow"}
    table = Table(title=title, title_justify="left", pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    previous = ""
    for line in body:
        if line[0] != previous and previous:
            table.add_section()
        shown = ("" if line[0] == previous else line[0], *line[1:])
        previous = line[0]
        table.add_row(*(Text(cell, style=colours.get(cell, "")) for cell in shown))
    width = None if sys.stdout.isatty() else 170
    Console(width=width).print(table)


def print_figures(document: dict[str, Any], title: str) -> None:
    """What was measured, on standard output."""
    print_table(HEADINGS, [cells(row) for row in rows_of(document)], title)


def print_targets(rows: Sequence[Row], title: str) -> None:
    """The targets of what was measured, on standard output."""
    found = [row for row in rows if row.note != NOT_MEASURED]
    if not found:
        return
    print_table(TARGET_HEADINGS, [target_cells(row) for row in found], title)
    print(summary([row for row in rows if row.target]))


def plain(headings: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Columns padded with spaces; the last one is left as it is."""
    lines = [headings, *body]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in lines
    )


def summary(rows: Sequence[Row]) -> str:
    """How many targets were met."""
    count = {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    met, missed, void = count[Verdict.MET], count[Verdict.MISSED], count[Verdict.VOID]
    return f"{len(rows)} targets: {met} met, {missed} missed, {void} void"


def machine() -> dict[str, Any]:
    """What was measured on."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "python": platform.python_version(),
        "compiler": _first_line("cc", "--version"),
        "wrk": _first_word_after("wrk", _first_line("wrk", "-v")),
    }


def standard_path(directory: Path, document: dict[str, Any]) -> Path:
    """Where the results of a whole run lie: by date and processor."""
    host = document["machine"]
    model = re.sub(r"\(.*?\)|@.*|\b(CPU|Processor)\b", " ", host["cpu"])
    slug = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    return directory / f"{document['started'][:10]}-{slug}-{host['cores']}-cores.json"


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write the results, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(path.name + ".new")
    scratch.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    scratch.replace(path)


def tool_version(name: str, flag: str, pattern: str) -> str | None:
    """A program's version; None when it is not there or does not say."""
    found = re.search(pattern, _first_line(name, flag) or "")
    return found[1] if found else None


def _first_line(name: str, flag: str) -> str | None:
    program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        return None
    done = subprocess.run([program, flag], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else None


def _first_word_after(word: str, text: str | None) -> str | None:
    words = (text or "").split()
    return words[words.index(word) + 1] if word in words[:-1] else None
