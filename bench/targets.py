"""What a run is held to: ratios to the peers of the same run, and their verdicts. Pure.

A target is void when its workload, our figure or every peer is missing; it is never met by silence. The load generator
follows to some rate: from there on, the rate is its own, and only the CPU a request is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from bench.document import CPU, FIXED_P99, RATE, SYSTEM, USER, Cell, Document, ratio
from bench.figures import NOT_MEASURED, Row, Target, Verdict
from bench.servers import IN_PYTHON, OURS
from bench.workloads import GREENLETS


class By(Enum):
    """What is compared."""

    SPEED = "requests/s"  # or CPU a request, where the load generator was what limited either side
    CPU = "CPU µs a request"
    P99 = "p99 at a fixed rate, ms"


@dataclass(frozen=True, slots=True)
class Held:
    """One target; `peer` names a server or begins its name ("granian" is also granian-threads)."""

    workload: str
    target: Target
    by: By = By.SPEED
    peer: str = ""  # "": the best one
    but: tuple[str, ...] = ()  # servers that do not count


BEST, CHEAP = Target(at_least=1.0), Target(at_most=1.05)
TARGETS = (
    Held("hello", Target(at_most=0.92), By.CPU),
    Held("browser", Target(at_most=0.92), By.CPU),
    Held("browser-same", Target(at_most=0.85), By.CPU),
    Held("flask", BEST),
    Held("flask", Target(at_least=1.3), peer=IN_PYTHON),
    Held("django", BEST),
    Held("json", BEST),
    Held("blocking-32", Target(at_least=0.98), but=GREENLETS),
    Held("blocking-32", Target(at_most=1.0), By.CPU),
    Held("mixed", Target(at_most=1.0), By.P99, "granian"),
    Held("connection-each", BEST),
    Held("pipelined", BEST),
    Held("memory-100k", CHEAP, By.CPU),
    Held("memory-1m", CHEAP, By.CPU),
    Held("stream", CHEAP, By.CPU),
    Held("file", CHEAP, By.CPU),
)


def verdicts(data: dict[str, Any], held: tuple[Held, ...] = TARGETS) -> list[Row]:
    """One row a target, in their order. Raises DocumentError."""
    document = Document(data)
    return [_row(document, one) for one in held]


def contenders(data: dict[str, Any], workload: str, servers: Sequence[str], best: int) -> list[str]:
    """Who may be the best of a workload: so many peers by each figure that its targets compare, and who they name.

    Of a target on speed that is the rate and the CPU a request, which decides where the load generator cannot follow.
    Raises DocumentError.
    """
    document, found = Document(data), dict[str, None]()
    for held in (one for one in TARGETS if one.workload == workload):
        if held.peer:
            found.update(dict.fromkeys(name for name in servers if name == held.peer))
            continue
        peers = [cell for cell in document.of(workload) if _takes_part(cell, held)]
        for by in (By.SPEED, By.CPU) if held.by is By.SPEED else (held.by,):
            found.update(dict.fromkeys(cell.server for cell in _ranked(peers, by)[:best]))
    return list(found)


def _row(document: Document, held: Held) -> Row:
    ours = document.ours(held.workload)
    peers = [cell for cell in document.of(held.workload) if _takes_part(cell, held)]
    by, peer = held.by, _best(peers, held.by)
    notes = []
    if by is By.SPEED and ours is not None and peer is not None and (ours.saturated or peer.saturated):
        by, peer = By.CPU, _best(peers, By.CPU)
        notes.append("wrk could not follow: the speed is that of the CPU")
    value = _ratio(ours, peer, by) if ours is not None and peer is not None else None
    if value and by is not held.by:
        value = 1 / value  # less CPU is more speed
    if ours is None:
        notes = [NOT_MEASURED]
    elif ours.void:
        notes = [ours.void]
    elif peer is None:
        notes = ["; ".join(f"{cell.server}: {cell.void or 'no figure'}" for cell in peers) or "no peer was measured"]
    elif value is None:
        notes = ["no round in which both were measured"]
    elif by is By.CPU:
        notes.append(f"user + system {_split(ours)}, {peer.server} {_split(peer)}")
    return Row(
        held.workload,
        ours.server if ours else OURS,
        by.value,
        value_of(ours, by) if ours is not None and not ours.void else None,
        target=f"{held.target} × {held.peer or _all_but(held.but)}",
        ratio=value,
        peer=peer.server if peer else "",
        theirs=value_of(peer, by) if peer else None,
        verdict=held.target.verdict(value) if value is not None else Verdict.VOID,
        note="; ".join(notes),
    )


def _takes_part(cell: Cell, held: Held) -> bool:
    if held.peer:
        return cell.server == held.peer or (cell.kind == "peer" and cell.server.startswith(f"{held.peer}-"))
    return cell.kind == "peer" and cell.server not in held.but


def _all_but(servers: tuple[str, ...]) -> str:
    return "the best peer" + (f" but {' and '.join(servers)}" if servers else "")


def _best(peers: list[Cell], by: By) -> Cell | None:
    return next((cell for cell in _ranked(peers, by) if not cell.screened), None)


def _ranked(peers: list[Cell], by: By) -> list[Cell]:
    """Those that count, first who has most requests a second, or least of what is to be little."""
    counting = [cell for cell in peers if not cell.void and value_of(cell, by) is not None]
    return sorted(counting, key=lambda cell: (value_of(cell, by) or 0.0, cell.server), reverse=by is By.SPEED)


def _split(cell: Cell) -> str:
    return f"{cell.median(USER) or 0.0:.1f} + {cell.median(SYSTEM) or 0.0:.1f}"


_READ: dict[By, Callable[[Cell], float | None]] = {
    By.SPEED: lambda cell: cell.median(RATE),
    By.CPU: lambda cell: cell.median(CPU),
    By.P99: lambda cell: None if (seconds := cell.fixed.get("p99")) is None else float(seconds) * 1e3,
}


def value_of(cell: Cell, by: By) -> float | None:
    """Its median, in the unit that `by` names; None without one."""
    return _READ[by](cell)


def _ratio(ours: Cell, peer: Cell, by: By) -> float | None:
    return ratio(ours, peer, {By.SPEED: RATE, By.CPU: CPU, By.P99: FIXED_P99}[by])
