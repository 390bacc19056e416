"""Certificates and keys in memory that the master writes and workers read: one memfd for each listener.

The master makes it before launchers are executed and overwrites it in place when certificates are renewed, so that its
descriptor, inherited once, always gives the latest. A reader takes a whole document or none: its head has the length
and a checksum. Nobody but the master can write: the memory is sealed to all but its own mapping (fcntl(2),
F_SEAL_FUTURE_WRITE, Linux 5.1). Standard library only, and no `ssl`: who serves no TLS need not import that.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import NamedTuple

from ..unpatched import os, time

CAPACITY_BYTES = 4 << 20  # its pages are had only where something was written
F_SEAL_FUTURE_WRITE = 0x0010  # not in Python's fcntl
READ_TRIES = 200
READ_PAUSE_SECONDS = 0.005  # after a document that was just being written

_HEAD = struct.Struct("=QQI")  # sequence, length of the document, checksum of these and the document
_NUMBERS = struct.Struct("=QQ")


class ClientCertificates(Enum):
    """Whether clients are asked for certificates."""

    NONE = "none"
    OPTIONAL = "optional"  # one that is sent must be good
    REQUIRED = "required"


class MaterialError(Exception):
    """Certificates that cannot be passed on, or taken."""


class Pair(NamedTuple):
    """A certificate with its key."""

    chain: str  # PEM: the certificate, then those that lead from it to an authority
    key: str  # PEM, not encrypted
    names: tuple[str, ...]  # whom it is for, lower case, IDNA: "shop.example", "*.shop.example", "192.0.2.1"


class Material(NamedTuple):
    """All that a listener needs."""

    pairs: tuple[Pair, ...]  # the first is for clients that name no other
    client_ca: str = ""  # PEM: the authorities of clients' certificates


class MaterialMemory:
    """The master's end. `fd` is for launchers and workers."""

    def __init__(self, material: Material) -> None:
        """Raises OSError, MaterialError."""
        document = _encode(material)
        self.fd = os.memfd_create("miniwsgi-certificates", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, CAPACITY_BYTES)
            self._memory = mmap.mmap(self.fd, CAPACITY_BYTES)
            _seal(self.fd)
        except OSError:
            os.close(self.fd)
            raise
        self._sequence = 0
        self._length = 0
        self._write(document)

    def __repr__(self) -> str:
        return f"<MaterialMemory fd={self.fd} sequence={self._sequence}>"

    def replace(self, material: Material) -> None:
        """Overwrite what is there. Raises MaterialError, and then has changed nothing."""
        self._write(_encode(material))

    def close(self) -> None:
        """Let go of it; who has inherited the descriptor keeps what is there."""
        self._memory.close()
        os.close(self.fd)

    def _write(self, document: bytes) -> None:
        self._sequence += 1
        numbers = _NUMBERS.pack(self._sequence, len(document))
        head = _HEAD.pack(self._sequence, len(document), zlib.crc32(document, zlib.crc32(numbers)))
        left = max(0, self._length - len(document))  # of an old key nothing stays behind
        self._memory[_HEAD.size : _HEAD.size + len(document) + left] = document + bytes(left)
        self._memory[: _HEAD.size] = head
        self._length = len(document)


def sequence(fd: int) -> int:
    """How often the memory was written: another number than before tells of other certificates. Raises OSError."""
    number: int
    number, _length = _NUMBERS.unpack(os.pread(fd, _NUMBERS.size, 0))
    return number


def read(fd: int) -> tuple[int, Material]:
    """What is there, with its `sequence`. Raises OSError, and MaterialError if there is no end to its being written."""
    for _ in range(READ_TRIES):
        number, length, checksum = _HEAD.unpack(os.pread(fd, _HEAD.size, 0))
        document = os.pread(fd, min(length, CAPACITY_BYTES), _HEAD.size)
        if zlib.crc32(document, zlib.crc32(_NUMBERS.pack(number, length))) == checksum:
            return number, _decode(document)
        time.sleep(READ_PAUSE_SECONDS)
    raise MaterialError("the certificates' memory is never whole")


@contextmanager
def as_file(pair: Pair) -> Iterator[str]:
    """A path of both as one PEM file, in memory of its own, for SSLContext.load_cert_chain. Needs /proc."""
    fd = os.memfd_create("miniwsgi-certificate", os.MFD_CLOEXEC)
    try:
        left = f"{pair.key}\n{pair.chain}".encode()
        while left:
            left = left[os.write(fd, left) :]
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _encode(material: Material) -> bytes:
    pairs = [pair._asdict() for pair in material.pairs]
    document = json.dumps({"pairs": pairs, "client_ca": material.client_ca}).encode()
    if _HEAD.size + len(document) > CAPACITY_BYTES:
        raise MaterialError(f"certificates of {len(document)} bytes are more than {CAPACITY_BYTES} for one address")
    return document


def _decode(document: bytes) -> Material:
    found = json.loads(document)
    pairs = tuple(Pair(one["chain"], one["key"], tuple(one["names"])) for one in found["pairs"])
    return Material(pairs, found["client_ca"])


def _seal(fd: int) -> None:
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    try:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, F_SEAL_FUTURE_WRITE | fcntl.F_SEAL_SEAL)
    except OSError:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL)  # a kernel older than 5.1
