"""systemd's file-descriptor store: what the next master needs to go on where this one stopped, or was killed.

Stored are the listeners that the daemon has opened itself, whose queues then outlast it, and the scoreboard, with all
counters and the number of workers that was asked for. They come back among the passed sockets, under names of ours
(sd_pid_notify_with_fds(3), FileDescriptorStoreMax= in systemd.service(5)). What does not fit what is configured now is
closed and taken out of the store. Without systemd nothing here does anything.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping, Sequence

from miniwsgi.codes import Code
from miniwsgi.metrics.accept_queues import socket_file_inode
from miniwsgi.metrics.board import Board, LayoutError

from ...log.error_log import ErrorLog
from ..system.systemd import Notifier
from .listeners import BoundListener, Origin, SocketOptions, prepare_socket
from .unix_sockets import SocketFile

PREFIX = "miniwsgi."
BOARD = f"{PREFIX}scoreboard"
LISTENER = f"{PREFIX}listener."


class FdStore:
    """`passed` are systemd's descriptors by name: those of the store are taken out of it."""

    def __init__(self, notifier: Notifier, passed: dict[str, list[int]], environ: Mapping[str, str]) -> None:
        self.notifier = notifier
        self._found = {name: passed.pop(name) for name in list(passed) if name.startswith(PREFIX)}
        self._stored: set[str] = set(self._found)
        directories = environ.get("RUNTIME_DIRECTORY", "")  # systemd.exec(5): ":" joins several
        self._directories = [path for path in directories.split(":") if path.startswith("/")]

    def __repr__(self) -> str:
        return f"<FdStore {sorted(self._stored)}>"

    # --- what the last master has left ---

    def board(self, log: ErrorLog) -> Board | None:
        """The last master's scoreboard, or None; one of another layout is discarded."""
        for fd in self._found.pop(BOARD, ()):
            try:
                board = Board.attach(os.dup(fd))
            except (OSError, ValueError, LayoutError) as error:
                log.info(f"the counters of the last start are not taken over: {error}")
                self._drop(BOARD)
            else:
                board.take_over()
                return board
            finally:
                os.close(fd)
        return None

    def listeners(self, binds: Sequence[str], options: SocketOptions, log: ErrorLog) -> list[BoundListener]:
        """The stored listeners of these binds, listening as `options` say. All others are discarded."""
        found: list[BoundListener] = []
        for bind in binds:
            found += self._listeners_of(bind, options, log)
        for name, fds in self._found.items():
            for fd in fds:
                os.close(fd)
            self._drop(name)
        self._found.clear()
        if found:
            log.info(f"taken over from the last start: {', '.join(listener.url() for listener in found)}")
        return found

    def _listeners_of(self, bind: str, options: SocketOptions, log: ErrorLog) -> list[BoundListener]:
        names = sorted(name for name in self._found if name.startswith(_name(bind)))
        if not names or len(names) != int(names[0].rpartition("-")[2]):
            return []  # perhaps some are missing: a bind's sockets belong together
        listeners = []
        for name in names:
            fds = self._found[name]
            listener = _adopt(bind, fds[0]) if len(fds) == 1 else None
            if listener is None:
                break
            try:
                listener.adjust(options)
            except (OSError, LookupError) as error:
                log.warning(Code.LISTENER_KEPT, f"{bind} keeps its backlog, mode and owner: {error}")
            listeners.append(listener)
        if len(listeners) != len(names):
            for listener in listeners:
                listener.socket.close()
            return []
        for name in names:
            os.close(self._found.pop(name)[0])
        return listeners

    # --- for the next one ---

    def keep(self, listeners: Sequence[BoundListener], board: Board) -> None:
        """Have these kept, and nothing else. Called at the start and after each reload."""
        if not self.notifier.address:
            return
        wanted = {BOARD: board.fd}
        own = [listener for listener in listeners if listener.origin is Origin.OURS]
        for listener in own:
            siblings = [other for other in own if other.name == listener.name]
            wanted[f"{_name(listener.name)}{siblings.index(listener)}-{len(siblings)}"] = listener.fd
            listener.outlives = listener.file is None or self._is_removed_for_us(listener.file.path)
        for name in self._stored - wanted.keys():
            self._drop(name)
        for name in wanted.keys() - self._stored:
            self.notifier.store(name, wanted[name])
            self._stored.add(name)

    def _is_removed_for_us(self, path: str) -> bool:
        """Whether systemd removes the path with a runtime directory, once the service has stopped for good."""
        return any(path.startswith(f"{directory}/") for directory in self._directories)

    def _drop(self, name: str) -> None:
        self._stored.discard(name)
        self.notifier.forget(name)


def _name(bind: str) -> str:
    """The start of the names of a bind's descriptors; FDNAME= takes neither every character nor any length."""
    return f"{LISTENER}{hashlib.sha256(bind.encode()).hexdigest()[:16]}."


def _adopt(bind: str, fd: int) -> BoundListener | None:
    """The listener, if it is what the bind asks for."""
    try:
        sock = socket.socket(fileno=os.dup(fd))
        if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError
        file = _check_address(bind, sock)
    except (OSError, ValueError):
        return None
    prepare_socket(sock)
    return BoundListener(bind, sock, Origin.OURS, file)


def _check_address(bind: str, sock: socket.socket) -> SocketFile | None:
    """Raises OSError, ValueError if the socket is not at the bind's address, or can no longer be reached there."""
    scheme, _, rest = bind.partition(":")
    if scheme != "unix":
        port = int(bind.rpartition(":")[2])
        if sock.family == socket.AF_UNIX or port not in {0, sock.getsockname()[1]}:
            raise ValueError(bind)
        return None
    if sock.family != socket.AF_UNIX:
        raise ValueError(bind)
    if rest.startswith("@"):
        if sock.getsockname() != b"\0" + rest[1:].encode():
            raise ValueError(bind)
        return None
    found = os.lstat(rest)
    if found.st_ino != socket_file_inode(sock):
        raise ValueError(bind)
    return SocketFile(rest, found.st_dev, found.st_ino)
