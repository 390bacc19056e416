"""Value files: both layouts of prometheus_client are read, damage costs what is damaged, and a place has one holder."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from miniwsgi.metrics import value_files
from miniwsgi.metrics.value_files import LOCKS, PLACES, build, is_held, lock_offset, mend, parse, read, split_name

ENTRIES = [(b'["a", "a_total", {}, "help"]', 3.0, 0.0), (b'["b", "b", {"x": "y"}, ""]', -0.5, 1.7e9)]
HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a+b")
fcntl.lockf(file, fcntl.LOCK_EX, 1, int(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


def content(data: bytes) -> value_files.Content:
    return parse(data, struct.unpack_from("i", data)[0] if len(data) >= 4 else 0)


@pytest.mark.parametrize("timed", [True, False])
def test_what_is_built_is_read_in_its_layout(timed: bool) -> None:
    found = content(build(ENTRIES, timed))
    expected = ENTRIES if timed else [(key, value, 0.0) for key, value, _timestamp in ENTRIES]
    assert (found.entries, found.timed, found.whole) == (expected, timed, True)


@pytest.mark.parametrize("timed", [True, False])
def test_a_single_value_tells_its_layout_too(timed: bool) -> None:
    for length in range(16):
        key = b'["' + b"n" * length + b'", "n", {}]'
        assert content(build([(key, 1.0, 0.0)], timed)).timed is timed


def test_a_file_of_the_installed_prometheus_client_is_read(tmp_path: Path) -> None:
    from prometheus_client.mmap_dict import MmapedDict, mmap_key

    path = str(tmp_path / "counter_slot0.db")
    values = MmapedDict(path)
    keys = [mmap_key("n", "n_total", ["l"], ["é" * length], "h") for length in range(2000)]
    for number, key in enumerate(keys):
        values.write_value(key, float(number), 0.5)
    values.close()
    found = read(path)
    assert found.whole
    assert found.timed
    assert found.entries == [(key.encode(), float(number), 0.5) for number, key in enumerate(keys)]


def test_prometheus_client_goes_on_with_a_file_that_was_built(tmp_path: Path) -> None:
    from prometheus_client.mmap_dict import MmapedDict

    path = tmp_path / "counter_slot0.db"
    path.write_bytes(build(ENTRIES, True))
    values = MmapedDict(str(path))
    assert values.read_value(ENTRIES[0][0].decode()) == (3.0, 0.0)
    values.write_value('["new", "new", {}, ""]', 9.0, 0.0)
    values.close()
    assert [entry[1] for entry in read(str(path)).entries] == [3.0, -0.5, 9.0]


@pytest.mark.parametrize("timed", [True, False])
def test_of_a_file_cut_anywhere_the_beginning_is_read(timed: bool) -> None:
    data = build(ENTRIES, timed)
    used = struct.unpack_from("i", data)[0]
    first = struct.unpack_from("i", build(ENTRIES[:1], timed))[0]
    for length in range(4, used):
        found = content(data[:length])
        assert not found.whole
        assert [entry[:2] for entry in found.entries] in ([], [ENTRIES[0][:2]])
        assert length < first or found.entries


@pytest.mark.parametrize("data", [b"\1", b"\0\0", b"\xff" * 64, struct.pack("i", 3) + bytes(60), os.urandom(4096)])
def test_junk_is_no_file(data: bytes) -> None:
    found = content(data)
    assert not found.whole
    assert found.entries == []


@pytest.mark.parametrize("data", [b"", bytes(1 << 16)])
def test_a_file_that_was_only_made_is_whole(data: bytes) -> None:
    assert content(data).whole


def test_a_file_in_the_other_layout_is_converted_once(tmp_path: Path) -> None:
    path = tmp_path / "counter_slot0.db"
    path.write_bytes(build(ENTRIES, False))
    assert not mend(str(path), timed=False)
    assert mend(str(path), timed=True)
    assert not mend(str(path), timed=True)
    assert [entry[:2] for entry in read(str(path)).entries] == [entry[:2] for entry in ENTRIES]
    assert os.listdir(tmp_path) == [path.name]


def test_a_damaged_file_keeps_what_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "counter_slot0.db"
    path.write_bytes(build(ENTRIES, True)[:60])
    assert mend(str(path), timed=True)
    found = read(str(path))
    assert found.whole
    assert found.entries == ENTRIES[:1]


def test_names_tell_kind_and_identity() -> None:
    assert split_name("counter_slot3.db") == ("counter", "slot3")
    assert split_name("gauge_livemostrecent_slot3-0.db") == ("gauge_livemostrecent", "slot3-0")
    assert split_name("gauge_all_4711.db") == ("gauge_all", "4711")
    for other in ("gauge_slot3.db", "counter_slot3.db.new", "places.lock", "stateset_1.db", "counter_a_b.db", ".db"):
        assert split_name(other) is None


def test_each_place_has_a_byte_of_its_own() -> None:
    places = [f"boot{number}" for number in range(PLACES)]
    for slot in range(3):
        places += [f"slot{slot}", *(f"slot{slot}-{number}" for number in range(PLACES - 1))]
    assert len({lock_offset(place) for place in places}) == len(places)
    assert lock_offset("4711") is None


def test_a_place_is_held_as_long_as_its_process_lives(tmp_path: Path) -> None:
    path = tmp_path / LOCKS
    path.touch()
    argv = [sys.executable, "-c", HOLD, str(path), str(lock_offset("slot7"))]
    with path.open("rb") as file:
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            assert is_held(file.fileno(), "slot7")
            assert not is_held(file.fileno(), "slot7-0")
            assert not is_held(file.fileno(), "slot6")
            holder.kill()
        assert not is_held(file.fileno(), "slot7")
        assert is_held(file.fileno(), "4711"), "a pid is not ours to judge"
