"""What the daemon opens before it gives up its privileges, and closes at its end: sockets and files.

What the last master has left in systemd's store is taken over first, so that nothing is opened twice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from miniwsgi.codes import Code
from miniwsgi.metrics.board import H_WORKERS, Board

from ..config import Config, ReadConfig
from ..log.error_log import ErrorLog
from ..tls.verification import UnusableError
from .certificates.files import CertificateFiles, Loaded
from .certificates.installed import Certificates
from .control.control_socket import SYSTEMD_NAME, ControlSocket, open_control
from .running.configurations import Configurations, PreparedConfig, addresses, cannot_be_removed, socket_options
from .running.master import Master
from .sockets.fd_store import FdStore
from .sockets.listeners import BoundListener, open_listeners
from .supervising import actions as act
from .supervising import events as ev
from .system.keeper import Keeper, KeptFile, LogFiles, start
from .system.pid_file import PidFile
from .system.process import StartError
from .system.systemd import Notifier, listen_fds
from .telemetry.metrics_port import PortContext, open_context, open_metrics


class Opened:
    """Everything, as far as `open` has come."""

    configurations: Configurations
    control: ControlSocket
    files: CertificateFiles
    store: FdStore
    board: Board | None = None  # the last master's

    def __init__(self) -> None:
        self.metrics: list[BoundListener] = []
        self.metrics_error = ""
        self.metrics_context: PortContext | None = None
        self._closers: list[tuple[str, Callable[[], None]]] = []
        self._pid_file: PidFile | None = None
        self.keeper: Keeper | None = None

    def open(self, config: Config, reload_config: ReadConfig, log: ErrorLog, environ: Mapping[str, str]) -> None:
        """Raises BindError, StartError; what was opened before is closed by `close`."""
        if config.server.pid_file:
            pid_file = self._pid_file = PidFile(config.server.pid_file)
            pid_file.write()
            self._closers.append((pid_file.path, pid_file.remove))
        passed = listen_fds(environ)
        options = socket_options(config)
        self.files = CertificateFiles(environ)
        certificates = _certificates(config, self.files, log)
        self.metrics_context = _metrics_context(config, self.files, log)
        self.store = FdStore(Notifier(environ), passed, environ)
        self.board = self.store.board(log)
        kept = self.store.listeners(addresses(config), options, log)
        listeners = open_listeners(addresses(config), options, passed=passed, kept=kept)
        self.configurations = Configurations(
            PreparedConfig.of(config, listeners, environ, certificates), reload_config, passed, environ, self.files
        )
        _warn_of_unused(log, config, passed)
        self.control = open_control(config, passed, log)
        self._closers.append((self.control.name, self.control.close))
        self.metrics, self.metrics_error = open_metrics(config, passed, log)
        self._closers += [(listener.name, listener.close) for listener in self.metrics]

    def keep_rights(self, logs: LogFiles) -> None:
        """Before root becomes another: what that one may not do any more is kept possible. Raises StartError."""
        files = [self._pid_file.kept()] if self._pid_file is not None else []
        stored = bool(self.store.notifier.address)
        sockets = [(listener.name, listener.file, stored) for listener in self.configurations.in_force.listeners]
        sockets += [(listener.name, listener.file, False) for listener in self.metrics]
        for name, file, for_the_next in (*sockets, (self.control.name, self.control.file, False)):
            if file is not None:
                files.append(KeptFile(name, file.path, file.device, file.inode, for_the_next))
        if directory := self.control.directory:
            found = os.lstat(directory)
            files.append(KeptFile(directory, directory, found.st_dev, found.st_ino))
        config = self.configurations.in_force.config
        names = [name for endpoint in (*config.server.bind, config.metrics.bind) for name in endpoint.files]
        try:
            self.keeper = start(logs, files, {path for path in map(self.files.path, names) if path})
            self.files.opener = self.keeper
        except OSError as error:
            told = f"server.user: the process that stays root cannot be had: {error.strerror}"
            raise StartError(Code.PRIVILEGE_KEEPER, told) from None

    def go_on_with(self, master: Master) -> None:
        """Have `master` go on where the last one stopped, and keep for the next one what it needs."""
        board, sizing = master.fleet.board, master.supervisor.sizing
        if self.board is not None:
            sizing.override = board.header[H_WORKERS] or None

        def keep(_config: Config) -> None:
            self.store.keep(self.configurations.in_force.listeners, board)

        def note(_event: ev.Input, _actions: list[act.Action]) -> None:
            board.header[H_WORKERS] = sizing.override or 0

        keep(self.configurations.in_force.config)
        master.on_commit.append(keep)
        master.on_handled.append(note)

    def close(self) -> list[str]:
        """Close everything. What could not be removed, one line each."""
        left = self.configurations.close() if hasattr(self, "configurations") else {}
        for name, close in self._closers:
            try:
                close()
            except OSError as error:
                left[name] = error.strerror or str(error)
        if self.keeper is not None:
            also = [self.control.directory] if self.control.directory else []
            failed = self.keeper.end([*left, *also])
            left = {name: why for name, why in left.items() if name in failed}
        return cannot_be_removed(left)


def _certificates(config: Config, files: CertificateFiles, log: ErrorLog) -> Certificates:
    """Those of a start, which serves what clients may refuse rather than nothing. Raises StartError."""
    try:
        certificates = Certificates.load(config.server.bind, files)
    except UnusableError as error:
        raise StartError(Code.CERTIFICATE_UNUSABLE, f"server.bind: {error}") from None
    except OSError as error:
        told = f"server.bind: memory for certificates cannot be had: {error.strerror}"
        raise StartError(Code.CERTIFICATE_UNUSABLE, told) from None
    for one in certificates:
        _tell_of_doubts(one.loaded, log)
    return certificates


def _metrics_context(config: Config, files: CertificateFiles, log: ErrorLog) -> PortContext | None:
    """Likewise. Raises StartError."""
    try:
        context = open_context(config, files)
    except (UnusableError, OSError) as error:
        raise StartError(Code.CERTIFICATE_UNUSABLE, f"metrics.bind: {error}") from None
    if context is not None:
        _tell_of_doubts(context.installed.loaded, log)
    return context


def _tell_of_doubts(loaded: Loaded, log: ErrorLog) -> None:
    for line in loaded.verified.untimely(time.time()):
        log.error(Code.CERTIFICATE_REFUSED, f"{line}; clients refuse it")
    for line in loaded.verified.warnings:
        log.warning(Code.CERTIFICATE_DOUBTFUL, line)


def _warn_of_unused(log: ErrorLog, config: Config, passed: Mapping[str, list[int]]) -> None:
    binds = (*addresses(config), config.metrics.bind.address)
    unused = [name for name in passed if f"systemd:{name}" not in binds and name != SYSTEMD_NAME]
    if unused:
        names = ", ".join(f"systemd:{name}" for name in unused)
        log.warning(
            Code.SOCKET_UNUSED, f"systemd passed sockets that nothing listens on; name them in server.bind: {names}"
        )
