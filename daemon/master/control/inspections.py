"""Profiles, and what workers' memory holds, as the control API wants them: several workers' lines in one stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
from miniwsgi.manager import messages as ms
from miniwsgi.manager.control import managed as mg
from miniwsgi.manager.daemon_threads import DaemonThreads
from miniwsgi.metrics import processes
from miniwsgi.metrics.scoreboard import SlotState

from ..running.fleet import Fleet
from ..running.inspection import NotAnswered, results
from ..running.worker_handle import WorkerHandle

SERVING = frozenset({SlotState.READY, SlotState.DRAINING})
KERNEL_SECONDS = 2.0  # to sum up the memory of a process
MAX_LINES_WAITING = 16  # for a client that does not read
SHOWN_TYPES, SHOWN_LINES = 100, 100
SILENT = (
    "worker {slot} (pid {pid}) does not answer: it is stopped, or code in C holds the interpreter; "
    "miniwsgictl stack {slot} shows where"
)


class _Look(msgspec.Struct):
    """A line of a worker, of kind "look": see worker/inspecting/memory."""

    at: float
    gc: ms.CollectorFigures
    objects: int | None
    types: list[tuple[str, int]]
    no_types: str
    lines: list[tuple[str, int, int, int]]
    no_lines: str
    held_bytes: int
    tracing: ms.Tracing


class Inspections:
    """Looks into the workers of `fleet`."""

    def __init__(self, fleet: Fleet, threads: DaemonThreads) -> None:
        self._fleet = fleet
        self._threads = threads

    def __repr__(self) -> str:
        return f"<Inspections {self._fleet}>"

    # --- profiles ---

    def profile(self, request: ms.ProfileRequest) -> AsyncIterator[bytes]:
        """See `Managed`. Raises NoWorker."""
        workers = [self._serving(slot) for slot in dict.fromkeys(map(int, request.slots))] or [
            worker for slot, worker in sorted(self._fleet.workers.items()) if self._serves(slot)
        ]
        return self._profile(workers, request)

    async def _profile(self, workers: list[WorkerHandle], request: ms.ProfileRequest) -> AsyncIterator[bytes]:
        order = {"what": "profile", "rate": request.rate, "route": request.route}
        lines: asyncio.Queue[bytes] = asyncio.Queue(MAX_LINES_WAITING)

        async def follow(worker: WorkerHandle) -> None:
            async for line in self._follow(worker, order, request.seconds):
                await lines.put(line)
            await lines.put(b"")

        yield _line(kind="profile", slots=[worker.slot for worker in workers], seconds=request.seconds)
        async with asyncio.TaskGroup() as tasks:
            followed = [tasks.create_task(follow(worker)) for worker in workers]
            try:
                left = len(followed)
                while left:
                    if line := await lines.get():
                        yield line
                    else:
                        left -= 1
            finally:
                for task in followed:
                    task.cancel()

    async def _follow(self, worker: WorkerHandle, order: dict[str, Any], seconds: float) -> AsyncIterator[bytes]:
        """The worker's lines with its slot, and what there is to say if it says nothing, or leaves in the midst."""
        slot, last = b'{"slot":%d,' % worker.slot, b""
        found = results(worker, order, seconds)
        try:
            async for line in found:
                last = line
                yield slot + line[1:]
        except NotAnswered:
            stacks = await self._fleet.stacks(worker)
            yield _line(slot=worker.slot, kind="silent", why=_silent(worker), stacks=stacks)
            return
        finally:
            await found.aclose()
        if not last or msgspec.json.decode(last).get("kind") not in {"end", "refused", "failed"}:
            yield _line(slot=worker.slot, kind="left", why=f"worker {worker.slot} (pid {worker.pid}) has ended")

    # --- memory ---

    async def memory(self, slot: int, request: ms.MemoryRequest) -> ms.WorkerMemory:
        """See `Managed`. Raises NoWorker, NotInspected, TimeoutError."""
        worker = self._serving(slot)
        order = {"what": "memory", "diff": request.diff, "pause_seconds": request.pause_seconds}
        before = await self._kinds(worker.pid) if request.seconds else {}
        looks: list[_Look] = []
        found = results(worker, order, request.seconds)
        try:
            async for line in found:
                said = msgspec.json.decode(line)
                match said.get("kind"):
                    case "look":
                        looks.append(msgspec.convert(said, _Look))
                    case "refused":
                        raise mg.NotInspected(f"worker {slot}: {said['why']}")
                    case "failed":
                        raise mg.NotInspected(f"worker {slot}: {said['error']}; see its log")
                    case "end":
                        kinds = await self._kinds(worker.pid)
                        return _memory(worker, looks, _kinds_grown(before, kinds), said, diff=request.diff)
        except NotAnswered:
            raise TimeoutError(_silent(worker)) from None
        finally:
            await found.aclose()
        raise mg.NotInspected(f"worker {slot} (pid {worker.pid}) has ended")

    async def _kinds(self, pid: int) -> dict[str, int]:
        try:
            return await self._threads.run(lambda: processes.memory_by_kind(pid), KERNEL_SECONDS)
        except (OSError, TimeoutError):
            return {}  # it is gone, hidden from us, or unknown to this kernel

    # --- inside ---

    def _serves(self, slot: int) -> bool:
        return self._fleet.board.slot(slot).state in SERVING

    def _serving(self, slot: int) -> WorkerHandle:
        worker = self._fleet.workers.get(slot)
        if worker is None or not self._serves(slot):
            raise mg.NoWorker(slot)
        return worker


def _kinds_grown(before: dict[str, int], after: dict[str, int]) -> list[ms.MemoryKind]:
    return [ms.MemoryKind(name, size, size - before[name] if name in before else None) for name, size in after.items()]


def _memory(
    worker: WorkerHandle, looks: list[_Look], kinds: list[ms.MemoryKind], end: dict[str, Any], *, diff: bool
) -> ms.WorkerMemory:
    first, last = looks[0], looks[-1]
    compared = diff and len(looks) > 1
    objects_before = first.objects if compared else None
    grown = last.objects - objects_before if last.objects is not None and objects_before is not None else None
    return ms.WorkerMemory(
        slot=worker.slot,
        pid=worker.pid,
        taken_at=datetime.now(UTC),
        seconds=last.at,
        kinds=kinds,
        collector=last.gc,
        objects=last.objects,
        objects_grown=grown,
        types=_types(last, first if compared else None),
        not_counted=last.no_types,
        tracing=last.tracing,
        lines=_lines(last, looks[1] if compared else None),
        not_traced=last.no_lines,
        traced_bytes=last.held_bytes,
        paused_seconds=end["pause_ns"] / 1e9,
        cpu_seconds=end["cost_ns"] / 1e9,
    )


def _types(last: _Look, first: _Look | None) -> list[ms.TypeCount]:
    before = {} if first is None or first.objects is None else dict(first.types)
    found = [ms.TypeCount(name, count, count - before.get(name, 0) if before else None) for name, count in last.types]
    if before:
        found.sort(key=lambda one: (one.grown or 0, one.count), reverse=True)
    return found[:SHOWN_TYPES]


def _lines(last: _Look, half: _Look | None) -> list[ms.AllocatingLine]:
    before = {} if half is None else {(file, line): size for file, line, size, _blocks in half.lines}
    found = [
        ms.AllocatingLine(file, line, size, blocks, None if half is None else size - before.get((file, line), 0))
        for file, line, size, blocks in last.lines
    ]
    if half is not None:
        found.sort(key=lambda one: (one.grown_bytes or 0, one.bytes), reverse=True)
    return found[:SHOWN_LINES]


def _silent(worker: WorkerHandle) -> str:
    return SILENT.format(slot=worker.slot, pid=worker.pid)


def _line(**fields: Any) -> bytes:
    return msgspec.json.encode(fields) + b"\n"
