"""What the benchmark reads: wrk's report, /proc, a server's answers."""

from __future__ import annotations

import pytest

from bench.cpu_time import Cpu
from bench.load import LoadError, parse_wrk
from bench.openloop import Outcome, arrivals
from bench.processes import ServerError, parse_machine, parse_smaps_rollup, parse_stat
from bench.system_calls import parse_strace
from bench.trial import make_sample

WRK = """Running 2s test @ http://127.0.0.1:8000/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.18ms  300.00us   9.52ms   93.60%
    Req/Sec    54.68k     2.70k   58.21k    85.00%
  Latency Distribution
     50%  950.00us
     75%    1.18ms
     90%    1.30ms
     99%    1.02s
  108822 requests in 2.10s, 14.42MB read
Requests/sec:  51820.12
Transfer/sec:      6.87MB
Also (us): mean 1180.250 p99.9 8700 max 9520
"""

TROUBLE = """  120 requests in 2.00m, 1.00KB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 17
Requests/sec:      1.00
"""

STAT = (
    "4242 (a) b (c) S 41 4242 4242 0 -1 4194560 1 2 3 4 "
    "150 50 30 20 20 0 9 0 12345 1000000 2000 18446744073709551615 1 1 0 0 0 0 0\n"
)

ROLLUP = """55d0-7ffe ---p 00000000 00:00 0                          [rollup]
Rss:               24576 kB
Pss:               10240 kB
Pss_Dirty:          9000 kB
Shared_Clean:       4096 kB
Private_Clean:      1024 kB
Private_Dirty:      8192 kB
"""

STRACE = """% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.10    0.012345           3      4000           sendto
 38.90    0.007860           1      4002         1 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.020205           2      8002         1 total
"""


def test_wrk_report_is_read_in_seconds() -> None:
    load = parse_wrk(WRK)
    assert (load.requests, load.seconds) == (108822, 2.10)
    assert load.latency == pytest.approx({50.0: 950e-6, 75.0: 1.18e-3, 90.0: 1.3e-3, 99.0: 1.02, 99.9: 8.7e-3})
    assert load.rate == pytest.approx(108822 / 2.1)
    assert load.errors == 0


def test_how_many_connections_were_served_follows_from_rate_and_mean_latency() -> None:
    assert parse_wrk(WRK).busy_connections == pytest.approx(108822 / 2.1 * 1180.25e-6)


def test_wrk_errors_of_every_kind_are_counted() -> None:
    load = parse_wrk(TROUBLE)
    assert (load.socket_errors, load.status_errors, load.errors) == (10, 17, 27)
    assert load.seconds == 120.0


def test_a_report_without_a_total_is_an_error_that_quotes_it() -> None:
    with pytest.raises(LoadError, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_a_generator_without_time_to_spare_is_saturated() -> None:
    assert parse_wrk(WRK, 0.99).saturated
    assert not parse_wrk(WRK, 0.5).saturated


def test_state_and_parent_are_read_past_a_name_with_parentheses() -> None:
    assert parse_stat(STAT) == ("S", 41)


def test_processor_time_is_shared_out_among_requests() -> None:
    sample = make_sample(parse_wrk(WRK), Cpu(1.63233, sampled=1.5, sampled_user=1.0))
    assert sample.user_us == pytest.approx(10.0)
    assert sample.system_us == pytest.approx(5.0)
    assert sample.cpu_us == pytest.approx(15.0)
    assert (sample.p99, sample.p999) == (1.02, 8.7e-3)


def test_what_others_used_is_what_is_left() -> None:
    busy = parse_machine("cpu  150 10 40 9999 5 7 7 20 0 0\ncpu0 1 2 3\n")
    assert busy == 2.2
    sample = make_sample(parse_wrk(WRK, 0.5), Cpu(1.575), busy=4.2)
    assert sample.others == pytest.approx(4.2 / 2.1 - 0.75 - 0.5)


def test_memory_is_read_in_bytes() -> None:
    memory = parse_smaps_rollup(ROLLUP)
    assert (memory.rss, memory.pss, memory.private) == (24 << 20, 10 << 20, 9 << 20)


@pytest.mark.parametrize("text", [STRACE, STRACE.replace("         1 total", "           total")])
def test_system_calls_are_the_total_with_or_without_failed_ones(text: str) -> None:
    assert parse_strace(text) == 8002


def test_a_summary_without_a_total_is_an_error_that_quotes_it() -> None:
    with pytest.raises(ServerError, match="not permitted"):
        parse_strace("strace: attach: Operation not permitted\n")


def test_nothing_answered_has_no_processor_time_a_request() -> None:
    sample = make_sample(parse_wrk("  0 requests in 1.00s, 0.00B read\n"), Cpu(1.0))
    assert (sample.rate, sample.user_us, sample.system_us, sample.p50) == (0.0, None, None, None)


def test_arrivals_keep_the_rate_and_repeat() -> None:
    due = list(arrivals(1000.0, 10.0))
    assert len(due) == pytest.approx(10_000, rel=0.05)
    assert due == sorted(due)
    assert due == list(arrivals(1000.0, 10.0))
    assert 0 < due[0] < due[-1] < 10.0


def test_an_outcome_without_answers_has_no_percentiles() -> None:
    summary = Outcome().summary()
    assert summary["fast"] == {"count": 0, "p50": None, "p90": None, "p99": None, "p99.9": None, "max": None}
