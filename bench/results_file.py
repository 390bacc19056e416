"""What a run has measured so far, and the file that it becomes (format 1).

Cells are made as they are reached, so that an interrupted run keeps what it has. A figure that is taken in several
rounds besides the rounds' own ends up as its median in the cell's `extra`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bench.figures import median

FORMAT = 1
PATIENCE = 2  # failures of a cell before it is given up


@dataclass
class Cell:
    """One server under one workload."""

    server: str
    workload: str
    note: str = ""
    rounds: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    screened: bool = False  # in a few short rounds, and did not go on
    missing: bool = False  # it will not do better another time
    fixed_runs: list[dict[str, Any]] = field(default_factory=list)
    curve: list[dict[str, float]] | None = None
    system_calls: float | None = None
    series: dict[str, list[float]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def given_up(self) -> bool:
        """Whether it is not to be tried again."""
        return self.missing or len(self.failures) >= PATIENCE

    @property
    def void(self) -> str:
        """Why it does not count; "" when it does."""
        errors: int = sum(sample["errors"] for sample in self.rounds)
        if errors:
            return f"{errors} error" + "s" * (errors > 1)
        return "" if self.rounds else (self.failures or ["not measured"])[-1]

    def fail(self, why: str, *, for_good: bool = False) -> None:
        """A round came to nothing."""
        self.failures.append(why)
        self.missing |= for_good

    def remark(self, text: str) -> None:
        """Add to the note, once."""
        if text not in self.note:
            self.note = f"{self.note}; {text}" if self.note else text

    def keep(self, **values: float) -> None:
        """Figures besides the round's own."""
        for name, value in values.items():
            self.series.setdefault(name, []).append(value)

    def median(self, name: str) -> float | None:
        """Of a figure of the rounds."""
        return median(sample[name] for sample in self.rounds if sample[name] is not None)

    def fixed(self) -> dict[str, float | None] | None:
        """The medians of the runs at a fixed rate; None without any."""
        if not self.fixed_runs:
            return None
        names = ("rate", "p50", "p99", "p999", "late_p99")
        return {name: median(run[name] for run in self.fixed_runs if run[name] is not None) for name in names}

    def as_json(self) -> dict[str, Any]:
        """As the results file has it."""
        if self.rounds and self.failures:
            self.remark(f"not every round: {self.failures[-1]}")
        return {
            "server": self.server,
            "workload": self.workload,
            "void": self.void,
            "note": self.note,
            "screened": self.screened,
            "rounds": self.rounds,
            "fixed": self.fixed(),
            "fixed_runs": self.fixed_runs,
            "curve": self.curve,
            "system_calls": self.system_calls,
            "extra": {**{name: median(values) for name, values in self.series.items()}, **self.extra},
        }


@dataclass
class Operation:
    """One figure of one server's operations."""

    server: str
    name: str
    unit: str
    values: list[float] = field(default_factory=list)
    failed_requests: int | None = None
    note: str = ""
    void: str = ""

    def as_json(self) -> dict[str, Any]:
        """As the results file has it."""
        found = dict(vars(self))
        if self.values and self.void:
            found["note"] = f"{self.note}; not every round: {self.void}".lstrip("; ")
            found["void"] = ""
        return found


class Results:
    """All cells and operations, in the order in which they were reached."""

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str], Cell] = {}
        self.operations: dict[tuple[str, str], Operation] = {}

    def cell(self, workload: str, server: str) -> Cell:
        """The cell of a server under a workload."""
        return self.cells.setdefault((workload, server), Cell(server, workload))

    def operation(self, name: str, server: str, unit: str) -> Operation:
        """A figure of a server's operations."""
        return self.operations.setdefault((name, server), Operation(server, name, unit))

    def any_figure(self) -> bool:
        """Whether anything was measured."""
        return any(cell.rounds for cell in self.cells.values()) or any(one.values for one in self.operations.values())

    def as_json(self) -> dict[str, Any]:
        """Cells and operations as the results file has them."""
        return {
            "cells": [cell.as_json() for cell in self.cells.values()],
            "operations": [one.as_json() for one in self.operations.values()],
        }
