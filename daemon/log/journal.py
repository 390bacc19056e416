"""The journal's native protocol: an entry with fields of its own is one datagram, so that
`journalctl -u miniwsgi MINIWSGI_SLOT=2` finds what one worker said.

Used where standard error is the journal's anyway and its socket is within reach; what does not come through
is counted as lost. Source: "Native Journal Protocol" (systemd's JOURNAL_NATIVE_PROTOCOL). Standard library
only.
"""

from __future__ import annotations

import errno
import fcntl
import stat
from array import array
from collections.abc import Iterable, Mapping

from miniwsgi.codes import Code

from ..unpatched import os, socket
from .outlet import Outlet
from .ring import CELL, Ring
from .writer import Writer

SOCKET = "/run/systemd/journal/socket"
IDENTIFIER = "miniwsgi"
PRIORITIES = {"debug": "7", "info": "6", "warning": "4", "error": "3"}  # syslog(3)
MAX_NAME = 64
MESSAGE_IDS = "cbddcfb5f1cd4082af7023b4e492"  # what each begins with; the four digits of a code end it


class JournalWriter(Writer):
    """Entries to the journal's socket, a datagram each. `at_once` and `ring` as of a Writer. Raises OSError if the
    journal is not there."""

    def __init__(self, path: str, *, at_once: bool = False, ring: Ring | None = None) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        if ring is not None:
            ring.note_framed()
        super().__init__(self._socket.fileno(), at_once=at_once, ring=ring)

    def _make_outlet(self) -> Outlet:
        return _Datagrams(self._socket)

    def _write(self, data: bytes) -> int:
        try:
            return self._outlet.write(data)
        except BlockingIOError:
            return 0

    def _next(self, ring: Ring) -> bytes:
        size = ring.peek(CELL)
        return ring.peek(CELL + int.from_bytes(size, "little"))[CELL:]

    def _framed(self, entry: bytes) -> bytes:
        return len(entry).to_bytes(CELL, "little") + entry

    def _framed_bytes(self, count: int) -> int:
        return CELL + count

    def _entries(self, data: bytes) -> int:
        return 1


class _Datagrams(Outlet):
    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock.fileno())
        self._socket = sock

    def write(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
        self._send_large(data)
        return len(data)

    def _send_large(self, data: bytes | memoryview) -> None:
        """What is too large for a datagram goes by a sealed memory file."""
        fd = os.memfd_create("miniwsgi-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(data)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [fd]))]
            self._socket.sendmsg([b""], rights, socket.MSG_DONTWAIT)
        finally:
            os.close(fd)


def open_journal(path: str = SOCKET, *, at_once: bool = False, ring: Ring | None = None) -> Writer:
    """For a process whose standard error is the journal's: its native socket, or where that is out of reach the same
    stream with lines."""
    try:
        if stat.S_ISSOCK(os.fstat(2).st_mode):
            return JournalWriter(path, at_once=at_once, ring=ring)
    except OSError:
        pass
    return Writer(2, at_once=at_once, ring=ring)


def entry(
    priority: str, message: str, source: str, slot: int | None, fields: Mapping[str, str], code: Code | None = None
) -> bytes:
    """One datagram. `priority` is a number of syslog(3). Names of `fields` become MINIWSGI_NAME, as `code` does."""
    own = {
        "MESSAGE": message,
        "PRIORITY": priority,
        "SYSLOG_IDENTIFIER": IDENTIFIER,
        "MINIWSGI_SOURCE": source,
    }
    if slot is not None:
        own["MINIWSGI_SLOT"] = str(slot)
    if code is not None:
        own["MINIWSGI_CODE"] = str(code)
        own["MESSAGE_ID"] = f"{MESSAGE_IDS}{code.value:04d}"  # systemd.journal-fields(7): 128 bits, in lower case
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
