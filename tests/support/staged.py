"""Problems on a stage: an application that has each of them at a path, and a crowd of clients that asks for it."""

from __future__ import annotations

import http.client
import threading
from types import TracebackType
from typing import NamedTuple

from tests.support.waiting import PATIENCE_SECONDS

SHOP = """
import re, threading, time

LOCK = threading.Lock()

def query(seconds):
    time.sleep(seconds)

def orders():
    query(0.5)

def locked():
    with LOCK:
        query(0.2)

def compute():
    until, total = time.thread_time() + 0.2, 0
    while time.thread_time() < until:
        total += sum(number * number for number in range(300))

def hold():
    re.match(r"(a+)+$", "a" * HOLD + "b")

def quick():
    pass

def brief():
    query(0.05)

def report():
    query(1.0)

def failing():
    raise RuntimeError("on purpose")

HOLD = 22
PAGES = {f"/{page.__name__}": page for page in (orders, locked, compute, hold, quick, brief, report, failing)}

def application(environ, start_response):
    environ["miniwsgi.route"] = environ["PATH_INFO"]
    PAGES[environ["PATH_INFO"]]()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""


class Problem(NamedTuple):
    """What is staged, and what has to be said first of it."""

    name: str
    paths: tuple[str, ...]  # that clients ask for, one each
    finding: str
    words: str
    arguments: tuple[str, ...] = ("--workers", "1")


TWO_THREADS = ("--workers", "1", "--threads", "2")
PREFORK = ("--pool", "prefork", "--workers", "2")
PROBLEMS = (
    Problem("slow-sql", ("/orders",) * 6, "waits", "All 6 busy threads wait at shop.py:7 in time.sleep(seconds)"),
    Problem("lock", ("/locked",) * 6, "lock", "wait for the lock LOCK at shop.py:13, in GET /locked; the thread that"),
    Problem("python", ("/compute",) * 6, "cpu", "in GET /compute"),
    Problem("gil", ("/hold",) * 6, "gil-held", "holds the interpreter (GIL) at shop.py:22"),
    Problem("few-threads", ("/brief",) * 12, "saturated", "Requests wait for a thread longer than", TWO_THREADS),
    Problem("slow-route", ("/report", "/quick"), "slow-route", "One route is slow: /report takes 1.0 s on average"),
    Problem("few-workers", ("/brief",) * 12, "saturated", "Requests wait for a worker longer than they run", PREFORK),
    Problem("prefork-sql", ("/orders",) * 2, "waits", "All 2 busy threads wait at shop.py:7", PREFORK),
    Problem("errors", ("/failing",) * 2, "failing", "100 % of the answers are errors"),
    Problem("well", ("/brief",) * 2, "healthy", "Nothing is wrong to be seen"),
    Problem("fork", ("/orders",) * 4, "slow", "is not to be seen: in pool fork", ("--pool", "fork", "--workers", "1")),
)  # fmt: skip


class Crowd:
    """A context: as many clients as there are paths, each asking for its own again and again, without a pause."""

    def __init__(self, address: tuple[str, int], *paths: str) -> None:
        self._address = address
        self._left = threading.Event()
        self._answered = threading.Semaphore(0)
        self._clients = [threading.Thread(target=self._ask, args=(path,), daemon=True) for path in paths]

    def __enter__(self) -> Crowd:
        for client in self._clients:
            client.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._left.set()
        for client in self._clients:
            client.join()

    def wait_until_busy(self) -> None:
        """Every client has had an answer, on average two."""
        for _ in range(2 * len(self._clients)):
            assert self._answered.acquire(timeout=PATIENCE_SECONDS)

    def _ask(self, path: str) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=PATIENCE_SECONDS)
        while not self._left.is_set():
            try:
                connection.request("GET", path)
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                connection.close()
            self._answered.release()
        connection.close()
