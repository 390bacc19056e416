"""Rules about the CPU: who uses it, who holds the interpreter, and who does not get any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from miniwsgi.manager import messages as ms

from .evidence import Frame, WorkerEvidence
from .finding import finding
from .picture import Picture, starvation, wanted
from .places import Doing
from .waiting import FULL_CPU, is_slow
from .wording import count, inside, number, percent, rate, seconds

HELD_SHARE = 0.3  # of the time, in which an interpreter lets nobody else run
HELD_SECONDS = 0.1  # at a time: threads take turns after server.switch_interval, 0.5 ms, unless C code holds it
FULL_USE = 0.95  # that it really had: nothing more can come of it
ALL_CPUS = 0.85  # of those that there are
THROTTLED_SHARE = 0.1
STARVED_THREADS = 0.3
STARVED_SHARE = 0.3  # of the busy threads, ready to run: fewer do not explain what requests wait for
MOSTLY = 0.5
SWAPPING_FAULTS = 50.0  # a second
SHOWN_PLACES = 3


def stopped(picture: Picture) -> ms.Finding | None:
    """Processes that do not run at all."""
    for state, how, remedy in (
        ("T", "stopped, by SIGSTOP or a debugger", "kill -CONT {pids} has them go on"),
        ("t", "stopped by a debugger", "end the debugger's session"),
        ("D", "waiting inside the kernel (state D): for a disk, or for a file system in the network", ""),
    ):
        found = [worker for worker in picture.evidence.workers if worker.process_state == state]
        if found:
            sentence = f"{_workers(found)} {_verb(found, 'is', 'are')} {how}, and {_verb(found, 'does', 'do')} nothing."
            pids = " ".join(str(worker.pid) for worker in found)
            return finding("stopped", "critical", sentence, [_still(picture)], remedy.format(pids=pids))
    return None


def held(picture: Picture) -> ms.Finding | None:
    """C code that does not let go of the interpreter."""
    found = held_workers(picture)
    if not found:
        return None
    worst = found[0]
    where, _threads, request = next(iter(picture.running), (None, 0.0, ""))
    place = f" at {picture.places.shown(where)}{_source(picture, where)}{inside(request)}" if where else ""
    waits = wanted(worst) < 0.3
    how = "waits without letting go of" if waits else "holds"
    what = f"C code that {how} the interpreter (GIL)"
    sentence = (
        f"{_workers(found)} {_verb(found, 'is', 'are')} held up by {what}{place}; "
        f"other threads waited for it {percent(worst.held)} of the time, up to {seconds(worst.longest_held)} at once."
    )
    evidence = [
        f"worker {worker.slot}: {percent(worker.cpu)} of a CPU, {count(worker.busy, 'thread')} in requests, "
        f"{number(worker.waiting)} waiting" + ("; its stacks had to be taken by the signal" if worker.silent else "")
        for worker in found
    ]
    remedy = (
        "do that in another process, in smaller pieces, or with a function that releases the GIL; "
        "with more workers fewer requests wait for it"
    )
    return finding("gil-held", "critical", sentence, [*evidence, *_places(picture), _still(picture)], remedy)


def held_workers(picture: Picture) -> list[WorkerEvidence]:
    """Those whose interpreter lets nobody else run, the worst first."""
    found = [
        worker
        for worker in picture.evidence.workers
        if worker.held >= HELD_SHARE and worker.longest_held >= HELD_SECONDS and not worker.process_state
    ]
    return sorted(found, key=lambda worker: -worker.held)


def throttled(picture: Picture) -> ms.Finding | None:
    """A quota that is used up."""
    evidence = picture.evidence
    if evidence.throttled is None or evidence.throttled < THROTTLED_SHARE:
        return None
    quota = f"{evidence.quota:g} CPUs" if evidence.quota is not None else "of its cgroup"
    share = percent(evidence.throttled)
    sentence = f"The CPU quota ({quota}) is used up: the kernel held the daemon back in {share} of the time."
    return finding(
        "throttled", "critical", sentence, [_cpus(picture), *_places(picture)],
        "raise the quota (CPUQuota= of the unit, --cpus or limits.cpu of the container), or run fewer workers and "
        "threads",
    )  # fmt: skip


def starved(picture: Picture) -> ms.Finding | None:
    """Others have the CPUs, and requests wait for that."""
    return None if _sleep(picture) else _starved(picture)


def starved_too(picture: Picture) -> ms.Finding | None:
    """Others have the CPUs, which is not what requests wait for."""
    harm = picture.waiting >= 0.5 or is_slow(picture)
    return _starved(picture) if harm and _sleep(picture) else None


def _sleep(picture: Picture) -> bool:
    """Whether most threads would wait as long with a CPU each: by where they are, and as few are ready to run."""
    asleep = sum(group.threads for group in picture.groups if group.place.blocks)
    ready = sum(worker.starved or 0.0 for worker in picture.evidence.workers)
    return asleep >= MOSTLY * picture.seen > 0 and ready < STARVED_SHARE * picture.busy


def _starved(picture: Picture) -> ms.Finding | None:
    evidence = picture.evidence
    threads = sum(starvation(worker) for worker in evidence.workers)
    stolen = evidence.stolen or 0.0
    harm = picture.waiting >= 0.5 or picture.busy >= 2.0 or is_slow(picture)
    own = picture.cpu >= 0.6 * evidence.cpus
    enough = threads + 0.001 < max(STARVED_THREADS, 2 * picture.cpu) or (evidence.host_busy or 1.0) + stolen < 0.8
    if enough or own or not harm:
        return None
    whose = (
        f"the hypervisor gives {percent(stolen)} of the host's to others"
        if stolen > 0.2
        else "other processes have the rest"
    )
    wish = picture.cpu + threads
    sentence = f"Workers get too little CPU: they wanted {wish:.1f} CPUs and had {picture.cpu:.1f}, for {whose}."
    busy = f"the host's CPUs are {percent(evidence.host_busy)} busy" if evidence.host_busy is not None else ""
    return finding("starved", "warning", sentence, [busy, _cpus(picture)], "see what else runs here (top), or move it")


def swapping(picture: Picture) -> ms.Finding | None:
    """Memory that comes back from a disk."""
    faults = sum(worker.major_faults or 0.0 for worker in picture.evidence.workers)
    if faults < SWAPPING_FAULTS:
        return None
    sentence = f"Memory is short: workers read {faults:.0f} pages a second back from the disk."
    return finding(
        "swapping",
        "warning",
        sentence,
        [_still(picture)],
        "fewer workers, recycle.max_rss, or more memory (free, vmstat)",
    )


def processor(picture: Picture) -> ms.Finding | None:
    """Workers that compute all the time."""
    evidence = picture.evidence
    full = [worker for worker in evidence.workers if wanted(worker) >= FULL_CPU and worker not in held_workers(picture)]
    own_processes = evidence.pool == "fork"  # for each connection, each with an interpreter
    if not full or (own_processes and picture.cpu < ALL_CPUS * evidence.cpus):
        return None
    threads = sum(worker.busy + worker.waiting for worker in full)
    usage, want = sum(one.cpu for one in full) / len(full), sum(map(wanted, full)) / len(full)
    crowded = sum(group.threads for group in picture.doing(Doing.RUNS)) + picture.waiting > 1.2 * len(full)
    if usage < FULL_USE and not crowded and not own_processes:
        return None
    share = f"{_workers(full)} of {len(evidence.workers)}" if len(full) < len(evidence.workers) else _workers(full)
    sharing = threads > 1.2 * len(full) and usage < 1.2 and not own_processes
    if usage < FULL_CPU:
        wants, gets = _verb(full, "wants", "want"), _verb(full, "gets", "get")
        amount = f"{wants} {percent(want)} of a CPU and {gets} {percent(usage)}"
    else:
        cores = "a core" if usage < 1.2 else f"{number(usage)} cores"
        amount = f"{_verb(full, 'keeps', 'keep')} {cores}{_verb(full, '', ' each')} busy ({percent(usage)})"
    shared = f"; {count(threads, 'request')} share {_verb(full, 'it', 'them')} (GIL)" if sharing else ""
    sentence = f"The CPU is the limit: {share} {amount}{_where(picture)}{shared}."
    if picture.cpu >= ALL_CPUS * evidence.cpus:
        remedy = (
            f"all {count(evidence.cpus, 'CPU')} that the daemon may use are in use: only faster code or more CPUs help"
        )
    elif len(evidence.workers) >= evidence.cpus:
        remedy = "neither more threads nor more workers help: faster code or more CPUs do"
    else:
        most = count(evidence.cpus, "worker")
        remedy = f"more threads do not help: faster code does, and up to {most}, for as many CPUs"
    return finding("cpu", "warning", sentence, [_cpus(picture), *_places(picture), _still(picture)], remedy)


def _where(picture: Picture) -> str:
    if not any(worker.samples for worker in picture.evidence.workers):
        return "; where is not to be seen"
    total = sum(threads for _, threads, _ in picture.running)
    if not total:
        return ", mostly outside of the application: in the server, and in requests that are too short to be seen"
    frame, _threads, request = picture.running[0]
    who = inside(request) if request else ", in a thread that runs no request"
    return f", mostly in {frame.function} at {picture.places.shown(frame)}{who}"


def _places(picture: Picture) -> Iterator[str]:
    total = sum(threads for _, threads, _ in picture.running)
    for frame, threads, request in picture.running[:SHOWN_PLACES]:
        if threads < 0.05 * total:
            break
        yield (
            f"{percent(threads / total)} of what runs: {frame.function} at {picture.places.shown(frame)}"
            f"{_source(picture, frame)}{inside(request)}"
        )
    by_cpu = sorted((one for one in picture.routes if one.cpu_seconds), key=lambda one: -(one.cpu_seconds or 0.0))
    if by_cpu:
        used = sum(one.cpu_seconds or 0.0 for one in by_cpu)
        yield f"most CPU by route: {by_cpu[0].name}, {percent((by_cpu[0].cpu_seconds or 0.0) / used)}"


def _cpus(picture: Picture) -> str:
    evidence = picture.evidence
    quota = f", by a quota of {evidence.quota:g}" if evidence.quota is not None else ""
    host = f"; the host's are {percent(evidence.host_busy)} busy" if evidence.host_busy is not None else ""
    return (
        f"{count(len(evidence.workers), 'worker')} used {picture.cpu:.2f} of {count(evidence.cpus, 'CPU')}{quota}{host}"
    )


def _still(picture: Picture) -> str:
    """What came of it."""
    waiting = f", {count(picture.waiting, 'request')} waiting" if picture.waiting >= 0.05 else ""
    return f"{count(picture.answered, 'answer')}, {rate(picture.rate)}{waiting}"


def _source(picture: Picture, frame: Frame) -> str:
    text = picture.places.text(frame)
    return f" ({text[:60]})" if text else ""


def _verb(found: Sequence[WorkerEvidence], one: str, several: str) -> str:
    return one if len(found) == 1 else several


def _workers(found: Sequence[WorkerEvidence]) -> str:
    slots = [str(worker.slot) for worker in found]
    return f"worker {slots[0]}" if len(slots) == 1 else f"workers {', '.join(slots[:-1])} and {slots[-1]}"
