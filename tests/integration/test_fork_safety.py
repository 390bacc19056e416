"""What the import left is a reason not to fork, or is not, and the reason names it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from miniwsgi.daemon.worker import fork_safety

# One interpreter for all: each import happens in a process that it forks, as clean as a launcher.
HARNESS = """
import fcntl, importlib, json, os, select, socket, sqlite3, subprocess, sys, tempfile, threading, time
sys.path.insert(0, sys.argv[1])
from miniwsgi.daemon.worker.fork_safety import before_import, reason_not_to_fork
os.chdir(sys.argv[2])
os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.path.join(sys.argv[2], "values")
os.mkdir("values")
os.mkfifo("fifo")
before = socket.socketpair()
for source in json.load(sys.stdin):
    answer, out = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(answer)
        os.setpgid(0, 0)
        known = before_import()
        try:
            names = {**globals()}
            exec(source, names)
            said = reason_not_to_fork(known)
        except BaseException as error:
            said = f"broke: {error!r}"
        os.write(out, said.encode())
        os.killpg(0, 9)  # children's children, too, which would keep our output open
    os.close(out)
    with open(answer) as file:
        print(json.dumps(file.read()), flush=True)  # else children print it again
    os.waitpid(pid, 0)
"""

LISTEN = "l = socket.create_server(('127.0.0.1', 0)); port = l.getsockname()[1]\n"
SLEEPER = "[sys.executable, '-c', 'import sys; sys.stdin.read()']"
THREADS = "for n in {!r}: threading.Thread(target=time.sleep, args=(60,), name=n, daemon=True).start()"
NATIVE = "import _thread; _thread.start_new_thread(time.sleep, (60,))\n"  # as a library's: threading knows nothing

HARMLESS = [
    "",
    "f = open('/dev/null', 'r+b', buffering=0)",
    "f = open('log', 'a'); g = open('log2', 'a+'); h = open('report', 'w')",
    "open('read', 'w').write('x'); f = open('read')",
    "c = sqlite3.connect('ro.db'); c.execute('create table t (a)'); c.commit(); c.close()\n"
    "c = sqlite3.connect('file:ro.db?mode=ro', uri=True); c.execute('select * from t').fetchall()",
    "c = sqlite3.connect(':memory:')",
    "f = open('lock', 'w'); fcntl.flock(f, fcntl.LOCK_EX); fcntl.flock(f, fcntl.LOCK_UN)",
    LISTEN,
    "s = socket.socket()",
    "s = socket.socket(type=socket.SOCK_DGRAM); s.connect(('127.0.0.1', 9))",
    "t = threading.Thread(target=lambda: None); t.start(); t.join()",
    "subprocess.run(['true'])",
    "p = subprocess.Popen(['true']); os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOWAIT)",
    "import multiprocessing; l = multiprocessing.Lock(); v = multiprocessing.Value('i'); e = multiprocessing.Event()",
    "from multiprocessing import shared_memory; m = shared_memory.SharedMemory(create=True, size=10); m.unlink()",
    "fd = os.memfd_create('cache')",
    "from prometheus_client import Counter; Counter('hits', 'Hits.').inc()",
    "f = open('values/locks', 'w+b'); fcntl.lockf(f, fcntl.LOCK_EX, 1, 7)",  # as our own of value files
]

HARM = [
    (THREADS.format(["reporter"]), "1 thread running: reporter"),
    (THREADS.format("abcde"), "5 threads running: a, b, c, d, …"),
    (NATIVE, "1 native thread running (of a library, not Python's)"),
    (
        NATIVE + "import mmap; open('libgomp-7.so.1.0.0', 'wb').write(b'.' * 4096)\n"
        "with open('libgomp-7.so.1.0.0', 'rb') as f: m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)\n"
        "m = (m, mmap)",
        "1 native thread of OpenMP (HERE/libgomp-7.so.1.0.0; OMP_NUM_THREADS=1 in app.env does without)",
    ),
    (f"p = subprocess.Popen({SLEEPER}, stdin=before[0])", "1 child process: PYTHON -c import sys; sys.stdin.read()"),
    (
        f"p = subprocess.Popen({SLEEPER}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)",
        "1 child process: PYTHON -c import sys; sys.stdin.read(), and 2 pipes",
    ),
    (
        f"t = threading.Thread(target=lambda: globals().update(p=subprocess.Popen({SLEEPER}, stdin=before[0])));"
        "t.start(); t.join()",
        "1 child process: PYTHON -c import sys; sys.stdin.read()",
    ),
    ("os.fork() or time.sleep(60)", "1 child process: forked"),
    (
        "import multiprocessing; m = multiprocessing.get_context('fork').Manager()",
        "1 child process: SyncManager-1 (multiprocessing), and 2 pipes",
    ),
    (  # the default since Python 3.14
        "import multiprocessing; m = multiprocessing.get_context('forkserver').Manager()",
        "1 child process: forkserver (multiprocessing), and 3 pipes",
    ),
    ("import multiprocessing; q = multiprocessing.Queue()", "1 pipe"),
    ("fds = os.pipe()", "1 pipe"),
    ("fd = os.open('fifo', os.O_RDWR)", "1 pipe"),
    ("f = open('lock', 'a'); fcntl.flock(f, fcntl.LOCK_EX)", "1 held lock: HERE/lock (flock)"),
    ("f = open('lock', 'w'); fcntl.lockf(f, fcntl.LOCK_EX)", "1 held lock: HERE/lock (posix)"),
    ("f = open('lock2', 'x'); fcntl.flock(f, fcntl.LOCK_SH)", "1 held lock: HERE/lock2 (flock)"),
    ("f = open('lease', 'w'); fcntl.fcntl(f, fcntl.F_SETLEASE, fcntl.F_WRLCK)", "1 held lock: HERE/lease (lease)"),
    (
        "c = sqlite3.connect('app.db'); c.execute('create table t (a)'); c.commit()",
        "1 SQLite database opened for writing: HERE/app.db",
    ),
    ("c = sqlite3.connect('new.db')", "1 file opened for reading and writing: HERE/new.db"),  # empty so far
    ("f = tempfile.TemporaryFile(dir='.')", "1 file opened for reading and writing: HERE/#INODE (deleted)"),
    (LISTEN + "s = socket.create_connection(('127.0.0.1', port))", "1 connected socket: 127.0.0.1:PORT"),
    ("a, b = socket.socketpair(); b.close()", "1 connected socket: itself (a socket pair)"),
    ("fds = os.openpty(); os.close(fds[1])", ""),  # a terminal: harmless without the process behind it
    ("e = select.epoll()", "1 event loop's epoll"),
    ("fd = os.eventfd(0)", "1 eventfd"),
    (
        "import ctypes; fd = ctypes.CDLL(None).inotify_init(); os.set_inheritable(fd, False)",
        "1 inotify watch",
    ),
    (
        "os.dup2(os.open('swapped', os.O_RDWR | os.O_CREAT), before[0].fileno())",  # in the place of a known one
        "1 file opened for reading and writing: HERE/swapped",
    ),
    (
        "e = select.epoll(); f = open('lock3', 'w'); fcntl.flock(f, fcntl.LOCK_EX)\n" + THREADS.format(["reporter"]),
        "1 thread running: reporter, and 1 held lock: HERE/lock3 (flock), and 1 event loop's epoll",
    ),
    ("f = open('new\\nline', 'w+')", "1 file opened for reading and writing: 'HERE/new\\nline'"),
]

NUMPY = [  # with OpenBLAS's threads; what it loads is not used before the fork, as usual, or is
    "import numpy",
    "import numpy; numpy.ones((300, 300)) @ numpy.ones((300, 300))",
]


@pytest.fixture(name="said", scope="module")
def what_is_said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """By what the import does: the reason, as it would read in the directory HERE."""
    here = tmp_path_factory.mktemp("import").resolve()
    package_parent = str(Path(fork_safety.__file__).parents[3])
    sources = [*HARMLESS, *(source for source, _ in HARM)]
    if importlib.util.find_spec("numpy"):
        sources += NUMPY
    run = subprocess.run(
        [sys.executable, "-c", HARNESS, package_parent, str(here)],
        input=json.dumps(sources),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = {}
    for source, line in zip(sources, run.stdout.splitlines(), strict=True):
        text = json.loads(line).replace(str(here), "HERE").replace(sys.executable, "PYTHON")
        text = re.sub(r" \(pid \d+\)|, pid \d+", "", text)
        said[source] = re.sub(r"#\d+", "#INODE", re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text))
    return said


@pytest.mark.parametrize("source", HARMLESS)
def test_what_is_made_to_be_shared_is_no_reason(source: str, said: dict[str, str]) -> None:
    assert said[source] == ""


@pytest.mark.parametrize(("source", "reason"), HARM)
def test_the_reason_names_what_workers_must_not_share(source: str, reason: str, said: dict[str, str]) -> None:
    assert said[source] == (f"the import left {reason}" if reason else "")


@pytest.mark.skipif(not importlib.util.find_spec("numpy"), reason="without numpy")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="OpenBLAS starts no threads on one CPU")
@pytest.mark.parametrize("source", NUMPY)
def test_the_pool_of_openblas_is_no_reason(source: str, said: dict[str, str]) -> None:
    assert said[source] == ""
