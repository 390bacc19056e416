"""The application's threads when its last request is done: waited for as Python does at its exit, but not for ever.

Python joins threads that are no daemons, and lets executors (concurrent.futures, asyncio.to_thread) run what was given
to them, before exit functions; both are in threading._shutdown, which does not take a time limit. So a thread of ours
calls it, while the main thread goes on to beat, and to take orders: a deadline, a second signal, a dump of stacks.
"""

from __future__ import annotations

import sys
import threading
from types import FrameType

from miniwsgi.codes import Code
from miniwsgi.metrics.scoreboard import HEARTBEAT

from ..unpatched import OURS, os, select, start_thread, starts_real_threads, time
from .context import NANOSECONDS, Context
from .file_origins import is_stdlib
from .orders import Orders

SAY_AFTER_NS = NANOSECONDS
MARGIN_NS = NANOSECONDS // 2  # before the master kills: for exit functions and what is in the logs' queues
LOOK_MILLISECONDS = 100
MAX_NAMES = 6


def finish_jobs(context: Context, orders: Orders) -> bool:
    """Wait for the application's threads, up to the deadline of `orders`, else timeouts.graceful from now.

    Called on the main thread when nothing is served any more. False: their time is over, and they still run.
    """
    if not starts_real_threads():
        return True  # gevent's or eventlet's: greenlets, of which the server knows nothing
    if all(thread is threading.main_thread() or _is_ours(thread) for thread in threading.enumerate()):
        return True
    began = time.monotonic_ns()
    if not orders.deadline_ns:
        orders.deadline_ns = began + int(context.settings.graceful_timeout * NANOSECONDS)
    end = os.eventfd(0, os.EFD_CLOEXEC)
    _forget_the_main_thread()

    def shut_down() -> None:
        try:
            threading._shutdown()  # type: ignore[attr-defined]
        finally:
            os.eventfd_write(end, 1)

    start_thread(shut_down, "mw-jobs")
    orders.only_jobs_left()
    said = False
    while not _readable(end, orders):
        now = context.slot.cells[HEARTBEAT] = time.monotonic_ns()
        if orders.expired(now + min(MARGIN_NS, (orders.deadline_ns - began) // 10)):
            if left := _waited_for():
                told = f"not finished in time (timeouts.graceful), cut off: {_said(left)}"
                context.log.warning(Code.JOBS_CUT_OFF, told)
            return False
        if not said and now - began > SAY_AFTER_NS:
            said = True
            seconds = (orders.deadline_ns - now) / NANOSECONDS
            context.log.info(f"waiting for {_said(_waited_for())}; at most {seconds:.0f} s more (timeouts.graceful)")
    os.close(end)
    return True


def _readable(end: int, orders: Orders) -> bool:
    """Wait a little, and take orders; True: the threads have ended."""
    poller = select.poll()
    for fd in (end, *orders.fds()):
        poller.register(fd, select.POLLIN)
    ready = {fd for fd, _events in poller.poll(LOOK_MILLISECONDS)}
    if ready - {end}:
        orders.read()
    return end in ready


def _forget_the_main_thread() -> None:
    """Up to Python 3.12 threading._shutdown joins the main thread, too, if another one calls it.

    A forked process has forgotten it already.
    """
    lock = getattr(threading.main_thread(), "_tstate_lock", None)
    if lock is not None:
        with threading._shutdown_locks_lock:  # type: ignore[attr-defined]
            threading._shutdown_locks.discard(lock)  # type: ignore[attr-defined]


def _is_ours(thread: threading.Thread) -> bool:
    return thread.name.startswith(OURS)


def _waited_for() -> list[threading.Thread]:
    """What threading._shutdown joins: threads that are no daemons, and those of executors, whatever they are."""
    executors = sys.modules.get("concurrent.futures.thread")
    pooled = set(getattr(executors, "_threads_queues", ()))
    main = threading.main_thread()
    return [
        thread
        for thread in threading.enumerate()
        if thread is not main and not _is_ours(thread) and (not thread.daemon or thread in pooled)
    ]


def _said(threads: list[threading.Thread]) -> str:
    frames = sys._current_frames()
    shown = [
        thread.name + _place(frames.get(thread.ident)) if thread.ident is not None else thread.name
        for thread in threads[:MAX_NAMES]
    ]
    more = ", …" if len(threads) > MAX_NAMES else ""
    return f"{len(threads)} {'thread' if len(threads) == 1 else 'threads'} of the application: {', '.join(shown)}{more}"


def _place(frame: FrameType | None) -> str:
    """Where in the application a thread is: its innermost frame outside of the standard library."""
    while frame is not None:
        code = frame.f_code
        if not is_stdlib(code.co_filename):
            return f" (in {code.co_qualname}, {code.co_filename}:{frame.f_lineno})"
        frame = frame.f_back
    return ""
