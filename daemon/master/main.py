"""The master process, from a valid configuration to its exit status: open, become, supervise, clean up.

Everything that can be refused (addresses, pid file, user) is refused before anything is started, with one
line that names the remedy. Nothing that was started is left behind, whatever happens.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import sys
import traceback
from collections.abc import Awaitable
from functools import partial

from miniwsgi.codes import Code
from miniwsgi.manager import changes as ch
from miniwsgi.manager.daemon_threads import DaemonThreads

from .. import __version__
from ..config import Config, ReadConfig, daemons_environment
from ..log.error_log import ErrorLog, detect_journal
from ..log.writer import Writer
from ..permission import why_not_written
from .control.control_server import ControlServer
from .control.history_view import history_of
from .control.port_sources import port_sources
from .opened import Opened
from .running.certificate_watch import CertificateWatch
from .running.leader_lock import SUFFIX
from .running.master import Master
from .running.reaper import become_subreaper, end_children
from .running.reload_on_change import ReloadOnChange
from .sockets.listeners import BindError
from .system.keeper import LogFiles
from .system.process import (
    StartError,
    drop_privileges,
    identity,
    open_standard_descriptors,
    raise_descriptor_limit,
    set_title,
)
from .system.systemd import Notifier
from .telemetry.exporter import Exporter
from .telemetry.history_keeper import HistoryKeeper
from .telemetry.measuring import Measuring
from .telemetry.merging import AppMetrics
from .telemetry.metrics_port import MetricsPort
from .telemetry.neighbours import Neighbours

EXIT_RUNTIME = 1
SWITCH_SECONDS = 0.0005  # the longest that a thread which reads a configuration holds the loop
FLUSH_SECONDS = 1.0
HELPERS_SECONDS = 3.0  # for each of those that the loop serves beside the supervisor, at the end
LEFTOVER_SECONDS = 1.0  # for what the application started and left running, before it is killed

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
SIGNALS = (*STOP_SIGNALS, signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD)


def run(config: Config, reload_config: ReadConfig) -> int:
    """Serve until stopped; the exit status. `reload_config` reads the configuration anew, raising ConfigError."""
    sys.setswitchinterval(SWITCH_SECONDS)
    open_standard_descriptors()
    # A signal that comes before there is a handler for it waits for that.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        logs = _logs_of_another(config) if _gives_up_root(config) else None
        if logs is not None:
            logs.make()
        is_new = not os.path.lexists(config.log.file)
        log = _open_log(config)
        if logs is not None and is_new and log.writer.path:
            logs.give(log.writer.fd)
    except OSError as error:
        log = ErrorLog()
        why = why_not_written(config.log.file, error)
        log.error(Code.LOG_UNUSABLE, f"log.file {config.log.file} cannot be opened: {why}")
        log.flush(FLUSH_SECONDS)
        return EXIT_RUNTIME
    environ = daemons_environment()
    opened = Opened()
    status = EXIT_RUNTIME
    try:
        if config.server.umask is not None:
            os.umask(config.server.umask)
        opened.open(config, reload_config, log, environ)
        raise_descriptor_limit()
        if logs is not None:
            opened.keep_rights(logs)
            logs.close()
        drop_privileges(config.server.user, config.server.group)
        become_subreaper()
        set_title(config.app.target)
        python = f"{platform.python_implementation()} {platform.python_version()}"
        log.info(f"miniwsgi {__version__} ({python}, pid {os.getpid()}) boots {config.app.target}")
        for note in config.notes:
            log.warning(note.code, note.text)
        status = asyncio.run(_supervise(opened, log, environ))
    except (BindError, StartError) as error:
        log.error(error.code, str(error))
        kernels_word = error.__context__
        Notifier(environ).failed(str(error), (kernels_word.errno or 0) if isinstance(kernels_word, OSError) else 0)
    except Exception as error:
        Notifier(environ).failed(f"the master failed: {error!r}")
        log.error(Code.INTERNAL, f"the master failed: {error!r}\n{traceback.format_exc()}")
    finally:
        _clean_up(opened, log)
    log.info(f"stopped with status {status}")
    log.flush(FLUSH_SECONDS)
    return status


def _open_log(config: Config) -> ErrorLog:
    """Raises OSError."""
    journal = config.log.file == "-" and detect_journal()
    # Its directory may be that of the user whom root becomes.
    writer = None if config.log.file == "-" else Writer(config.log.file, wary=_gives_up_root(config))
    return ErrorLog(config.log.level, config.log.format, journal, "master", writer=writer)


def _gives_up_root(config: Config) -> bool:
    return os.geteuid() == 0 and bool(config.server.user or config.server.group)


def _logs_of_another(config: Config) -> LogFiles:
    """Where the user whom root becomes may make no files, they are made by root, as that user's."""
    paths = [file for file in (config.log.file, config.log.access_log) if file.startswith("/")]
    try:
        uid, gid, entry = identity(config.server.user, config.server.group)
    except StartError:  # said when it is to become that user
        return LogFiles([], -1, -1, ())
    groups = {gid, *(os.getgrouplist(entry.pw_name, entry.pw_gid) if entry is not None else ())}
    return LogFiles(paths, uid, gid, groups)


async def _supervise(opened: Opened, log: ErrorLog, environ: dict[str, str]) -> int:
    first = opened.configurations.in_force
    master = Master(opened.configurations, log, opened.store.notifier, opened.board)
    master.logs.keeper = opened.keeper
    control = ControlServer(master, opened.control, log)
    fleet = master.fleet
    app_metrics = AppMetrics(log, environ, lambda: opened.configurations.in_force, fleet.reaper.known, fleet.reap)
    fleet.metrics_directory = app_metrics.directory_for
    app_metrics.directory_for(first.config, first.environment)  # made before anybody waits for the loop
    certificates = CertificateWatch(master)
    certificates.on_outcome.append(control.managed.recorder.certificates)
    measuring = Measuring(
        master,
        DaemonThreads(),
        app_metrics,
        slow_requests=lambda: control.slow.count,
        control_calls=lambda: control.api.calls,
        certificates=certificates,
        sampled=bool(opened.metrics),
    )
    exporter = Exporter(master, measuring, app_metrics)
    control.managed.metrics = exporter.families
    overview = control.managed.overview
    overview.utilization = lambda: measuring.utilization
    overview.metrics_error = opened.metrics_error
    tls = opened.metrics_context
    overview.certificates = lambda: certificates.served
    if tls is not None:
        certificates.also.append(tls.installed)
    history, neighbours = HistoryKeeper(master, measuring), Neighbours(DaemonThreads())
    control.managed.event_log.on_event.append(history.note)
    control.managed.history = partial(history_of, history)
    sources = port_sources(master, control.managed, measuring, exporter, history, neighbours)
    port = MetricsPort(master, opened.metrics, tls, log, sources)
    master.announcer.detail = overview.in_brief
    if opened.control.file is not None:
        fleet.leader_lock.path = opened.control.file.path + SUFFIX
    control.restore()
    opened.go_on_with(master)
    _handle_signals(master)
    files = ReloadOnChange(master)
    for watch in (files.watch, certificates.watch):
        watch(first.config)
        master.on_commit.append(watch)
    # It begins when the master waits for the first time.
    measuring.start()
    starting = asyncio.gather(control.start(), port.start())
    try:
        return await master.run()
    finally:
        measuring.stop()
        neighbours.stop()
        await _within(HELPERS_SECONDS, log, "what it serves beside requests", starting)
        await _within(HELPERS_SECONDS, log, "the control API", control.stop())
        await _within(HELPERS_SECONDS, log, "the metrics port", port.stop())
        for end in (app_metrics.close, files.stop, certificates.stop, fleet.leader_lock.close):
            try:
                end()
            except Exception:
                log.error(Code.INTERNAL, f"the end of the daemon: {traceback.format_exc()}")
        # The loop closes its wake-up socket before it lets go of signals: one that comes between has nothing to tell.
        signal.set_wakeup_fd(-1)


async def _within(seconds: float, log: ErrorLog, name: str, work: Awaitable[object]) -> None:
    """A part of the end, which waits for no helper without a limit, and goes on whatever becomes of it."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        told = f"the end of the daemon: {name} has not ended within {seconds:g} s: it is left"
        log.error(Code.END_LATE, told)
    except Exception:
        log.error(Code.INTERNAL, f"the end of the daemon: {name}\n{traceback.format_exc()}")


def _handle_signals(master: Master) -> None:
    loop = asyncio.get_running_loop()
    changes: dict[signal.Signals, ch.Change] = {
        signal.SIGTERM: ch.Stop(who="SIGTERM"),
        signal.SIGINT: ch.Stop(who="SIGINT"),
        signal.SIGQUIT: ch.Stop(who="SIGQUIT", now=True),
        signal.SIGHUP: ch.Reload(who="SIGHUP"),
        signal.SIGTTIN: ch.Scale(who="SIGTTIN", by=1),
        signal.SIGTTOU: ch.Scale(who="SIGTTOU", by=-1),
    }
    for number, change in changes.items():
        loop.add_signal_handler(number, master.feed, change)
    loop.add_signal_handler(signal.SIGUSR1, master.reopen_logs)
    loop.add_signal_handler(signal.SIGCHLD, master.fleet.reap)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _clean_up(opened: Opened, log: ErrorLog) -> None:
    """Whatever happened: no process, socket file or pid file of ours is left."""
    killed = end_children(LEFTOVER_SECONDS, opened.keeper.pid if opened.keeper is not None else 0)
    if killed:
        told = f"killed processes that were still running: {', '.join(map(str, killed))}"
        log.warning(Code.LEFTOVERS_KILLED, told)
    for problem in opened.close():
        log.warning(Code.FILE_LEFT, problem)
