"""The certificates that are served: each address with what was loaded for it, in memory that its workers read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from ...config.binds import Bind
from ...config.tls_options import Secured
from ...settings import Tls
from ...tls.material import Material, MaterialError, MaterialMemory
from ...tls.verification import UnusableError
from .files import CertificateFiles, Loaded


class Installed:
    """Those of one address. `put` passes them on to who serves there."""

    def __init__(self, address: str, secured: Secured, loaded: Loaded, put: Callable[[Material], None]) -> None:
        self.address = address
        self.secured = secured
        self.loaded = loaded
        self._put = put

    def __repr__(self) -> str:
        return f"<Installed {self.address}>"

    def replace(self, loaded: Loaded) -> None:
        """Serve others from now on. Raises UnusableError; then those of before are served."""
        try:
            self._put(loaded.verified.material)
        except (MaterialError, OSError) as error:
            raise UnusableError(str(error)) from None
        self.loaded = loaded


class Certificates:
    """Those of the listeners of one configuration."""

    def __init__(self) -> None:
        self._installed: dict[str, Installed] = {}
        self._memories: dict[str, MaterialMemory] = {}

    def __repr__(self) -> str:
        return f"<Certificates {list(self._installed)}>"

    def __iter__(self) -> Iterator[Installed]:
        return iter(self._installed.values())

    @classmethod
    def load(cls, binds: Iterable[Bind], files: CertificateFiles) -> Certificates:
        """Read, verify and install what the entries of server.bind name. Blocks. Raises UnusableError, OSError."""
        loaded, flaws = {}, []
        for bind in binds:
            if bind.secure:
                try:
                    loaded[bind] = files.load(bind)
                except UnusableError as error:
                    flaws += [flaw for flaw in error.flaws if flaw not in flaws]
        if flaws:
            raise UnusableError(*flaws)
        made = cls()
        try:
            for bind, found in loaded.items():
                memory = made._memories[bind.address] = MaterialMemory(found.verified.material)
                made._installed[bind.address] = Installed(bind.address, bind, found, memory.replace)
        except MaterialError as error:
            made.close()
            raise UnusableError(str(error)) from None
        except OSError:
            made.close()
            raise
        return made

    def tls(self, bind: Bind) -> Tls | None:
        """What a worker needs to know to speak TLS on this address; None: it speaks none."""
        if not bind.secure:
            return None
        fd = self._memories[bind.address].fd
        return Tls(fd, bind.client, bind.tls_minimum, bind.ciphers, bind.hsts)

    @property
    def warnings(self) -> list[str]:
        """Each once."""
        return list(dict.fromkeys(line for one in self for line in one.loaded.verified.warnings))

    def untimely(self, now: float | None = None) -> list[str]:
        """A line for each certificate that has expired, or is not valid yet."""
        now = time.time() if now is None else now
        return list(dict.fromkeys(line for one in self for line in one.loaded.verified.untimely(now)))

    def close(self) -> None:
        """Let go of the memories. Workers keep theirs."""
        for memory in self._memories.values():
            memory.close()
        self._memories.clear()
        self._installed.clear()
