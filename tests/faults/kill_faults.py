"""What is done to a daemon from without: its processes are killed, crash, or are stopped, one by one and at random."""

from __future__ import annotations

import os
import random
import signal
import time

from tests.support.effort import effort
from tests.support.load import Failure
from tests.support.waiting import PATIENCE_SECONDS

from .stage import CONNECTIONS, KILLED, Do, Expected, Fault, Outcome, Stage

storm_seconds = effort(3.0, 60.0)
LAST_PAUSE_SECONDS = 1.0  # between two blows, at most
BLOWS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP)
LETHAL = (signal.SIGKILL, signal.SIGSEGV)  # for a master: one that is stopped waits for SIGCONT
LAUNCHERS_PATIENCE = r"the launcher of generation \d+ (has not reaped|does not answer)"


# --- workers ---------------------------------------------------------------------------------------------------------


def hit_worker(number: signal.Signals) -> Do:
    def do(stage: Stage) -> None:
        victim = stage.workers()[0]
        stage.victims.add(victim)
        os.kill(victim, number)

    return do


# --- launchers -------------------------------------------------------------------------------------------------------


def hit_launcher(number: signal.Signals) -> Do:
    """Its workers serve on; those of a new launcher take their places."""

    def do(stage: Stage) -> None:
        (victim,) = stage.daemon.launchers()
        before = set(stage.workers())
        os.kill(victim, number)
        stage.load.wait_for_more(CONNECTIONS * 3)
        stage.wait_for(lambda: stage.daemon.launchers() not in ([], [victim]), "a new launcher")
        stage.wait_for(lambda: not before & set(stage.workers()), "its workers")

    return do


def stop_launcher(stage: Stage) -> None:
    """It is found out when a worker ends that it should reap."""
    (victim,) = stage.daemon.launchers()
    os.kill(victim, signal.SIGSTOP)
    hit_worker(signal.SIGKILL)(stage)
    stage.wait_for(lambda: stage.daemon.launchers() not in ([], [victim]), "a new launcher")


# --- the master ------------------------------------------------------------------------------------------------------


def stop_master(stage: Stage) -> None:
    """The workers serve without it; what happened meanwhile is seen to when it goes on."""
    stage.daemon.signal(signal.SIGSTOP)
    try:
        stage.load.wait_for_more(CONNECTIONS * 3)
        hit_worker(signal.SIGKILL)(stage)
        stage.load.wait_for_more(CONNECTIONS * 3)
    finally:
        stage.daemon.signal(signal.SIGCONT)


def kill_master(stage: Stage, number: signal.Signals) -> Outcome:
    """What runs is answered, and every process goes; the next daemon finds nothing in its way.

    Allowed are requests that no worker has accepted yet: the listeners go, too. In the end nothing is left.
    """
    outcome = Outcome(allowed=CONNECTIONS)
    stage.load.finish()
    began = time.monotonic()
    os.kill(stage.daemon.process.pid, number)
    report = stage.load.stop()
    stage.daemon.process.wait(PATIENCE_SECONDS)
    stage.aftermath.assert_gone(files=False)  # those of a killed daemon are removed by the next one
    outcome.seconds = time.monotonic() - began
    stage.judge(report, outcome, KILLED | {Failure.REFUSED})
    stage.daemon.kill()
    stage.start()
    stage.judge(stage.load.stop(), outcome, set())
    stage.stop()
    return outcome


# --- at random -------------------------------------------------------------------------------------------------------


def storm(stage: Stage) -> None:
    """Blows at workers and launchers; half of the time the next one falls before the last is mended."""
    chance = random.Random(stage.seed)
    end = time.monotonic() + storm_seconds
    while time.monotonic() < end:
        number = chance.choice(BLOWS)
        if chance.random() < 0.25:
            victims = stage.daemon.launchers()
        else:
            victims = stage.workers()
            stage.victims.update(victims[:1])
        try:
            os.kill(victims[0], number)
        except (IndexError, ProcessLookupError):
            continue  # nobody is there at this moment
        stage.blows += 1
        if chance.random() < 0.5:
            time.sleep(chance.random() * LAST_PAUSE_SECONDS)
        else:
            stage.load.wait_for_more(CONNECTIONS)
    for pid in stage.daemon.launchers():
        os.kill(pid, signal.SIGCONT)  # one that is stopped is found out only when it is needed


def worker(number: signal.Signals, reason: str, log: str, *short: str) -> Fault:
    name = f"worker_{number.name}"
    return Fault(
        name,
        f"{number.name} of a worker",
        hit_worker(number),
        Expected(kills=1, reason=reason, log=(log,)),
        short=short,
    )


FAULTS = (
    worker(
        signal.SIGKILL,
        "crash",
        r"was killed by SIGKILL( \(out of memory\?\))?( while it ran .*)?; the next one in",
        "fork",
    ),
    worker(signal.SIGSEGV, "crash", r"was killed by SIGSEGV( while it ran .*)?; the next one in", "epoll"),
    worker(signal.SIGSTOP, "wedge", r"no stacks: the process does not answer; its state is T \(stopped\)"),
    Fault("launcher_SIGKILL", "SIGKILL of the launcher", hit_launcher(signal.SIGKILL), short=("prefork",)),
    Fault("launcher_SIGSEGV", "SIGSEGV of the launcher", hit_launcher(signal.SIGSEGV), short=()),
    Fault(
        "launcher_SIGSTOP",
        "SIGSTOP of the launcher, SIGKILL of a worker",
        stop_launcher,
        Expected(kills=1, log=(LAUNCHERS_PATIENCE,)),
        short=(),
    ),
    Fault(
        "master_SIGSTOP",
        "SIGSTOP of the master, SIGKILL of a worker, SIGCONT",
        stop_master,
        Expected(kills=1, reason="crash", log=("was killed by SIGKILL",)),
        short=("epoll-1",),
    ),
    Fault("storm", "blows at random at workers and launchers", storm, short=("epoll",)),
)
