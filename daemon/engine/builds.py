"""Builds of the compiled engine: where they lie, which of them fits this interpreter, and how it is loaded.

A build was made from the sources in `compiled/` for one ABI of CPython, which the name of its file says. The one beside
the sources came with miniwsgi. Others are for interpreters that miniwsgi is not installed for: a distribution's package
brings them, or `miniwsgi engine build` makes them, below the key of their sources. Whatever does not fit is not loaded.
Standard library only: it runs in launchers, and in setup.py.
"""

from __future__ import annotations

import binascii
import stat
import struct
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import module_from_spec
from types import ModuleType
from typing import NamedTuple

from .. import __version__
from ..unpatched import os

FOLDER = f"{os.path.dirname(os.path.abspath(__file__))}/compiled"
SOURCES = (".pyx", ".pxi", ".h")
C_SOURCE = f"{FOLDER}/_engine.c"  # what Cython makes of them
MODULE = "miniwsgi.daemon.engine.compiled._engine"  # whatever setup.py imports this as
FILE = f"_engine{EXTENSION_SUFFIXES[0]}"  # for this interpreter: "_engine.cpython-311-x86_64-linux-gnu.so"

ELF_HEADER = struct.Struct("@16s2HI3PI6H")  # elf(5), for this processor
ELF_HERE = b"\x7fELF" + bytes((struct.calcsize("P") // 4, 1 if sys.byteorder == "little" else 2))
ELF_SEGMENT_BYTES = struct.calcsize("@2I6P" if struct.calcsize("P") == 8 else "@8I")
CUT_OFF = "its end is missing"

READ_BYTES = 64 * 1024  # at a time: what is larger teaches malloc(3) to keep more for itself (M_MMAP_THRESHOLD)

PACKAGED = "/usr/lib/miniwsgi/engines"
BUILT = "/usr/local/lib/miniwsgi/engines"  # what root has built; services see it, and no service may write it


class NoBuild(ImportError):
    """Why the compiled engine does not run in this process, in words; `remedy` would help, or is ""."""

    def __init__(self, why: str, remedy: str = "") -> None:
        super().__init__(why)
        self.remedy = remedy


class Found(NamedTuple):
    """A build that was looked at, for this interpreter or another."""

    path: str
    unfit: str  # why it must not be loaded; "" if it may


def key() -> str:
    """What a build must have been made from: this release, these sources. A name for a directory."""
    checksum = 0
    for name in sorted(name for name in os.listdir(FOLDER) if name.endswith(SOURCES)):
        with open(f"{FOLDER}/{name}", "rb") as file:
            checksum = binascii.crc32(f"{name}\n".encode() + file.read(), checksum)
    return f"{__version__}-{checksum:08x}"


def own() -> str:
    """The directory for what this user has built."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return f"{cache}/miniwsgi/engines"


def directories() -> tuple[str, ...]:
    """Where builds are looked for that did not come with miniwsgi."""
    return PACKAGED, BUILT, own()


def places(file: str = FILE) -> list[str]:
    """Where a build of these sources may be, the one beside them first."""
    below = key()
    return [f"{FOLDER}/{file}", *(f"{directory}/{below}/{file}" for directory in directories())]


def look(file: str = FILE) -> Iterator[Found]:
    """The builds with that name, made from these sources or others."""
    beside, *others = places(file)
    if os.path.exists(beside):  # whoever may write there may write what calls it
        yield Found(beside, why_unfit(beside))
    for path in others:
        if os.path.exists(path):
            yield Found(path, why_not_trusted(path) or why_unfit(path))
    for directory in filter(os.path.isdir, directories()):
        for name in sorted(os.listdir(directory)):
            path = f"{directory}/{name}/{file}"
            if path not in others and os.path.exists(path):
                yield Found(path, f"{path} was made from other sources")


def load() -> ModuleType:
    """The module of the build that fits. Raises NoBuild."""
    if MODULE in sys.modules:
        return sys.modules[MODULE]
    if why := why_plain():
        raise NoBuild(why)
    unfits, broken = [], []
    for path, unfit in look():
        if unfit:
            unfits.append(unfit)
            continue
        try:
            return execute(path)
        except NoBuild as error:  # another one may load
            broken.append(str(error))
    remedy = f"make one: miniwsgi engine build --python {sys.executable}"
    raise NoBuild("; ".join(broken[:1] or [f"no build for {interpreter()}", *unfits[:1]]), remedy)


def interpreter() -> str:
    """As one says: "CPython 3.14"."""
    name = {"cpython": "CPython", "pypy": "PyPy"}.get(sys.implementation.name, sys.implementation.name)
    return f"{name} {sys.version_info.major}.{sys.version_info.minor}{sys.abiflags}"


def why_plain() -> str:
    """Why this interpreter runs no compiled engine, whatever is built; "" if it would."""
    if sys.implementation.name != "cpython":
        return f"{interpreter()} is not CPython"
    if "t" in sys.abiflags:  # its cells have one writer because of the lock
        return f"{interpreter()} is made to run without the global interpreter lock"
    return ""


def mark(of: str) -> bytes:
    """What a build of that key carries, so that it need not be loaded to be known."""
    return f"miniwsgi engine {of};".encode()


def why_unfit(path: str) -> str:
    """Why what lies there is no build of these sources, or is not whole; "" if it is. It is not loaded for that."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for
            return f"{path} is no regular file"
        if not _has_mark(path):
            return f"{path} was made from other sources"
        return "" if is_whole(path) else f"{path} does not load: {CUT_OFF}"
    except OSError as error:
        return f"{path}: {error.strerror}"


def _has_mark(path: str) -> bool:
    """Whether it was made from these sources."""
    wanted, end = mark(key()), b""
    with open(path, "rb") as file:
        while read := file.read(READ_BYTES):
            if wanted in end + read:
                return True
            end = read[-len(wanted) :]
    return False


def why_not_trusted(path: str) -> str:
    """Why somebody else than root and this user could have put a file there; "" if nobody could.

    Of a directory that everybody may write to, the sticky bit is enough: what is in it has an owner, too.
    """
    part = os.path.realpath(path)
    while True:
        try:
            status = os.stat(part)
        except OSError as error:
            return f"{part}: {error.strerror}"
        mode = status.st_mode
        if status.st_uid not in {0, os.geteuid()}:
            return f"{part} belongs to neither root nor this user"
        others = mode & stat.S_IWOTH or (mode & stat.S_IWGRP and status.st_gid not in {0, os.getegid()})
        if others and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
            return f"{part} can be written by others than its owner"
        if part == "/":
            return ""
        part = os.path.dirname(part)


def is_whole(path: str) -> bool:
    """Whether a shared object has all that will be mapped of it (elf(5)): to touch the rest would be a SIGBUS."""
    with open(path, "rb") as file:
        header = file.read(ELF_HEADER.size)
        if len(header) < ELF_HEADER.size or not header.startswith(ELF_HERE):
            return True  # the loader says what it is
        _, _, _, _, _, table, _, _, _, size, count, *_ = ELF_HEADER.unpack(header)
        if size < ELF_SEGMENT_BYTES:
            return True
        file.seek(table)
        segments = file.read(size * count)
        end = file.seek(0, os.SEEK_END)
    if len(segments) < size * count:
        return False
    word = struct.calcsize("P")
    ends = (
        sum(struct.unpack_from("P", segments, at + offset)[0] for offset in (word, 4 * word))  # p_offset, p_filesz
        for at in range(0, size * count, size)
    )
    return max(ends, default=0) <= end


def execute(path: str) -> ModuleType:
    """Load the module from there. Raises NoBuild, also for what a subinterpreter is refused (PEP 489)."""
    loader = ExtensionFileLoader(MODULE, path)
    spec = ModuleSpec(MODULE, loader, origin=path)
    spec.has_location = True
    try:
        if not is_whole(path):
            raise ImportError(CUT_OFF)
        module = sys.modules[MODULE] = module_from_spec(spec)
        loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(MODULE, None)
        raise NoBuild(f"{path} does not load: {error}") from error
    return module
