"""What a run is held to: ratios to the peers of the same run, and their verdicts. Pure.

A target is void when its workload, our figure or every peer is missing; it is never met by silence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from bench.document import CPU, RATE, Cell, Document, ratio
from bench.figures import Row, Target, Verdict
from bench.servers import OURS


class By(Enum):
    """What is compared."""

    RATE = "requests/s"
    CPU = "CPU a request"
    P99 = "p99 at a fixed rate"


@dataclass(frozen=True, slots=True)
class Held:
    """One target; `peer` names a server or begins its name ("granian" is also granian-threads)."""

    workload: str
    target: Target
    peer: str = ""  # "": the best one
    by: By = By.RATE


TARGETS = (
    Held("hello", Target(at_least=0.72), "bjoern"),
    Held("hello", Target(at_least=1.1), "granian"),
    Held("browser", Target(at_least=0.55), "bjoern"),
    Held("flask", Target(at_least=0.95)),
    Held("blocking-32", Target(at_least=0.9)),
    Held("blocking-32", Target(at_most=1.0), by=By.CPU),
    Held("file", Target(at_least=1.0)),
    Held("mixed", Target(at_most=1.0), by=By.P99),
)


def verdicts(data: dict[str, Any], held: tuple[Held, ...] = TARGETS) -> list[Row]:
    """One row a target, in their order. Raises DocumentError."""
    document = Document(data)
    return [_row(document, one) for one in held]


def _row(document: Document, held: Held) -> Row:
    ours = _ours(document, held.workload)
    peers = [cell for cell in document.of(held.workload) if cell.kind == "peer" and _named(cell.server, held.peer)]
    counting = [cell for cell in peers if not cell.void and _value(cell, held.by) is not None]
    lowest = held.target.at_most is not None
    ranked = sorted(counting, key=lambda cell: (_value(cell, held.by) or 0.0, cell.server), reverse=not lowest)
    peer = ranked[0] if ranked else None
    value = _ratio(ours, peer, held.by) if ours is not None and peer is not None else None
    note = ""
    if ours is None:
        note = "not measured"
    elif ours.void:
        note = ours.void
    elif peer is None:
        note = "; ".join(f"{cell.server}: {cell.void or 'no figure'}" for cell in peers) or "no peer was measured"
    elif value is None:
        note = "no round in which both were measured"
    elif held.by is By.RATE and (ours.saturated or peer.saturated):
        note = "wrk was saturated: compare the CPU"
    return Row(
        held.workload,
        ours.server if ours else OURS,
        held.by.value,
        _value(ours, held.by) if ours is not None and not ours.void else None,
        target=f"{held.target} × {held.peer or 'the best peer'}",
        ratio=value,
        peer=peer.server if peer else "",
        verdict=held.target.verdict(value) if value is not None else Verdict.VOID,
        note=note,
    )


def _ours(document: Document, workload: str) -> Cell | None:
    cells = {cell.server: cell for cell in document.of(workload) if cell.kind == "ours"}
    return cells.get(OURS) or next(iter(cells.values()), None)


def _named(server: str, name: str) -> bool:
    return not name or server == name or server.startswith(f"{name}-")


_READ: dict[By, Callable[[Cell], float | None]] = {
    By.RATE: lambda cell: cell.median(RATE),
    By.CPU: lambda cell: cell.median(CPU),
    By.P99: lambda cell: cell.fixed.get("p99"),
}


def _value(cell: Cell, by: By) -> float | None:
    return _READ[by](cell)


def _ratio(ours: Cell, peer: Cell, by: By) -> float | None:
    if by is not By.P99:
        return ratio(ours, peer, RATE if by is By.RATE else CPU)
    mine, theirs = ours.fixed.get("p99"), peer.fixed.get("p99")
    return None if ours.void or mine is None or not theirs else float(mine) / float(theirs)
