"""The launcher: one generation of code. It imports the application once and forks workers on the master's
orders.

Executed afresh by the master for each generation, under the application's own interpreter: standard library
only. Single-threaded, and it runs none of the application's code after the import. The channel's end means
that the master is gone: the workers, who see the same, have graceful_timeout to finish, then what is left
is killed.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import sys
import traceback
from functools import partial
from typing import NoReturn

from miniwsgi.codes import Code
from miniwsgi.metrics.scoreboard import LAYOUT

from .. import __version__
from ..channel import Channel, Message
from ..engine.after_fork import process
from ..engine.choice import Chosen
from ..executed import initial_environment
from ..settings import Settings
from ..unpatched import os, select, signal, time
from . import children, inherited, prometheus_slots
from .application import Application, BootError, load
from .certificates import Certificates
from .crashes import show_crashes
from .fork_safety import before_import, child_processes, reason_not_to_fork
from .hook_calls import load_hooks
from .hooks import NO_HOOKS, Hooks
from .interpreter import engine_for
from .lifecycle import run_worker
from .process_name import set_process_name
from .revision import Revision, Watched
from .signals import GROUP_SIGNALS, seize, write_stacks_to
from .standard_streams import MastersLog, StandardStream, replace_standard_streams
from .static_directories import with_open_directories

STACK_PIPE_BYTES = 256 * 1024
GRACE_SECONDS = 0.5  # so that workers who keep to graceful_timeout leave by themselves
EXIT_FUNCTION_SECONDS = 5
EXIT_GENERATION_OVER = 0
EXIT_NOT_BOOTED = 3


def main(channel_fd: int, note: str = "") -> NoReturn:
    """Called by the master's bootstrap code. `note` is why it gave up preloading and was executed again."""
    seize(GROUP_SIGNALS)  # the master alone acts on what comes to the whole process group
    signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)  # blocked by whoever executed us
    channel = Channel.from_fd(channel_fd)
    channel.socket.set_inheritable(False)
    status = EXIT_NOT_BOOTED
    try:
        status = _serve_generation(channel, note)
    except BaseException as error:
        text = traceback.format_exc()
        _try_to_send(
            channel, "failed", code=Code.INTERNAL.value, error=f"the launcher failed: {error!r}", traceback=text
        )
    finally:
        os._exit(status)


def _serve_generation(channel: Channel, note: str) -> int:
    set_process_name("mw-launcher")
    stack_fd = _send_hello(channel)
    message = _expect(channel, "settings")
    if message is None:
        return EXIT_GENERATION_OVER
    settings = Settings.from_message(message)
    for fd in settings.descriptors:  # nothing that the application starts may accept our clients or write our counters
        os.set_inheritable(fd, False)
    children.withhold("stacks", lambda: (stack_fd,))
    children.withhold("the master's", lambda: (channel.fileno(), *settings.descriptors))
    streams = replace_standard_streams(channel, settings.application_level)
    prometheus_slots.install(settings.app_metrics_directory)
    process.serve(None)
    try:
        settings = with_open_directories(settings)
        engine = engine_for(settings)  # what cannot run is told before the import; what can, loaded before it
        certificates = Certificates(settings)
        revision = Watched(settings, partial(MastersLog(channel).warning, Code.REVISION_UNREADABLE))
        _tell_revision(channel, revision.known)
        application, hooks = _import(channel, settings, note)
        if application is not None and not revision.is_still():
            _tell_revision(channel, None)
    except BootError as error:
        channel.send("failed", **error.message)
        return EXIT_NOT_BOOTED
    gc.collect()
    gc.freeze()  # what is there now is shared with all workers: the collector must not write to it
    engine.begin.trim_memory()  # an import leaves holes, which are every worker's, too
    channel.send("imported", preload=application is not None, note=note)
    known = revision.known if application is not None else None
    launcher = Launcher(channel, settings, engine, certificates, application, hooks, streams, stack_fd, known)
    launcher.run()
    launcher.leave()
    return EXIT_GENERATION_OVER


def _send_hello(channel: Channel) -> int:
    """Introduce this launcher; returns the descriptor to which its stacks go."""
    reader, writer = _stack_pipe()
    write_stacks_to(writer)
    show_crashes(writer)
    channel.send("hello", (reader,), version=__version__, layout=LAYOUT)
    os.close(reader)
    return writer


def _expect(channel: Channel, kind: str) -> Message | None:
    """The next message's fields; None if nobody is there to send it."""
    try:
        received = channel.receive()
    except ConnectionError:
        return None
    if received is None:
        return None
    message, _fds = received
    if message.pop("kind") != kind:
        raise ValueError(f"a message {kind!r} was expected")
    return message


def _import(channel: Channel, settings: Settings, note: str) -> tuple[Application | None, Hooks]:
    """The application, with its hooks, if it is to be preloaded. Raises BootError.

    May execute this program again instead.
    """
    if settings.preload == "false" or note:
        return None, NO_HOOKS
    environ = initial_environment()  # the application may set a title, or change os.environ
    before = before_import()
    log = MastersLog(channel)

    def tell(kind: str, **fields: object) -> None:
        _try_to_send(channel, kind, **fields)

    def fail(error: BootError) -> NoReturn:
        tell("failed", **error.message)
        os._exit(EXIT_NOT_BOOTED)

    application = load(settings, log.info)
    hooks = load_hooks(settings, application, log, tell, fail)
    if settings.preload == "auto" and (found := reason_not_to_fork(before)):
        inherited.end_import(before)
        _execute_again(channel, settings, found, environ)
    return application, hooks


def _execute_again(channel: Channel, settings: Settings, note: str, environ: dict[str, str]) -> NoReturn:
    """The only way to be rid of threads and connections: the same program, told not to import."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for fd in (channel.fileno(), *settings.descriptors):
        os.set_inheritable(fd, True)
    signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)  # handlers do not survive execve(2)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:-1], note], environ)


class Launcher:
    """A generation that is imported. `workers` maps pids to slots."""

    def __init__(
        self,
        channel: Channel,
        settings: Settings,
        engine: Chosen,
        certificates: Certificates,
        application: Application | None,
        hooks: Hooks,
        streams: list[StandardStream],
        stack_fd: int,
        revision: Revision | None,
    ) -> None:
        self.channel = channel
        self.settings = settings
        self.engine = engine
        self.certificates = certificates
        self.application = application
        self.hooks = hooks
        self.revision = revision  # of `application`
        self.workers: dict[int, int] = {}
        self.retired = False
        self._streams = streams
        self._stack_fd = stack_fd
        self._wakeup, self._wakeup_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        children.withhold("signals", lambda: (self._wakeup, self._wakeup_end))
        self._applications = seize((*GROUP_SIGNALS, signal.SIGCHLD))  # handlers of the import: they are for workers
        write_stacks_to(stack_fd)
        signal.set_wakeup_fd(self._wakeup_end, warn_on_full_buffer=False)

    def __repr__(self) -> str:
        state = "retired" if self.retired else "serving"
        return f"<Launcher generation={self.settings.generation} {state} workers={self.workers}>"

    def run(self) -> None:
        """Fork and reap, until the generation is over or the master is gone."""
        self._reap()  # what the import started and did not wait for
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        while self.workers or not self.retired:
            ready = {fd for fd, _events in poll.poll()}
            if self._wakeup in ready:
                self._reap()
            if self.channel.fileno() in ready and not self._obey():
                self._outlive_master()
                return

    def leave(self) -> None:
        """Nothing of the generation is left but what the application started beside the workers."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(EXIT_FUNCTION_SECONDS)  # the kernel ends us if an exit function does not end
        atexit._run_exitfuncs()
        for pid in child_processes():
            try:
                os.kill(pid, signal.SIGTERM)  # our own child, so the pid is not another's
            except (ProcessLookupError, PermissionError):
                pass  # it has ended, or has become another user's

    # --- orders ---

    def _obey(self) -> bool:
        """Take one order; False if the master is gone."""
        received = self.channel.receive()
        if received is None:
            return False
        message, _fds = received
        if message["kind"] == "fork":
            self._fork(message["slot"])
        elif message["kind"] == "certificates":
            self.certificates.renew(lambda _why: None)  # each worker tells it, too
        elif message["kind"] == "retire":
            self.retired = True
        elif message["kind"] == "kill" and message["pid"] in self.workers:
            os.kill(message["pid"], signal.SIGKILL)  # not reaped yet: no other's pid
        return True

    def _fork(self, slot: int) -> None:
        try:
            masters_end, workers_end = Channel.pair()
            reader, writer = _stack_pipe()
        except OSError as error:
            _try_to_send(self.channel, "fork-failed", slot=slot, error=str(error))
            return
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # else the child would write it once more
        failures = inherited.HookFailures()
        try:
            with failures:
                pid = children.fork()
        except OSError as error:
            _try_to_send(self.channel, "fork-failed", slot=slot, error=str(error))
            pid = -1
        if pid == 0:
            self._become_worker(slot, (masters_end, reader), workers_end, writer, failures)
        if failures.error:
            told = f"{failures.error}\n{failures.traceback}".rstrip()
            MastersLog(self.channel).error(Code.AT_FORK_FAILED, told)
        # They are the child's alone, and make room: with its pidfd missing a worker could not be handed over.
        workers_end.close()
        os.close(writer)
        if pid > 0:
            self.workers[pid] = slot
            self._hand_over(slot, pid, masters_end, reader)
        # Only the master may hold that end: it is the worker's lifeline.
        masters_end.close()
        os.close(reader)

    def _hand_over(self, slot: int, pid: int, masters_end: Channel, stacks: int) -> None:
        """Tell the master of a worker; one that cannot be handed over is killed, and its exit frees the slot."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            os.kill(pid, signal.SIGKILL)  # our unreaped child: no other's pid
            told = f"worker {slot} has no pidfd: {error.strerror}"
            MastersLog(self.channel).error(Code.NOT_FORKED, told)
            _try_to_send(self.channel, "forked", slot=slot, pid=pid)
            return
        _try_to_send(self.channel, "forked", (pidfd, masters_end.fileno(), stacks), slot=slot, pid=pid)
        os.close(pidfd)

    def _become_worker(
        self,
        slot: int,
        not_ours: tuple[Channel, int],
        control: Channel,
        stack_fd: int,
        failures: inherited.HookFailures,
    ) -> NoReturn:
        """In the child: keep nothing of the launcher, and serve."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number, handler in self._applications.items():
                signal.signal(number, handler)
            masters_end, reader = not_ours
            masters_end.close()
            self.channel.close()
            for fd in (reader, self._stack_fd, self._wakeup, self._wakeup_end):
                os.close(fd)
            begin = _expect(control, "begin")
            if begin is None:
                os._exit(EXIT_GENERATION_OVER)  # the master does not know of us: the slot may be another's by now
            for stream in self._streams:
                stream.follow()
            # The application's `random` has been seeded anew by its own hook of os.fork(), and ssl sees to itself.
            prometheus_slots.become_worker(slot)
            inherited.disarm()
            if failures.error:
                _try_to_send(
                    control,
                    "failed",
                    code=Code.AT_FORK_FAILED.value,
                    error=failures.error,
                    traceback=failures.traceback,
                )
                os._exit(EXIT_NOT_BOOTED)
            run_worker(
                self.settings, slot, control, self.engine, self.application, stack_fd,
                hooks=self.hooks, after_crash=begin["after_crash"], certificates=self.certificates,
                revision=self.revision,
            )  # fmt: skip
        except BaseException:
            _try_to_send(control, "failed", code=Code.INTERNAL.value, error="broke", traceback=traceback.format_exc())
        finally:
            os._exit(1)

    # --- exits ---

    def _reap(self) -> None:
        """Reap all children that have exited: workers are reported, what the application started is not."""
        try:
            os.read(self._wakeup, 4096)
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)  # nobody else waits here: no threads, no other code
            except ChildProcessError:
                return
            if not pid:
                return
            slot = self.workers.pop(pid, None)
            if slot is not None:
                prometheus_slots.remove_live_gauges(slot)
                _try_to_send(self.channel, "exited", slot=slot, pid=pid, status=status)

    def _outlive_master(self) -> None:
        """The workers have seen it too. Wait for them as long as they may take, then kill."""
        deadline = time.monotonic() + self.settings.graceful_timeout + GRACE_SECONDS
        while self.workers:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            select.select([self._wakeup], [], [], remaining)
            self._reap()
        for pid in self.workers:
            os.kill(pid, signal.SIGKILL)
        for pid in self.workers:
            os.waitpid(pid, 0)


def _stack_pipe() -> tuple[int, int]:
    """A pipe for faulthandler: it must not block whom it shows, and hold the stacks of many threads."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, STACK_PIPE_BYTES)
    except OSError:
        pass  # the user's pipes are many (pipe(7)): the default size then
    return reader, writer


def _tell_revision(channel: Channel, revision: Revision | None) -> None:
    text, source = revision or (None, "")
    _try_to_send(channel, "revision", revision=text, source=source)


def _try_to_send(channel: Channel, kind: str, fds: tuple[int, ...] = (), /, **fields: object) -> None:
    """A message that does not matter if the master is gone: the channel's end will tell."""
    try:
        channel.send(kind, fds, **fields)
    except OSError:
        pass
