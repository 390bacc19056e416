"""From the scoreboard and the daemon's facts to families."""

from __future__ import annotations

import time

import pytest
from miniwsgi.metrics import scoreboard as sb
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.collector import Collector
from miniwsgi.metrics.declared import DECLARED
from miniwsgi.metrics.facts import CertificateFacts, DaemonFacts, ListenerFacts, MasterUsage, SlotUsage, WorkerFacts
from miniwsgi.metrics.families import Family, Histogram
from miniwsgi.metrics.scoreboard import Closed
from miniwsgi.metrics.utilisation import Utilisation
from msgspec.structs import replace

MILLISECOND = 1_000_000
FACTS = DaemonFacts(
    version="1.2.3",
    python_version="3.11.7",
    pool="epoll",
    engine="plain",
    engine_note="no build for CPython 3.99",
    threads=8,
    workers=[WorkerFacts(0, "ready", 12.5), WorkerFacts(2, "draining", 3.0)],
    target=2,
    not_responding=1,
    boot_seconds={0: 0.25},
    usage={0: SlotUsage(1.5, 1000, 600, 12), 1: SlotUsage(9.0)},
    exits={"crash": 1, "oom": 0},
    utilization=0.5,
    generation=3,
    reloads={"success": 2, "failure": 1},
    reloaded_at=1_700_000_000.5,
    reload_seconds=0.1,
    draining=False,
    ready=True,
    listeners=[ListenerFacts("127.0.0.1:80", 3, 128, 7), ListenerFacts("unix:/x", None, None, None)],
    slow_requests=4,
    logged={"error": 5},
    log_lost=6,
    control_calls={("/v1/status", "200"): 8},
    loop_lag=0.001,
    master=MasterUsage(0.5, 2000, 20, 1024, 1_700_000_000.0),
    worker_memory_limit=1 << 20,
    memory_limit=1 << 30,
    leader=0,
    may_lead=True,
    application_errors={"timeout": 1, "failed": 0},
    application_seconds=0.2,
    certificates=[CertificateFacts(":443", "/etc/a.pem", 1_800_000_000), CertificateFacts(":443", "credential:b", 1)],
    renewals={"success": 3, "failure": 1},
    revisions={3: 'a1"b', 4: ""},
)


def collected(board: Board, facts: DaemonFacts = FACTS, *, fine: bool = False) -> dict[str, Family]:
    return {family.name: family for family in Collector(board).collect(facts, fine=fine)}


def values(family: Family) -> dict[str, float | Histogram]:
    """By the values of the labels, joined by spaces."""
    return {" ".join(value for _name, value in sample.labels): sample.value for sample in family.samples}


def counts(series: float | Histogram) -> tuple[int, ...]:
    assert isinstance(series, Histogram)
    return series.counts


def board(slots: int = 1) -> Board:
    found = Board.create()
    for index in range(slots):
        found.claim(index)
    return found


def test_every_declared_family_is_collected_once_and_no_other() -> None:
    found = board()
    found.slot(0).record("GET", 200, MILLISECOND)
    found.slot(0).cells[sb.HEARTBEAT] = 1
    record_route(found, 0, "/a")
    families = Collector(found).collect(FACTS)
    assert [family.name for family in families] == [family.name for family in families if family.samples]
    assert sorted(family.name for family in families) == sorted(declared.name for declared in DECLARED)


@pytest.mark.parametrize("absent", ["worker_memory_limit", "memory_limit", "reloaded_at", "utilization"])
def test_what_is_not_known_is_left_out(absent: str) -> None:
    assert len(collected(board(), replace(FACTS, **{absent: None}))) == len(DECLARED) - 1


def test_the_slot_of_the_leader_is_one_and_all_others_are_zero() -> None:
    assert values(collected(board())["miniwsgi_leader"]) == {"0": 1, "2": 0}
    assert values(collected(board(), replace(FACTS, leader=None))["miniwsgi_leader"]) == {"0": 0, "2": 0}
    assert "miniwsgi_leader" not in collected(board(), replace(FACTS, leader=None, may_lead=False))


def test_certificates_have_their_end_and_without_tls_there_is_nothing() -> None:
    found = collected(board())
    assert values(found["miniwsgi_tls_certificate_not_after_seconds"]) == {
        ":443 /etc/a.pem": 1_800_000_000,
        ":443 credential:b": 1,
    }
    assert values(found["miniwsgi_tls_renewals_total"]) == {"success": 3, "failure": 1}
    assert not [name for name in collected(board(), replace(FACTS, certificates=())) if "tls" in name]


def test_durations_are_summed_over_slots_by_method_and_status() -> None:
    found = board(3)
    for index, status in ((0, 200), (1, 200), (1, 500), (2, 500), (2, 200)):
        found.slot(index).record("GET", status, 20 * MILLISECOND)
    found.slot(2).record("PURGE", 200, 3 * MILLISECOND)
    series = values(collected(found)["http_server_request_duration_seconds"])
    assert sorted(series) == ["GET 200", "GET 500", "_OTHER 200"]
    many, other = series["GET 200"], series["_OTHER 200"]
    assert isinstance(many, Histogram)
    assert (many.bounds[0], many.counts[2], sum(many.counts), many.sum) == (0.005, 3, 3, 0.06)
    assert counts(other)[0] == 1


def test_fine_buckets_are_shown_when_they_are_wanted() -> None:
    found = board()
    for microseconds in (100, 800, 2000, 4000):
        found.slot(0).record("GET", 200, microseconds * 1000)
    coarse = values(collected(found)["http_server_request_duration_seconds"])["GET 200"]
    fine = values(collected(found, fine=True)["http_server_request_duration_seconds"])["GET 200"]
    assert isinstance(coarse, Histogram)
    assert isinstance(fine, Histogram)
    assert (coarse.bounds[:2], coarse.counts[:2]) == ((0.005, 0.01), (4, 0))
    assert (fine.bounds[:4], fine.counts[:5]) == ((0.0005, 0.001, 0.0025, 0.005), (1, 1, 1, 1, 0))
    assert sum(coarse.counts) == sum(fine.counts)


def test_series_that_do_not_fit_count_as_other() -> None:
    found = board()
    slot = found.slot(0)
    for status in range(100, 500):
        slot.record("GET", status, MILLISECOND)
    families = collected(found)
    series = values(families["http_server_request_duration_seconds"])
    assert len(series) == sb.SERIES
    assert counts(series["_OTHER _OTHER"])[0] == 400 - (sb.SERIES - 1)
    assert values(families["miniwsgi_series_overflow_total"])[""] == 400 - (sb.SERIES - 1)


# --- routes --------------------------------------------------------------------------------------------------------


def record_route(found: Board, index: int, name: str) -> None:
    slot = found.slot(index)
    at = slot.series("GET", 200, slot.route(name))
    slot.cells[at + sb.S_BUCKETS] += 1
    slot.cells[at + sb.S_CPU] += 1


def routes(found: Board, collector: Collector) -> dict[str, int]:
    [family] = [one for one in collector.collect(FACTS) if one.name == "http_server_request_duration_seconds"]
    labelled = [(dict(sample.labels).get("http_route", ""), counts(sample.value)) for sample in family.samples]
    return {name: sum(inside) for name, inside in labelled}


def test_routes_are_summed_by_name_whatever_their_numbers() -> None:
    found = board(2)
    for index, name in ((0, "/a"), (0, "/b"), (1, "/b"), (1, "/a"), (1, "/ü/<id>")):
        record_route(found, index, name)
    found.slot(0).record("GET", 200, MILLISECOND)
    assert routes(found, Collector(found)) == {"": 1, "/a": 2, "/b": 2, "/ü/<id>": 1}


def test_there_are_at_most_64_routes_of_a_worker_and_the_first_ones_stay() -> None:
    found = board(2)
    collector = Collector(found)
    for number in range(70):
        record_route(found, 0, f"/{number}")
    before = routes(found, collector)
    assert len(before) == sb.ROUTES + 1
    assert before["_OTHER"] == 70 - sb.ROUTES
    for number in range(100, 110):
        record_route(found, 0, f"/{number}")
    after = routes(found, collector)
    assert after == {**before, "_OTHER": before["_OTHER"] + 10}


def test_a_long_route_is_cut() -> None:
    found = board()
    record_route(found, 0, "/x" * 500)
    assert list(routes(found, Collector(found))) == [("/x" * 500)[: sb.ROUTE_BYTES]]


def test_folding_keeps_routes_by_name() -> None:
    found, other = board(2), Board.create()
    mine, theirs = found.slot(0), other.claim(0)
    mine.route("/mine")
    for name, count in (("/theirs", 2), ("/mine", 3)):
        at = theirs.series("GET", 200, theirs.route(name))
        theirs.cells[at + sb.S_BUCKETS] += count
    seen: dict[int, list[int]] = {}
    mine.fold(theirs, seen)
    mine.fold(theirs, seen)
    assert routes(found, Collector(found)) == {"/theirs": 2, "/mine": 3}


def test_folding_adds_what_was_counted_since_and_memory_that_was_set_back_begins_anew() -> None:
    found, other = board(), Board.create()
    mine, theirs = found.slot(0), other.claim(0)
    mine.cells[sb.REQUESTS] += 10
    seen: dict[int, list[int]] = {}
    for _ in range(2):
        theirs.record("GET", 200, MILLISECOND)
        mine.fold(theirs, seen)
    assert (mine.cells[sb.REQUESTS], routes(found, Collector(found))) == (12, {"": 2})
    theirs.set_back(seen)
    assert (theirs.cells[sb.REQUESTS], theirs.cells[theirs.series("GET", 200) + sb.S_SUM]) == (0, 0)
    theirs.record("GET", 200, MILLISECOND)
    mine.fold(theirs, {})
    assert (mine.cells[sb.REQUESTS], routes(found, Collector(found))) == (13, {"": 3})
    assert mine.cells[mine.series("GET", 200) + sb.S_SUM] == 3 * MILLISECOND


# --- the rest ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "bucket"), [(1, 0), (256, 0), (257, 1), (1024, 1), (1025, 2), (1 << 30, 11), ((1 << 30) + 1, 12), (0, 0)]
)
def test_sizes_fall_into_the_bucket_whose_bound_they_do_not_exceed(size: int, bucket: int) -> None:
    assert sb.SIZE_BUCKET[(size - 1).bit_length()] == bucket
    assert bucket == len([bound for bound in sb.SIZE_BOUNDS if bound < size])


def test_requests_that_run_are_active_and_the_oldest_has_an_age() -> None:
    found = board(2)
    now = time.monotonic_ns()
    for index, line, age in ((0, b"GET /a HTTP/1.1", 2), (1, b"BREW /pot HTTP/1.1", 5)):
        slot = found.slot(index)
        at = slot.thread_cell(0)
        slot.memory[(at + sb.T_TEXT) * 8 : (at + sb.T_TEXT) * 8 + len(line)] = line
        slot.cells[at + sb.T_START] = now - age * 1_000_000_000
        slot.cells[at + sb.T_STATE] = sb.RUNNING
    families = collected(found)
    assert values(families["http_server_active_requests"]) == {"GET": 1, "_OTHER": 1}
    oldest = values(families["miniwsgi_request_oldest_age_seconds"])[""]
    assert isinstance(oldest, float)
    assert 5 <= oldest < 60
    assert values(families["miniwsgi_worker_busy_threads"]) == {"0": 1, "1": 1}


def test_connections_of_a_worker_that_is_gone_were_closed_with_it() -> None:
    found = board()
    slot = found.slot(0)
    slot.cells[sb.ACCEPTED] = 5
    sb.count_closed(slot.cells, Closed.CLIENT)
    slot.vacate()
    series = values(collected(found)["miniwsgi_connections_closed_total"])
    assert (series["client"], series["worker_exit"], sum(map(float, series.values()))) == (1, 4, 5)


def test_workers_and_slots() -> None:
    families = collected(board(4))
    assert values(families["miniwsgi_workers"]) == {"booting": 0, "ready": 1, "draining": 1, "stopping": 0}
    assert values(families["miniwsgi_worker_state"]) == {"0": 2, "1": 0, "2": 3, "3": 0}
    assert values(families["miniwsgi_worker_cpu_seconds_total"]) == {"0": 1.5, "1": 9.0}
    assert values(families["miniwsgi_worker_resident_memory_bytes"]) == {"0": 1000}
    assert values(families["miniwsgi_worker_uptime_seconds"]) == {"0": 12.5, "2": 3.0}
    assert values(families["miniwsgi_listen_dropped_total"]) == {"127.0.0.1:80": 7}
    assert values(families["miniwsgi_log_messages_total"]) == {"debug": 0, "info": 0, "warning": 0, "error": 5}


# --- utilization ---------------------------------------------------------------------------------------------------


def test_utilization_is_the_busier_of_threads_and_cpu_averaged_over_workers() -> None:
    utilisation = Utilisation()
    assert utilisation.ratio({}) is None
    for load in (8, 0, 8, 0):
        utilisation.look([(0, load), (1, 0)], threads=8)
    assert utilisation.ratio({}) == 0.25
    assert utilisation.ratio({0: 0.2, 1: 0.9}) == 0.7
    utilisation.look([(1, 80)], threads=8)
    assert utilisation.ratio({}) == 0.2
    for _ in range(10):
        utilisation.look([(1, 80)], threads=8)
    assert utilisation.ratio({1: 0.5}) == 1.0
