"""A plot of a soak: traffic, memory, descriptors, threads and processes over time, with each change as a tick.

The dotted lines are the slopes that were found after the warm-up (grey), the numbers in brackets by how much they rise.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from .run import Result
from .sampling import Role, Sample
from .trend import spans

POINTS = 120
COLOURS = {"master": "#1b6ca8", "launchers": "#d1793b", "workers": "#3a8f5c"}
TICKS = {"reload": "#b3261e", "restart": "#7a5ea8", "scale": "#5f7d1f", "log level": "#888888"}
STYLE = {
    "svg.fonttype": "none",  # text as text: small, and it can be searched
    "svg.hashsalt": "miniwsgi",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 8,
}


def draw(result: Result, path: Path) -> None:
    """Write it; the name's ending says the format. Raises OSError, ValueError."""
    with mpl.rc_context(STYLE):
        figure, (changes, traffic, memory, descriptors, processes) = plt.subplots(
            5, 1, figsize=(9, 10), sharex=True, height_ratios=[1, 2, 2.2, 2, 2]
        )
        figure.subplots_adjust(left=0.09, right=0.98, top=0.93, bottom=0.05, hspace=0.32)
        _changes(result, changes)
        _traffic(result, traffic)
        _by_role(result, memory, "Memory of one process, MiB (PSS without files)", "memory", lambda role: role.memory)
        _by_role(result, descriptors, "Descriptors of one process", "descriptors", lambda role: role.descriptors)
        _by_role(result, processes, "Threads of one process; all processes", "threads", lambda role: role.threads)
        _line(result, processes, lambda sample: sample.processes, "processes", "processes", color="#444444")
        _legend(processes)
        processes.set_xlabel("minutes")
        for axes in (memory, descriptors, processes, traffic):
            axes.axvspan(0, result.warm_up / 60, color="black", alpha=0.05, linewidth=0)
            axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * 1.2)
        processes.set_xlim(0, result.settings.seconds / 60)
        figure.suptitle(_title(result), fontsize=11, x=0.01, horizontalalignment="left")
        figure.savefig(path, metadata={"Date": None, "Creator": None} if path.suffix == ".svg" else None)
        plt.close(figure)


def _title(result: Result) -> str:
    tally, settings = result.tally, result.settings
    return (
        f"{settings.seconds / 60:g} minutes, pool {settings.pool}: {tally.total:,} requests, {tally.failures} failed; "
        f"{len(tally.processes)} workers, {len(tally.versions)} versions of the code"
    )


def _minutes(result: Result, at: float) -> float:
    return (at - result.began) / 60


def _changes(result: Result, axes: plt.Axes) -> None:
    for row, (kind, colour) in enumerate(TICKS.items()):
        times = [_minutes(result, at) for at, what in result.deeds.changes if what == kind]
        axes.eventplot(times, lineoffsets=-row, linelengths=0.8, linewidths=1, colors=colour)
    axes.set_yticks([-row for row in range(len(TICKS))], list(TICKS))
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", length=0)
    axes.spines["bottom"].set_visible(False)
    axes.spines["left"].set_visible(False)
    axes.set_title("Changes")


def _traffic(result: Result, axes: plt.Axes) -> None:
    """Answers a second, the kinds on top of each other."""
    step = max(1, len(result.progress) // 120)
    looks = result.progress[::step]
    kinds = [name for name, _ in result.tally.answered.most_common()]
    times, rates = [], {name: [] for name in kinds}  # type: ignore[var-annotated]
    for (begin, before, _), (end, after, _) in pairwise(looks):
        times.append(_minutes(result, (begin + end) / 2))
        for name in kinds:
            rates[name].append((after[name] - before[name]) / (end - begin))
    axes.stackplot(times, [rates[name] for name in kinds], labels=kinds, alpha=0.75, linewidth=0)
    failed = [_minutes(result, lost.at) for lost in result.tally.lost]
    axes.plot(failed, [0] * len(failed), "x", color="red", label=f"failed: {result.tally.failures}", clip_on=False)
    axes.legend(ncols=len(kinds) + 1, loc="upper left", bbox_to_anchor=(0, 1.05), handlelength=1, columnspacing=1)
    axes.set_title("Requests a second, by kind of visitor")


def _by_role(result: Result, axes: plt.Axes, title: str, what: str, of: Callable[[Role], float]) -> None:
    for name, colour in COLOURS.items():

        def value(sample: Sample, name: str = name) -> float:
            return of(sample.roles[name]) / sample.roles[name].processes

        watched = next((key for key in result.trends if key.startswith(what) and name.rstrip("s") in key), "")
        _line(result, axes, value, name, watched, color=colour)
    axes.set_title(title)
    _legend(axes)


def _line(
    result: Result, axes: plt.Axes, value: Callable[[Sample], float], label: str, watched: str, *, color: str
) -> None:
    """The medians of short spans, what they vary by in the background, and the slope that was found."""
    points = [(sample.at, value(sample)) for sample in result.samples if label in {*sample.roles, "processes"}]
    held = spans(points, POINTS)
    times = [_minutes(result, at) for at, _ in held]
    lowest, highest = ([y for _, y in spans(points, POINTS, of)] for of in (min, max))
    axes.fill_between(times, lowest, highest, color=color, alpha=0.15, linewidth=0)
    axes.plot(times, [y for _, y in held], linewidth=1.2, color=color)
    found = result.trends.get(watched)
    if found is not None:
        label += f" ({round(found.growth, 1) + 0.0:+.1f})"
        ends = [found.median - found.growth / 2, found.median + found.growth / 2]
        axes.plot([result.warm_up / 60, times[-1]], ends, color="black", linewidth=0.8, linestyle=":")
    axes.plot([], [], label=label, color=color)


def _legend(axes: plt.Axes) -> None:
    axes.legend(ncols=4, loc="upper left", bbox_to_anchor=(0, 1.05))
