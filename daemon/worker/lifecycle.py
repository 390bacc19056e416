"""What a worker does between fork and exit, for every pool: become itself, boot, serve, leave.

`run_worker` is called in a child that the launcher has just forked and does not return. `run_single` serves in the
calling process, without a master. What the two do differently is only where orders come from.
"""

from __future__ import annotations

import atexit
import errno
import io
import stat
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from miniwsgi.codes import Code
from miniwsgi.metrics import scoreboard
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.scoreboard import SlotState
from miniwsgi.metrics.slot import Slot

from ..channel import Channel
from ..engine.after_fork import process
from ..engine.call import Application
from ..engine.choice import Chosen
from ..log.access_log import AccessLog, SelectiveAccessLog
from ..log.access_skip import Lines, wanted
from ..log.error_log import ErrorLog, open_writer
from ..log.error_stream import ErrorStream
from ..log.ring import Append, Ring, is_shared_memory, shared_memory, shared_rings
from ..permission import why_not_written
from ..settings import Settings, url_of
from ..unpatched import os, time
from . import children
from .application import BootError, load
from .background_jobs import finish_jobs
from .boot_check import boot_check
from .certificates import Certificates
from .context import Context
from .crashes import show_crashes, show_received
from .fork_safety import open_descriptors
from .hook_calls import load_hooks
from .hooks import NO_HOOKS, Hooks
from .interpreter import engine_for
from .orders import Orders
from .pools import start
from .process_name import set_process_name
from .revision import Revision, Watched
from .signals import SignalPipe, write_stacks_to
from .slow_requests import tell_slow_requests
from .standard_streams import write_lines_at_once
from .static_directories import with_open_directories
from .worker_hooks import WorkerHooks

FLUSH_SECONDS = 1.0
BUSY_SECONDS = 0.05  # between attempts to tell a master that is slow to hear

NOT_OURS = frozenset({errno.EBADF, errno.ENOTSOCK})  # a descriptor of the server is closed, or another's by now

EXIT_STOPPED = 0
EXIT_RUNTIME = 1
EXIT_BOOT = 3


def run_worker(
    settings: Settings, slot: int, control: Channel, engine: Chosen, application: Application | None, stack_fd: int,
    *, hooks: Hooks = NO_HOOKS, after_crash: bool = False, certificates: Certificates | None = None,
    revision: Revision | None = None,
) -> NoReturn:  # fmt: skip
    """Serve in this process, which holds scoreboard slot `slot`, until the master's orders are done.

    All workers of a generation run the engine that its launcher has chosen, whatever is built meanwhile. `hooks` and
    `revision` are those of an application that is imported already. `after_crash`: see Site.
    """
    status = EXIT_RUNTIME
    try:
        status = _work(
            settings, slot, control, engine, application, stack_fd, hooks, after_crash, certificates, revision
        )
    except BaseException as error:
        process.check()  # it has no descriptors of ours, which the loop has found
        text = traceback.format_exc()
        if isinstance(error, OSError) and error.errno in NOT_OURS:
            text += "Does the application close descriptors that are not its own, as os.closerange() does?\n"
        try:
            control.send("failed", code=Code.INTERNAL.value, error="the worker itself failed", traceback=text)
        except OSError:
            pass
        os.write(2, text.encode("utf-8", "replace"))
    finally:
        os._exit(status)


def _work(
    settings: Settings, slot: int, control: Channel, engine: Chosen, application: Application | None, stack_fd: int,
    hooks: Hooks, after_crash: bool, certificates: Certificates | None, revision: Revision | None,
) -> int:  # fmt: skip
    set_process_name(f"mw-worker/{slot}")
    signals = SignalPipe()
    write_stacks_to(stack_fd)
    show_crashes(stack_fd)
    show_received(stack_fd)
    children.withhold("stacks", lambda: (stack_fd,))
    children.withhold("the master's", lambda: (control.fileno(),))
    board = Board.attach(settings.scoreboard_fd)
    _withhold(settings, signals)
    cells = _take_slot(board.slot(slot), settings.generation)
    log, ring = _open_log(settings, slot, control, engine)
    if certificates is not None:
        # Since it was forked; whom the master knows it tells from now on.
        certificates.renew(partial(log.error, Code.CERTIFICATE_UNUSABLE))
    access = None
    _detach_standard_streams(log, settings.application_level)

    def tell(kind: str, **fields: Any) -> None:
        while True:
            try:
                control.send(kind, **fields)
            except BlockingIOError:
                time.sleep(BUSY_SECONDS)  # it does not wait by itself once it is a loop's, and this must be heard
            except OSError:
                return  # the channel's end will tell
            else:
                return

    def fail(error: BootError) -> NoReturn:
        log.flush(FLUSH_SECONDS)
        tell("failed", **error.message)
        os._exit(EXIT_BOOT)

    try:
        access = _open_access_log(settings, engine, ring=ring)
        process.serve(log)
        if application is None:
            watched = Watched(settings, log.debug)  # the launcher has said what there is to say
            application = load(settings, log.info if slot == 0 else log.debug)
            watched.is_still()
            revision = watched.known
            hooks = load_hooks(settings, application, log, tell, fail)
        called = WorkerHooks(settings, slot, hooks, log, tell, revision)
        called.start(fail)
        context = Context(
            settings, board, slot, log, access, application, engine, certificates, after_crash=after_crash
        )
        write_stacks_to(stack_fd)
        _take_signals(signals, log)
        orders = Orders(context, control, signals, stack_fd)
        tell_slow_requests(context, orders)
        called.follow(context, orders)
        for opened in (log, access):
            if opened is not None:
                opened.writer.start()  # a thread that is needed later may not be had then
        if settings.boot_check:
            boot_check(context, settings.boot_check)
    except BootError as error:
        log.flush(FLUSH_SECONDS)  # what the application said comes before the verdict, after which the master kills
        control.send("failed", **error.message)
        _leave(log, access)
        return EXIT_BOOT
    sys.setswitchinterval(settings.switch_interval)
    cells[scoreboard.HEARTBEAT] = time.monotonic_ns()
    cells[scoreboard.STATE] = SlotState.READY
    orders.await_serve(revision)
    called.ready()
    start(context, orders)
    called.stop(context, orders)
    finish_jobs(context, orders)
    cells[scoreboard.STATE] = SlotState.STOPPED
    _leave(log, access)
    return EXIT_STOPPED


def run_single(settings: Settings, clean_up: Callable[[], None]) -> int:
    """Serve in this very process, one request at a time, without a master; returns the exit status.

    If threads of the application outlast their time, for which Python would wait at its exit, this process ends here,
    after `clean_up`.
    """
    signals = SignalPipe()
    board = Board.attach(settings.scoreboard_fd)
    _withhold(settings, signals)
    cells = _take_slot(board.claim(0), settings.generation)
    log = _open_error_log(settings, "single", None, None)
    access = None
    write_lines_at_once()
    show_crashes(2)

    def fail(error: BootError) -> NoReturn:
        log.error(error.code, error.shown)
        log.flush(FLUSH_SECONDS)
        clean_up()
        os._exit(EXIT_BOOT)

    try:
        settings = with_open_directories(settings)
        engine = engine_for(settings)
        certificates = Certificates(settings)
        access = _open_access_log(settings, engine, at_once=True)  # nobody is there to write what would be left
        process.serve(log)
        watched = Watched(settings, partial(log.warning, Code.REVISION_UNREADABLE))
        application = load(settings, log.info)
        watched.is_still()
        hooks = load_hooks(settings, application, log, _nobody, fail)
        called = WorkerHooks(settings, 0, hooks, log, _nobody, watched.known)
        called.start(fail)
        context = Context(settings, board, 0, log, access, application, engine, certificates)
        _take_signals(signals, log)
        if settings.boot_check:
            boot_check(context, settings.boot_check)
    except BootError as error:
        log.error(error.code, error.shown)
        _leave(log, access)
        return EXIT_BOOT
    cells[scoreboard.STATE] = SlotState.READY
    for listener in settings.listeners:
        scheme = "https" if listener.tls is not None else listener.protocol
        shown = url_of(scheme, listener.name, unix=listener.unix)
        log.info(f"listening on {shown} (pool single, pid {os.getpid()})")
    log.info(f"engine {engine}")
    if watched.known is not None:
        log.info(f"revision {watched.known.text} ({watched.known.source})")
    orders = Orders(context, None, signals)
    called.follow(context, orders)
    called.ready()
    called.lead()
    start(context, orders)
    called.stop(context, orders)
    finished = finish_jobs(context, orders)
    cells[scoreboard.STATE] = SlotState.STOPPED
    _leave(log, access, exit_functions=not finished)
    if not finished:
        clean_up()
        os._exit(EXIT_STOPPED)
    return EXIT_STOPPED


def _nobody(_kind: str, **_fields: Any) -> None:
    """Whom a process without a master tells."""


def _take_slot(slot: Slot, generation: int) -> memoryview[int]:
    """Its cells, which say that this process boots in it."""
    cells = slot.cells
    cells[scoreboard.PID] = os.getpid()
    cells[scoreboard.GENERATION] = generation
    cells[scoreboard.STARTED] = cells[scoreboard.HEARTBEAT] = time.monotonic_ns()
    cells[scoreboard.STATE] = SlotState.BOOTING
    return cells


def _withhold(settings: Settings, signals: SignalPipe) -> None:
    """From whatever the application forks; the pool will say anew which listeners are still open."""
    scoreboard_fds = _copies_of(settings.scoreboard_fd)
    children.withhold("scoreboard", lambda: scoreboard_fds)
    children.withhold("signals", signals.fds)
    children.withhold("leader", lambda: [fd for fd in (settings.leader_fd,) if fd >= 0])
    children.withhold("listeners", lambda: (listener.fd for listener in settings.listeners))


def _copies_of(fd: int) -> list[int]:
    """It and the copy that its mapping has: what shows the same file."""
    of = os.fstat(fd)
    return [other for other in open_descriptors() if os.path.samestat(os.fstat(other), of)]


def _take_signals(signals: SignalPipe, log: ErrorLog) -> None:
    """After the import: the pool's duties are not the application's."""
    signals.take()
    if signals.overruled:
        names = ", ".join(sorted(signals.overruled))
        log.info(f"the application's own handler of {names} is not called; functions of atexit are")


def _open_log(settings: Settings, slot: int, control: Channel, engine: Chosen) -> tuple[ErrorLog, Ring | None]:
    """The error log, and where lines of the access log wait.

    What waits to be written lies in memory that the master has, too: it writes what a dead worker has left.
    """
    rings: tuple[Ring | None, Ring | None] = (None, None)
    try:
        memory = shared_memory()
        try:
            rings = shared_rings(memory, engine.begin.append or Append)
            mapped = _copies_of(memory)
            control.send("logs", (memory,))
        finally:
            os.close(memory)
        children.withhold("logs", lambda: [fd for fd in mapped if is_shared_memory(fd)])
    except OSError:
        pass  # no memory, no descriptors, no master: they lie in our own
    return _open_error_log(settings, "worker", slot, rings[0]), rings[1]


def _open_access_log(
    settings: Settings, engine: Chosen, *, at_once: bool = False, ring: Ring | None = None
) -> AccessLog | None:
    """None: there is none. Raises BootError."""
    path = settings.access_log
    if not path:
        return None
    try:
        faster = engine.begin.access_lines
        chosen = wanted(settings.access_skip, Lines(settings.access_lines), int(settings.access_slow * 1e9))
        make = AccessLog if chosen is None else partial(SelectiveAccessLog, chosen)
        return make(path, settings.access_log_format, at_once=at_once, ring=ring, faster=faster)
    except OSError as error:
        raise BootError(
            Code.ACCESS_LOG_UNUSABLE, f"log.access_log {path} cannot be opened: {why_not_written(path, error)}"
        ) from None


def _open_error_log(settings: Settings, source: str, slot: int | None, ring: Ring | None) -> ErrorLog:
    """In `log.file`; where this process may not open that, on standard error, which is better than nowhere."""
    problem = ""
    try:
        writer = open_writer(settings.log_file, journal=settings.journal, ring=ring)
    except OSError as error:
        why = why_not_written(settings.log_file, error)
        problem = f"log.file {settings.log_file} cannot be opened; writing to standard error: {why}"
        writer = open_writer("-", journal=settings.journal, ring=ring)
    log = ErrorLog(settings.log_level, settings.log_format, settings.journal, source, slot=slot, writer=writer)
    if problem:
        log.error(Code.LOG_UNUSABLE, problem)
    return log


def _detach_standard_streams(log: ErrorLog, level: str) -> None:
    """An application that prints must not stop because nobody reads a pipe: its text goes through the log's queue."""
    if sys.stderr is not None and not _is_terminal_or_file(2):
        sys.stderr = ErrorStream(log, level, fileno=2)
    if sys.stdout is not None and not _is_terminal_or_file(1):
        sys.stdout = ErrorStream(log, level, fileno=1)


def _is_terminal_or_file(fd: int) -> bool:
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return True
    return not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))


def _leave(log: ErrorLog, access: AccessLog | None, *, exit_functions: bool = True) -> None:
    """The application's exit functions, then what is still in the logs' queues."""
    if exit_functions:
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if isinstance(stream, ErrorStream):
                stream.close()  # unfinished lines, also of other threads
            else:
                stream.flush()
        except (AttributeError, OSError, ValueError, io.UnsupportedOperation):
            pass
    if access is not None:
        access.writer.flush(FLUSH_SECONDS)
    log.flush(FLUSH_SECONDS)
