"""All faults of resources, clients and surroundings, and in which pools the short tests show each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import clocks, crowds, descriptors, files, memory, pipes, storms
from .stage import POOLS, Outcome, Stage

EVERY = tuple(POOLS)


@dataclass(frozen=True, slots=True)
class Fault:
    """A scenario: `short` are the pools of the short form, `pools` all in which it means something."""

    function: Callable[[Stage], Outcome]
    short: tuple[str, ...]
    pools: tuple[str, ...] = EVERY


def name_of(fault: Fault) -> str:
    """For people."""
    return fault.function.__name__.replace("_", " ")


FAULTS = (
    Fault(descriptors.workers_without_descriptors, ("epoll",)),
    Fault(descriptors.master_without_descriptors, ("epoll",)),
    Fault(descriptors.master_with_few_descriptors, ()),
    Fault(descriptors.launcher_with_few_descriptors, ("prefork",)),
    Fault(descriptors.starts_with_few_descriptors, (), ("epoll", "fork")),
    Fault(memory.memory_limit, ("epoll",)),
    Fault(memory.killed_for_memory, ("prefork",)),
    Fault(memory.no_more_processes, ("fork",)),
    Fault(memory.a_worker_dies_when_none_can_be_forked, ()),
    Fault(files.spool_disk_full, ("epoll",)),
    Fault(files.log_disk_full, ("prefork",)),
    Fault(files.runtime_directory_read_only, ("epoll",)),
    Fault(files.logs_rotated, ("fork",)),
    Fault(files.control_socket_removed, ("epoll-1",)),
    Fault(files.configuration_broken, ("epoll",)),
    Fault(files.interpreter_removed, ("epoll-1",)),
    Fault(files.application_directory_removed, ()),
    Fault(pipes.standard_error_stalls, ("prefork",)),
    Fault(pipes.standard_error_breaks, ("epoll",)),
    Fault(pipes.access_log_fifo, ("fork",)),
    Fault(pipes.journal_goes_away, ("epoll-1",)),
    Fault(clocks.clock_steps, ()),
    Fault(crowds.ten_thousand_connections, ("epoll",)),
    Fault(crowds.slow_heads, ("prefork",)),
    Fault(crowds.slow_bodies, ("epoll",)),
    Fault(crowds.slow_readers, ()),
    Fault(crowds.resets_at_every_stage, ("epoll",)),
    Fault(storms.a_hundred_reloads_in_a_second, ("epoll",)),
    Fault(storms.scales_up_and_down_in_one_burst, ("fork",)),
    Fault(storms.reload_during_scale_during_stop, ("epoll",)),
    Fault(storms.stop_amid_a_reload, ("prefork",)),
    Fault(storms.stopped_twice, ("fork",)),
)
