"""What a generation's listeners speak TLS with: made before workers are forked, and renewed by each process for itself.

`ssl` is imported only if a listener needs it; then before the application is: see `unpatched`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from miniwsgi.codes import Code

from ..settings import Listener, Settings
from ..tls import material
from ..tls.material import ClientCertificates, MaterialError
from .application import BootError

if TYPE_CHECKING:
    from ..engine.openings.opening import Step
    from ..tls.contexts import ServerContext


class _Kept:
    """One listener's."""

    def __init__(self, listener: Listener, make: type[ServerContext]) -> None:
        """Raises OSError, MaterialError."""
        assert listener.tls is not None
        self.name = listener.name
        self._fd = listener.tls.fd
        self._sequence, found = material.read(self._fd)
        client = ClientCertificates(listener.tls.client)
        self.context = make(found, client, listener.tls.minimum, listener.tls.ciphers)

    def renew(self) -> None:
        """As `Certificates.renew`. Raises OSError, MaterialError."""
        if material.sequence(self._fd) != self._sequence:
            self._sequence, found = material.read(self._fd)
            self.context.renew(found)


class Certificates:
    """Of one process."""

    def __init__(self, settings: Settings) -> None:
        """Raises BootError."""
        self._kept: dict[int, _Kept] = {}  # by the listener's descriptor
        self._settings = settings
        self._engine: Any = None
        for listener in settings.listeners:
            if listener.tls is None:
                continue
            self._engine = importlib.import_module("miniwsgi.daemon.engine.openings.handshake")
            contexts = importlib.import_module("miniwsgi.daemon.tls.contexts")
            try:
                self._kept[listener.fd] = _Kept(listener, contexts.ServerContext)
            except (OSError, MaterialError) as error:
                raise BootError(Code.CERTIFICATE_UNUSABLE, f"TLS at {listener.name}: {error}") from None

    def __repr__(self) -> str:
        return f"<Certificates of {', '.join(kept.name for kept in self._kept.values()) or 'nobody'}>"

    def handshakes(self) -> Callable[[Listener], Callable[[], Step]]:
        """For one worker: what makes the step of each connection of a listener."""
        begun = self._engine.Begun() if self._kept else None

        def of(listener: Listener) -> Callable[[], Step]:
            return partial(self._engine.HandshakeStep, self._kept[listener.fd].context, begun, self._settings)

        return of

    def renew(self, told: Callable[[str], object]) -> None:
        """Take what the master has written meanwhile, for handshakes that follow; `told` what cannot be taken."""
        for kept in self._kept.values():
            try:
                kept.renew()
            except (OSError, MaterialError) as error:
                told(f"new certificates of {kept.name} cannot be used, the old ones stay: {error}")
