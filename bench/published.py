"""The tables in README.md and docs/benchmarks.md, made of a results file: no figure there is typed by hand.

A table stands between two comments, `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`; what is outside is for people to
write, and is left as it is.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.document import QUIET, Document, DocumentError
from bench.figures import NOT_MEASURED, Row, Verdict
from bench.promises import all_verdicts
from bench.report import MISSING, TARGET_HEADINGS, number, target_cells
from bench.servers import OURS
from bench.targets import By, value_of

README = {  # what a row of its table is of: the first target of a workload, or what is promised of an operation
    "hello": "hello-world",
    "browser": "13 browser fields that change",
    "browser-same": "the same 13 fields again and again",
    "flask": "Flask",
    "django": "Django, 7 middlewares",
    "json": "JSON of 1 KiB, posted",
    "blocking-32": "10 ms blocking, 32 threads",
    "mixed": "1 in 50 sleeps 100 ms: the others",
    "connection-each": "a connection for each request",
    "pipelined": "16 requests at once",
    "memory-100k": "100 KiB from memory",
    "memory-1m": "1 MiB from memory",
    "stream": "a stream of 100 small chunks",
    "file": "10 MiB file",
    "idle-10000": "10,000 idle connections",
    "reload": "reload",
    "memory of a worker": "a worker, hello-world",
}
VERDICTS = (Verdict.MET, Verdict.MISSED, Verdict.VOID)
WIDTH = 120
BESIDE = {"granian": "granian", "gunicorn-gthread": "gunicorn"}  # who is shown besides the best: server -> distribution


def publish(data: dict[str, Any], root: Path) -> list[Path]:
    """Fill the tables; the files that have them. Raises DocumentError when one has no place for its table, OSError."""
    places = {root / "README.md": ("table", readme), root / "docs" / "benchmarks.md": ("targets", benchmarks)}
    texts = {
        path: filled(path.read_text("utf-8"), name, made(Document(data), all_verdicts(data)), str(path))
        for path, (name, made) in places.items()
    }
    for path, text in texts.items():
        path.write_text(text, "utf-8")
    return list(texts)


def filled(text: str, name: str, lines: Iterator[str], where: str) -> str:
    """A text with other lines between the comments. Raises DocumentError."""
    begin, end = f"<!-- bench:{name} -->\n", f"<!-- /bench:{name} -->"
    before, opened, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not opened or not closed:
        raise DocumentError(f"{where}: no place for a table between {begin.strip()} and {end}")
    table = "\n".join(lines)
    return f"{before}{opened}{table}\n{closed}{after}"


def readme(document: Document, rows: Sequence[Row]) -> Iterator[str]:
    """How it was measured, in a paragraph, and a row for each of README."""
    yield from textwrap.wrap(_sentence(document), WIDTH)
    yield ""
    beside = [f"{server} {_version(document, package)}".rstrip() for server, package in BESIDE.items()]
    yield _line(["", OURS, "best peer", "ratio", *beside])
    yield "|---" * (4 + len(beside)) + "|"
    for name, label in README.items():
        if (row := next((row for row in rows if row.name == name), None)) is None or row.value is None:
            continue
        ratio = MISSING if row.ratio is None else f"{row.ratio:.2f}"
        best = MISSING if row.theirs is None else f"{row.peer} {number(row.theirs)}"
        others = (_beside(document, row, server) for server in BESIDE)
        yield _line([f"{label}: {row.figure}", number(row.value), best, ratio, *others])


def benchmarks(document: Document, rows: Sequence[Row]) -> Iterator[str]:
    """What was promised and what was reached, the notes left out."""
    measured = [row for row in rows if row.note != NOT_MEASURED]
    counts = ", ".join(f"{sum(row.verdict is one for row in measured)} {one.value}" for one in VERDICTS)
    yield from textwrap.wrap(f"{_sentence(document)} {counts}.", WIDTH)
    yield ""
    yield _line(TARGET_HEADINGS[:-1])
    yield "|---" * (len(TARGET_HEADINGS) - 1) + "|"
    yield from (_line(target_cells(row)[:-1]) for row in measured)


def _sentence(document: Document) -> str:
    machine, settings = document.machine, document.settings
    pinned = "server and load on a core each" if settings.get("server_cpus") else "server and load on the same cores"
    engine = f" with its {document.engine} engine" * bool(document.engine)
    said = (
        f"miniwsgi {document.versions.get(OURS, '?')}{engine} on {str(document.data.get('started', '?'))[:10]}: one"
        f" worker, wrk with {settings.get('connections', '?')} connections, {pinned}, {machine.get('cpu', '?')} with"
        f" {machine.get('cores', '?')} cores, Python {machine.get('python', '?')}, medians of"
        f" {settings.get('rounds', '?')} interleaved rounds of {settings.get('seconds', 0):g} s; a ratio is the median"
        " of the rounds' own."
    )
    if (screening := settings.get("screening")) is not None:
        rounds = f"{screening['rounds']} round{'s' * (screening['rounds'] != 1)}"
        said += f" ~: of {rounds} of {screening['seconds']:g} s, from which only the best went on."
    if (settings.get("others") or 0.0) > QUIET:
        said += f" The machine was not quiet: others used {settings['others']:.0%} of a core."
    if document.data.get("interrupted"):
        said += " The run was interrupted."
    return said


def _beside(document: Document, row: Row, server: str) -> str:
    """The same figure of another server."""
    cell = document.cells.get((row.name, server))
    by = next((by for by in By if by.value == row.figure), None)
    value = value_of(cell, by) if cell is not None and by is not None and not cell.void else None
    return MISSING if cell is None or value is None else "~" * cell.screened + number(value)


def _version(document: Document, package: str) -> str:
    return ".".join(document.versions.get(package, "").split(".")[:2])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
