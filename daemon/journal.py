"""The journal's native protocol: an entry with fields of its own is one datagram, so that
`journalctl -u miniwsgi MINIWSGI_SLOT=2` finds what one worker said.

Used where standard error is the journal's anyway and its socket is within reach; what does not come through
is counted as lost. Source: "Native Journal Protocol" (systemd's JOURNAL_NATIVE_PROTOCOL). Standard library
only.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from array import array
from collections.abc import Iterable, Mapping

from .log_writer import Writer

SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "miniwsgi"
PRIORITIES = {"debug": "7", "info": "6", "warning": "4", "error": "3"}  # syslog(3)
MAX_NAME = 64


class JournalWriter(Writer):
    """A queue in front of the journal's socket: each entry is a datagram. Raises OSError if it is not there."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        super().__init__(self._socket.fileno())
        self._whole_bytes = 0  # entries are not joined

    def _write(self, data: bytes) -> int:
        try:
            self._socket.send(data)
        except OSError as error:
            if error.errno != errno.EMSGSIZE or not self._send_large(data):
                self._error = error.strerror or str(error)
                return 0
        return len(data)

    def _send_large(self, data: bytes) -> bool:
        """What is too large for a datagram goes by a sealed memory file."""
        try:
            fd = os.memfd_create("miniwsgi-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError:
            return False
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(data)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
            self._socket.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [fd]))])
        except OSError:
            return False
        finally:
            os.close(fd)
        return True


def open_journal(path: str = SOCKET) -> Writer:
    """For a process whose standard error is the journal's: its native socket, or where that is out of reach the same
    stream with lines."""
    try:
        if stat.S_ISSOCK(os.fstat(2).st_mode):
            return JournalWriter(path)
    except OSError:
        pass
    return Writer(2)


def entry(level: str, message: str, source: str, slot: int | None, fields: Mapping[str, str]) -> bytes:
    """One datagram. Names of `fields` become MINIWSGI_NAME."""
    own = {
        "MESSAGE": message,
        "PRIORITY": PRIORITIES[level],
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "MINIWSGI_SOURCE": source,
    }
    if slot is not None:
        own["MINIWSGI_SLOT"] = str(slot)
    more = ((f"MINIWSGI_{_name(name)}", value) for name, value in fields.items())
    return b"".join(_encoded((*own.items(), *more)))


def _name(name: str) -> str:
    """A field's name: capital letters, digits and underscores, at most 64 in all."""
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in name.upper())[: MAX_NAME - 9]


def _encoded(fields: Iterable[tuple[str, str]]) -> Iterable[bytes]:
    for name, value in fields:
        data = value.encode("utf-8", "backslashreplace")
        if b"\n" in data:
            yield b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
        else:
            yield b"%s=%s\n" % (name.encode(), data)
