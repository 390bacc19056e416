"""What a worker's memory holds, for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ... import messages
from .. import text
from ..options import Session

TOP, WIDE = 15, 100
MEANING = {  # of what proc_pid_smaps(5) has, what an operator acts on
    "Rss": "in RAM, with what it shares",
    "Pss": "its fair share of that",
    "Pss_Anon": "  objects, stacks: allocated memory",
    "Pss_File": "  programs and libraries",
    "Pss_Shmem": "  shared with the master",
    "Private_Dirty": "its own, written",
    "Shared_Dirty": "written before the fork, and shared still",
    "Swap": "in swap",
}
TRACED = {
    "ours": "allocated in these {seconds} and still held",
    "application": "traced since the application has begun tracemalloc, and still held",
}


def lines(found: messages.WorkerMemory, session: Session) -> list[str]:
    """What `memory` prints."""
    count = WIDE if session.wide else TOP
    shown = [f"worker {found.slot}, pid {found.pid}, {text.clock(found.taken_at)}"]
    rows = [
        (one.name, text.size(one.bytes), _grown(one.grown_bytes, text.size), MEANING.get(one.name, ""))
        for one in found.kinds
        if (one.name in MEANING and (one.bytes or one.name != "Swap")) or session.wide
    ]
    if rows:
        shown += ["", *_table(("MEMORY", "SIZE", "GROWN", "WHAT"), rows, "lrr", session)]
    collector = found.collector
    state = "" if collector.enabled else " (switched off)"
    shown += [
        "",
        f"garbage collector{state}: {', '.join(map(str, collector.collections))} collections by generation, "
        f"{collector.collected} objects collected, {collector.uncollectable} uncollectable, {collector.frozen} frozen",
    ]
    if found.objects is None:
        shown.append(f"objects are not counted: {found.not_counted} (--pause allows more)")
    else:
        grown = "" if found.objects_grown is None else f" ({found.objects_grown:+d})"
        frozen = f" (without {collector.frozen} frozen ones, from before the fork)" if collector.frozen else ""
        shown.append(f"{found.objects} objects{grown} that the collector knows{frozen}, by type:")
        types = [(str(one.count), _grown(one.grown, str), one.name) for one in found.types[:count]]
        shown += ["", *_table(("COUNT", "GROWN", "TYPE"), types, "rr", session)]
    if found.tracing != "none":
        what = TRACED[found.tracing].format(seconds=text.seconds(found.seconds))
        shown += ["", f"{text.size(found.traced_bytes)} {what}:"]
        if found.not_traced:
            shown.append(f"not read: {found.not_traced} (--pause allows more)")
        else:
            places = [
                (text.size(one.bytes), str(one.blocks), _grown(one.grown_bytes, text.size), f"{one.file}:{one.line}")
                for one in found.lines[:count]
            ]
            shown += ["", *_table(("SIZE", "BLOCKS", "GROWN", "LINE"), places, "rrr", session)]
    held_up, cost = text.seconds(found.paused_seconds), text.seconds(found.cpu_seconds)
    shown += ["", f"this held the worker up for {held_up} at most, and took {cost} of CPU"]
    return shown


def _table(header: tuple[str, ...], rows: Sequence[Sequence[str]], right: str, session: Session) -> list[str]:
    """Without a column of nothing but dashes."""
    kept = [at for at in range(len(header)) if header[at] != "GROWN" or any(row[at] != text.NOTHING for row in rows)]
    return text.table(
        [header[at] for at in kept],
        [[row[at] for at in kept] for row in rows],
        right="".join(right[at : at + 1] or "l" for at in kept),
        width=session.width(),
        heading=session.heading,
    )


def _grown(value: int | None, shown: Callable[[int], str]) -> str:
    return text.NOTHING if value is None else f"{'-' if value < 0 else '+'}{shown(abs(value))}"
