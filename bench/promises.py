"""What a run holds us to in absolute numbers: times, sizes, ratios to ourselves. Pure.

The ratios to the peers are in `bench/targets.py`; `all_verdicts` has both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.document import P50, Document, ratio
from bench.figures import NOT_MEASURED, Row, Target, median
from bench.servers import OURS
from bench.targets import verdicts

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True, slots=True)
class Promise:
    """A figure of ours, in the unit of its target: of an operation, or of a workload's cell."""

    name: str  # of the operation or workload
    figure: str
    target: Target
    scale: float = 1.0  # the file's unit -> the target's
    extra: str = ""  # of a cell: the name in `extra`; "" there: the p50


OPERATIONS = (
    Promise("cold start", "to the first answer", Target(at_most=0.6, unit="s")),
    Promise("reload", "of 4 workers", Target(at_most=1.0, unit="s")),
    Promise("memory of the master", "RSS", Target(at_most=45.0, unit="MiB"), 1 / MIB),
    Promise("memory of a worker", "PSS", Target(at_most=8.0, unit="MiB"), 1 / MIB),
    Promise("logged as text", "speed with the access log, against without", Target(at_least=0.85, unit="×")),
    Promise("logged as json", "speed with the access log, against without", Target(at_least=0.85, unit="×")),
    Promise("held answer", "behind it a call of 100 ms", Target(at_most=1.1, unit="ms"), 1e3),
    Promise("metered", "speed with metrics scraped, against off", Target(at_least=0.9, unit="×")),
    Promise("scrape", "the master's CPU", Target(at_most=15.0, unit="ms"), 1e3),
    Promise("scrape size", "of 64 slots with 64 series each", Target(at_most=250.0, unit="KiB"), 1 / KIB),
)
WORKLOADS = (
    Promise("beside-cpu", "p50 of the others", Target(at_most=2.0, unit="ms"), 1e3),
    Promise("mixed", "p99 of the fast ones", Target(at_most=5.0, unit="ms"), 1e3, extra="fixed"),
    Promise("idle-10000", "memory of each", Target(at_most=1.5, unit="KiB"), 1 / KIB, extra="bytes_each"),
    Promise("idle-10000", "speed beside them, against without", Target(at_least=0.95, unit="×"), extra="speed"),
    Promise("workers-2", "from an equal share", Target(at_most=0.1), extra="unevenness"),
    Promise("workers-4", "from an equal share", Target(at_most=0.1), extra="unevenness"),
)


def promises(data: dict[str, Any]) -> list[Row]:
    """A row for each. Raises DocumentError."""
    document = Document(data)
    return [_of_workload(document, one) for one in WORKLOADS] + [_of_operation(document, one) for one in OPERATIONS]


def all_verdicts(data: dict[str, Any]) -> list[Row]:
    """The ratios to the peers, then what is absolute. Raises DocumentError."""
    return [*verdicts(data), *promises(data), *scaling(data)]


def scaling(data: dict[str, Any]) -> list[Row]:
    """Our rates with several workers beside one's: without a target, the processors decide. Raises DocumentError."""
    document = Document(data)
    one = document.cells.get(("workers-1", OURS))
    rows = []
    for name in ("workers-2", "workers-4"):
        cell = document.cells.get((name, OURS))
        value = ratio(cell, one) if cell else None
        note = "" if value is not None else NOT_MEASURED
        if cell and cell.saturated:
            note = "wrk could not follow"
        rows.append(Row(name, OURS, "times the speed of one worker", value, note=note))
    return rows


def targets_as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """As the results file has them: the value is the ratio where there is one."""
    return [
        {
            "name": f"{row.name}: {row.figure}",
            "target": row.target,
            "value": row.value if row.ratio is None else row.ratio,
            "verdict": row.verdict.value,
            "ours": row.value,
            "peer": row.peer,
            "theirs": row.theirs,
            "note": row.note,
        }
        for row in rows
    ]


def _of_operation(document: Document, promise: Promise) -> Row:
    found = [one for one in document.operations if one["name"] == promise.name and one["server"] == OURS]
    if not found:
        return _row(promise, None, NOT_MEASURED)
    return _row(promise, median(found[0].get("values") or []), str(found[0].get("void") or ""))


def _of_workload(document: Document, promise: Promise) -> Row:
    cell = document.cells.get((promise.name, OURS))
    if cell is None or cell.void:
        return _row(promise, None, cell.void if cell else NOT_MEASURED)
    if promise.extra == "fixed":
        value = cell.fixed.get("p99")
    elif promise.extra:
        value = (cell.data.get("extra") or {}).get(promise.extra)
    else:
        value = cell.median(P50)
    return _row(promise, value, "" if value is not None else NOT_MEASURED)


def _row(promise: Promise, value: float | None, note: str) -> Row:
    scaled = None if value is None else value * promise.scale
    return Row(
        promise.name,
        OURS,
        f"{promise.figure}, {promise.target.unit}".removesuffix(", "),
        scaled,
        target=str(promise.target),
        verdict=promise.target.verdict(scaled),
        note=note,
    )
