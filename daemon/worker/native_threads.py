"""Threads that Python does not know of: whose they are, and whether they forbid a fork.

OpenBLAS ends its pool before a fork and starts it again after, when it is needed (pthread_atfork(3) in its memory.c),
so its threads are no reason. A child that calls libgomp after a fork waits for threads that it does not have, for ever
(https://gcc.gnu.org/bugzilla/show_bug.cgi?id=58378). Of others nothing is known. Standard library only; assumes /proc.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator

from ..unpatched import os, time

EXIT_SECONDS = 0.1  # what a thread that has ended may need to disappear from /proc
OPENMP = ("libgomp", "libiomp", "libomp")  # GCC's, Intel's, LLVM's
MAX_NAMES = 3
PTHREADS = 1  # of openblas_get_parallel: threads of its own; 2 are those of OpenMP
# How builds of OpenBLAS decorate the names of its functions; numpy's wheels do both.
PREFIXES = ("", "scipy_")
SUFFIXES = ("", "64_", "_64")


def reasons(accounted_for: Collection[int | None]) -> Iterator[str]:
    """What to say of native threads that forbid a fork; nothing if there are none.

    `accounted_for` are the native ids of those that Python knows, and of others that are no reason.
    """
    unknown = _tasks(accounted_for, 0)
    if not unknown:
        return
    libraries = _libraries()
    pools = sum(_openblas_threads(path) for path in libraries if "openblas" in path)
    unknown = _tasks(accounted_for, pools)
    number = len(unknown) - pools
    if number <= 0:
        return
    what = "native thread" if number == 1 else "native threads"
    openmp = next((path for path in libraries if os.path.basename(path).startswith(OPENMP)), "")
    if openmp:
        yield f"{number} {what} of OpenMP ({openmp}; OMP_NUM_THREADS=1 in app.env does without)"
        return
    names = _names(unknown)
    shown = f", called {', '.join(names)}" if names else ""
    yield f"{number} {what} running (of a library, not Python's{shown})"


def _tasks(accounted_for: Collection[int | None], expected: int) -> set[int]:
    """The ids of native threads. One that was just joined is gone for Python before it is for Linux."""
    deadline = time.monotonic() + EXIT_SECONDS
    while True:
        native = {int(name) for name in os.listdir("/proc/self/task")}.difference(accounted_for, {os.getpid()})
        if len(native) <= expected or time.monotonic() > deadline:
            return native
        time.sleep(0.001)


def _libraries() -> list[str]:
    """The paths of the shared libraries that are mapped."""
    found = {}
    with open("/proc/self/maps") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")[2]
            if ".so" in path:
                found["/" + path] = True
    return list(found)


def _openblas_threads(path: str) -> int:
    """How many threads the pool of this OpenBLAS has beside those that call it."""
    try:
        ctypes = importlib.import_module("ctypes")  # seldom needed, and not part of every Python
        library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)  # the one that is there
    except (ImportError, OSError):
        return 0
    for prefix in PREFIXES:
        for suffix in SUFFIXES:
            try:
                parallel = library[f"{prefix}openblas_get_parallel{suffix}"]
                threads = library[f"{prefix}openblas_get_num_threads{suffix}"]
            except AttributeError:
                continue
            return max(0, int(threads()) - 1) if parallel() == PTHREADS else 0
    return 0


def _names(tasks: Collection[int]) -> list[str]:
    """What libraries call their threads, where that is not the process's own name."""
    names = {}
    own = _comm(os.getpid())
    for task in sorted(tasks):
        if (name := _comm(task)) not in {own, ""}:
            names[name] = True
    return list(names)[:MAX_NAMES]


def _comm(task: int) -> str:
    try:
        with open(f"/proc/self/task/{task}/comm") as file:
            return file.read().strip()
    except OSError:
        return ""
