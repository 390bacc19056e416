"""The merge: the same numbers as prometheus_client's own, and what it leaves out."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from miniwsgi.metrics import value_merge
from miniwsgi.metrics.declared import DECLARED
from miniwsgi.metrics.value_files import LOCKS, build, lock_offset
from miniwsgi.metrics.value_merge import merge
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

WRITER = """
import random, sys
from prometheus_client import Counter, Gauge, Histogram, Summary, values
values.ValueClass = values.MultiProcessValue(lambda: sys.argv[1])
seed = random.Random(sys.argv[1])
counter = Counter("jobs", 'Back\\\\slash, "quotes" and\\na line.', ["queue", "Ünïcode_value"[8:] or "x"])
for queue in ("a", 'b"c', "d\\\\e", "f\\ng", ""):
    counter.labels(queue, "ü").inc(seed.randrange(100))
Counter("plain_total", "Named with its suffix.").inc(seed.random())
histogram = Histogram("seconds", "Seconds.", ["path"], buckets=(0.1, 1, 2.5, 1e6))
for _ in range(50):
    histogram.labels(seed.choice("xyz")).observe(seed.expovariate(1))
Summary("bytes", "Bytes.").observe(seed.randrange(1000))
for mode in ("all", "min", "max", "sum", "mostrecent"):
    Gauge(f"gauge_{mode}", mode, ["l"], multiprocess_mode=mode).labels("v").set(seed.random() * 1e9)
Gauge("infinite", "Inf", multiprocess_mode="max").set(float("inf"))
"""

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def key(metric: str, sample: str = "", labels: str = "{}", text: str = "Help.") -> bytes:
    return f'["{metric}", "{sample or metric}", {labels}, "{text}"]'.encode()


def put(
    directory: Path, name: str, *entries: tuple[bytes, float] | tuple[bytes, float, float], timed: bool = True
) -> Path:
    path = directory / name
    path.write_bytes(build([(entry[0], entry[1], entry[2] if len(entry) > 2 else 0.0) for entry in entries], timed))
    return path


def text(directory: Path) -> str:
    return merge(str(directory), False)[0].decode()


def samples(exposition: str, parse: object = parse_text) -> Samples:
    families = list(parse(exposition))  # type: ignore[operator]
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[object]:
    """Hold places as another process would."""
    children: list[tuple[int, int]] = []

    def take(*places: str) -> None:
        ready, done = os.pipe(), os.pipe()
        pid = os.fork()
        if not pid:
            with open(tmp_path / LOCKS, "a+b") as file:
                for place in places:
                    fcntl.lockf(file, fcntl.LOCK_EX, 1, lock_offset(place) or 0)
                os.close(done[1])
                os.write(ready[1], b".")
                os.read(done[0], 1)
                os._exit(0)
        os.close(done[0])
        os.close(ready[1])
        assert os.read(ready[0], 1) == b"."
        os.close(ready[0])
        children.append((pid, done[1]))

    yield take
    for pid, fd in children:
        os.close(fd)
        os.waitpid(pid, 0)


# --- numbers --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("values")
    for identity in ("slot0", "slot1", "slot1-0"):
        environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)}
        subprocess.run([sys.executable, "-c", textwrap.dedent(WRITER), identity], env=environ, check=True)
    return directory


def test_the_numbers_are_those_of_prometheus_clients_own_merge(written: Path) -> None:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(written))  # type: ignore[no-untyped-call]
    expected = samples(generate_latest(registry).decode().replace('pid="slot', 'pid="'))
    assert samples(text(written)) == pytest.approx(expected)
    assert len(expected) > 30


def test_both_formats_say_the_same(written: Path) -> None:
    body, report = merge(str(written), True)
    assert (report.dropped, report.damaged) == ([], [])
    assert not body.endswith(b"# EOF\n")
    assert samples(body.decode() + "# EOF\n", parse_openmetrics) == samples(text(written))
    kinds = {family.name: family.type for family in parse_openmetrics(body.decode() + "# EOF\n")}
    assert kinds["jobs"] == kinds["plain"] == "counter"
    assert kinds["seconds"] == "histogram"
    assert kinds["bytes"] == "summary"
    assert kinds["gauge_all"] == "gauge"


def test_help_texts_and_label_values_are_escaped(written: Path) -> None:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(written))  # type: ignore[no-untyped-call]
    theirs = {family.name: family.documentation for family in parse_text(generate_latest(registry).decode())}
    ours = {family.name: family.documentation for family in parse_text(text(written))}
    assert ours == theirs
    assert ours["jobs"] == 'Back\\slash, "quotes" and\na line.'


def test_files_without_timestamps_count_with_the_others(tmp_path: Path) -> None:
    put(tmp_path, "counter_slot0.db", (b'["n", "n_total", {"l": "v"}]', 2.0), timed=False)
    put(tmp_path, "counter_slot1.db", (key("n", "n_total", '{"l": "v"}'), 3.0))
    assert 'n_total{l="v"} 5.0' in text(tmp_path).splitlines()


def test_a_new_help_text_makes_no_second_series(tmp_path: Path) -> None:
    put(tmp_path, "counter_slot0.db", (key("n", "n_total", text="old"), 2.0), (key("n", "n_total", text="new"), 3.0))
    assert text(tmp_path).splitlines()[2:] == ["n_total 5.0"]


def test_the_most_recent_value_is_the_last_one_set(tmp_path: Path) -> None:
    put(tmp_path, "gauge_mostrecent_slot0.db", (key("g"), 1.0, 200.0))
    put(tmp_path, "gauge_mostrecent_slot1.db", (key("g"), 2.0, 100.0))
    put(tmp_path, "gauge_mostrecent_slot2.db", (key("g"), 3.0))
    assert "g 1.0" in text(tmp_path).splitlines()


def test_names_beyond_the_old_rules_become_readable_to_all(tmp_path: Path) -> None:
    put(tmp_path, "counter_slot0.db", (key("http.requests", "http.requests_total", '{"my.label": "1.5"}'), 1.0))
    assert 'http_requests_total{my_label="1.5"} 1.0' in text(tmp_path).splitlines()


# --- the dead -------------------------------------------------------------------------------------


def test_live_gauges_count_while_their_process_lives(tmp_path: Path, hold: object) -> None:
    for place in ("slot0", "slot1", "slot1-0", "slot1-1"):
        put(tmp_path, f"gauge_liveall_{place}.db", (key("g"), 1.0))
        put(tmp_path, f"gauge_all_{place}.db", (key("h"), 1.0))
    hold("slot1", "slot1-1")  # type: ignore[operator]
    found = text(tmp_path).splitlines()
    assert [line for line in found if line.startswith("g{")] == ['g{pid="1"} 1.0', 'g{pid="1-1"} 1.0']
    assert len([line for line in found if line.startswith("h{")]) == 4


def test_live_gauges_of_a_program_that_the_application_started_go_with_its_pid(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as other:
        put(tmp_path, f"gauge_liveall_{other.pid}.db", (key("g"), 1.0))
        assert f'g{{pid="{other.pid}"}} 1.0' in text(tmp_path).splitlines()
        assert other.stdin is not None
        other.stdin.close()
    assert text(tmp_path) == ""


def test_an_imports_counters_stay_and_its_gauges_go_with_the_launcher(tmp_path: Path, hold: object) -> None:
    for place in ("boot0", "boot1"):
        put(tmp_path, f"counter_{place}.db", (key("n", "n_total"), 1.0))
        put(tmp_path, f"gauge_max_{place}.db", (key("g"), 5.0 if place == "boot0" else 4.0))
    hold("boot1")  # type: ignore[operator]
    found = text(tmp_path).splitlines()
    assert "n_total 2.0" in found
    assert "g 4.0" in found


def test_a_gauge_that_an_import_only_defines_has_no_say(tmp_path: Path, hold: object) -> None:
    put(tmp_path, "gauge_min_boot0.db", (key("g"), 0.0))
    put(tmp_path, "gauge_min_slot0.db", (key("g"), 3.0))
    hold("boot0", "slot0")  # type: ignore[operator]
    assert "g 3.0" in text(tmp_path).splitlines()


# --- what is left out -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "metric", "sample"),
    [
        ("histogram", "http_server_request_duration_seconds", "http_server_request_duration_seconds_sum"),
        ("gauge_max", "http_server_request_duration_seconds_count", ""),
        ("counter", "process_cpu_seconds", "process_cpu_seconds_total"),
        ("gauge_max", "miniwsgi_anything", ""),
    ],
)
def test_families_named_like_the_servers_are_left_out(tmp_path: Path, kind: str, metric: str, sample: str) -> None:
    put(tmp_path, f"{kind}_slot0.db", (key(metric, sample), 1.0))
    put(tmp_path, "counter_slot0x.db", (key("process_orders", "process_orders_total"), 1.0))
    body, report = merge(str(tmp_path), False)
    assert body.decode().splitlines()[2:] == ["process_orders_total 1.0"]
    assert report.dropped == [metric]


def test_all_of_the_servers_families_are_reserved(tmp_path: Path) -> None:
    for declared in DECLARED:
        metric = declared.name.removesuffix("_total")
        kind = {"gauge": "gauge_max"}.get(declared.kind, declared.kind)
        sample = {"counter": f"{metric}_total", "histogram": f"{metric}_sum"}.get(declared.kind, metric)
        put(tmp_path, f"{kind}_slot0.db", (key(metric, sample), 1.0))
        assert merge(str(tmp_path), False) == (b"", value_merge.Report([metric])), declared.name
        (tmp_path / f"{kind}_slot0.db").unlink()


def test_a_name_that_became_another_kind_of_metric_is_shown_once(tmp_path: Path) -> None:
    put(tmp_path, "counter_slot0.db", (key("n", "n_total"), 1.0))
    put(tmp_path, "gauge_max_slot1.db", (key("n"), 2.0), (key("n_total"), 3.0))
    body, report = merge(str(tmp_path), False)
    assert body.decode().splitlines()[1:] == ["# TYPE n_total counter", "n_total 1.0"]
    assert report.dropped == ["n (gauge)", "n_total"]


@pytest.mark.parametrize("junk", [b"\xff" * 100, b"\0", b"\x40\0\0\0\0\0\0\0" + b"a" * 56])
def test_a_damaged_file_costs_only_itself(tmp_path: Path, junk: bytes) -> None:
    put(tmp_path, "counter_slot0.db", (key("n", "n_total"), 1.0))
    (tmp_path / "counter_slot1.db").write_bytes(junk)
    (tmp_path / "histogram_slot1.db").mkdir()
    body, report = merge(str(tmp_path), False)
    assert "n_total 1.0" in body.decode().splitlines()
    assert report.damaged == ["counter_slot1.db", "histogram_slot1.db"]


def test_keys_that_are_none_cost_only_themselves(tmp_path: Path) -> None:
    bad = [b"[1, 2, 3, 4]", b'["a", "b"]', b'["a", "b", 7]', b'["a", "b", [], "c"]', b'["\xff", "b", {}, "c"]']
    put(tmp_path, "counter_slot0.db", *((one, 1.0) for one in bad), (key("n", "n_total"), 1.0))
    body, report = merge(str(tmp_path), False)
    assert "n_total 1.0" in body.decode().splitlines()
    assert report.damaged


def test_other_files_are_not_looked_at(tmp_path: Path) -> None:
    for name in ("notes.db", "counter_slot0.db.new", "counter_slot0.txt"):
        (tmp_path / name).write_bytes(b"\xff" * 100)
    assert merge(str(tmp_path), False) == (b"", value_merge.Report())
