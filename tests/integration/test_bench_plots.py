"""The plots: which there are, that they repeat byte by byte, and that no label lies on another."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import plots
from bench.document import Document
from tests.support.bench_document import cell, document

pytest.importorskip("matplotlib")

CURVE = [{"percentile": share, "seconds": 0.001 * (1 + share)} for share in (50.0, 90.0, 99.0, 99.9, 99.99)]


def small() -> dict[str, Any]:
    data = document({"hello": {"miniwsgi": 60e3, "bjoern": 80e3, "fork": 900.0, "loop-c": 90e3, "echo-c": 900e3}})
    for one in data["cells"]:
        one.update(curve=CURVE, fixed={"rate": 2000.0, "p50": 0.05, "p99": 0.1, "p999": 0.101, "late_p99": 0.0})
    return data


def crowded() -> dict[str, Any]:
    """As many servers as there may ever be, with the longest names."""
    data = document({"hello": {}})
    data["workloads"][0]["what"] = "a description that is much longer than the width of any picture " * 3
    for number in range(30):
        name = f"gunicorn-gthread-python-{number:02}"
        data["servers"].append({**data["servers"][-1], "name": name, "kind": "peer"})
        data["cells"].append(cell(name, "hello", 123456.0 / (number + 1), curve=CURVE))
    return data


def test_svg_and_png_of_what_was_measured_the_same_each_time(tmp_path: Path) -> None:
    made = {}
    for name in ("first", "second"):
        directory = tmp_path / name
        directory.mkdir()
        files = plots.draw(small(), directory)
        assert sorted(files) == sorted(directory.iterdir())
        made[name] = {path.name: path.read_bytes() for path in files}
    pictures = ("overview", "hello", "hello-latency", "memory")
    assert list(made["first"]) == [f"{name}.{kind}" for name in pictures for kind in ("svg", "png")]
    assert made["first"] == made["second"]
    svg = made["first"]["hello.svg"].decode()
    assert "dc:date" not in svg
    words = re.findall(r"<text[^>]*>([^<]+)</text>", svg)
    assert {"miniwsgi", "bjoern", "60,000", "floor loop-c: 90,000", "floor echo-c: 900,000, off the chart"} <= set(
        words
    )


def test_there_is_no_plot_of_what_was_not_measured(tmp_path: Path) -> None:
    data = small()
    for one in data["cells"]:
        one.update(void="3 errors")
    assert plots.draw(data, tmp_path) == []
    assert plots.draw(document({}), tmp_path) == []


@pytest.mark.parametrize("data", [small(), crowded()], ids=["small", "crowded"])
def test_no_label_lies_on_another_or_outside(data: dict[str, Any]) -> None:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with mpl.rc_context(plots.SETTINGS):
        for name, figure in plots._figures(Document(data)):
            FigureCanvasAgg(figure)
            figure.draw_without_rendering()
            boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure) if text.get_text().strip()]
            assert len(boxes) > 8, name
            for words, box in boxes:
                assert box.x0 >= 0, (name, words)
                assert box.x1 <= figure.bbox.x1, (name, words)
                assert box.y0 >= 0, (name, words)
                assert box.y1 <= figure.bbox.y1, (name, words)
            for (words, box), (others, other) in itertools.combinations(boxes, 2):
                assert not box.padded(-1).overlaps(other.padded(-1)), (name, words, others)


def texts(figure: Any) -> Iterator[Any]:
    """Every text that is seen: matplotlib keeps labels of ticks beyond the end of an axis, too."""
    yield from figure.texts
    for legend in figure.legends:
        yield from legend.get_texts()
    for axes in figure.axes:
        yield from axes.texts
        if (legend := axes.get_legend()) is not None:
            yield from legend.get_texts()
        for axis in (axes.xaxis, axes.yaxis):
            yield axis.label
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if low <= tick.get_loc() <= high and tick.label1.get_visible():
                    yield tick.label1
