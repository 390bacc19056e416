"""What `stack` prints: requests beside their threads, threads that wait for work as a number."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from miniwsgi.manager import messages as ms
from miniwsgi.manager.client.views import stack_view

from tests.support.ctl_daemon import FakeDaemon, running

STACK = ms.Stack(
    3, 4703, datetime.now(UTC), True, 'Thread 0x1 (most recent call first):\n  File "a.py", line 1', [running()]
)


def test_a_stack_with_what_runs(tmp_path: Path) -> None:
    silent = msgspec.structs.replace(STACK, answered=False, text="no stacks: it is stopped")
    with FakeDaemon(tmp_path / "s", {"GET /workers/3/stack": [STACK, STACK, silent]}) as daemon:
        found = daemon.run("stack", "3")
        as_json = daemon.run("stack", "3", "-o", "json").json
        stopped = daemon.run("stack", "3")
        absent = daemon.run("stack", "4")
    head, runs, *lines = found.out.splitlines()
    assert head.startswith("# worker 3, pid 4703, at ")
    assert runs == "# thread 1 runs GET /report for 12.3 s"
    assert lines == STACK.text.splitlines()
    assert as_json["text"] == STACK.text
    assert (stopped.status, "no stacks: it is stopped" in stopped.out) == (1, True)
    assert absent.status == 1


POOL = "/opt/lib/miniwsgi/daemon/worker/pools"
RUNNING_THREAD = f'''Thread 0x00007f01 (most recent call first):
  # runs GET /report for 12.3 s
  File "/srv/shop/views.py", line 7 in report
  File "{POOL}/epoll/threads.py", line 199 in _run_thread'''
OWNING_THREAD = f'''Thread 0x00007f02 (most recent call first):
  File "{POOL}/epoll/loop.py", line 140 in _loop
  File "{POOL}/epoll/threads.py", line 197 in _run_thread'''
PARKED_THREAD = f'''Thread 0x00007f03 (most recent call first):
  File "{POOL}/epoll/threads.py", line 219 in _park
  File "{POOL}/epoll/threads.py", line 201 in _run_thread'''
WRITING_THREAD = """Thread 0x00007f05 (most recent call first):
  File "/opt/lib/miniwsgi/daemon/log/writer.py", line 304 in _run
  File "/usr/lib/python3.11/threading.py", line 982 in run
  File "/usr/lib/python3.11/threading.py", line 1045 in _bootstrap_inner"""
THREAD_OF_THE_APPLICATION = """Thread 0x00007f04 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 327 in wait
  File "/srv/shop/jobs.py", line 9 in run"""


def test_the_request_stands_beside_its_thread_and_threads_that_wait_for_work_are_counted(tmp_path: Path) -> None:
    dump = "\n\n".join([RUNNING_THREAD, *[PARKED_THREAD] * 6, WRITING_THREAD, OWNING_THREAD, THREAD_OF_THE_APPLICATION])
    told = msgspec.structs.replace(STACK, text=dump)
    with FakeDaemon(tmp_path / "s", {"GET /workers/3/stack": [told, told]}) as daemon:
        found = daemon.run("stack", "3").out
        wide = daemon.run("stack", "3", "-o", "wide").out
    _, _, shown = found.partition("\n")
    assert shown == "\n\n".join(
        [RUNNING_THREAD, OWNING_THREAD, THREAD_OF_THE_APPLICATION, "# 7 threads wait for work (-o wide shows them)\n"]
    )
    assert wide.partition("\n")[2] == f"{dump}\n"


def test_functions_in_which_threads_wait_for_work_are_there() -> None:
    sources = "".join(path.read_text() for path in (Path(__file__).parents[2] / "daemon").rglob("*.py"))
    assert not [name for name in stack_view.WAITING if f"def {name}(" not in sources]


@pytest.mark.parametrize("slot", ["x", "-1", "1.5"])
def test_a_slot_is_a_number(slot: str, tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s") as daemon:
        assert daemon.run("stack", slot).status == 2
        assert daemon.asked == []
