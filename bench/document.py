"""A results file as its readers see it: servers, workloads, and what was measured of each pair. Pure.

The file is data of format 1, as bench/run.py writes it. A figure that is missing or null reads as None; rates are
a second, times are seconds, sizes bytes, and processor time is µs a request of the whole server.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.figures import Spread, ratio_of_rounds, spread
from bench.servers import OURS

FORMAT = 1
QUIET = 0.15  # of a core: more than that used by others, and the machine was not quiet


class DocumentError(Exception):
    """Not a results file of a format that we know."""


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that is measured once a round, or once a run at a fixed rate."""

    name: str
    of: Callable[[Mapping[str, Any]], float | None]  # a round -> its value
    runs: str = "rounds"  # where they stand in a cell


def _field(name: str, runs: str = "rounds") -> Figure:
    return Figure(name, lambda sample: sample.get(name), runs)


def _cpu(sample: Mapping[str, Any]) -> float | None:
    user, system = sample.get("user_us"), sample.get("system_us")
    return None if user is None or system is None else float(user) + float(system)


RATE, USER, SYSTEM, MEMORY = _field("rate"), _field("user_us"), _field("system_us"), _field("pss_bytes")
P50, P99, P999 = _field("p50"), _field("p99"), _field("p999")
FIXED_P99 = _field("p99", "fixed_runs")
CPU = Figure("cpu_us", _cpu)


@dataclass(frozen=True)
class Cell:
    """One server under one workload."""

    server: str
    workload: str
    kind: str  # floor, road, ours, peer
    data: Mapping[str, Any]

    @property
    def void(self) -> str:
        """Why its figures do not count; "" when they do."""
        return str(self.data.get("void") or "") or ("" if self.samples else "not measured")

    @property
    def samples(self) -> list[Mapping[str, Any]]:
        """What was measured, round by round."""
        return list(self.data.get("rounds") or [])

    @property
    def fixed(self) -> Mapping[str, Any]:
        """Latency at a fixed rate; empty when that was not measured."""
        return self.data.get("fixed") or {}

    @property
    def curve(self) -> list[tuple[float, float]]:
        """Percentile (0…100) and seconds of the run at a fixed rate."""
        return [(float(point["percentile"]), float(point["seconds"])) for point in self.data.get("curve") or []]

    @property
    def errors(self) -> int:
        """Of all rounds."""
        return sum(int(sample.get("errors") or 0) for sample in self.samples)

    @property
    def saturated(self) -> bool:
        """Whether the load generator had no processor time to spare in any round: only the CPU tells."""
        return bool(self.samples) and all(sample.get("saturated") for sample in self.samples)

    @property
    def screened(self) -> bool:
        """Whether it was measured in a few short rounds only, which chose the peers of the others."""
        return bool(self.data.get("screened"))

    @property
    def noisy(self) -> bool:
        """Whether others used the processors meanwhile."""
        others = [float(sample.get("others") or 0.0) for sample in self.samples]
        return bool(others) and statistics.median(others) > QUIET

    def rounds(self, figure: Figure) -> dict[int, float]:
        """The figure by round; rounds without it are left out."""
        found = {}
        for position, sample in enumerate(self.data.get(figure.runs) or []):
            value = figure.of(sample)
            if value is not None:
                found[int(sample.get("round", position))] = float(value)
        return found

    def spread(self, figure: Figure) -> Spread | None:
        """Median, lowest and highest of the rounds."""
        return spread(self.rounds(figure).values())

    def median(self, figure: Figure) -> float | None:
        """The median of the rounds."""
        found = self.spread(figure)
        return found.median if found else None


class Document:
    """A results file. Raises DocumentError when it is of another format."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        if data.get("format") != FORMAT:
            raise DocumentError(f"results of format {data.get('format')!r}, this reads format {FORMAT}")
        self.data = data
        self.machine: Mapping[str, Any] = data.get("machine") or {}
        self.versions: Mapping[str, str] = data.get("versions") or {}
        self.settings: Mapping[str, Any] = data.get("settings") or {}
        self.servers: dict[str, Mapping[str, Any]] = {one["name"]: one for one in data.get("servers") or []}
        self.operations: list[Mapping[str, Any]] = list(data.get("operations") or [])
        cells = [
            Cell(one["server"], one["workload"], str(self.servers.get(one["server"], {}).get("kind", "peer")), one)
            for one in data.get("cells") or []
        ]
        self.cells: dict[tuple[str, str], Cell] = {(cell.workload, cell.server): cell for cell in cells}
        described = {one["name"]: one for one in data.get("workloads") or []}
        self.workloads: dict[str, Mapping[str, Any]] = {
            name: described.get(name, {"name": name}) for name in [*described, *(cell.workload for cell in cells)]
        }

    def of(self, workload: str) -> list[Cell]:
        """A workload's cells as they stand in the file; servers that were to take part and did not are void."""
        found = {cell.server: cell for cell in self.cells.values() if cell.workload == workload}
        for name in self.workloads.get(workload, {}).get("servers") or []:
            if name not in found:
                about = self.servers.get(name, {})
                why = about.get("missing") or "not measured"
                found[name] = Cell(name, workload, str(about.get("kind", "peer")), {"void": why})
        return list(found.values())

    def counting(self, workload: str, *kinds: str) -> list[Cell]:
        """The cells that count, of these kinds (none named: all), the fastest first."""
        found = [cell for cell in self.of(workload) if not cell.void and (not kinds or cell.kind in kinds)]
        return sorted(found, key=lambda cell: (-(cell.median(RATE) or 0.0), cell.server))

    def ours(self, workload: str) -> Cell | None:
        """Our own cell, in the configuration that is the default if that was measured."""
        cells = {cell.server: cell for cell in self.of(workload) if cell.kind == "ours"}
        return cells.get(OURS) or next(iter(cells.values()), None)

    @property
    def engine(self) -> str:
        """Which engine miniwsgi ran, in its default; "" where that is not known."""
        said = (cell.data.get("extra") or {} for (_, server), cell in self.cells.items() if server == OURS)
        return " and ".join(sorted({str(one["engine"]) for one in said if one.get("engine")}))

    def best_peer(self, workload: str) -> Cell | None:
        """The peer that answered most a second."""
        return next((cell for cell in self.counting(workload, "peer") if not cell.screened), None)

    def floor(self, workload: str) -> Cell | None:
        """The fastest floor."""
        return next(iter(self.counting(workload, "floor")), None)


def ratio(cell: Cell, reference: Cell | None, figure: Figure = RATE) -> float | None:
    """A figure as a multiple of the reference's: the median of the rounds' own ratios; None when either is void."""
    if reference is None or cell.void or reference.void:
        return None
    return ratio_of_rounds(cell.rounds(figure), reference.rounds(figure))


def least(cells: Iterable[Cell], figure: Figure) -> Cell | None:
    """The cell with the lowest median of a figure."""
    having = [(value, cell.server, cell) for cell in cells if (value := cell.median(figure)) is not None]
    return min(having)[2] if having else None
