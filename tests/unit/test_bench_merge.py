"""Results that were measured table by table become those of one run."""

from __future__ import annotations

import pytest

from bench.document import RATE, Document, DocumentError
from bench.merge import merged
from tests.support.bench_document import document


def test_what_was_measured_apart_stands_together_and_the_later_file_counts() -> None:
    one = document({"hello": {"miniwsgi": 60e3, "bjoern": 80e3}, "flask": {"miniwsgi": 5e3}})
    other = document({"hello": {"miniwsgi": 90e3, "fastwsgi": 70e3}})
    found = Document(merged([one, other]))
    rates = {key: cell.median(RATE) for key, cell in found.cells.items()}
    assert rates == pytest.approx(
        {
            ("hello", "miniwsgi"): 90e3,
            ("hello", "bjoern"): 80e3,
            ("hello", "fastwsgi"): 70e3,
            ("flask", "miniwsgi"): 5e3,
        }
    )
    assert found.workloads["hello"]["servers"] == ["miniwsgi", "bjoern", "fastwsgi"]


def test_operations_are_taken_from_each() -> None:
    one, other = document({}), document({})
    one["operations"] = [{"name": "reload", "server": "miniwsgi", "values": [1.0]}]
    other["operations"] = [{"name": "logged as text", "server": "miniwsgi", "values": [0.9]}]
    assert [operation["name"] for operation in merged([one, other])["operations"]] == ["reload", "logged as text"]


def test_settings_are_as_good_as_the_worst() -> None:
    one, other = document({}), document({})
    one["settings"].update(rounds=7, others=0.01)
    other["settings"].update(rounds=3, others=0.2)
    found = merged([one, other])
    assert (found["settings"]["rounds"], found["settings"]["others"]) == (3, 0.2)
    assert found["took_seconds"] == 1200.0


@pytest.mark.parametrize(("part", "name"), [("machine", "kernel"), ("versions", "bjoern")])
def test_what_does_not_compare_is_refused(part: str, name: str) -> None:
    one, other = document(), document()
    other[part][name] = "another"
    with pytest.raises(DocumentError, match=f"different {part}s?: {name}"):
        merged([one, other])
