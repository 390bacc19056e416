"""Who is compared: engines by name, peers that take part and those that cannot, and what is told of a sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import balance
from bench.cpu_time import Cpu
from bench.load import Load
from bench.peer_servers import SERVERS
from bench.peers import Environment
from bench.servers import HELLO, Order, Programs
from bench.steps import unevenness
from bench.trial import Bench, Sample, make_sample
from bench.workloads import WORKLOADS

PROGRAMS = Programs("/ours/bin/python", "/peers/bin/python")
ORDER = Order(HELLO, 8000)


def command(server: str, order: Order = ORDER) -> str:
    return " ".join(SERVERS[server].command(PROGRAMS, order))


def test_an_engine_is_asked_for_by_the_name_of_the_server() -> None:
    assert "--engine" not in command("miniwsgi")
    assert "--engine plain" in command("miniwsgi-plain")
    assert "--engine compiled" in command("miniwsgi-compiled")


def test_a_log_is_asked_for_in_its_format() -> None:
    order = replace(ORDER, access_log=Path("/tmp/log"), log_format="json")
    assert "--access-log /tmp/log --set log.access_log_format=json" in command("miniwsgi", order)
    assert "--access-log-format json" in command("peregrine", order)
    assert "--access-log" not in command("peregrine") + command("miniwsgi")


@pytest.mark.parametrize(
    ("server", "threads"),
    [("peregrine", "--wsgi-threads 32"), ("m0serve", "--blocking-threads 32"), ("pyvoy", "--worker-threads 32")],
)
def test_peers_get_the_threads_that_a_workload_asks_for(server: str, threads: str) -> None:
    assert threads in command(server, replace(ORDER, threads=32))


def test_who_cannot_take_part_says_why(tmp_path: Path) -> None:
    bench = Bench(PROGRAMS, Environment("/peers/bin/python", "3.11", {}, {"freastal": "no wheel"}), tmp_path, 1.0)
    assert bench.missing("weft") == "what PyPI has by this name is no WSGI server"
    assert bench.missing("freastal") == "freastal: no wheel"
    assert bench.missing("miniwsgi") == ""


def test_every_server_of_a_workload_is_known() -> None:
    assert {name for workload in WORKLOADS.values() for name in workload.servers} <= SERVERS.keys()
    for workload in WORKLOADS.values():
        assert len(set(workload.servers)) == len(workload.servers), workload.name


def sample(rate: float, cpu_us: float, *, saturated: bool) -> Sample:
    load = Load(int(rate), 1.0, {}, 0, 0, generator_cpu=1.0 if saturated else 0.5)
    return make_sample(load, Cpu(rate * cpu_us / 1e6))


def test_the_cpu_tells_how_fast_it_is_where_the_generator_followed_neither() -> None:
    slow, fast = sample(100.0, 20.0, saturated=True), sample(101.0, 10.0, saturated=True)
    assert fast.speed(slow) == pytest.approx(2.0)
    assert sample(90.0, 20.0, saturated=False).speed(slow) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("shares", "expected"), [([0.5, 0.5], 0.0), ([0.55, 0.45], 0.1), ([0.4, 0.4, 0.2], 0.4), ([], 0.0)]
)
def test_unevenness_is_the_distance_from_an_equal_share(shares: list[float], expected: float) -> None:
    assert unevenness(shares) == pytest.approx(expected)


def test_the_requests_of_each_worker_are_those_that_its_slot_has_answered_meanwhile() -> None:
    text = """# TYPE miniwsgi_worker_requests_total counter
miniwsgi_worker_requests_total{slot="0"} %s
miniwsgi_worker_requests_total{slot="1"} %s
miniwsgi_worker_connections{slot="0"} 64.0
"""
    before, after = balance.parse(text % ("1000.0", "10.0")), balance.parse(text % ("1.6e+03", "410.0"))
    assert (before, after) == ({0: 1000, 1: 10}, {0: 1600, 1: 410})
    assert balance.shares(before, after) == pytest.approx([0.6, 0.4])
    assert balance.shares({}, after) == pytest.approx([1600 / 2010, 410 / 2010])
    assert balance.shares(after, after) == []
