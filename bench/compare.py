"""What changed between two runs beyond the noise.

The rule: a figure has changed when the ranges of its rounds do not overlap and its medians differ by more than the
figure's threshold. It is applied to the figures as multiples of the peers' of the same run and round (the geometric
mean of those whose version is the same in both), so that a slower day of the machine does not read as a change;
without such a peer, or with rounds that none of them shares, to the figures themselves, and that is said; of two
machines, only figures beside peers are compared.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.document import CPU, FIXED_P99, MEMORY, P99, RATE, Cell, Document, Figure
from bench.figures import Spread, spread

FEW_ROUNDS = 3  # fewer, and their ranges say little


@dataclass(frozen=True, slots=True)
class Watched:
    """A figure that is compared, and from what difference of the medians on."""

    figure: Figure
    name: str
    threshold: float
    more_is_better: bool = False
    of_the_machine: bool = True  # whether a slower machine changes it, so that peers are compared with


WATCHED = (
    Watched(RATE, "requests/s", 0.05, more_is_better=True),
    Watched(CPU, "CPU µs a request", 0.05),
    Watched(P99, "p99", 0.20),
    Watched(FIXED_P99, "p99 at a fixed rate", 0.20),
    Watched(MEMORY, "PSS", 0.05, of_the_machine=False),
)
OPERATION_THRESHOLD = 0.20
CALLS_THRESHOLD = 0.02  # a count of calls is repeatable
SAME = ("cpu", "cores", "kernel", "memory_bytes", "python", "compiler", "wrk")
SETTINGS = ("rounds", "seconds", "warm_up", "connections", "quick", "server_cpus", "load_cpus", "rate_share")


def compare(old: dict[str, Any], new: dict[str, Any]) -> str:
    """A report for people, ending in a newline. Raises DocumentError when one is not a results file."""
    before, after = Document(old), Document(new)
    parts = [
        f"From {old.get('started', '?')} to {new.get('started', '?')}",
        *_section("What else differs (figures are the less comparable)", _circumstances(before, after)),
        *_section("Came, went, or changed whether it counts", _attendance(before, after)),
    ]
    better, worse, drift = _changes(before, after)
    parts += _section("Better", better)
    parts += _section("Worse", worse)
    parts += _section("Drift of the peers that are the same in both (of the machine, therefore)", drift)
    if not better and not worse:
        parts += ["", "Nothing changed beyond the noise."]
    thresholds = [f"{one.threshold:.0%} ({one.name})" for one in WATCHED]
    thresholds += [f"{CALLS_THRESHOLD:.0%} (system calls)", f"{OPERATION_THRESHOLD:.0%} (operations)"]
    rule = (
        f"Beyond the noise: the ranges of the rounds do not overlap and the medians differ by over"
        f" {', '.join(thresholds)}; rates, CPU and p99 as multiples of the same peers' in the same round, where there"
        " are any."
    )
    parts += ["", textwrap.fill(rule, 120)]
    rounds = min(int(document.settings.get("rounds") or 0) for document in (before, after))
    if rounds < 2:
        parts.append(f"With {rounds} round there is no range: only system calls and operations are compared.")
    elif rounds < FEW_ROUNDS:
        parts.append(f"With {rounds} rounds, their ranges say little: take at least {FEW_ROUNDS}.")
    return "\n".join(parts) + "\n"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    found = list(lines)
    return ["", f"{title}:", *(f"  {line}" for line in found)] if found else []


# --- what is not a figure ---------------------------------------------------------------------------------------


def _circumstances(before: Document, after: Document) -> Iterator[str]:
    groups = (
        ("machine", before.machine, after.machine, SAME),
        ("version", before.versions, after.versions, sorted({*before.versions, *after.versions})),
        ("setting", before.settings, after.settings, SETTINGS),
    )
    for what, old, new, names in groups:
        for name in names:
            if old.get(name) != new.get(name):
                yield f"{what} {name}: {_said(old.get(name))} → {_said(new.get(name))}"
    for name in before.workloads:
        for key in ("path", "connections", "threads", "workers"):
            old_value, new_value = before.workloads[name].get(key), after.workloads.get(name, {}).get(key)
            if name in after.workloads and old_value != new_value:
                yield f"workload {name}, {key}: {_said(old_value)} → {_said(new_value)}"
    for document, which in ((before, "old"), (after, "new")):
        if document.data.get("interrupted"):
            yield f"the {which} run was interrupted"


def _said(value: Any) -> str:
    return "none" if value is None else str(value)


def _attendance(before: Document, after: Document) -> Iterator[str]:
    for what, old, new in (("server", before.servers, after.servers), ("workload", before.workloads, after.workloads)):
        yield from (f"{what} {name} came" for name in new if name not in old)
        yield from (f"{what} {name} went" for name in old if name not in new)
    for key in dict.fromkeys([*before.cells, *after.cells]):
        one, other = before.cells.get(key), after.cells.get(key)
        workload, server = key
        known = [
            document for document in (before, after) if server in document.servers and workload in document.workloads
        ]
        if len(known) < 2:
            continue  # said already, of the whole server or workload
        if one is None or other is None:
            yield f"{workload}, {server}: {'went' if other is None else 'came'}"
        elif bool(one.void) != bool(other.void):
            yield f"{workload}, {server}: " + (
                f"void now: {other.void}" if other.void else f"counts now, was void: {one.void}"
            )


# --- figures ----------------------------------------------------------------------------------------------------


def _changes(before: Document, after: Document) -> tuple[list[str], list[str], list[str]]:
    elsewhere = any(before.machine.get(name) != after.machine.get(name) for name in ("cpu", "cores"))
    better: list[str] = []
    worse: list[str] = []
    drift: list[str] = []
    for workload in before.workloads:
        for watched in WATCHED:
            pairs = _pairs(before, after, workload)
            same = [(one, other) for one, other in pairs if one.kind == "peer" and _same_version(before, after, one)]
            if watched.figure in (RATE, CPU) and (moved := _drift(same, watched)) is not None:
                drift.append(f"{workload}, {watched.name}: {_signed(moved)} ({len(same)} peers)")
            for one, other in pairs:
                references = [pair for pair in same if pair[0].server != one.server] if watched.of_the_machine else []
                found = _change(one, other, references, watched, comparable=not (elsewhere and watched.of_the_machine))
                if found is not None:
                    change, text = found
                    (better if (change > 0) == watched.more_is_better else worse).append(
                        f"{workload}, {one.server}, {watched.name}: {text}"
                    )
        for one, other in _pairs(before, after, workload):
            calls, calls_now = one.data.get("system_calls"), other.data.get("system_calls")
            if calls and calls_now is not None and abs(calls_now / calls - 1) > CALLS_THRESHOLD:
                (better if calls_now < calls else worse).append(
                    f"{workload}, {one.server}, system calls a request: {calls:.2f} → {calls_now:.2f}"
                )
    for change, text in () if elsewhere else _operations(before, after):
        (better if change < 0 else worse).append(text)
    return better, worse, drift


def _pairs(before: Document, after: Document, workload: str) -> list[tuple[Cell, Cell]]:
    """The servers that count in both."""
    others = {cell.server: cell for cell in after.counting(workload)} if workload in after.workloads else {}
    return [(cell, others[cell.server]) for cell in before.counting(workload) if cell.server in others]


def _same_version(before: Document, after: Document, cell: Cell) -> bool:
    package = str(before.servers.get(cell.server, {}).get("package") or "")
    version = before.versions.get(package)
    return version is not None and version == after.versions.get(package)


def _change(
    one: Cell, other: Cell, references: list[tuple[Cell, Cell]], watched: Watched, *, comparable: bool
) -> tuple[float, str] | None:
    """The change and how it reads; None within the noise, and without references unless that is `comparable`."""
    old, new = one.rounds(watched.figure), other.rounds(watched.figure)
    raw = _differs(spread(old.values()), spread(new.values()), watched.threshold)
    figures = f"{_amount(one.spread(watched.figure), watched)} → {_amount(other.spread(watched.figure), watched)}"
    normal_old = _normal(old, [pair[0] for pair in references], watched.figure)
    normal_new = _normal(new, [pair[1] for pair in references], watched.figure)
    if normal_old and normal_new:
        change = _differs(spread(normal_old.values()), spread(normal_new.values()), watched.threshold)
        if change is None:
            return None
        plain = _relative(one.median(watched.figure), other.median(watched.figure))
        return change, f"{_signed(change)} beside its peers ({_signed(plain)}: {figures})"
    if raw is None or not comparable:
        return None
    remark = ", not beside a peer" if watched.of_the_machine else ""
    return raw, f"{_signed(raw)}{remark} ({figures})"


def _normal(rounds: Mapping[int, float], references: list[Cell], figure: Figure) -> dict[int, float]:
    """The figure by round as a multiple of the references' geometric mean, where all of them have that round."""
    if not references:
        return {}
    others = [cell.rounds(figure) for cell in references]
    found = {}
    for number, value in rounds.items():
        beside = [other.get(number) or 0.0 for other in others]
        if all(one > 0 for one in beside):
            found[number] = value / math.exp(sum(map(math.log, beside)) / len(beside))
    return found


def _differs(old: Spread | None, new: Spread | None, threshold: float, *, single: bool = False) -> float | None:
    """The relative change of the medians if it is beyond the noise; whether a `single` value is enough."""
    if old is None or new is None or not old.median:
        return None
    change = _relative(old.median, new.median)
    apart = (single or min(old.count, new.count) > 1) and (new.low > old.high or new.high < old.low)
    return change if apart and abs(change) > threshold else None


def _drift(same: list[tuple[Cell, Cell]], watched: Watched) -> float | None:
    """How the peers' medians moved together, if by more than the threshold."""
    moves = []
    for one, other in same:
        old, new = one.median(watched.figure), other.median(watched.figure)
        if old and new:
            moves.append(math.log(new / old))
    moved = math.expm1(sum(moves) / len(moves)) if moves else 0.0
    return moved if abs(moved) > watched.threshold else None


def _operations(before: Document, after: Document) -> Iterator[tuple[float, str]]:
    old = {(str(one["name"]), str(one["server"])): one for one in before.operations if not one.get("void")}
    for one in after.operations:
        key = (str(one["name"]), str(one["server"]))
        if one.get("void") or key not in old:
            continue
        label = f"{key[0]}, {key[1]}"
        failed, failed_now = old[key].get("failed_requests"), one.get("failed_requests")
        if failed is not None and failed_now is not None and bool(failed) != bool(failed_now):
            yield failed_now - failed, f"{label}: failed requests {failed} → {failed_now}"
        one_spread, other_spread = spread(old[key].get("values") or []), spread(one.get("values") or [])
        change = _differs(one_spread, other_spread, OPERATION_THRESHOLD, single=True)
        if change is not None and one_spread and other_spread:
            unit = str(one.get("unit") or "")
            yield change, f"{label}: {_signed(change)} ({one_spread.median:,.4g} → {other_spread.median:,.4g} {unit})"


def _relative(old: float | None, new: float | None) -> float:
    return new / old - 1 if old and new is not None else 0.0


def _signed(change: float) -> str:
    return f"{change:+.1%}"


def _amount(found: Spread | None, watched: Watched) -> str:
    if found is None:
        return "none"
    if watched.figure in (P99, FIXED_P99):
        return f"{found.median * 1e3:.2f} ms"
    if watched.figure is MEMORY:
        return f"{found.median / (1 << 20):.1f} MiB"
    return f"{found.median:,.0f}" if watched.figure is RATE else f"{found.median:,.1f}"
