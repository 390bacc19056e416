"""What is made of a dump of stacks, of crashes that repeat, and of a ring of slow requests; what the commands print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from miniwsgi.daemon.master.control.incident_records import name_of
from miniwsgi.daemon.master.control.repetition import repeated
from miniwsgi.daemon.master.control.slow_requests import STACKS_A_SECOND, Allowance
from miniwsgi.daemon.master.running.frames import Frame, parse, where
from miniwsgi.manager import messages as ms
from miniwsgi.manager.client import options

from tests.support.ctl_daemon import FakeDaemon, problem
from tests.support.incidents import crash, crash_list, incident, slow_list

DUMP = """\
Fatal Python error: Segmentation fault

Thread 0x00007f01 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 320 in wait
  File "/opt/venv/lib/python3.11/site-packages/miniwsgi/daemon/worker/pools/epoll/threads.py", line 281 in _park

Current thread 0x00007f02 [mw-thread-1] (most recent call first):
  # runs GET /report for 3.0 s
  File "/opt/venv/lib/python3.11/site-packages/psycopg2/extras.py", line 146 in execute
  File "/srv/shop/db.py", line 38 in load
  File "/srv/shop/a "file", line 4.py", line ??? in <lambda>
  File "/opt/venv/lib/python3.11/site-packages/flask/app.py", line 1498 in __call__
  File "/opt/venv/lib/python3.11/site-packages/miniwsgi/daemon/worker/pools/epoll/loop.py", line 99 in run
  ...

Extension modules: psycopg2._psycopg (total: 1)"""


def test_a_dump_has_the_frames_of_each_thread_and_marks_one() -> None:
    dump = parse(DUMP)
    assert (list(dump.threads), dump.current) == ([0x7F01, 0x7F02], 0x7F02)
    assert [frame.function for frame in dump.of(0x7F01)] == ["wait", "_park"]
    assert dump.of(0x7F02)[1] == ("/srv/shop/db.py", 38, "load")
    assert dump.of(0x7F02)[2] == ('/srv/shop/a "file", line 4.py', 0, "<lambda>")
    assert dump.of(0) == dump.of(0x7F02)  # listed last: its process was forked in it
    assert dump.marks(0)
    begun = parse(f"Current thread 0x07 (most recent call first):\n\n{DUMP.replace('Current thread', 'Thread')}")
    assert (begun.marks(0), begun.marks(7), begun.of(0)) == (False, True, dump.of(0x7F02))
    assert parse(f"{DUMP}\n...").of(0) == []  # not all are listed
    assert dump.of(0x7F03) == []
    assert parse("no stacks: the process is gone").threads == {}


def test_where_is_the_innermost_line_of_the_application() -> None:
    dump = parse(DUMP)
    assert where(dump.of(0x7F02), "/srv") == "shop/db.py:38 in load"
    assert where([dump.of(0x7F02)[0]], "/srv") == "psycopg2/extras.py:146 in execute"  # none of its own
    assert where(dump.of(0x7F01), "/srv") == "python3.11/threading.py:320 in wait"
    assert where(dump.of(0x7F01)[1:], "/srv") == ""  # of ours


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        ("/srv/shop/db.py", "db.py"),
        ("/srv/shop/orders/views/list.py", "orders/views/list.py"),
        ("/srv/shop/venv/lib/python3.11/site-packages/shop/orders/db.py", "shop/orders/db.py"),
        ("/srv/shopping/lib/db.py", "lib/db.py"),
        ("/opt/lib/common/db.py", "common/db.py"),
    ],
)
def test_a_file_is_shown_from_the_directory_of_the_application_on(file: str, shown: str) -> None:
    frames = [Frame(file, 38, "load")]
    assert where(frames, "/srv/shop") == f"{shown}:38 in load"


def test_of_the_frames_the_one_counts_that_the_worker_takes_for_the_applications() -> None:
    installed = Frame("/srv/venv/lib/python3.11/site-packages/shop/db.py", 38, "load")
    frames = [installed, Frame("/srv/shop/wsgi.py", 12, "application")]
    assert where(frames, "/srv/shop") == "wsgi.py:12 in application"
    assert where(frames, "/srv/shop", "shop/db.py:38 in load") == "shop/db.py:38 in load"
    assert where(frames, "/srv", "wsgi.py:12 in application") == "shop/wsgi.py:12 in application"


@pytest.mark.parametrize(
    ("path", "route", "name"),
    [
        ("/report", None, "POST /report"),
        ("/orders/17/items", None, "POST /orders/*/items"),
        ("/o/123e4567-e89b-12d3-a456-426614174000", None, "POST /o/*"),
        ("/decade", None, "POST /decade"),
        ("/orders/17", "/orders/<id>", "POST /orders/<id>"),
    ],
)
def test_a_request_is_named_by_its_route_or_its_path_without_numbers(path: str, route: str | None, name: str) -> None:
    assert name_of(incident(path, route=route)) == name


def crashes(*paths: str) -> list[ms.Crash]:
    """The latest first, one for each "/a" or "/a,/b": with several it is not known which was to blame."""
    return [
        crash(number, *map(incident, path.split(",")), culprit_known="," not in path)
        for number, path in enumerate(paths)
    ]


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ([], ""),
        (["/report"], ""),
        (["/report", "/report"], "2 of the last 2 crashes: POST /report"),
        (["/report", "/other"], ""),
        (["/report", "/report", "/other", "/report"], "3 of the last 4 crashes: POST /report"),
        (["/report/1", "/other", "/report/2"], "2 of the last 3 crashes: POST /report/*"),
        (["/report,/a", "/b,/report", "/report,/c"], "3 of the last 3 crashes: POST /report"),
        (["/a", "/b", "/c", "/report", "/report"], ""),  # that is over
        (["/report"] * 12, "10 of the last 10 crashes: POST /report"),
    ],
)
def test_most_of_the_latest_crashes_had_the_same_request_in_hand(paths: list[str], said: str) -> None:
    assert repeated(crashes(*paths)) == said


def test_crashes_without_any_request_say_nothing_about_those_with_one() -> None:
    bare = [ms.CrashList([crash(3)], 1, "").crashes[0]]
    bare[0].requests = []
    assert repeated([*bare, *crashes("/report", "/report")]) == "2 of the last 2 crashes: POST /report"


def test_of_stacks_there_are_so_many_a_second() -> None:
    allowance = Allowance(STACKS_A_SECOND)
    assert [allowance.take(7.1) for _ in range(STACKS_A_SECOND + 2)] == [True] * STACKS_A_SECOND + [False] * 2
    assert allowance.take(8.0)


def test_requests_that_ran_out_of_time_are_no_crashes() -> None:
    late = [crash(number, incident("/export"), kind="timeout") for number in (1, 2)]
    died = crash(3, incident("/report"))
    assert repeated(late) == "2 of the last 2 timeouts: POST /export"
    assert repeated([died, *late]) == ""
    assert repeated([*late[:1], died, *late[1:]]) == "2 of the last 2 timeouts: POST /export"


# --- what the commands print ----------------------------------------------------------------------------------------


def test_slow_shows_where_requests_were(tmp_path: Path) -> None:
    found = slow_list(
        incident(route="/report/<id>", trace_id="4bf9"), incident("/x", running=True, status=None, cpu_seconds=None),
        stacks_left_out=3,
    )  # fmt: skip
    with FakeDaemon(tmp_path / "s", {"GET /slow": found}) as daemon:
        plain, verbose = daemon.run("slow"), daemon.run("slow", "-v")
        of_route = daemon.run("slow", "--route", "/x", "-o", "json")
        of_none = daemon.run("slow", "--route", "/nix")
    lines = plain.out.splitlines()
    assert lines[0].split() == ["WHEN", "REQUEST", "ROUTE", "STATUS", "FOR", "QUEUED", "CPU", "WAIT", "WHERE"]
    assert lines[1].split("  ")[1:3] == ["POST /report", "/report/<id>"]
    assert lines[1].split()[-9:] == ["100", "ms", "200", "ms", "12.0", "s", "shop/db.py:38", "in", "load"]
    assert " runs " in lines[2]
    assert lines[3] == "3 requests have no stack: too many were slow at once"
    assert "request id 1f-3, trace 4bf9; worker 0 (pid 4700), thread 1" in verbose.out
    assert "    /srv/shop/views.py:12 in report" in verbose.out
    assert [one["path"] for one in json.loads(of_route.out)["requests"]] == ["/x"]
    assert of_none.out == "none is of /nix; the daemon keeps 2 slow requests of others\n"


def test_slow_requests_are_watched_as_long_as_there_are_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "WATCH_SECONDS", 0.001)
    answers = [slow_list(incident()), slow_list(), problem(503, "it ends")]
    with FakeDaemon(tmp_path / "s", {"GET /slow": answers}) as daemon:
        watched = daemon.run("slow", "-w")
    assert (watched.status, "it ends" in watched.err) == (1, True)
    heading, _first, nothing = watched.out.splitlines()
    assert (heading.split()[0], nothing[:15]) == ("WHEN", "no request took")


def test_nothing_slow_says_what_would_be(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s", {"GET /slow": slow_list()}) as daemon:
        assert daemon.run("slow").out == ("no request took 5.0 s or longer (log.slow_request) since the daemon began\n")
    with FakeDaemon(tmp_path / "off", {"GET /slow": slow_list(limit_seconds=0.0)}) as daemon:
        assert daemon.run("slow").out == "log.slow_request is off: nothing is slow\n"


def test_crashes_shows_what_was_in_hand(tmp_path: Path) -> None:
    several = crash(
        4, incident("/a"), incident("/b"), kind="oom", culprit_known=False, stacks="", stacks_age_seconds=None,
        repeated="3 of the last 4 crashes: POST /a",
    )  # fmt: skip
    with FakeDaemon(tmp_path / "s", {"GET /crashes": crash_list(several, crash(1))}) as daemon:
        plain, verbose = daemon.run("crashes").out.splitlines(), daemon.run("crashes", "-v").out
    assert plain[0] == "3 of the last 4 crashes: POST /a"
    assert plain[2].split()[:1] + plain[2].split()[2:9] == ["4", "oom", "0", "4700", "7", "POST", "/a", "+1"]
    assert plain[3].endswith("12.3 s     502  shop/db.py:38 in load")
    assert "which of these was to blame is not known" in verbose
    assert "  | Fatal Python error: Segmentation fault" in verbose
    in_thread = crash(1, culprit_known=False, elsewhere="shop/mail.py:5 in send")
    with FakeDaemon(tmp_path / "thread", {"GET /crashes": crash_list(in_thread)}) as daemon:
        plain, verbose = daemon.run("crashes").out.splitlines(), daemon.run("crashes", "-v").out
    assert plain[1].endswith("  shop/mail.py:5 in send")
    assert "the thread that crashed ran no request: it was at shop/mail.py:5 in send" in verbose
    assert "not known" not in verbose
    with FakeDaemon(tmp_path / "none", {"GET /crashes": crash_list()}) as daemon:
        assert daemon.run("crashes").out == "no worker was lost since the daemon began\n"
