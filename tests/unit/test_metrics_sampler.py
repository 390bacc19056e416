"""What processes take: samples of real ones, and what is made of samples."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable

from miniwsgi.metrics.sampler import SHORTEST_SECONDS, ProcessSample, Sampler, sample

# --- real processes ------------------------------------------------------------------------------------------------


def test_a_process_is_sampled() -> None:
    sampler, pids = Sampler(), {3: os.getpid()}
    sampler.take(sample(pids, pids))
    first = sampler.samples()[os.getpid()]
    assert first.rss > 1_000_000
    assert first.pss is not None
    assert 0 < first.pss <= first.rss
    assert first.uss is not None
    assert first.fds
    assert first.cpu_percent > 0  # over its life
    assert first.share is None
    end = time.process_time() + 0.4
    while time.process_time() < end:
        pass
    sampler.take(sample(pids, ()))
    second = sampler.samples()[os.getpid()]
    assert second.share is not None
    assert second.cpu_percent > 0
    assert (second.pss, second.uss) == (first.pss, first.uss)  # the maps were not read again


def test_a_process_that_is_gone_has_no_sample() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert sample({0: gone.pid, 1: os.getpid()}, ()).keys() == {1}


# --- what is made of samples ---------------------------------------------------------------------------------------


def samples(at: float, **cpu: tuple[int, float]) -> dict[int, ProcessSample]:
    """A round at a moment: of each slot the pid and its seconds of CPU time."""
    return {int(slot[1:]): ProcessSample(pid, at, seconds, 0.125, 1) for slot, (pid, seconds) in cpu.items()}


def cpu(sampler: Sampler, pids: Iterable[int] = ()) -> dict[int, float]:
    return {slot: taken.cpu_seconds for slot, taken in sampler.by_slot(dict(enumerate(pids))).items()}


def test_a_slots_cpu_time_goes_on_with_its_next_worker() -> None:
    sampler = Sampler()
    sampler.take(samples(1.0, s0=(10, 1.0)))
    sampler.take(samples(2.0, s0=(10, 3.0)))
    sampler.count_cpu(0, 10, 3.5)  # its last
    sampler.take(samples(3.0, s0=(11, 0.25)))
    assert cpu(sampler, [11]) == {0: 3.75}
    sampler.take({})
    assert cpu(sampler) == {0: 3.75}


def test_a_share_of_a_cpu_is_of_one_process() -> None:
    sampler = Sampler()
    sampler.take(samples(1.0, s0=(10, 1.0)))
    assert (sampler.shares, sampler.samples()[10].cpu_percent) == ({}, 12.5)
    sampler.take(samples(3.0, s0=(10, 2.0)))
    assert (sampler.shares, sampler.samples()[10].cpu_percent) == ({0: 0.5}, 50.0)
    sampler.take(samples(4.0, s0=(11, 9.0)))
    assert sampler.shares == {}


def test_two_samples_close_together_keep_the_earlier_share() -> None:
    sampler = Sampler()
    sampler.take(samples(1.0, s0=(10, 1.0)))
    sampler.take(samples(2.0, s0=(10, 1.5)))
    sampler.take(samples(2.0 + SHORTEST_SECONDS / 2, s0=(10, 1.6)))
    assert sampler.shares == {0: 0.5}
    sampler.take(samples(3.0, s0=(10, 1.75)))  # compared with the one before both
    assert sampler.shares == {0: 0.25}


def test_a_sample_of_long_ago_says_nothing_about_now() -> None:
    sampler = Sampler()
    sampler.take(samples(1.0, s0=(10, 1.0)))
    sampler.take(samples(100.0, s0=(10, 2.0)))
    assert (sampler.shares, sampler.samples()[10].cpu_percent) == ({}, 12.5)


def test_memory_is_shown_only_of_the_process_that_holds_the_slot() -> None:
    sampler = Sampler()
    sampler.take(samples(1.0, s0=(10, 1.0)))
    assert sampler.by_slot({0: 10})[0].rss == 1
    assert sampler.by_slot({0: 11})[0].rss is None
    assert sampler.unknown({0: 11, 1: 12}) == [0, 1]
    assert sampler.unknown({0: 10}) == []
