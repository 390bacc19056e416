"""The table for people and the file for machines."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.figures import Row

HEADINGS = ("measurement", "server", "figure", "target", "ratio", "", "note")


def cells(row: Row) -> tuple[str, ...]:
    """A row as the table's columns."""
    shown = "" if row.ratio is None else f"{row.ratio:.2f}"
    return (row.name, row.server, row.figure, row.target, shown, row.verdict.value, row.note)


def print_table(rows: Sequence[Row], title: str) -> None:
    """The table on standard output: by rich when it is there, else plain columns."""
    body = [cells(row) for row in rows]
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        print(title)
        print(plain(body))
        return
    colours = {"met": "green", "missed": "red", "void": "yellow"}
    table = Table(title=title, title_justify="left", pad_edge=False)
    for heading in HEADINGS:
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


def plain(body: Sequence[Sequence[str]]) -> str:
    """Columns padded with spaces; the last one is left as it is."""
    lines = [HEADINGS, *body]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in lines
    )


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
    }


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write the results, whole or not at all."""
    scratch = path.with_name(path.name + ".new")
    scratch.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    scratch.replace(path)
