"""One directory of static files: what a name stands for, and a memory of what has been asked for.

A directory is opened once and stays the same one, whatever a symbolic link on the way to it says later. What is
remembered is looked at again (fstatat(2)) after a millisecond at most: the file, for its content; the directory that it
is in, for names, as a file may be replaced and a compressed sibling come and go. Nothing is remembered that has just
changed: another change within the same tick of the file system's clock would not show.
"""

from __future__ import annotations

import errno
import re
import stat
from collections.abc import Sequence
from fnmatch import translate
from typing import NamedTuple

from ..http.content_codings import IDENTITY, preferred
from ..http.response import http_date
from ..settings import StaticFiles
from ..unpatched import os, time
from .beneath import open_beneath
from .media_types import media_type
from .names import No, file_name

SMALL_BYTES = 64 * 1024  # a file up to this is kept in memory, and goes out with its head
KEPT_BYTES = 16 * 1024 * 1024  # of small files, in each worker
KEPT_NAMES = 4096
KEPT_CHARS = 512  # of one
FRESH_NS = 1_000_000  # for so long what has been looked at need not be looked at again: thousands may ask for it
SETTLED_NS = 2_000_000_000  # what is older than this would show another change by its time
CODINGS = (("br", b".br"), ("zstd", b".zst"), ("gzip", b".gz"))  # the one that saves most first
_OFFERED = tuple(coding for coding, _ending in CODINGS)
_NO: dict[int | None, No] = {
    errno.ENOENT: No.ABSENT, errno.ENOTDIR: No.ABSENT, errno.ENAMETOOLONG: No.ABSENT, errno.ENXIO: No.ABSENT,
    errno.ENODEV: No.ABSENT, errno.EINVAL: No.ABSENT, errno.EILSEQ: No.ABSENT,  # the last two: no name there can be so
    errno.ELOOP: No.REFUSED, errno.EXDEV: No.REFUSED,
    errno.EACCES: No.FORBIDDEN, errno.EPERM: No.FORBIDDEN,
    errno.EMFILE: No.EXHAUSTED, errno.ENFILE: No.EXHAUSTED, errno.ENOMEM: No.EXHAUSTED,
}  # fmt: skip

_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC

Mark = tuple[int, ...]  # by which a file, or a directory, is known again unchanged
Field = tuple[str, str]


class Representation:
    """One file as it was when it was opened (RFC 9110 section 3.2): its metadata, and, of a small one, its content."""

    __slots__ = (
        "coding", "content", "etag", "fresh_until_ns", "kept", "mark", "modified", "name", "own", "size", "validators",
    )  # fmt: skip

    def __init__(self, name: bytes, coding: str, status: os.stat_result, known: Sequence[Field], now_ns: int) -> None:
        """`known` are the fields that all files of this name have."""
        self.name = name
        self.coding = coding
        self.mark = _mark(status)
        self.size = status.st_size
        self.content: bytes | None = None  # while the directory remembers it
        self.fresh_until_ns = 0  # until then `content` may be answered again without a look
        self.kept: object = None  # what whoever answers with it keeps here, as long as it is the same
        # Whatever changes the content changes the time of the last change of status (inode(7)), which nobody can set.
        self.etag = f'"{status.st_ctime_ns:x}-{status.st_size:x}-{status.st_ino:x}"'
        # RFC 9110 section 8.8.2.1: not later than the answer itself
        self.modified = int(status.st_mtime) if status.st_mtime_ns <= now_ns else None
        self.validators: list[Field] = [("ETag", self.etag)]
        if self.modified is not None:
            self.validators.append(("Last-Modified", http_date(self.modified)))
        self.own: list[Field] = list(known) if coding == IDENTITY else [*known, ("Content-Encoding", coding)]

    def __repr__(self) -> str:
        return f"<Representation {self.name!r} {self.coding} {self.size} bytes>"


class Found(NamedTuple):
    """What to answer with: `content`, or a descriptor, which is the caller's."""

    representation: Representation
    content: bytes | None
    fd: int = -1


class Opened(NamedTuple):
    """A file without a memory of it."""

    fd: int
    status: os.stat_result


class _Known:
    """What a name stood for when its directory was last changed: representations by coding."""

    __slots__ = ("by_coding", "folder", "fresh_until_ns", "mark", "named_until_ns", "offered")

    def __init__(self, folder: bytes, mark: Mark, by_coding: dict[str, Representation]) -> None:
        self.folder = folder
        self.mark = mark
        self.named_until_ns = 0  # so long its directory is not looked at again …
        self.fresh_until_ns = 0  # … and so long not the files whose content is kept
        self.by_coding = by_coding
        self.offered = tuple(coding for coding in _OFFERED if coding in by_coding)


class Directory:
    """Of one entry. `find` belongs to the loop's owner; `open` may be called by any thread."""

    def __init__(self, settings: StaticFiles) -> None:
        """Raises OSError if the directory cannot be opened."""
        self.fd = -1
        self._is_own = settings.fd < 0  # else it is the launcher's, and as many workers'
        self.fd = open_directory(settings.directory) if self._is_own else settings.fd
        self._follow = settings.symlinks
        self._index = settings.index_name.encode()
        self._precompressed = settings.precompressed
        self._types = {ending.lstrip(".").lower(): kind for ending, kind in settings.types}
        self._cache = [(re.compile(translate(pattern)), value) for pattern, value in settings.cache]
        self._headers = settings.headers
        self._names: dict[str, _Known] = {}
        self._kept_bytes = 0

    def __repr__(self) -> str:
        return f"<Directory {self.fd} {len(self._names)} names, {self._kept_bytes} bytes>"

    def __del__(self) -> None:
        if self._is_own and self.fd >= 0:
            os.close(self.fd)

    def find(self, rest: str, accepted: str | None) -> Found | No:
        """What a decoded path behind the prefix stands for, for a client that accepts these content codings."""
        known, now_ns = self._names.get(rest), time.monotonic_ns()
        if known is None or now_ns > known.named_until_ns:
            if known is None or self._mark_of(known.folder) != known.mark:
                look = self._look(rest)
                if isinstance(look, No):
                    return look
                known = look
            known.named_until_ns = now_ns + FRESH_NS
        coding = preferred(accepted, known.offered) if known.offered and accepted else IDENTITY
        representation = known.by_coding[coding]
        if representation.content is None:
            return self._read(rest, known, representation)
        if now_ns > known.fresh_until_ns:
            if any(self._mark_of(one.name) != one.mark for one in known.by_coding.values()):
                self._forget(rest)
                return self._read(rest, known, representation)
            known.fresh_until_ns = now_ns + FRESH_NS
        representation.fresh_until_ns = known.fresh_until_ns
        return Found(representation, representation.content)

    def open(self, rest: str) -> Opened | No:
        """The file itself, whatever its size; its descriptor is the caller's."""
        name = file_name(rest)
        if isinstance(name, No):
            return name
        opened = self._open(name)
        if isinstance(opened, No):
            return opened
        if stat.S_ISREG(opened.status.st_mode):
            return opened
        os.close(opened.fd)
        return No.ABSENT

    def fields_of(self, name: str) -> list[Field]:
        """Content-Type and Cache-Control of a file of this name, and whatever else all have."""
        fields = [("Content-Type", media_type(name, self._types)), ("Accept-Ranges", "bytes")]
        cache = next((value for pattern, value in self._cache if pattern.match(name)), "")
        if cache:
            fields.append(("Cache-Control", cache))
        return [*fields, *self._headers]

    # --- inside ---

    def _look(self, rest: str) -> _Known | No:
        """See what there is of this name now, and remember it if it is settled."""
        self._forget(rest)
        name = file_name(rest)
        if isinstance(name, No):
            return name
        if not name or name.endswith(b"/"):
            if not self._index:
                return No.ABSENT
            name += self._index
        folder = name.rpartition(b"/")[0]
        mark, now_ns = self._mark_of(folder), time.time_ns()
        opened = self._open(name)
        if isinstance(opened, No):
            return opened
        os.close(opened.fd)
        if stat.S_ISDIR(opened.status.st_mode):
            return self._of_directory(name)
        if not stat.S_ISREG(opened.status.st_mode):
            return No.ABSENT
        fields = self.fields_of(name.decode("latin-1"))
        siblings = self._siblings(name)
        if siblings:
            fields.append(("Vary", "Accept-Encoding"))
        by_coding = {
            coding: Representation(own_name, coding, status, fields, now_ns)
            for own_name, coding, status in ((name, IDENTITY, opened.status), *siblings)
        }
        known = _Known(folder, mark, by_coding)
        if mark and now_ns - max(mark[-2:]) > SETTLED_NS and len(rest) <= KEPT_CHARS:
            if len(self._names) >= KEPT_NAMES:
                self._forget_all()
            self._names[rest] = known
        return known

    def _of_directory(self, name: bytes) -> No:
        """What a directory's name without a slash at its end is: a place to be sent on from, if it has an index."""
        if not self._index:
            return No.ABSENT
        opened = self._open(name + b"/" + self._index)
        if isinstance(opened, No):
            return No.ABSENT
        os.close(opened.fd)
        return No.DIRECTORY

    def _siblings(self, name: bytes) -> list[tuple[bytes, str, os.stat_result]]:
        """What lies beside a file, compressed: name, coding, status."""
        found = []
        if self._precompressed:
            for coding, ending in CODINGS:
                opened = self._open(name + ending)
                if not isinstance(opened, No):
                    os.close(opened.fd)
                    if stat.S_ISREG(opened.status.st_mode):
                        found.append((name + ending, coding, opened.status))
        return found

    def _read(self, rest: str, known: _Known, representation: Representation) -> Found | No:
        """Open the file of a representation, which is renewed if it has changed; a small one is read."""
        opened = self._open(representation.name)
        if isinstance(opened, No):
            return opened
        fd, status = opened
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            return No.ABSENT
        now_ns = time.time_ns()
        if _mark(status) != representation.mark:
            own = [field for field in representation.own if field[0] != "Content-Encoding"]
            representation = Representation(representation.name, representation.coding, status, own, now_ns)
            known.by_coding[representation.coding] = representation
        if representation.size > SMALL_BYTES:
            return Found(representation, None, fd)
        try:
            content = _read_all(fd, representation.size)
        except OSError:
            return No.BROKEN
        finally:
            os.close(fd)
        if len(content) != representation.size:  # it has just become shorter: its length would be a lie
            return No.BROKEN
        if now_ns - max(representation.mark[-2:]) > SETTLED_NS and self._names.get(rest) is known:
            representation.content = content
            self._kept_bytes += len(content)
            if self._kept_bytes > KEPT_BYTES:
                self._forget_all()
        return Found(representation, content)

    def _open(self, name: bytes) -> Opened | No:
        try:
            fd = open_beneath(self.fd, name or b".", self._follow)
        except OSError as error:
            return _NO.get(error.errno, No.BROKEN)
        try:
            return Opened(fd, os.fstat(fd))
        except OSError:  # of a file system that is another machine's, or a program's
            os.close(fd)
            return No.BROKEN

    def _mark_of(self, name: bytes) -> Mark:
        """Of what is there now; () if nothing is. It need not be beneath: what it is compared with was."""
        try:
            status = os.stat(name or b".", dir_fd=self.fd)
        except OSError:
            return ()
        return _mark(status)

    def _forget(self, rest: str) -> None:
        if known := self._names.pop(rest, None):
            for one in known.by_coding.values():
                self._kept_bytes -= len(one.content or b"")
                one.content = None  # whoever has kept the representation has no content by that

    def _forget_all(self) -> None:
        for rest in [*self._names]:
            self._forget(rest)


def open_directory(path: str) -> int:
    """A descriptor of it. Raises OSError, also if nothing in it could be opened."""
    fd: int = os.open(path, _PLACE)
    try:
        os.close(os.open(b".", _PLACE, dir_fd=fd))
    except OSError:
        os.close(fd)
        raise
    return fd


def _mark(status: os.stat_result) -> Mark:
    return status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read_all(fd: int, size: int) -> bytes:
    """So many bytes, or fewer if the file has become shorter. Raises OSError."""
    parts = []
    while size and (part := os.read(fd, size)):
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
