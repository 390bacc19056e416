"""What `why` concludes from what was seen: a table of problems, each with the sentence that comes first."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from miniwsgi.daemon.master.insight.deductions import conclude
from miniwsgi.daemon.master.insight.evidence import (
    Evidence,
    Frame,
    PastEvent,
    PastFigures,
    PastSlow,
    QueueEvidence,
    Request,
    RouteEvidence,
    ThreadSample,
    WorkerEvidence,
)
from miniwsgi.manager import messages as ms

T0 = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SHOP = "/srv/shop/shop/db.py"
CACHE = "/srv/shop/shop/cache.py"
PAIR = "/srv/shop/shop/pair.py"
SITE = "/srv/shop/venv/lib/python3.12/site-packages"
SOURCES = {
    SHOP: ("import time", "def orders():", "    return run(SQL)", "def run(sql):", "    time.sleep(1)"),
    PAIR: (
        "def ab():",
        "    with A:",
        "        with B:",
        "            pass",
        "def ba():",
        "    with B:",
        "        with A:",
        "            pass",
        "    fcntl.flock(file, fcntl.LOCK_EX)",
    ),
    CACHE: (
        "def get(key):",
        "    with self._lock:",
        "        if key:",
        "            return rebuild(key)",
        "def put(key):",
        "    with self._lock:",
        "        pass",
    ),
}


def at(*frames: tuple[str, int, str], path: str = "/orders", ident: int = 1, cpu: float | None = None) -> ThreadSample:
    """A thread in a request, the innermost frame first."""
    request = Request("GET", path) if path else None
    return ThreadSample(ident, tuple(Frame(*frame) for frame in frames), request, cpu)


def worker(*threads: ThreadSample, **changed: Any) -> WorkerEvidence:
    """One of 8 threads; the same sample five times."""
    idents = [ThreadSample(number, one.frames, one.request, one.cpu) for number, one in enumerate(threads, 1)]
    usual = {"slot": 0, "pid": 4711, "capacity": 8, "busy": float(len(threads)), "samples": (tuple(idents),) * 5}
    return WorkerEvidence(**{**usual, **changed})


def seen(*workers: WorkerEvidence, **changed: Any) -> Evidence:
    usual: dict[str, Any] = {
        "seconds": 5.0, "cpus": 4, "directory": "/srv/shop", "sources": SOURCES, "target_workers": len(workers),
    }  # fmt: skip
    return Evidence(workers=workers, **{**usual, **changed})


def why(evidence: Evidence) -> ms.Why:
    return conclude(evidence, T0)


SQL = at(
    (f"{SITE}/psycopg2/extras.py", 120, "DictCursor.execute"),
    (f"{SITE}/psycopg2/x.py", 9, "query"),
    (SHOP, 3, "orders"),
)
SLEEP = at((SHOP, 5, "run"), (SHOP, 3, "orders"))
WAITS_FOR_LOCK = at((CACHE, 2, "get"), path="/cached")
HOLDS_LOCK = at((SHOP, 5, "run"), (CACHE, 4, "get"), path="/cached")
COMPUTES = at(("/srv/shop/shop/report.py", 12, "Report.build"), path="/report")
CROWDED_OUT = at(("/srv/shop/shop/report.py", 12, "Report.build"), cpu=0.01)
PARKED = at(("/opt/lib/miniwsgi/daemon/worker/pools/epoll/threads.py", 1, "ThreadPool._park"), path="")
POOL = at(
    ("/usr/lib/python3.12/threading.py", 355, "Condition.wait"),
    ("/usr/lib/python3.12/queue.py", 180, "Queue.get"),
    (SHOP, 3, "orders"),
)
HANDLER = "/usr/lib/python3.11/logging/__init__.py"
LOGGING = at((HANDLER, 901, "Handler.acquire"), (HANDLER, 967, "Handler.handle"), (SHOP, 2, "orders"))
LOGS = at((HANDLER, 1113, "StreamHandler.emit"), (HANDLER, 969, "Handler.handle"), (SHOP, 2, "orders"))

DEADLOCKED = (at((PAIR, 3, "ab"), path="/ab"), at((PAIR, 7, "ba"), path="/ba"))
LOCKS_FILE = at((PAIR, 9, "file"), path="/file")
DNS = at(("/usr/lib/python3.12/socket.py", 963, "getaddrinfo"), (SHOP, 3, "orders"))
QUEUE_POOL = at(
    ("/usr/lib/python3.12/threading.py", 355, "Condition.wait"),
    (f"{SITE}/sqlalchemy/util/queue.py", 199, "QueueCommon.get"),
    (f"{SITE}/sqlalchemy/pool/impl.py", 166, "QueuePool._do_get"),
    (SHOP, 3, "orders"),
)
QUICK = RouteEvidence("/orders", 100, 1.0)
CRASH = PastEvent("worker.exited", 100.0, "worker 1 has ended: was killed by SIGSEGV")

PROBLEMS = {
    "slow SQL in C": (
        seen(worker(*[SQL] * 6, SLEEP, SLEEP, answered=30, run_seconds=40.0)),
        "waits",
        "6 of 8 busy threads wait at shop/db.py:3 in psycopg2 … execute, in GET /orders.",
    ),
    "a sleep in the application": (
        seen(worker(*[SLEEP] * 8, answered=40, run_seconds=40.0)),
        "waits",
        "All 8 busy threads wait at shop/db.py:5 in time.sleep(1), in GET /orders.",
    ),
    "a pool of connections that is too small": (
        seen(worker(*[POOL] * 7, SQL, answered=10, run_seconds=30.0)),
        "waits",
        "7 of 8 busy threads wait for another thread at shop/db.py:3 in queue … threading.wait, in GET /orders.",
    ),
    "nothing is answered at all": (
        seen(worker(*[SQL] * 8, answered=0, oldest=40.0, waiting=3.0)),
        "waits",
        "All 8 busy threads wait at shop/db.py:3 in psycopg2 … execute, in GET /orders.",
    ),
    "a lock": (
        seen(worker(*[WAITS_FOR_LOCK] * 7, HOLDS_LOCK, answered=5, run_seconds=30.0)),
        "lock",
        "7 of 8 busy threads wait for the lock self._lock at shop/cache.py:2, in GET /cached; the thread that took it "
        "at "
        "shop/cache.py:2 is at shop/db.py:5 (time.sleep(1)), in GET /cached.",
    ),
    "a lock whose holder is not seen": (
        seen(worker(*[WAITS_FOR_LOCK] * 8, answered=5, run_seconds=30.0)),
        "lock",
        "All 8 busy threads wait for the lock self._lock at shop/cache.py:2, in GET /cached; who holds it is not to be "
        "seen.",
    ),
    "a lock of a library": (
        seen(worker(*[LOGGING] * 7, LOGS, answered=5, run_seconds=30.0)),
        "lock",
        "7 of 8 busy threads wait for the lock at shop/db.py:2 in logging … acquire, in GET /orders; the thread that "
        "took "
        "it at /usr/lib/python3.11/logging/__init__.py:967 is at shop/db.py:2 (def orders():), in GET /orders.",
    ),
    "Python code": (
        seen(worker(*[COMPUTES] * 5, cpu=0.98, waiting=1.0, answered=50, run_seconds=20.0)),
        "cpu",
        "The CPU is the limit: worker 0 keeps a core busy (98 %), mostly in Report.build at shop/report.py:12, in GET "
        "/report; 6 requests share it (GIL).",
    ),
    "a thread that runs no request": (
        seen(worker(at(*[tuple(COMPUTES.frames[0])], path=""), cpu=0.98, waiting=1.0, answered=50, run_seconds=20.0)),
        "cpu",
        "The CPU is the limit: worker 0 keeps a core busy (98 %), mostly in Report.build at shop/report.py:12, in a "
        "thread "
        "that runs no request; 2 requests share it (GIL).",
    ),
    "C code that holds the GIL": (
        seen(worker(*[COMPUTES] * 5, cpu=0.98, held=0.9, longest_held=2.3, answered=2, run_seconds=9.0)),
        "gil-held",
        "Worker 0 is held up by C code that holds the interpreter (GIL) at shop/report.py:12, in GET /report; other "
        "threads "
        "waited for it 90 % of the time, up to 2.3 s at once.",
    ),
    "too few threads": (
        seen(
            worker(
                SLEEP, SLEEP, capacity=2, answered=200, run_seconds=10.0, queue_seconds=52.0, waiting=10.4, cpu=0.05
            )
        ),
        "saturated",
        "Requests wait for a thread longer than they run: 260 ms of waiting, 50.0 ms in the application; all 2 threads "
        "are "
        "busy and 10 requests wait.",
    ),
    "too few workers of prefork": (
        seen(
            worker(SLEEP, capacity=1, answered=100, run_seconds=5.0, waiting=0.0),
            pool="prefork",
            queues=(QueueEvidence("127.0.0.1:8000", 8.0, 2048, 0),),
        ),
        "saturated",
        "Requests wait for a worker longer than they run: 400 ms of waiting, 50.0 ms in the application; the only "
        "worker "
        "is busy and 8 requests wait.",
    ),
    "one slow route": (
        seen(
            worker(at((SHOP, 5, "run"), path="/report"), answered=510, run_seconds=12.0),
            routes=(RouteEvidence("/quick", 500, 1.5), RouteEvidence("/report", 5, 10.5)),
        ),
        "slow-route",
        "One route is slow: /report takes 2.1 s on average, the others 3.0 ms; it has 88 % of the time: at "
        "shop/db.py:5 in "
        "time.sleep(1).",
    ),
    "one slow worker": (
        seen(
            *[worker(slot=n, busy=0.1, answered=100, run_seconds=1.0, routes=(QUICK,)) for n in range(3)],
            worker(SLEEP, slot=3, answered=10, run_seconds=6.0, routes=(RouteEvidence("/orders", 10, 6.0),)),
            routes=(RouteEvidence("/orders", 310, 9.0),),
        ),
        "slow-worker",
        "One worker is slow: worker 3 (pid 4711) takes 600 ms on average, the others 10.0 ms for the same routes.",
    ),
    "a route that only one worker has answered": (
        seen(
            *[worker(slot=n, busy=0.1, answered=100, run_seconds=1.0, routes=(QUICK,)) for n in range(3)],
            worker(SLEEP, slot=3, answered=10, run_seconds=6.0, routes=(RouteEvidence("/report", 10, 6.0),)),
            routes=(RouteEvidence("/orders", 300, 3.0), RouteEvidence("/report", 10, 6.0)),
        ),
        "slow-route",
        "One route is slow: /report takes 600 ms on average, the others 10.0 ms; it has 67 % of the time.",
    ),
    "slower than usual": (
        seen(worker(SLEEP, SLEEP, answered=40, run_seconds=10.0), usual_seconds=0.05, usual_answers=1000),
        "waits",
        "All 2 busy threads wait at shop/db.py:5 in time.sleep(1), in GET /orders.",
    ),
    "a quota": (
        seen(worker(COMPUTES, cpu=0.5, answered=50, run_seconds=5.0), quota=0.5, throttled=0.6),
        "throttled",
        "The CPU quota (0.5 CPUs) is used up: the kernel held the daemon back in 60 % of the time.",
    ),
    "a quota, and threads that get no CPU": (
        seen(
            worker(*[CROWDED_OUT] * 4, cpu=0.13, starved=0.8, answered=19, run_seconds=19.0),
            quota=0.3,
            throttled=0.18,
        ),
        "throttled",
        "The CPU quota (0.3 CPUs) is used up: the kernel held the daemon back in 18 % of the time.",
    ),
    "noisy neighbours": (
        seen(worker(COMPUTES, COMPUTES, cpu=0.2, starved=0.5, answered=50, run_seconds=5.0), host_busy=0.99),
        "starved",
        "Workers get too little CPU: they wanted 0.7 CPUs and had 0.2, for other processes have the rest.",
    ),
    "threads that sleep beside noisy neighbours": (
        seen(
            worker(*[SQL] * 6, cpu=0.04, starved=0.9, answered=50, run_seconds=32.0),
            host_busy=1.0,
        ),
        "waits",
        "All 6 busy threads wait at shop/db.py:3 in psycopg2 … execute, in GET /orders.",
    ),
    "Python code beside noisy neighbours, whose turns come late": (
        seen(
            worker(COMPUTES, COMPUTES, cpu=0.15, starved=1.4, longest_held=3.2, answered=9, run_seconds=9.0),
            host_busy=1.0,
        ),
        "starved",
        "Workers get too little CPU: they wanted 1.0 CPUs and had 0.1, for other processes have the rest.",
    ),
    "C code that holds the GIL and gets little CPU": (
        seen(worker(*[COMPUTES] * 5, cpu=0.25, starved=0.4, held=0.9, longest_held=2.3, answered=2, run_seconds=9.0)),
        "gil-held",
        "Worker 0 is held up by C code that holds the interpreter (GIL) at shop/report.py:12, in GET /report; other "
        "threads "
        "waited for it 90 % of the time, up to 2.3 s at once.",
    ),
    "a pool of connections that is exhausted": (
        seen(worker(*[QUEUE_POOL] * 5, SLEEP, answered=10, run_seconds=30.0)),
        "waits",
        "5 of 6 busy threads wait for a connection, for the pool is exhausted, at shop/db.py:3 in sqlalchemy … "
        "threading.wait, in GET /orders.",
    ),
    "a stopped process": (
        seen(worker(process_state="T", waiting=3.0, held=1.0, longest_held=5.0)),
        "stopped",
        "Worker 0 is stopped, by SIGSTOP or a debugger, and does nothing.",
    ),
    "a disk that does not answer": (
        seen(worker(process_state="D", waiting=3.0, held=1.0, longest_held=5.0)),
        "stopped",
        "Worker 0 is waiting inside the kernel (state D): for a disk, or for a file system in the network, and does "
        "nothing.",
    ),
    "memory that is swapped": (
        seen(worker(SLEEP, major_faults=300.0, answered=5, run_seconds=9.0)),
        "swapping",
        "Memory is short: workers read 300 pages a second back from the disk.",
    ),
    "errors": (
        seen(worker(answered=100, run_seconds=1.0), server_errors=30),
        "failing",
        "30 % of the answers are errors: 30 of 100 were 5xx.",
    ),
    "nobody serves": (
        seen(verdict="down", reasons=("none of 2 workers is ready, 1 booting",), target_workers=2),
        "not-serving",
        "The daemon answers nobody: none of 2 workers is ready, 1 booting.",
    ),
    "a deadlock": (
        seen(worker(*DEADLOCKED, answered=0, oldest=9.0)),
        "deadlock",
        "Deadlock: threads at shop/pair.py:3, in GET /ab wait for the lock B, which is held by one at shop/pair.py:7, "
        "in GET /ba, and that waits for A, which they hold.",
    ),
    "a lock on a file": (
        seen(worker(*[LOCKS_FILE] * 3, answered=5, run_seconds=30.0)),
        "lock",
        "All 3 busy threads wait for the lock on a file at shop/pair.py:9, in GET /file; who holds it is not to be "
        "seen.",
    ),
    "a name that nobody knows": (
        seen(worker(DNS, DNS, answered=0, oldest=2.0)),
        "waits",
        "All 2 busy threads wait at shop/db.py:3 in socket.getaddrinfo, in GET /orders.",
    ),
    "as many connections as there may be": (
        seen(worker(connections=4), most_connections=4, queues=(QueueEvidence("unix:x", 6.0, 16, 0),)),
        "connections",
        "Clients wait to be accepted (6): each worker has as many connections as limits.connections allows, 4, most of "
        "them idle.",
    ),
    "clients that nobody accepts": (
        seen(worker(connections=4), queues=(QueueEvidence("unix:x", 6.0, 16, 0),)),
        "not-accepted",
        "Clients wait to be accepted (6), although threads are free; why is not to be seen.",
    ),
    "a queue that overflows": (
        seen(worker(answered=100, run_seconds=1.0), queues=(QueueEvidence("unix:x", 0.0, 16, 7),)),
        "dropped",
        "Clients are turned away: 7 attempts to connect were dropped, for an accept queue was full.",
    ),
    "requests in processes of their own": (
        seen(
            worker(busy=3.0, samples=(), answered=5, run_seconds=15.0, no_samples="pool fork", requests=("GET /a",)),
            pool="fork",
        ),
        "slow",
        "Requests are slow (answers take 3.0 s on average), mostly GET /a, and where they are is not to be seen: pool "
        "fork. They wait: 0 % of a CPU each.",
    ),
    "processes of their own that compute": (
        seen(worker(busy=4.0, samples=(), answered=5, run_seconds=15.0, cpu=3.9), pool="fork"),
        "cpu",
        "The CPU is the limit: worker 0 keeps 3.9 cores busy (390 %); where is not to be seen.",
    ),
    "crashes": (
        seen(
            worker(answered=100, run_seconds=1.0),
            events=(CRASH, CRASH),
        ),
        "losses",
        "Within the last hour 2 workers crashed or were killed.",
    ),
    "a request that crashes its worker again and again": (
        seen(
            worker(answered=100, run_seconds=1.0),
            events=(CRASH, CRASH),
            repeated="3 of the last 4 crashes: POST /report",
            target_workers=2,
            verdict="degraded",
        ),
        "crashing",
        "One request crashes workers: 3 of the last 4 crashes: POST /report; 2 crashed within the last 10 min.",
    ),
    "a worker is missing": (
        seen(worker(answered=100, run_seconds=1.0), target_workers=2, verdict="degraded"),
        "missing",
        "1 of 2 workers is ready.",
    ),
    "nothing, at work": (
        seen(worker(SLEEP, PARKED, answered=500, run_seconds=5.0, busy=1.0, cpu=0.1)),
        "healthy",
        "Nothing is wrong to be seen: 100 requests/s, 10.0 ms on average of which 0 µs waiting, in 5.0 s of looking.",
    ),
    "nothing, idle": (
        seen(worker(PARKED, busy=0.0), worker(PARKED, slot=1, busy=0.0)),
        "healthy",
        "Nothing is wrong to be seen: the daemon is idle, with no request in 5.0 s of looking, and 2 of 2 workers "
        "ready.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_first_sentence_names_the_problem(problem: str) -> None:
    evidence, name, sentence = PROBLEMS[problem]
    first = why(evidence).findings[0]
    assert (first.name, first.sentence) == (name, sentence)
    assert (first.severity == "note") == (name == "healthy")


@pytest.mark.parametrize("problem", PROBLEMS)
def test_each_finding_is_told_once_and_figures_are_there(problem: str) -> None:
    evidence, *_ = PROBLEMS[problem]
    names = [one.name for one in why(evidence).findings]
    assert len(set(names)) == len(names)
    assert why(evidence).figures.threads == sum(worker.capacity for worker in evidence.workers)
    assert all(group.threads > 0 for group in why(evidence).threads)


@pytest.mark.parametrize(
    ("changed", "remedy"),
    [
        ({}, "server.threads = 16 would do for what came (1 × 16, 20 % of them free for bursts)"),
        ({"cpu": 1.0}, "10 at a time"),
        ({"answered": 0}, "how many would do is not to be seen: no request was answered"),
        ({"pool": "prefork"}, "server.workers = 16 would do for what came (16 × 2, 20 % of them free for bursts)"),
    ],
)
def test_how_many_would_do_is_told_by_littles_law(changed: dict[str, Any], remedy: str) -> None:
    usual = {"capacity": 2, "answered": 200, "run_seconds": 10.0, "queue_seconds": 52.0, "waiting": 10.4, "cpu": 0.05}
    pool = changed.pop("pool", "epoll")
    evidence = seen(worker(SLEEP, SLEEP, **{**usual, **changed}), pool=pool, cpus=1 if "cpu" in changed else 4)
    found = next(one for one in why(evidence).findings if one.name == "saturated")
    assert found.remedy.startswith(remedy.replace("10 at", "16 at"))


def test_threads_that_get_no_cpu_are_not_said_to_wait_for_something_else() -> None:
    evidence, *_ = PROBLEMS["a quota, and threads that get no CPU"]
    assert [one.doing for one in why(evidence).threads] == ["runs"]


def test_what_was_slow_and_is_over_is_noted() -> None:
    slow = (PastSlow("GET /a", "shop/db.py:38 in load"), PastSlow("GET /a", ""), PastSlow("GET /b", ""))
    _, noted = why(seen(worker(answered=100, run_seconds=1.0, busy=0.0), slow=slow)).findings
    assert (noted.name, noted.severity, noted.sentence) == (
        "slow-lately",
        "note",
        "3 requests were slow within the last hour, 2 of them GET /a, last seen at shop/db.py:38 in load.",
    )


MARK = PastEvent("generation.serving", 605.0, "generation 8: is in force")


@pytest.mark.parametrize(
    ("past", "events", "sentence"),
    [
        (
            [(1200, 500, 0.02), (600, 500, 0.4), (300, 500, 0.5)],
            [MARK],
            "It began 10 min ago, with this: generation 8: is in force (half of the answers took at most 20.0 ms "
            "before, 500 ms lately).",
        ),
        (
            [(1200, 500, 0.02), (300, 500, 0.5)],
            [MARK],
            "It began about 5 min ago, with no reload, scale or crash that is known of: half of the answers took at "
            "most 20.0 ms before, 500 ms lately.",
        ),
        (
            [(90, 500, 0.02), (30, 500, 0.4)],
            [
                PastEvent("generation.serving", 33.0, "generation 8 (e4f5a6b): is in force"),
                PastEvent("operation.ended", 32.0, "reload succeeded after 1.20 s, a1b2c3d → e4f5a6b"),
            ],
            "It began 32 s ago, with this: reload succeeded after 1.20 s, a1b2c3d → e4f5a6b (half of the answers took "
            "at most 20.0 ms before, 400 ms lately).",
        ),
        (
            [(40, 500, 0.02), (30, 500, 0.4)],
            [
                PastEvent("generation.serving", 39.0, "generation 1: is in force"),
                PastEvent("operation.ended", 31.0, "reload failed: no module named shop"),
            ],
            "It began about 30 s ago, with no reload, scale or crash that is known of: half of the answers took at "
            "most 20.0 ms before, 400 ms lately.",
        ),
        (
            [(1200, 500, 0.4), (600, 500, 0.5)],
            [MARK],
            "Whether it began with one of the latest changes is not to be seen.",
        ),
        (
            [(1200, 3, 0.02), (600, 500, 0.5)],
            [MARK],
            "Whether it began with one of the latest changes is not to be seen.",
        ),
        ([], [], ""),
    ],
)
def test_when_it_began_is_told_as_far_as_it_is_known(
    past: list[tuple[float, int, float]], events: list[PastEvent], sentence: str
) -> None:
    slow = worker(*[SLEEP] * 8, answered=40, run_seconds=40.0)
    evidence = seen(slow, events=tuple(events), past=tuple(PastFigures(*one) for one in past))
    assert next((one.sentence for one in why(evidence).findings if one.name == "onset"), "") == sentence


def test_the_cpu_of_a_thread_tells_computing_from_waiting() -> None:
    """Where the sampler knows it, no name of a function is guessed at."""
    evidence = seen(
        worker(
            at((SHOP, 3, "orders"), cpu=0.9),
            at((CACHE, 7, "put"), cpu=0.0, path="/put"),
            cpu=0.95,
            answered=3,
            run_seconds=6.0,
        )
    )
    assert {(group.function, group.doing) for group in why(evidence).threads} == {
        ("orders", "runs"),
        ("put", "waits"),
    }


def test_the_applications_own_package_is_the_applications_installed_or_not() -> None:
    asked = at((f"{SITE}/psycopg2/extras.py", 120, "execute"), (f"{SITE}/shop/views.py", 7, "orders"))
    evidence = seen(worker(asked, answered=3, run_seconds=6.0), package="shop")
    found = why(evidence)
    assert found.findings[0].sentence.startswith("The one busy thread waits at venv/lib/python3.12/site-packages/shop")
    (group,) = found.threads
    assert (group.function, group.call) == ("orders", "psycopg2.execute")


def test_a_source_that_is_not_known_is_not_guessed_at() -> None:
    evidence = seen(worker(*[WAITS_FOR_LOCK] * 8, answered=5, run_seconds=30.0), sources={})
    assert why(evidence).findings[0].sentence == "All 8 busy threads wait at shop/cache.py:2 in get, in GET /cached."


def test_more_threads_are_no_remedy_for_a_lock() -> None:
    found = why(seen(worker(*[WAITS_FOR_LOCK] * 7, HOLDS_LOCK, waiting=2.0, answered=5, run_seconds=30.0))).findings
    assert [(one.name, one.remedy) for one in found][1] == ("saturated", "more threads would wait for that lock, too")


def test_who_is_not_accepted_is_no_riddle_where_the_interpreter_is_held() -> None:
    held = worker(COMPUTES, cpu=0.98, held=0.9, longest_held=2.3, answered=2, run_seconds=9.0)
    names = [one.name for one in why(seen(held, queues=(QueueEvidence("unix:x", 1.0, 16, 0),))).findings]
    assert "gil-held" in names
    assert "not-accepted" not in names


def test_the_middle_of_a_sentence_has_no_capital() -> None:
    noted = why(seen(worker(SLEEP, capacity=8, answered=50, run_seconds=2.0))).findings
    assert "What requests wait for: the one busy thread waits" in noted[1].sentence


def test_a_quota_is_not_put_down_to_other_processes() -> None:
    crowded = [
        worker(*[CROWDED_OUT] * 4, slot=slot, cpu=0.15, starved=0.85, answered=50, run_seconds=9.0) for slot in (0, 1)
    ]
    found = why(seen(*crowded, cpus=1, quota=0.3, throttled=0.9, host_busy=1.0)).findings
    assert found[0].name == "throttled"
    assert "other processes" not in " ".join(one.sentence for one in found)


def test_no_more_workers_are_promised_to_help_than_there_are_cpus() -> None:
    computing = [
        worker(*[COMPUTES] * 4, slot=slot, cpu=0.6, starved=0.3, answered=50, run_seconds=9.0) for slot in (0, 1)
    ]
    (remedy,) = [one.remedy for one in why(seen(*computing, cpus=2)).findings if one.name == "cpu"]
    assert remedy == "neither more threads nor more workers help: faster code or more CPUs do"
