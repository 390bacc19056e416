"""Values are kept by slot: the hook into prometheus_client, and the places that processes take.

Each scenario runs in a process of its own, as a launcher would: `install`, import, fork.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from miniwsgi.metrics import value_files
from miniwsgi.metrics.value_merge import merge

from tests.support.effort import effort

PRELUDE = """
import os, sys, threading
from miniwsgi.daemon.worker import prometheus_slots as slots

def inside(work, slot=None):
    pid = os.fork()
    if not pid:
        try:
            if slot is not None:
                slots.become_worker(slot)
            work()
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0

slots.install(sys.argv[1])
"""
METRICS = """
from prometheus_client import Counter, Gauge
COUNTER = Counter("n", "N.")
LIVE = Gauge("live", "Live.", multiprocess_mode="livesum")
LAST = Gauge("last", "Last.")
"""


def run(directory: Path, scenario: str, *, metrics: bool = True) -> str:
    """What a scenario prints."""
    program = PRELUDE + (METRICS if metrics else "") + textwrap.dedent(scenario)
    argv = [sys.executable, "-c", program, str(directory)]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    return result.stdout


def files(directory: Path, kind: str = "counter") -> dict[str, float]:
    """A file's first value, by identity."""
    found = {}
    for name in os.listdir(directory):
        parts = value_files.split_name(name)
        if parts is not None and parts[0] == kind:
            content = value_files.read(str(directory / name))
            assert content.whole
            found[parts[1]] = content.entries[0][1]
    return found


def total(directory: Path, name: str = "n_total") -> float:
    lines = merge(str(directory), False)[0].decode().splitlines()
    (value,) = [line.split()[1] for line in lines if line.startswith(f"{name} ")]
    return float(value)


def test_what_is_counted_goes_to_the_place_of_who_counts(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        COUNTER.inc(5)
        inside(lambda: COUNTER.inc(), slot=0)
        inside(lambda: COUNTER.inc(2), slot=3)
        inside(lambda: COUNTER.inc(), slot=0)
        COUNTER.inc()
        """,
    )
    assert files(tmp_path) == {"boot0": 6.0, "slot0": 2.0, "slot3": 2.0}


def test_an_application_imported_in_the_worker_has_its_slot(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        def work():
            from prometheus_client import Counter
            Counter("n", "N.").inc()
        inside(work, slot=2)
        inside(work, slot=2)
        """,
        metrics=False,
    )
    assert files(tmp_path) == {"slot2": 2.0}


def test_however_many_processes_there_were_they_leave_one_file_a_kind(tmp_path: Path) -> None:
    each = effort(25, 250)  # of four slots
    run(
        tmp_path,
        f"""
        def work():
            COUNTER.inc()
            LIVE.inc()
        for number in range({4 * each}):
            inside(work, slot=number % 4)
        """,
    )
    assert files(tmp_path) == {"boot0": 0.0, **{f"slot{slot}": each for slot in range(4)}}
    assert len(list(tmp_path.glob("*.db"))) == 3 * 5
    assert total(tmp_path) == 4 * each


def test_launchers_take_the_places_of_those_that_are_gone(tmp_path: Path) -> None:
    for _generation in range(3):
        run(tmp_path, "COUNTER.inc()")
    assert files(tmp_path) == {"boot0": 3.0}


def test_launchers_at_the_same_time_have_places_of_their_own(tmp_path: Path) -> None:
    other = PRELUDE + METRICS + "COUNTER.inc()"
    run(
        tmp_path,
        f"""
        import subprocess
        COUNTER.inc(2)
        subprocess.run([sys.executable, "-c", {other!r}, sys.argv[1]], check=True)
        """,
    )
    assert files(tmp_path) == {"boot0": 2.0, "boot1": 1.0}


def test_a_launcher_that_executes_itself_again_counts_on(tmp_path: Path) -> None:
    again = PRELUDE + METRICS + "COUNTER.inc()"
    run(
        tmp_path,
        f"""
        COUNTER.inc()
        LAST.set(7)
        os.execv(sys.executable, [sys.executable, "-c", {again!r}, sys.argv[1]])
        """,
    )
    assert files(tmp_path) == {"boot0": 2.0}
    assert files(tmp_path, "gauge_all") == {"boot0": 0.0}, "what the import before has set is over"


def test_what_a_worker_forks_has_places_of_its_own(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        def work():
            COUNTER.inc()
            inside(lambda: COUNTER.inc(10))
            inside(lambda: inside(lambda: COUNTER.inc(100)))
            COUNTER.inc()
            counted, counts = os.pipe()
            forever = os.pipe()
            pid = os.fork()
            if not pid:
                COUNTER.inc(1000)
                os.write(counts, b".")
                os.read(forever[0], 1)
            os.read(counted, 1)
            inside(lambda: COUNTER.inc(10000))
            import signal
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        inside(work, slot=1)
        """,
    )
    assert files(tmp_path) == {"boot0": 0.0, "slot1": 2.0, "slot1-0": 1110.0, "slot1-1": 10000.0}


def test_threads_of_a_worker_count_together(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        def count():
            for _ in range(1000):
                COUNTER.inc()
        def work():
            threads = [threading.Thread(target=count) for _ in range(8)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
        inside(work, slot=1)
        """,
    )
    assert files(tmp_path)["slot1"] == 8000.0
    assert set(files(tmp_path)) == {"boot0", "slot1"}


def test_a_workers_live_gauges_go_before_its_end_is_told(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        def set_all():
            LIVE.set(5)
            LAST.set(5)
        inside(set_all, slot=1)
        inside(set_all, slot=11)
        inside(lambda: inside(set_all), slot=1)
        slots.remove_live_gauges(1)
        """,
    )
    assert set(files(tmp_path, "gauge_livesum")) == {"boot0", "slot11"}
    assert set(files(tmp_path, "gauge_all")) == {"boot0", "slot1", "slot1-0", "slot11"}


def test_a_launcher_keeps_its_place_when_its_workers_end(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        inside(lambda: LIVE.set(5), slot=1)
        slots.remove_live_gauges(1)
        def look():
            from miniwsgi.metrics import value_files
            assert value_files.is_held(os.open(sys.argv[1] + "/places.lock", os.O_RDONLY), "boot0")
        inside(look)
        """,
    )


def test_the_next_worker_of_a_slot_starts_without_its_predecessors_live_gauges(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        def first():
            LIVE.set(5)
            LAST.set(5)
        inside(first, slot=1)
        inside(lambda: LIVE.inc(), slot=1)
        """,
    )
    assert files(tmp_path, "gauge_livesum")["slot1"] == 1.0
    assert files(tmp_path, "gauge_all")["slot1"] == 5.0


@pytest.mark.parametrize("timed", [True, False])
def test_a_worker_goes_on_with_what_can_be_read_of_a_damaged_file(tmp_path: Path, timed: bool) -> None:
    run(tmp_path, "inside(lambda: COUNTER.inc(41), slot=1)")
    path = tmp_path / "counter_slot1.db"
    content = value_files.read(str(path))
    entries = [*content.entries, (b'["m", "m_total", {}, "M."]', 7.0, 0.0)]
    data = value_files.build(entries, timed)
    path.write_bytes(data[: len(data.rstrip(b"\0")) - 10])
    run(tmp_path, "inside(lambda: COUNTER.inc(), slot=1)")
    assert files(tmp_path)["slot1"] == 42.0


def test_a_file_of_junk_is_begun_anew(tmp_path: Path) -> None:
    for junk in (b"\xff" * 5000, b"\1"):
        (tmp_path / "counter_slot1.db").write_bytes(junk)
        run(tmp_path, "inside(lambda: COUNTER.inc(), slot=1)")
        assert files(tmp_path)["slot1"] == 1.0


def test_a_prometheus_client_that_was_imported_before_is_taken_over(tmp_path: Path) -> None:
    before = "import prometheus_client\n" + PRELUDE + METRICS + "inside(lambda: COUNTER.inc(), slot=1)"
    subprocess.run([sys.executable, "-c", before, str(tmp_path)], check=True, timeout=100)
    assert files(tmp_path)["slot1"] == 1.0


def test_without_a_directory_nothing_is_done() -> None:
    program = PRELUDE.replace("sys.argv[1]", '""') + (
        "import prometheus_client.values\n"
        "slots.become_worker(1); slots.remove_live_gauges(1)\n"
        "print(prometheus_client.values.ValueClass.__name__, slots.VARIABLE in os.environ)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=100)
    assert said.stdout.split() == ["MutexValue", "False"]


def test_an_application_without_prometheus_client_leaves_no_file(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        """
        import json, sqlite3, xml.dom.minidom
        inside(lambda: None, slot=1)
        slots.remove_live_gauges(1)
        print("prometheus_client" in sys.modules)
        """,
        metrics=False,
    )
    assert said.split() == ["False"]
    assert os.listdir(tmp_path) == []


def test_without_a_lock_file_values_are_kept_by_pid(tmp_path: Path) -> None:
    (tmp_path / value_files.LOCKS).mkdir()
    said = run(tmp_path, "COUNTER.inc(); print(os.getpid())")
    assert files(tmp_path) == {said.strip(): 1.0}
