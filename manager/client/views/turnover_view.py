"""The live display of a change on a terminal: a bar, and each slot as it turns over. Gone when the change is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ... import messages
from .. import text
from ..client import Client
from .operation_view import name

BAR_COLUMNS = 24
# what a slot looks like: mark, style, word
NEW = ("●", "green", "new")
OLD = ("○", "", "as before")
COMING = ("◐", "yellow", "booting")
GOING = ("◌", "cyan", "draining")
LOST = ("✗", "red", "lost")
LOOKS = (NEW, COMING, OLD, GOING, LOST)


def look(worker: messages.Worker, before: frozenset[tuple[int, int | None]]) -> tuple[str, str, str]:
    """What a slot looks like, given who was ready before the change."""
    if worker.state == "ready":
        return OLD if (worker.slot, worker.pid) in before else NEW
    if worker.state in {"forking", "booting"}:
        return COMING
    return GOING if worker.state == "draining" else LOST


def frame(
    operation: messages.Operation, workers: list[messages.Worker], before: frozenset[tuple[int, int | None]]
) -> Text:
    """Three lines: how far, which slots, what the marks mean."""
    total = max(operation.total, 1)
    filled = min(BAR_COLUMNS, BAR_COLUMNS * operation.done // total)
    found = Text(no_wrap=True, overflow="ellipsis")
    found.append(name(operation), "bold").append("  ")
    found.append("━" * filled, "green").append("─" * (BAR_COLUMNS - filled), "dim")
    found.append(f"  {operation.done} of {operation.total}  {text.seconds(operation.seconds)}\n")
    looks = [look(worker, before) for worker in workers]
    for worker, (mark, style, _) in zip(workers, looks, strict=True):
        found.append(f"{worker.slot}", "dim").append(f"{mark} ", style)
    found.append("\n")
    for kind in LOOKS:
        if number := looks.count(kind):
            mark, style, word = kind
            found.append(f"{mark} ", style).append(f"{number} {word}   ", "dim")
    return found


class TurnoverDisplay:
    """Slots turning over."""

    def __init__(self, live: Live, client: Client, before: list[messages.Worker]) -> None:
        self._live = live
        self._client = client
        self._before = frozenset((worker.slot, worker.pid) for worker in before if worker.state == "ready")

    def show(self, operation: messages.Operation, events: list[messages.Event]) -> None:
        workers = self._client.workers().value.workers
        self._live.update(frame(operation, workers, self._before), refresh=True)


@contextmanager
def turnover_display(client: Client, before: list[messages.Worker], *, colour: bool) -> Iterator[TurnoverDisplay]:
    """On standard error; the terminal is as it was afterwards."""
    console = Console(stderr=True, no_color=not colour, highlight=False)
    with Live(console=console, transient=True, auto_refresh=False) as live:
        yield TurnoverDisplay(live, client, before)
