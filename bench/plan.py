"""What a run consists of: which workloads and operations on which servers, and in what order."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

from bench.held_answer import HeldAnswer
from bench.logged import Logged
from bench.metrics_cost import Metered, Scrape
from bench.operations import ColdStart, CrashRecovery, Memory, Operation, OperationStep, Reload, Scale
from bench.servers import OURS
from bench.steps import Step, afterwards, rounds_of, turn
from bench.trial import Bench
from bench.workloads import WORKLOADS, Workload, quick_workloads

QUICK_OPERATIONS = ("cold-start", "reload", "memory", "metered", "logged", "held-answer", "scrape")
QUICK_ROUNDS = 2  # of an operation
TARGET_ROUNDS = 3  # the same in a run of all that has a target
OPERATIONS: dict[str, Operation] = {
    operation.name.replace(" ", "-"): operation
    for operation in (
        ColdStart(),
        Scale(),
        Reload(),
        CrashRecovery(),
        Memory(),
        Metered(),
        Logged(),
        HeldAnswer(),
        Scrape(),
    )
}


OTHERS_ROUNDS = 1  # in which the operations of others are measured where ours are promised


def chosen_workloads(
    servers: Sequence[str] | None, names: Sequence[str] | None, *, quick: bool, targets: bool = False
) -> list[Workload]:
    """The workloads of a run; `targets`: those that have one, with all their servers; `quick`: beside few.

    Servers and workloads that are both named are paired, whatever the table says.
    """
    table = quick_workloads() if quick else WORKLOADS
    if targets:
        table = {name: WORKLOADS[name] for name in quick_workloads()}
    found = []
    for workload in ({**WORKLOADS, **table}[name] for name in names or table if name in WORKLOADS):
        if servers is None:
            found.append(workload)
        elif names is not None:
            found.append(replace(workload, servers=tuple(servers)))
        elif taking_part := tuple(name for name in workload.servers if name in servers):
            found.append(replace(workload, servers=taking_part))
    return found


def chosen_operations(
    servers: Sequence[str] | None, names: Sequence[str] | None, *, quick: bool, targets: bool = False
) -> list[Operation]:
    """The operations of a run: all, unless some are named among the workloads, or what has a target is asked for."""
    found = []
    for name, operation in OPERATIONS.items():
        if name not in names if names is not None else (quick or targets) and name not in QUICK_OPERATIONS:
            continue
        taking_part = tuple(name for name in operation.servers if servers is None or name in servers)
        if quick:
            taking_part = taking_part[:1]
        if taking_part:
            chosen = copy.copy(operation)
            chosen.servers = taking_part
            if quick:
                chosen.rounds = chosen.rounds or QUICK_ROUNDS
            elif targets and name != "logged":  # that one is in the table beside the workloads
                chosen.rounds = min(chosen.rounds or TARGET_ROUNDS, TARGET_ROUNDS)
            found.append(chosen)
    return found


def steps(
    workloads: Sequence[Workload],
    operations: Sequence[Operation],
    rounds: int,
    bench: Bench,
    *,
    system_calls: bool,
    fixed: bool = True,
    others_rounds: int | None = None,
) -> list[Step]:
    """All that is to be done, in order: the rounds, then what needs their rates, then the operations.

    `others_rounds`: so many of the operations of others, None: as many as of ours.
    """
    found: list[Step] = []
    for number in range(rounds):
        for workload in workloads:
            found.extend(rounds_of(workload, number, bench))
    for workload in workloads:
        found.extend(afterwards(workload, rounds, bench, system_calls=system_calls, fixed=fixed))
    for number in range(rounds):
        for operation in operations:
            if operation.rounds is None or number < operation.rounds:
                found.extend(
                    OperationStep(operation, server, number, operation.estimate)
                    for server in turn(operation.servers, number)
                    if server == OURS or others_rounds is None or number < others_rounds
                )
    return found
