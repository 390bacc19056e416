"""Finalizers of before a fork, and what an import began that is given up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from miniwsgi.daemon.worker import inherited

PRELUDE = """
import atexit, gc, multiprocessing.process, multiprocessing.util, os, signal, subprocess, sys, tempfile, threading, time
import weakref
sys.path.insert(0, sys.argv[1])
from miniwsgi.daemon.worker.inherited import HookFailures, disarm, end_import
from miniwsgi.daemon.worker.fork_safety import before_import
class Thing: pass
"""


def run(source: str) -> list[str]:
    """What the script prints, by line, in a process of its own."""
    parent = str(Path(inherited.__file__).parents[3])
    command = [sys.executable, "-c", PRELUDE + source, parent]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()


def test_a_finalizer_of_before_the_fork_is_not_run_at_exit_and_keeps_the_books_of_its_process() -> None:
    said = run("""
directory, thing, kept = tempfile.TemporaryDirectory(), Thing(), Thing()
weakref.finalize(thing, print, "forgotten", flush=True)
weakref.finalize(kept, print, "kept", flush=True)
multiprocessing.util.Finalize(None, print, ("multiprocessing",), exitpriority=1)
path = directory.name
if not os.fork():
    disarm()
    del thing, directory
    gc.collect()
    weakref.finalize(Thing(), print, "its own", flush=True)
    atexit._run_exitfuncs()
    print(os.path.exists(path), flush=True)
    os._exit(0)
os.wait()
atexit._run_exitfuncs()
print(os.path.exists(path), flush=True)
os._exit(0)
""")
    assert said[:3] == ["forgotten", "its own", "True"]
    assert sorted(said[3:]) == ["False", "forgotten", "kept", "multiprocessing"]


def test_what_the_import_began_with_a_fork_server_is_no_hindrance_to_begin_more() -> None:
    """The default from Python 3.14 on, under preload = true."""
    assert (
        run("""
import multiprocessing
def end(process):
    process.start()
    process.join()
    print(process.exitcode, flush=True)
context = multiprocessing.get_context("forkserver")
end(context.Process(target=time.time))
if not os.fork():
    disarm()
    end(context.Process(target=time.time))
    multiprocessing.forkserver._forkserver._stop()
    os._exit(0)
os.wait()
end(context.Process(target=time.time))
""")
        == ["0"] * 3
    )


def test_the_first_that_ends_leaves_the_processes_of_the_import_alone() -> None:
    """Under preload = true, which forks all the same."""
    assert run("""
import multiprocessing
process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True)
process.start()
pid = os.fork()
if not pid:
    disarm()
    atexit._run_exitfuncs()
    os._exit(0)
os.waitpid(pid, 0)
print(process.is_alive(), flush=True)
process.kill()
os._exit(0)
""") == ["True"]


def test_an_import_is_ended_whatever_does_not_want_to() -> None:
    assert run("""
before = before_import()
reader, writer = os.pipe2(0)
stubborn = "import signal, sys; signal.signal(15, signal.SIG_IGN); print('.', flush=True); signal.pause()"
child = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE)
child.stdout.read(1)
atexit.register(time.sleep, 60)
atexit.register(print, "exit function", flush=True)
began = time.monotonic()
end_import(before)
print(time.monotonic() - began < 10, os.get_inheritable(writer), os.path.exists(f"/proc/{child.pid}"), flush=True)
os._exit(0)
""") == ["exit function", "True False False"]


def test_what_at_fork_functions_raise_is_told_and_what_the_collector_meets_is_not() -> None:
    assert run("""
class Broken:
    def __del__(self): raise ValueError("of the collector")
def before(): Broken()
def after(): raise RuntimeError("no")
os.register_at_fork(before=before)
failures = HookFailures()
with failures:
    os.fork() or os._exit(0)
print(repr(failures.error))
os.register_at_fork(after_in_parent=after)
with failures:
    os.fork() or os._exit(0)
print(failures.error, "in after" in failures.traceback)
""") == ["''", "an at-fork function of the application, after, raised RuntimeError: no True"]
