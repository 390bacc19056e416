"""Slow requests and lost workers of real daemons: what is kept of them, and what is said."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.control import Control
from tests.support.daemon import Daemon
from tests.support.service import Service, get

APPLICATION = """
import ctypes, os, time

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/segv":
        ctypes.string_at(0)
    if path == "/exit":
        os._exit(3)
    if path == "/sleep":
        time.sleep(float(environ["QUERY_STRING"]))
    if path.startswith("/hold"):
        wait_for(path[1:])
    start_response("200 OK", [])
    return [b"done"]

def wait_for(name):
    while os.path.exists(name):
        time.sleep(0.01)
"""


class Place:
    """A daemon, and what it says of incidents."""

    def __init__(self, service: Service, pool: str) -> None:
        self.service = service
        service.write(APPLICATION)
        path = service.directory / "control.sock"
        configured = service.configure(f'[server]\nworkers = 1\npool = "{pool}"\n[log]\nslow_request = "100ms"\n')
        self.daemon: Daemon = service.start("-c", configured, "--control", str(path), "--access-log", "-")
        self.control = Control(path)
        self.daemon.settle(1)

    def ask(self, path: str) -> str:
        """The answer; "" if there is none."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return get(self.daemon, path)
        return ""

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[None]:
        """While a request for /NAME runs."""
        (self.service.directory / name).touch()
        asking = threading.Thread(target=self.ask, args=(f"/{name}?secret",))
        asking.start()
        try:
            yield
        finally:
            (self.service.directory / name).unlink()
            asking.join()

    def crash(self, number: int) -> dict[str, Any]:
        """A record, once it is there."""
        self.daemon.wait(lambda: self.control.get("/crashes")["total"] >= number, f"{number} are kept")
        return next(one for one in self.control.get("/crashes")["crashes"] if one["id"] == number)

    def wait_for_running(self, path: str) -> None:
        def runs() -> bool:
            return any(one["path"] == path for worker in self.control.workers() for one in worker["in_flight"])

        self.daemon.wait(runs, f"{path} runs")

    def slow(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control.get("/slow")["requests"]
        return found

    def lost_events(self) -> list[dict[str, Any]]:
        return [one for one in self.control.get("/events")["events"] if one["kind"] == "worker.lost"]


def brief(crash: dict[str, Any]) -> tuple[Any, ...]:
    request = crash["requests"][0]
    return crash["kind"], crash["what"], request["method"], request["path"], request["status"]


def test_slow_requests_and_lost_workers_are_kept_with_what_was_in_hand(service: Service) -> None:
    place = Place(service, "epoll")
    look_at_slow_requests(place)
    (pid,) = place.daemon.workers()
    assert place.ask("/segv?token=secret") == ""
    crash = place.crash(1)
    assert brief(crash) == ("crash", "was killed by SIGSEGV", "GET", "/segv", 502)
    assert (crash["pid"], crash["slot"], crash["generation"], crash["culprit_known"]) == (pid, 0, 1, True)
    assert "in string_at" in crash["stacks"]
    assert crash["requests"][0]["where"] == "app.py:7 in application"
    assert crash["requests"][0]["stack"][0]["function"] == "string_at"
    place.daemon.settle(1)
    assert place.ask("/exit") == ""
    assert brief(place.crash(2)) == ("crash", "exited with status 3", "GET", "/exit", 502)
    place.daemon.settle(1)
    with place.held("hold"):  # another one in hand, which is not to blame
        place.wait_for_running("/hold")
        assert place.ask("/segv") == ""
    crash = place.crash(3)
    assert [request["path"] for request in crash["requests"]] == ["/segv", "/hold"]
    assert crash["repeated"] == "2 of the last 3 crashes: GET /segv"
    assert [(event["crash"], event["code"]) for event in place.lost_events()] == [(at, "MW3011") for at in (1, 2, 3)]
    assert place.lost_events()[2]["request"] == "GET /segv"
    place.daemon.wait_for_log("2 of the last 3 crashes: GET /segv")
    assert "secret" not in str(place.control.get("/crashes").json)
    for path in ("segv", "exit", "hold"):
        place.daemon.wait_for_log(f'"GET /{path} -" 502 ')
    place.daemon.settle(1)
    place.control.change("/reload")
    assert place.control.get("/crashes")["total"] == 3


@pytest.mark.parametrize("pool", ["prefork", "fork"])
def test_so_they_are_in_the_other_pools(service: Service, pool: str) -> None:
    place = Place(service, pool)
    if pool == "prefork":
        look_at_slow_requests(place)
    assert place.ask("/segv") == ""
    crash = place.crash(1)
    assert (brief(crash)[0], *brief(crash)[2:]) == ("crash", "GET", "/segv", 502)
    assert crash["requests"][0]["where"] == "app.py:7 in application"
    assert crash["culprit_known"]
    place.daemon.wait_for_log('"GET /segv -" 502 ')
    place.daemon.settle(1)
    assert place.ask("/exit") == ""
    assert brief(place.crash(2))[2:] == ("GET", "/exit", 502)
    place.daemon.settle(1)


def look_at_slow_requests(place: Place) -> None:
    """They are looked at while they run, and complete when they have ended."""
    with place.held("hold"):
        place.daemon.wait(lambda: looked_at_for_the_last_time(place.slow()), "it was looked at for the last time")
        (slow,) = place.slow()
        assert (slow["path"], slow["running"], slow["status"]) == ("/hold", True, None)
    place.daemon.wait(lambda: place.slow()[0]["status"] == 200, "it has ended")
    (slow,) = place.slow()
    assert not slow["running"]
    assert slow["where"].startswith("app.py:")
    assert slow["where"].endswith(" in wait_for")
    assert "application" in {frame["function"] for frame in slow["looks"][-1]["stack"]}
    assert 0 <= slow["cpu_seconds"] <= slow["age_seconds"]
    assert 0 <= slow["queued_seconds"] < slow["age_seconds"]
    assert 0.1 <= slow["looks"][0]["age_seconds"] <= slow["age_seconds"]
    place.daemon.wait_for_log(f"(log.slow_request) request_id={slow['request_id']}")
    place.daemon.wait_for_log("status 200; it was at ")
    assert place.ask("/sleep?0.1") == "done"  # which is over before anybody looks, or nearly so
    place.daemon.wait(lambda: place.slow()[0]["path"] == "/sleep" and place.slow()[0]["status"] == 200, "it is there")
    assert place.slow()[0]["age_seconds"] >= 0.1
    assert len(place.slow()) == 2


def looked_at_for_the_last_time(slow: list[dict[str, Any]]) -> bool:
    """Whether the latest was: at four times the limit. An earlier look may come before the application is inside of
    what it does, and a later one when it has left that already.
    """
    return bool(slow and slow[0]["looks"]) and slow[0]["looks"][-1]["age_seconds"] >= 0.4
