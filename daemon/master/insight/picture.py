"""The evidence in sums: where threads are, who holds what they wait for, how much of everything there is.

Threads are counted as means: of eight that wait in half of the samples there are four.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from .evidence import Evidence, Frame, RouteEvidence, ThreadSample, WorkerEvidence
from .places import Doing, Place, Places, is_ours, taken_at

QUIET_CPU = 0.5  # of one CPU, of a worker: below, whoever runs a request mostly waits
SHORT_CPU = 0.3  # of one CPU, that a worker lacked
SHORT_THROTTLED = 0.1  # of the time


def wanted(worker: WorkerEvidence) -> float:
    """How many CPUs it would use if there were any."""
    return worker.cpu + starvation(worker)


def starvation(worker: WorkerEvidence) -> float:
    """How much of a CPU it lacked: of threads that wait for a CPU only one could have the interpreter."""
    return min(worker.starved or 0.0, max(0.0, 1.0 - worker.cpu))


@dataclass(slots=True)
class Group:
    """Threads that are at one place."""

    place: Place
    threads: float = 0.0
    requests: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    # Where the lock was taken, where its holder is now, for which request.
    holders: Counter[tuple[Frame, Frame, str]] = field(default_factory=Counter)

    @property
    def request(self) -> str:
        """The one that most of them run."""
        return max(self.requests, key=lambda name: self.requests[name], default="")


class Picture:
    """Sums over `evidence`."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.places = Places(evidence.sources, evidence.directory, evidence.package)

    # --- how much ---

    @cached_property
    def capacity(self) -> int:
        return sum(worker.capacity for worker in self.evidence.workers)

    @cached_property
    def busy(self) -> float:
        """Threads inside the application."""
        return sum(worker.busy for worker in self.evidence.workers)

    @cached_property
    def waiting(self) -> float:
        """Complete requests that wait for a thread, and connections that wait to be accepted."""
        return sum(worker.waiting for worker in self.evidence.workers) + self.queued

    @cached_property
    def queued(self) -> float:
        return sum(queue.queued for queue in self.evidence.queues)

    @cached_property
    def answered(self) -> int:
        return sum(worker.answered for worker in self.evidence.workers)

    @property
    def rate(self) -> float:
        return self.answered / self.evidence.seconds

    @cached_property
    def run_mean(self) -> float | None:
        """Seconds in the application, of an answer; None: there was none."""
        return sum(worker.run_seconds for worker in self.evidence.workers) / self.answered if self.answered else None

    @cached_property
    def queue_mean(self) -> float | None:
        """Seconds that a request waited before: for a thread, and (by Little's law) to be accepted."""
        if not self.answered:
            return None
        waited = sum(worker.queue_seconds for worker in self.evidence.workers) / self.answered
        return waited + self.queued / self.rate

    @cached_property
    def cpu(self) -> float:
        """In CPUs."""
        return sum(worker.cpu for worker in self.evidence.workers)

    @property
    def saturated(self) -> bool:
        """Whether all threads are mostly busy and requests wait."""
        return bool(self.capacity) and self.busy >= 0.85 * self.capacity and self.waiting >= 0.5

    @cached_property
    def oldest(self) -> float:
        return max((worker.oldest for worker in self.evidence.workers), default=0.0)

    # --- where ---

    @cached_property
    def groups(self) -> list[Group]:
        """Of threads that run requests, the largest first."""
        found: dict[Place, Group] = {}
        for worker, sample, share in self._samples():
            for thread in sample:
                if thread.request is None or not thread.frames or is_ours(thread.frames[0]):
                    continue  # the server's own doings, before and after
                quiet = wanted(worker) < QUIET_CPU and not worker.held
                place = self.places.of(thread, quiet=quiet, short=self._is_short(worker))
                group = found.setdefault(place, Group(place))
                group.threads += share * thread.weight
                group.requests[thread.request.name] += thread.weight
                if place.doing is Doing.LOCK:
                    group.holders.update(self._holders(thread, sample))
        return sorted(found.values(), key=lambda group: -group.threads)

    def _is_short(self, worker: WorkerEvidence) -> bool:
        """Whether it lacks CPU, so that threads that computed little need not wait for anything else."""
        return starvation(worker) >= SHORT_CPU or (self.evidence.throttled or 0.0) >= SHORT_THROTTLED

    def doing(self, *kinds: Doing) -> list[Group]:
        return [group for group in self.groups if group.place.doing in kinds]

    @cached_property
    def seen(self) -> float:
        """Threads that were seen in a request, by their stacks."""
        return sum(group.threads for group in self.groups)

    @cached_property
    def running(self) -> list[tuple[Frame, float, str]]:
        """Innermost frames of the application where code runs, requests or not, with threads and whose it is."""
        threads: dict[tuple[Frame, bool], float] = defaultdict(float)
        requests: dict[tuple[Frame, bool], Counter[str]] = defaultdict(Counter)
        for _worker, sample, share in self._samples():
            for thread in sample:
                frame = self.places.application(thread)
                if frame is None or self.places.of(thread, quiet=False).doing is not Doing.RUNS:
                    continue
                key = frame._replace(line=0), thread.request is not None
                threads[key] += share * thread.weight * (1.0 if thread.cpu is None else min(1.0, thread.cpu))
                requests[key][f"{thread.request.name if thread.request else ''}\n{frame.line}"] += 1
        found = []
        for (frame, _asked), count in sorted(threads.items(), key=lambda item: -item[1]):
            request, _, line = requests[frame, _asked].most_common(1)[0][0].partition("\n")
            found.append((frame._replace(line=int(line)), count, request))
        return found

    def _samples(self) -> Iterator[tuple[WorkerEvidence, tuple[ThreadSample, ...], float]]:
        for worker in self.evidence.workers:
            for sample in worker.samples:
                yield worker, sample, 1 / len(worker.samples)

    def _holders(self, waiting: ThreadSample, sample: Iterable[ThreadSample]) -> Iterator[tuple[Frame, Frame, str]]:
        """Threads that are inside of what this one waits for."""
        wants = taken_at(waiting.frames)
        name = self.places.wanted(wants)
        for thread in sample:
            if thread.ident == waiting.ident:
                continue
            for frame in thread.frames:
                if frame.file != wants.file:
                    continue
                taken = next((line for held, line in self.places.held(frame) if name and held == name), 0)
                past = (
                    frame.function == wants.function
                    and frame.line > wants.line
                    and not self.places.text(wants).startswith("with")
                )
                if taken or past:
                    now = self.places.application(thread) or thread.frames[0]
                    request = thread.request.name if thread.request is not None else ""
                    yield frame._replace(line=taken or wants.line), now, request
                    break

    # --- routes ---

    @cached_property
    def routes(self) -> list[RouteEvidence]:
        """Those that take time, the most first: as counted, or as seen in the samples."""
        return sorted((route for route in self.evidence.routes if route.answered), key=lambda route: -route.seconds)
