"""Exactly one worker leads, whatever becomes of it: a lock that each leader holds is the witness.

The long form, `.ci/extended leader`, is 200 troubles in a seeded order.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import time
from datetime import datetime

import psutil
import pytest

from tests.support.control import Control
from tests.support.daemon import Daemon
from tests.support.effort import SEED, effort
from tests.support.service import Service, get
from tests.support.waiting import wait_for

NEXT_SECONDS = 2.0  # from the end of one leader to the beginning of the next one, at most
TROUBLES = effort(10, 200)

# A leader holds the lock from its first step to its last one; whoever does not get it writes that there are two.
HOOKS = """
import fcntl, os, time

LOCK = None

def note(what):
    fd = os.open("led", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{what} {os.getpid()} {time.time()}\\n".encode())
    os.close(fd)

def leader_start(worker):
    global LOCK
    LOCK = os.open("lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        note("TWO")
        raise
    note("asked")
    while os.path.exists("hang"):
        time.sleep(0.01)
    if os.path.exists("fail"):
        os.close(LOCK)
        raise RuntimeError("no database")
    note("start")

def leader_stop(worker):
    while os.path.exists("cling"):
        time.sleep(0.01)
    note("stop")
    os.close(LOCK)
"""


class Led:
    """A service with leaders, and what they have written."""

    def __init__(self, service: Service) -> None:
        self.service = service
        service.write(HOOKS, "hooks.py")

    def start(self, *arguments: str, timeouts: str = "", workers: int = 3, graceful: int = 5, **keys: str) -> Daemon:
        config = self.service.configure(
            f'hooks = "hooks"\n{"".join(f"{name} = {value}{chr(10)}" for name, value in keys.items())}'
            f"[server]\nworkers = {workers}\n[timeouts]\ngraceful = {graceful}\n{timeouts}\n"
        )
        return self.service.start("-c", config, *arguments)

    def set(self, name: str, *, on: bool = True) -> None:
        path = self.service.directory / name
        path.touch() if on else path.unlink()

    def lines(self) -> list[tuple[str, int]]:
        path = self.service.directory / "led"
        said = path.read_text().splitlines() if path.exists() else []
        return [(line.split()[0], int(line.split()[1])) for line in said]

    def times(self) -> list[tuple[str, float]]:
        said = (self.service.directory / "led").read_text().splitlines()
        return [(line.split()[0], float(line.split()[2])) for line in said]

    def count(self, what: str) -> int:
        return sum(said == what for said, _ in self.lines())

    def wait(self, what: str, count: int) -> int:
        """The pid of who wrote the line of that number, once there are so many."""
        wait_for(lambda: self.count(what) >= count, f"{what} {count} times", story=self.lines)
        return [pid for said, pid in self.lines() if said == what][count - 1]

    def never_two(self) -> None:
        assert self.count("TWO") == 0, self.lines()


@pytest.fixture
def led(service: Service) -> Led:
    return Led(service)


def gaps(led: Led, log: str) -> list[float]:
    """Seconds from each time that nobody led any more, by the master's log, until leader_start was called again."""
    ends = re.compile(r"(\S+)Z \w+ +master +worker \d+ \(pid \d+\)(?:, which led, is gone| does not lead any more)")
    ended = [datetime.fromisoformat(f"{at}+00:00").timestamp() for at in ends.findall(log)]
    asked = [at for what, at in led.times() if what == "asked"]
    return [min(later) - end for end in ended if (later := [at for at in asked if at >= end - 0.001])]


def test_one_worker_leads_and_is_followed_when_it_is_killed_reloaded_or_stopped(led: Led) -> None:
    daemon = led.start()
    daemon.settle(3)
    first = led.wait("start", 1)
    os.kill(first, signal.SIGKILL)
    killed = time.monotonic()
    second = led.wait("start", 2)
    assert time.monotonic() - killed < NEXT_SECONDS
    assert second != first
    assert daemon.reload()
    third = led.wait("start", 3)
    assert ("stop", second) in led.lines()
    daemon.settle(3)
    assert third in daemon.workers()
    assert daemon.stop() == 0
    assert led.lines()[-1] == ("stop", third)
    assert led.count("start") == 3
    led.never_two()
    assert max(gaps(led, daemon.log())) < NEXT_SECONDS


@pytest.mark.parametrize("pool", ["prefork", "fork"])
def test_in_other_pools_a_leader_blocks_no_request(led: Led, pool: str) -> None:
    led.set("hang")
    daemon = led.start("--pool", pool, workers=1)
    led.wait("asked", 1)
    assert get(daemon).startswith("v1 ")
    led.set("hang", on=False)
    pid = led.wait("start", 1)
    assert get(daemon) == f"v1 {pid}" if pool == "prefork" else get(daemon)
    assert daemon.stop() == 0
    assert led.lines()[-1] == ("stop", pid)


def test_a_leader_start_that_raises_fails_no_boot_and_is_tried_elsewhere(led: Led) -> None:
    led.set("fail")
    path = led.service.directory / "control.sock"
    daemon = led.start("--control", str(path))
    daemon.settle(3)
    control = Control(path)
    daemon.wait_for_log("cannot lead: app.hooks: leader_start of hooks failed: RuntimeError: no database", 4)
    asked = [pid for said, pid in led.lines() if said == "asked"]
    assert len(set(asked[:3])) == 3
    status = control.get("/status")
    assert status["verdict"]["level"] == "degraded"
    assert status["verdict"]["reasons"][0].startswith("no worker leads: leader_start has failed")
    assert "no database" in status["leader"]["error"]
    led.set("fail", on=False)
    pid = led.wait("start", 1)
    wait_for(lambda: control.get("/status")["leader"]["state"] == "leading", "the leader is shown")
    status = control.get("/status")
    assert (status["leader"]["pid"], status["leader"]["error"]) == (pid, "")
    assert status["verdict"]["level"] == "healthy"
    (leader,) = [worker for worker in control.get("/workers")["workers"] if worker["leader"]]
    assert (leader["pid"], leader["leader"]) == (pid, "leading")
    kinds = [event["kind"] for event in control.get("/events")["events"]]
    assert kinds.count("leader.started") == 1
    assert kinds.count("leader.failed") >= 4


def test_a_leader_start_that_hangs_is_shown_and_its_worker_is_replaced(led: Led) -> None:
    led.set("hang")
    path = led.service.directory / "control.sock"
    daemon = led.start("--control", str(path), timeouts="hook = 1", workers=2)
    first = led.wait("asked", 1)
    control = Control(path)
    (hook,) = control.get("/status")["hooks"]
    assert hook["name"] == "leader_start"
    daemon.wait_for_log("leader_start of hooks has not returned after 1 s (timeouts.hook): another one leads when it")
    daemon.wait_for_log("in leader_start")
    led.wait("asked", 2)
    assert first not in daemon.workers()
    led.set("hang", on=False)
    led.wait("start", 1)
    led.never_two()


def test_leader_stop_runs_when_the_master_is_gone_and_requests_are_not(led: Led) -> None:
    daemon = led.start("--pool", "prefork", workers=1)
    pid = led.wait("start", 1)
    led.service.hold()
    with socket.create_connection(daemon.address) as client:
        client.sendall(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(led.service.has_begun)
        daemon.process.kill()
        assert led.wait("stop", 1) == pid  # although the main thread is inside a request
        led.service.release()
        assert client.recv(100).startswith(b"HTTP/1.1 200")


def test_a_worker_begins_and_ends_to_lead_although_its_one_thread_is_inside_a_request(led: Led) -> None:
    led.set("fail")
    daemon = led.start("--pool", "prefork", workers=1)
    daemon.wait_for_log("cannot lead")
    led.service.hold()
    with socket.create_connection(daemon.address) as client:
        client.sendall(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(led.service.has_begun)
        led.set("fail", on=False)
        first = led.wait("start", 1)
        daemon.signal(signal.SIGHUP)
        second = led.wait("start", 2)
        assert led.lines()[-3:] == [("stop", first), ("asked", second), ("start", second)]
        led.service.release()
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    led.never_two()


def test_the_next_masters_leader_waits_for_the_end_of_the_last_ones(led: Led) -> None:
    path = led.service.directory / "control.sock"
    killed = led.start("--control", str(path), workers=2, graceful=60)  # outlasts a slow start
    first = led.wait("start", 1)
    led.set("cling")
    killed.process.kill()
    killed.process.wait()
    next_one = led.start("--control", str(path), workers=2)
    next_one.wait_for_log("waits for the leader of another master to end")
    assert led.count("asked") == 1
    led.set("cling", on=False)
    second = led.wait("start", 2)
    assert led.lines()[2:] == [("stop", first), ("asked", second), ("start", second)]
    assert next_one.stop() == 0
    led.never_two()
    assert not list(led.service.directory.glob("control.sock*"))


# --- a storm ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", effort(("epoll",), ("epoll", "prefork")))
def test_never_two_leaders_whatever_comes(led: Led, pool: str) -> None:
    chance = random.Random(SEED)
    daemon = led.start("--pool", pool, timeouts="hook = 1\nwedge = 1\n", workers=3)
    led.wait("start", 1)
    began = time.monotonic()
    deck: list[str] = []
    for _ in range(TROUBLES):
        if not deck:
            deck = [*KINDS]
            chance.shuffle(deck)
        trouble(led, daemon, deck.pop(), chance)
        if chance.random() < 0.7:
            wait_for(lambda: leads(daemon), "somebody leads", story=daemon.log)
        led.never_two()
    for name in ("hang", "fail", "cling"):
        (led.service.directory / name).unlink(missing_ok=True)
    wait_for(lambda: leads(daemon), "somebody leads", story=daemon.log)
    led.never_two()
    found = gaps(led, daemon.log())
    figures = {
        "pool": pool,
        "seed": SEED,
        "troubles": TROUBLES,
        "leaders": led.count("start"),
        "attempts": led.count("asked"),
        "two": led.count("TWO"),
        "longest gap, seconds": round(max(found), 3),
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(figures))
    assert led.count("start") >= TROUBLES / 4
    assert max(found) < NEXT_SECONDS


KINDS = (
    "reload", "kill the leader", "kill another", "wedge the leader", "term the leader", "scale up", "scale down",
    "kill the launcher", "reload and kill", "hang", "fail", "cling",
)  # fmt: skip


def leads(daemon: Daemon) -> bool:
    """Whether the latest word of the master is that a worker leads that is alive."""
    said = re.findall(r"worker \d+ \(pid (\d+)\)(?:( leads)|, which led, is gone| does not lead)", daemon.log())
    return bool(said) and bool(said[-1][1]) and int(said[-1][0]) in daemon.workers()


def leader(led: Led) -> int:
    return [pid for said, pid in led.lines() if said == "asked"][-1]


def trouble(led: Led, daemon: Daemon, kind: str, chance: random.Random) -> None:
    def blow(pid: int, number: signal.Signals) -> None:
        for process in daemon.processes():
            if process.pid == pid:
                try:
                    process.send_signal(number)
                except psutil.NoSuchProcess:
                    pass  # it has just left

    match kind:
        case "reload":
            daemon.signal(signal.SIGHUP)
        case "kill the leader":
            blow(leader(led), signal.SIGKILL)
        case "kill another":
            blow(chance.choice(daemon.workers() or [leader(led)]), signal.SIGKILL)
        case "wedge the leader":
            blow(leader(led), signal.SIGSTOP)
        case "term the leader":
            blow(leader(led), signal.SIGTERM)
        case "scale up":
            daemon.signal(signal.SIGTTIN)
        case "scale down":
            daemon.signal(signal.SIGTTOU)
        case "kill the launcher":
            for pid in daemon.launchers():
                blow(pid, signal.SIGKILL)
        case "reload and kill":
            daemon.signal(signal.SIGHUP)
            time.sleep(chance.random() / 2)
            blow(leader(led), signal.SIGKILL)
        case _:
            asked = led.count("asked")
            led.set(kind)
            blow(leader(led), chance.choice([signal.SIGKILL, signal.SIGTERM]))
            if kind != "cling":
                wait_for(lambda: led.count("asked") > asked, "the next one is asked", story=daemon.log)
            time.sleep(chance.random())
            led.set(kind, on=False)
