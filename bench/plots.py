"""The plots of a results file, as SVG and PNG: readable by the colour-blind, in print, and at half their size.

`draw` needs matplotlib, and nothing else here does. The same document makes the same SVG: no dates, no chance.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.document import CPU, MEMORY, RATE, SYSTEM, USER, Cell, Document, ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which most colour-blind people tell apart
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#F0E442",
)
DARK, GREY, PALE = "#1a1a1a", "#8c8c8c", "#c8c8c8"
COLOURS = {"ours": BLUE, "peer": GREY, "road": SKY, "floor": PALE}
KINDS = {"ours": "miniwsgi", "road": "on the way there", "peer": "other servers"}
BOX = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}  # behind figures, so that no line crosses them
DASHES = {"solid": "-", "dashed": "--", "dotted": ":", "dashdot": "-."}

WIDTH_INCHES = 10.0
BAR_INCHES = 0.27
PNG_DOTS = 110
NAMED_CURVES = 7  # as many as can be told apart
BEYOND = 1.6  # × the longest bar: a floor farther away is written, and not drawn to scale

SETTINGS = {
    "svg.hashsalt": "miniwsgi",
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 11.0,
    "axes.titlesize": 13.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": DARK,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "text.color": DARK,
    "xtick.color": DARK,
    "ytick.color": DARK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "legend.frameon": False,
    "legend.fontsize": 10.0,
    "hatch.linewidth": 0.6,
}


def draw(document: dict[str, Any], directory: Path) -> list[Path]:
    """Draw what there is to draw into a directory that exists; the files, SVG before PNG.

    `overview`, `memory`, and of each workload NAME and NAME-latency. Raises DocumentError, ImportError without
    matplotlib, OSError.
    """
    import matplotlib as mpl

    found = Document(document)
    made: list[Path] = []
    settings: dict[Any, Any] = {**mpl.rcParamsDefault, "backend": "agg", **SETTINGS}
    with mpl.rc_context(settings):
        for name, figure in _figures(found):
            figure.draw_without_rendering()  # lay it out once for both
            figure.set_layout_engine("none")
            for kind in ("svg", "png"):
                path = directory / f"{name}.{kind}"
                metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
                figure.savefig(path, metadata=metadata, dpi=PNG_DOTS)
                made.append(path)
    return made


def _figures(document: Document) -> Iterator[tuple[str, Figure]]:
    if (overview := _overview(document)) is not None:
        yield "overview", overview
    for workload in document.workloads:
        if document.counting(workload, "ours", "road", "peer"):
            yield workload, _throughput(document, workload)
        if curves := [cell for cell in document.counting(workload) if cell.curve]:
            yield f"{workload}-latency", _latency(document, workload, curves)
    if (memory := _memory(document)) is not None:
        yield "memory", memory


def _figure(inches: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, inches), layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.12, h_pad=0.1)
    axes = figure.subplots(1, columns, sharey=True, squeeze=False)
    return figure, list(axes[0])


def _heading(document: Document, workload: str) -> str:
    what = str(document.workloads.get(workload, {}).get("what") or "")
    return "\n".join(textwrap.wrap(f"{workload}: {what}" if what and what != workload else workload, 90))


# --- bars -------------------------------------------------------------------------------------------------------


def _throughput(document: Document, workload: str) -> Figure:
    """Requests a second, with the range of the rounds, beside CPU a request; the same order in both."""
    cells = document.counting(workload, "ours", "road", "peer")
    figure, (rates, cpu) = _figure(2.3 + BAR_INCHES * len(cells), columns=2)
    figure.suptitle(_heading(document, workload), x=0.01, ha="left", fontweight="bold")
    places = list(range(len(cells)))
    medians = [cell.median(RATE) or 0.0 for cell in cells]
    spreads = [cell.spread(RATE) for cell in cells]
    below = [found.median - found.low if found else 0.0 for found in spreads]
    above = [found.high - found.median if found else 0.0 for found in spreads]
    rates.barh(places, medians, height=0.72, color=[COLOURS[cell.kind] for cell in cells])
    rates.errorbar(medians, places, xerr=[below, above], fmt="none", ecolor=DARK, elinewidth=1.2, capsize=2.5)
    longest = max((found.high for found in spreads if found), default=1.0) or 1.0
    end = longest * 1.24
    floors = document.counting(workload, "floor")
    near = [cell for cell in floors if (cell.median(RATE) or 0.0) <= longest * BEYOND]
    lines = _floor_lines(rates, floors, longest)
    end = max([end, *((cell.median(RATE) or 0.0) * 1.04 for cell in near)])
    rates.set_xlim(0, end)
    for place, value, over in zip(places, medians, above, strict=True):
        mark = " †" if cells[place].saturated else ""
        rates.text(
            value + over + end * 0.012, place, f"{_short(value)}{mark}", va="center", fontsize=10, bbox=BOX, zorder=4
        )
    rates.set_xlabel("requests a second" + (" († load generator saturated)" if any(c.saturated for c in cells) else ""))
    _names(rates, cells)
    _stacked_cpu(cpu, cells)
    _legend(figure, _kinds(cells), cpu.get_legend_handles_labels()[0], lines)
    return figure


def _kinds(cells: Sequence[Cell]) -> list[Any]:
    from matplotlib.patches import Patch

    return [Patch(color=COLOURS[kind], label=KINDS[kind]) for kind in KINDS if any(cell.kind == kind for cell in cells)]


def _legend(figure: Figure, *groups: Sequence[Any]) -> None:
    """Below everything, a column a group."""
    from matplotlib.lines import Line2D

    chosen = [list(group) for group in groups if group]
    rows = max(map(len, chosen))
    blank = Line2D([], [], linestyle="none", label=" ")
    padded = [one for group in chosen for one in [*group, *[blank] * (rows - len(group))]]
    figure.legend(handles=padded, loc="outside lower center", ncols=len(chosen))


def _floor_lines(axes: Axes, floors: Sequence[Cell], longest: float) -> list[Any]:
    """A line for each floor near enough; one farther away has only its words in the legend."""
    from matplotlib.lines import Line2D

    handles: list[Any] = []
    styles = list(DASHES.values())
    for number, cell in enumerate(floors):
        value = cell.median(RATE) or 0.0
        label = f"floor {cell.server}: {_short(value)}"
        if value > longest * BEYOND:
            handles.append(Line2D([], [], linestyle="none", label=f"{label}, off the chart"))
            continue
        style = styles[number % len(styles)]
        handles.append(axes.axvline(value, color=DARK, linestyle=style, linewidth=1.4, label=label, zorder=1.5))
    return handles


def _stacked_cpu(axes: Axes, cells: Sequence[Cell]) -> None:
    """User and system time a request; told apart by hatching as well as by colour."""
    places = list(range(len(cells)))
    user = [cell.median(USER) or 0.0 for cell in cells]
    system = [cell.median(SYSTEM) or 0.0 for cell in cells]
    axes.barh(places, user, height=0.72, color=GREEN, label="user")
    axes.barh(
        places,
        system,
        left=user,
        height=0.72,
        color=ORANGE,
        edgecolor="white",
        linewidth=0,
        hatch="////",
        label="system",
    )
    totals = [cell.median(CPU) or 0.0 for cell in cells]
    # one that forks for each request would make all others invisible: it is cut, and its figure written
    ranked = sorted(totals)
    usual = ranked[int(0.8 * (len(ranked) - 1))] * 2.5
    end = max((total for total in totals if total <= usual), default=1.0) * 1.22 or 1.0
    axes.set_xlim(0, end)
    for place, total in zip(places, totals, strict=True):
        cut = total > end * 0.985
        axes.text(
            end * 0.985 if cut else total + end * 0.012,
            place,
            f"{_short(total)} →" if cut else _short(total),
            va="center",
            ha="right" if cut else "left",
            fontsize=10,
            bbox=BOX,
        )
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("processor time, µs a request")


def _names(axes: Axes, cells: Sequence[Cell]) -> None:
    axes.set_yticks(range(len(cells)), [cell.server for cell in cells])
    axes.set_ylim(len(cells) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _position: f"{value:,.10g}")
    for label, cell in zip(axes.get_yticklabels(), cells, strict=True):
        label.set_fontweight("bold" if cell.kind == "ours" else "normal")
        label.set_color(BLUE if cell.kind == "ours" else DARK)


def _memory(document: Document) -> Figure | None:
    """Memory under the workload that most servers took part in."""
    having = {
        name: [cell for cell in document.counting(name, "ours", "road", "peer") if cell.median(MEMORY)]
        for name in document.workloads
    }
    workload = max(having, key=lambda name: len(having[name]), default="")
    if not workload or not having[workload]:
        return None
    cells = sorted(having[workload], key=lambda cell: (cell.median(MEMORY) or 0.0, cell.server))
    figure, (axes,) = _figure(1.9 + BAR_INCHES * len(cells))
    values = [(cell.median(MEMORY) or 0.0) / (1 << 20) for cell in cells]
    axes.barh(range(len(cells)), values, height=0.72, color=[COLOURS[cell.kind] for cell in cells])
    end = max(values) * 1.1
    for place, value in enumerate(values):
        axes.text(value + end * 0.008, place, _short(value), va="center", fontsize=10)
    _names(axes, cells)
    axes.set_xlim(0, end)
    axes.set_xlabel("MiB of the whole server, proportional share (PSS)")
    _legend(figure, *([one] for one in _kinds(cells)))
    figure.suptitle(f"Memory under the workload {workload}", x=0.01, ha="left", fontweight="bold")
    return figure


def _overview(document: Document) -> Figure | None:
    """Our rate as a multiple of the best peer's, a workload a bar."""
    found = []
    for workload in document.workloads:
        peer = document.best_peer(workload)
        ours = document.ours(workload)
        value = ratio(ours, peer) if ours else None
        if value is not None and peer is not None:
            found.append((workload, value, peer.server))
    if not found:
        return None
    figure, (axes,) = _figure(1.6 + BAR_INCHES * len(found))
    axes.barh(range(len(found)), [value for _, value, _ in found], height=0.72, color=BLUE)
    axes.axvline(1.0, color=DARK, linewidth=1.4)
    longest = max(1.0, *(value for _, value, _ in found))
    for place, (_workload, value, peer_name) in enumerate(found):
        axes.text(longest * 1.03, place, f"{value:.2f} × {peer_name}", va="center", fontsize=10, bbox=BOX)
    axes.set_yticks(range(len(found)), [workload for workload, _, _ in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, longest * 1.4)
    axes.set_xlabel("requests a second as a multiple of the best peer's: 1 is as fast")
    figure.suptitle("miniwsgi beside the best peer of each workload", x=0.01, ha="left", fontweight="bold")
    return figure


# --- curves -----------------------------------------------------------------------------------------------------


def _latency(document: Document, workload: str, cells: Sequence[Cell]) -> Figure:
    """Latency over percentiles, each nine as wide as the one before; ours and the lowest of its peers are named."""
    kinds = ("ours", "peer", "road", "floor")
    ranked = sorted(
        cells, key=lambda cell: (kinds.index(cell.kind), cell.fixed.get("p99") or _at(cell, 99.0), cell.server)
    )
    ours = [cell for cell in ranked if cell.kind == "ours"]
    named = ranked[:NAMED_CURVES]
    figure, (axes,) = _figure(6.0)
    for cell in ranked[NAMED_CURVES:]:
        axes.plot(*_points(cell), color=PALE, linewidth=1.2, zorder=1)
    looks = _looks()
    for cell in named:
        colour, style, marker = (BLUE, "-", "o") if ours and cell is ours[0] else next(looks)
        axes.plot(
            *_points(cell),
            color=colour,
            linestyle=style,
            marker=marker,
            markersize=5.5,
            linewidth=3.0 if cell.kind == "ours" else 1.7,
            zorder=3 if cell.kind == "ours" else 2,
            label=cell.server,
        )
    last = max((point[0] for cell in cells for point in cell.curve if point[0] < 100), default=0.0)
    nines = max(2, math.ceil(-math.log10(1 - last / 100) - 0.01))
    shown = [50.0, *(100 * (1 - 10.0**-number) for number in range(1, nines + 1))]
    axes.set_xticks([_nines(percentile) for percentile in shown], [f"{percentile:.6g}%" for percentile in shown])
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _position: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axes.tick_params(axis="y", which="minor", labelsize=9)
    axes.grid(visible=True, which="both")
    axes.set_xlabel("percentile")
    axes.set_ylabel("latency since a request was due, ms")
    rates = sorted({round(float(cell.fixed.get("rate") or 0)) for cell in cells} - {0})
    at = f" at {rates[0]:,} requests a second" if len(rates) == 1 else " at a fixed rate"
    figure.suptitle(_heading(document, workload) + f"\nlatency{at}", x=0.01, ha="left", fontweight="bold")
    if len(ranked) > NAMED_CURVES:
        axes.plot([], [], color=PALE, linewidth=1.2, label=f"{len(ranked) - NAMED_CURVES} others")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0, labelspacing=0.7)
    return figure


def _looks() -> Iterator[tuple[str, str, str]]:
    """Colour, dash and mark, all three different from those of the neighbours in the legend."""
    colours = (VERMILION, GREEN, PURPLE, ORANGE, SKY, DARK)
    styles = ("--", "-.", ":", "-", "--", ":")
    while True:
        yield from zip(colours, styles, "s^Dv*P", strict=True)


def _points(cell: Cell) -> tuple[list[float], list[float]]:
    points = [point for point in sorted(cell.curve) if 50 <= point[0] < 100]
    return [_nines(percentile) for percentile, _ in points], [max(seconds, 1e-6) * 1e3 for _, seconds in points]


def _nines(percentile: float) -> float:
    """90 is 1, 99 is 2, 99.9 is 3."""
    return -math.log10(1 - percentile / 100)


def _at(cell: Cell, percentile: float) -> float:
    return next((seconds for found, seconds in sorted(cell.curve) if found >= percentile), math.inf)


def _short(value: float) -> str:
    """Three digits that count, with thousands set apart."""
    return f"{value:,.0f}" if value >= 100 or value == 0 else f"{value:.1f}" if value >= 10 else f"{value:.2g}"
