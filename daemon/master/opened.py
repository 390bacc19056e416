"""What the daemon opens before it gives up its privileges, and closes at its end: sockets and files.

What the last master has left in systemd's store is taken over first, so that nothing is opened twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from miniwsgi.metrics.scoreboard import H_WORKERS, Board

from ..config import Config, ReadConfig
from ..logs import ErrorLog
from . import actions as act
from . import events as ev
from .configurations import Configurations, Prepared, socket_options
from .control import SYSTEMD_NAME, ControlSocket, open_control
from .fd_store import FdStore
from .listeners import BoundListener, open_listeners
from .master import Master
from .metrics_port import open_metrics
from .pid_file import PidFile
from .systemd import Notifier, listen_fds


class Opened:
    """Everything, as far as `open` has come."""

    configurations: Configurations
    control: ControlSocket
    store: FdStore
    board: Board | None = None  # the last master's

    def __init__(self) -> None:
        self.metrics: list[BoundListener] = []
        self.metrics_error = ""
        self._closers: list[tuple[str, Callable[[], None]]] = []

    def open(self, config: Config, reload_config: ReadConfig, log: ErrorLog, environ: Mapping[str, str]) -> None:
        """Raises BindError, StartError; what was opened before is closed by `close`."""
        if config.server.pid_file:
            pid_file = PidFile(config.server.pid_file)
            pid_file.write()
            self._closers.append((pid_file.path, pid_file.remove))
        passed = listen_fds(environ)
        options = socket_options(config)
        self.store = FdStore(Notifier(environ), passed, environ)
        self.board = self.store.board(log)
        kept = self.store.listeners(config.server.bind, options, log)
        listeners = open_listeners(config.server.bind, options, passed=passed, kept=kept)
        self.configurations = Configurations(Prepared.of(config, listeners), reload_config, passed)
        _warn_of_unused(log, config, passed)
        self.control = open_control(config, passed, log)
        self._closers.append((self.control.name, self.control.close))
        self.metrics, self.metrics_error = open_metrics(config, passed, log)
        self._closers += [(listener.name, listener.close) for listener in self.metrics]

    def go_on_with(self, master: Master) -> None:
        """Have `master` go on where the last one stopped, and keep for the next one what it needs."""
        board, changes = master.fleet.board, master.supervisor.changes
        if self.board is not None:
            changes.override = board.header[H_WORKERS] or None

        def keep(_config: Config) -> None:
            self.store.keep(self.configurations.in_force.listeners, board)

        def note(_event: ev.Event, _actions: list[act.Action]) -> None:
            board.header[H_WORKERS] = changes.override or 0

        keep(self.configurations.in_force.config)
        master.on_commit.append(keep)
        master.on_handled.append(note)

    def close(self) -> list[str]:
        """Close everything. What could not be removed, one line each."""
        problems = self.configurations.close() if hasattr(self, "configurations") else []
        for name, close in self._closers:
            try:
                close()
            except OSError as error:
                problems.append(f"{name} cannot be removed: {error.strerror}; the next start replaces it")
        return problems


def _warn_of_unused(log: ErrorLog, config: Config, passed: Mapping[str, list[int]]) -> None:
    binds = (*config.server.bind, config.metrics.bind)
    unused = [name for name in passed if f"systemd:{name}" not in binds and name != SYSTEMD_NAME]
    if unused:
        names = ", ".join(f"systemd:{name}" for name in unused)
        log.warning(f"systemd passed sockets that nothing listens on; name them in server.bind: {names}")
