"""Who is measured at length: a few short rounds of all peers, after which only the best of each workload go on.

Not every server fits into the rounds that count, and most are far from the best. The screening is part of the results:
who does not go on keeps the figures of it, marked, and is nobody's best peer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.peer_servers import SERVERS
from bench.plan import steps
from bench.progress import with_progress
from bench.results_file import FORMAT, Results
from bench.servers import OURS
from bench.targets import TARGETS, contenders
from bench.trial import Bench
from bench.workloads import Workload


@dataclass(frozen=True, slots=True)
class Screening:
    """How it is done."""

    rounds: int
    best: int  # peers of each workload that go on, by each figure that a target compares
    seconds: float
    warm_up: float = 0.2

    def run(self, bench: Bench, workloads: Sequence[Workload], results: Results) -> list[Workload]:
        """Screen the peers of the workloads whose targets name none; the workloads with those that go on.

        `results` gets the figures of everybody. Ours goes on in any case, and is not screened.
        """
        open_ones = [workload for workload in workloads if is_open(workload.name)]
        short = replace(bench, seconds=self.seconds, warm_up=self.warm_up)
        everybody = [replace(one, servers=tuple(filter(_is_another, one.servers))) for one in open_ones]
        for step in with_progress(steps(everybody, [], self.rounds, short, system_calls=False, fixed=False)):
            step.run(short, results)
        return [self.reduced(workload, results) for workload in workloads]

    def reduced(self, workload: Workload, results: Results) -> Workload:
        """A workload with those servers that go on."""
        servers = [{"name": name, "kind": SERVERS[name].kind.value} for name in workload.servers]
        data = {"format": FORMAT, "servers": servers, "cells": results.as_json()["cells"]}
        chosen = {OURS, *contenders(data, workload.name, workload.servers, self.best)}
        return replace(workload, servers=tuple(name for name in workload.servers if name in chosen))


def is_open(workload: str) -> bool:
    """Whether a target compares with whoever is best, so that it is to be found out who that is."""
    return any(held.workload == workload and not held.peer for held in TARGETS)


def taking_part(workloads: Sequence[Workload], going_on: Sequence[Workload]) -> list[Workload]:
    """The workloads with everybody that was measured at all."""
    return [whole if is_open(whole.name) else reduced for whole, reduced in zip(workloads, going_on, strict=True)]


def _is_another(server: str) -> bool:
    return server != OURS


def with_the_screened(results: Results, screened: Results) -> None:
    """Add the figures of those that did not go on."""
    for key, cell in screened.cells.items():
        if key not in results.cells:
            cell.screened = True
            results.cells[key] = cell
