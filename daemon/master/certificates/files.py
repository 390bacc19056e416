"""The files of certificates and keys: read whole, and known again by their stamps.

A name is a path or a credential of systemd. What the user whom root has become may not open, the keeper opens, who
stays root: so a renewed key can be taken up that only root may read. All this blocks for as long as a disk does.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from ...config.tls_options import CREDENTIAL, Secured
from ...permission import closed
from ...tls.verification import Sources, UnusableError, Verified, verify

MAX_FILE_BYTES = 1 << 20
CREDENTIALS_DIRECTORY, LOAD = "CREDENTIALS_DIRECTORY", "LoadCredential"  # systemd.exec(5)


class Opener(Protocol):
    """Opens what we may not."""

    def open_certificate(self, path: str) -> int:
        """A descriptor to read from. Raises OSError."""


class Stamp(NamedTuple):
    """Which file it is, and of when: another one once it was replaced or written to."""

    device: int
    inode: int
    bytes: int
    modified_ns: int
    changed_ns: int


Stamps = Mapping[str, Stamp | None]  # by name; None: it could not be opened


class Loaded(NamedTuple):
    """What was read and found good, and the stamps that its files had."""

    verified: Verified
    stamps: Stamps


class CertificateFiles:
    """Reads them, as who we are or through the `opener`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._credentials = environ.get(CREDENTIALS_DIRECTORY, "")
        self.opener: Opener | None = None

    def __repr__(self) -> str:
        return f"<CertificateFiles {self._credentials}>"

    def path(self, name: str) -> str:
        """Where it is; "" for a credential where there are none."""
        if not name.startswith(CREDENTIAL):
            return name
        return os.path.join(self._credentials, name.removeprefix(CREDENTIAL)) if self._credentials else ""

    def load(self, secured: Secured) -> Loaded:
        """Read and verify all that an address needs. Raises UnusableError."""
        sources = Sources(secured.pairs, secured.client_ca)
        flaws: list[str] = []
        contents: dict[str, bytes] = {}
        stamps: dict[str, Stamp | None] = {}
        for name in secured.files:
            try:
                contents[name], stamps[name] = self._read(name)
            except OSError as error:
                flaws.append(f"{_role(name, sources)} {name}: {self._why(name, error)}")
        if flaws:
            raise UnusableError(*flaws)
        return Loaded(verify(sources, contents), stamps)

    def stamps(self, names: Mapping[str, object]) -> Stamps:
        """Those that the files have now."""
        return {name: self._stamp(name) for name in names}

    def _stamp(self, name: str) -> Stamp | None:
        try:
            fd = self._open(name)
        except OSError:
            return None
        try:
            return _stamp_of(os.fstat(fd))
        finally:
            os.close(fd)

    def _read(self, name: str) -> tuple[bytes, Stamp]:
        with open(self._open(name), "rb") as file:
            content, found = file.read(MAX_FILE_BYTES + 1), os.fstat(file.fileno())
        if len(content) > MAX_FILE_BYTES:
            raise OSError(0, f"it has more than {MAX_FILE_BYTES >> 20} MiB")
        return content, _stamp_of(found)

    def _open(self, name: str) -> int:
        path = self.path(name)
        if not path:
            raise OSError(0, f"there is no ${CREDENTIALS_DIRECTORY}: {LOAD}= of the unit makes it")
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except PermissionError:
            if self.opener is None:
                raise
            fd = self.opener.open_certificate(path)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(0, "it is no file")
        return fd

    def _why(self, name: str, error: OSError) -> str:
        if isinstance(error, PermissionError) and (barred := closed(self.path(name))):
            return barred
        if isinstance(error, FileNotFoundError) and name.startswith(CREDENTIAL):
            return f"there is no such credential: {LOAD}={name.removeprefix(CREDENTIAL)}:PATH of the unit makes it"
        if isinstance(error, FileNotFoundError):
            return "there is no such file"
        return error.strerror or str(error)


def _stamp_of(found: os.stat_result) -> Stamp:
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _role(name: str, sources: Sources) -> str:
    if any(name == certificate for certificate, _key in sources.pairs):
        return "certificate"
    return "client_ca" if name == sources.client_ca else "key"
