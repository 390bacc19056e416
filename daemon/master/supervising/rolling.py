"""Rolling: the one rule by which the workers approach their target, whatever the reason.

Reload, restart, recycling, scaling, crashes and drains all come down to workers that are missing, surplus,
or leaving (to be replaced). `next_step` names the next thing to do; called until it says None, it promises:
booting and ready workers are at most target + surge; a leaving worker is told to drain only while more than
`target` are ready, and only while fewer than `target` such drains run, not counting workers that have answered their
last request and wait for threads of the application; a surplus one whenever there is one.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from .worker_table import Worker, WorkerState, WorkerTable


class ForkStep(Struct, frozen=True):
    slot: int


class DrainStep(Struct, frozen=True):
    worker: Worker
    surplus: bool  # nobody takes its place


class KillStep(Struct, frozen=True):
    """A worker that boots for nothing."""

    worker: Worker


class ReleaseStep(Struct, frozen=True):
    """A slot that is reserved for nobody."""

    slot: int


Step = ForkStep | DrainStep | KillStep | ReleaseStep


def surge_of(target: int, configured: int) -> int:
    """How many workers may boot beyond the target; `configured` 0 means by default."""
    return configured or max(1, target // 4)


def next_step(
    table: WorkerTable,
    *,
    target: int,
    surge: int,
    current: int,
    can_fork: bool,
    load: Callable[[int], int],
    now: float,
) -> Step | None:
    """What to do next. `current` is the generation in force, `load` the requests in flight in a slot."""
    live = [worker for worker in table.workers() if worker.live]
    for worker in live:
        if worker.leaving and worker.state is WorkerState.BOOTING:
            return KillStep(worker)

    ready = [worker for worker in live if worker.state is WorkerState.READY]
    if (
        len(ready) > target
        and (step := _drain(table, ready, target=target, surge=surge, current=current, load=load)) is not None
    ):
        return step

    fresh = [worker for worker in live if worker.fresh]
    reserved = table.reserved()
    missing = target - len(fresh) - len(reserved)
    if missing < 0:
        if reserved:
            return ReleaseStep(reserved[-1].index)
        booting = [worker for worker in fresh if worker.state is WorkerState.BOOTING]
        return KillStep(booting[-1]) if booting else None
    room = target + surge - len(live)
    if not can_fork or room <= 0:
        return None
    for slot in reserved:
        if slot.worker is None and slot.restart_at is not None and slot.restart_at <= now:
            return ForkStep(slot.index)
    # Reserved slots take room: one that fails is tried again before others are tried in vain.
    if missing and room > len(reserved) and (free := table.free_slot()) is not None:
        return ForkStep(free)
    return None


def _drain(
    table: WorkerTable, ready: list[Worker], *, target: int, surge: int, current: int, load: Callable[[int], int]
) -> Step | None:
    """Which of more than `target` ready workers goes: one that is leaving, else one that is surplus."""
    leaving = [worker for worker in ready if worker.leaving]
    if leaving:
        surplus = len(ready) > target + surge
        running = sum(worker.held_against_others for worker in table.workers())
        if running >= max(1, target) and not surplus:
            return None
        return DrainStep(min(leaving, key=lambda worker: (load(worker.slot) > 0, worker.slot)), surplus)

    # Workers of a generation that failed go first, then those that do not lead, the idle, those with the highest slots.
    def rank(worker: Worker) -> tuple[bool, bool, bool, int]:
        return worker.generation == current, worker.leads, load(worker.slot) > 0, -worker.slot

    return DrainStep(min(ready, key=rank), surplus=True)
