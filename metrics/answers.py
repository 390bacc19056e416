"""How requests were answered, by the class of their status: since the start and in the last minute, in all, by worker
and by generation. An answer of 500 is an error, whoever made it: the application, its framework, or the server.

A slot's counters only grow, from worker to worker: what a worker has answered is the difference to its beginning.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from operator import add, attrgetter

from msgspec import Struct

from . import scoreboard as sb
from .board import Board
from .scoreboard_reading import HISTOGRAM_EVERY, LONGEST_SECONDS, SNAPSHOT_SECONDS, labels, packed, series, unpacked
from .slot import Slot

KEPT_GENERATIONS = 5  # the latest; older ones are told while they have workers
CLASSES = 6  # of statuses: by the first digit, and 0 where it is not known
EVERY_SECONDS = HISTOGRAM_EVERY * SNAPSHOT_SECONDS  # between two snapshots


class Answers(Struct, frozen=True):
    """So many answers, and those of them that were errors of the client (4xx) and of the server (5xx)."""

    total: int = 0
    client_errors: int = 0
    server_errors: int = 0

    def __add__(self, other: Answers) -> Answers:
        return Answers(
            self.total + other.total,
            self.client_errors + other.client_errors,
            self.server_errors + other.server_errors,
        )

    def __sub__(self, other: Answers) -> Answers:
        return Answers(
            self.total - other.total,
            self.client_errors - other.client_errors,
            self.server_errors - other.server_errors,
        )

    def share(self, part: int) -> float | None:
        """0 to 1; None without any answer."""
        return part / self.total if self.total else None


NONE = Answers()


def status_class(status: int) -> int:
    """The first digit; 0: not known."""
    return status // 100 if status < 100 * CLASSES else 0


def refusals(slot: Slot) -> list[int]:
    """What the server itself has answered, by class: it is in no series."""
    cells, found = slot.cells, [0] * CLASSES
    for place, status in enumerate(sb.REJECTED_STATUSES):
        found[status_class(status)] += cells[sb.REJECTED_BY + place]
    found[0] += cells[sb.REJECTED_BY + len(sb.REJECTED_STATUSES)]
    return found


def durations_by_class(slots: Iterable[Slot]) -> list[int]:
    """Histograms of the application's answers, `packed`. Each series is read once: there may be thousands."""
    histograms = [0] * CLASSES
    for slot in slots:
        cells = slot.cells
        for at in series(cells):
            _method, status, _route = labels(cells[at + sb.S_KEY])
            histograms[status_class(status)] += packed(cells, at + sb.S_BUCKETS, sb.BUCKETS)
    return histograms


def counts_by_class(slots: Iterable[Slot], histograms: Iterable[int]) -> list[int]:
    """All answers of these slots: the application's, of which `histograms` tell, and the server's own refusals."""
    found = [sum(unpacked(histogram, sb.BUCKETS)) if histogram else 0 for histogram in histograms]
    for slot in slots:
        found = list(map(add, found, refusals(slot)))
    return found


def answers(slot: Slot) -> Answers:
    """All that the slot's workers have given: the application's, and the refusals of the server itself."""
    found = counts_by_class([slot], durations_by_class([slot]))
    return Answers(sum(found), found[4], found[5])


def _sum(found: Iterable[Answers]) -> Answers:
    rows = list(found)
    return Answers(*(sum(map(attrgetter(name), rows)) for name in ("total", "client_errors", "server_errors")))


class SlotHolder(Struct, frozen=True):
    """A worker that holds a slot, and what the slot had counted before it."""

    number: int  # of all holders: no two have the same
    generation: int
    before: Answers


class AnswerCounts(Struct, frozen=True):
    """The counts at a moment."""

    at: float
    all: Answers
    workers: Mapping[int, Answers]  # by the holder's number
    generations: Mapping[int, Answers]


class Tally:
    """Who has answered what. `begin` and `end` are told of each worker, `take` is called about once a second."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._number = 0
        self._holders: dict[int, SlotHolder] = {}  # by slot
        self._ended: dict[int, Answers] = {}  # by generation: of workers that are gone
        self._snapshots: deque[AnswerCounts] = deque()

    def __repr__(self) -> str:
        return f"<Tally {self._holders}>"

    def begin(self, slot: int, generation: int) -> None:
        """A worker of `generation` has the slot from now on."""
        self._number += 1
        self._holders[slot] = SlotHolder(self._number, generation, answers(self._board.slot(slot)))
        self._ended.setdefault(generation, NONE)

    def end(self, slot: int) -> None:
        """It is reaped."""
        holder = self._holders.pop(slot, None)
        if holder is None:
            return
        self._ended[holder.generation] += answers(self._board.slot(slot)) - holder.before
        living = {other.generation for other in self._holders.values()}
        for generation in sorted(self._ended)[:-KEPT_GENERATIONS]:
            if generation not in living:
                del self._ended[generation]

    def take(self, now: float) -> bool:
        """A snapshot, if one is due. Whether it was."""
        if self._snapshots and now - self._snapshots[-1].at < EVERY_SECONDS:
            return False
        self._snapshots.append(self._count(now))
        while len(self._snapshots) > 1 and now - self._snapshots[1].at >= LONGEST_SECONDS:
            self._snapshots.popleft()
        return True

    def look(self, now: float) -> AnswerReport:
        """The counts now, and those of about a minute ago or of the beginning."""
        old = [snapshot for snapshot in self._snapshots if now - snapshot.at >= LONGEST_SECONDS]
        before = old[-1] if old else self._snapshots[0] if self._snapshots else AnswerCounts(now, NONE, {}, {})
        numbers = {slot: holder.number for slot, holder in self._holders.items()}
        return AnswerReport(self._count(now), before, numbers)

    def _count(self, now: float) -> AnswerCounts:
        by_slot = {slot.index: answers(slot) for slot in self._board.used()}
        workers: dict[int, Answers] = {}
        generations = dict(self._ended)
        for slot, holder in self._holders.items():
            own = workers[holder.number] = by_slot.get(slot, NONE) - holder.before
            generations[holder.generation] += own
        return AnswerCounts(now, _sum(by_slot.values()), workers, generations)


class AnswerReport(Struct, frozen=True):
    """What was counted since the start, and in the last minute: pairs of both."""

    now: AnswerCounts
    before: AnswerCounts
    numbers: Mapping[int, int]  # of holders, by slot

    @property
    def all(self) -> tuple[Answers, Answers]:
        return self.now.all, self.now.all - self.before.all

    def worker(self, slot: int) -> tuple[Answers, Answers]:
        """Of the worker that holds the slot."""
        number = self.numbers.get(slot, 0)
        found = self.now.workers.get(number, NONE)
        return found, found - self.before.workers.get(number, NONE)

    @property
    def generations(self) -> dict[int, tuple[Answers, Answers]]:
        """The oldest first."""
        return {
            number: (found, found - self.before.generations.get(number, NONE))
            for number, found in sorted(self.now.generations.items())
        }
