"""What a slot counts by method, status and route, as it lies there."""

from __future__ import annotations

from collections.abc import Iterator

from miniwsgi.metrics import scoreboard as sb


def series(cells: memoryview[int]) -> Iterator[list[int]]:
    """The cells of each series that is in use."""
    for at in range(sb.SERIES_AT, sb.SERIES_AT + sb.SERIES * sb.SERIES_CELLS, sb.SERIES_CELLS):
        if cells[at + sb.S_KEY]:
            yield cells[at : at + sb.SERIES_CELLS].tolist()
