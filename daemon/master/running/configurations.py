"""Configurations: the one in force, and those of generations that have not come into force yet, with their
listeners.

Preparing one reads files, looks up names and opens sockets: it is done in a thread, and touches nothing
that is in force. Then it is committed (listeners that it no longer has are closed) or discarded (those
opened for it are).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from miniwsgi.codes import Code
from msgspec import Struct

from ...config import Config, ConfigError, Problem, ReadConfig, application_environment, reload_problems
from ...config.binds import Bind
from ...settings import Listener
from ...tls.verification import UnusableError
from ..certificates.files import CertificateFiles
from ..certificates.installed import Certificates
from ..sockets.listeners import BindError, BoundListener, SocketOptions, open_listeners
from ..supervising import events as ev


class PrepareError(Exception):
    """A configuration cannot come into force; the text says all that is wrong with it, `code` is that of the first."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> PrepareError:
        return cls(problems[0].code, "; ".join(map(str, problems)))


class PreparedConfig(Struct, frozen=True):
    """A configuration with its listeners."""

    config: Config
    listeners: tuple[BoundListener, ...]
    options: SocketOptions  # of their sockets, by number
    environment: dict[str, str]  # the application's
    certificates: Certificates

    @classmethod
    def of(
        cls,
        config: Config,
        listeners: Sequence[BoundListener],
        environ: Mapping[str, str],
        certificates: Certificates | None = None,
    ) -> PreparedConfig:
        """Looks names up: blocks. `environ` is the daemon's. Raises BindError."""
        options = socket_options(config)
        if any(listener.file is not None for listener in listeners):
            try:
                options = options.by_number()
            except LookupError as error:
                told = f"server.socket_owner, server.socket_group: {error.args[0]}"
                raise BindError(Code.SOCKET_ACCESS, told) from None
        _check_shared(config, listeners)
        environment = application_environment(config, environ)
        return cls(config, tuple(listeners), options, environment, certificates or Certificates())

    @property
    def served(self) -> list[tuple[BoundListener, Bind]]:
        """The listeners, each with the entry of server.bind that says what this generation speaks there."""
        return with_binds(self.config, self.listeners)

    def for_workers(self) -> list[Listener]:
        """The listeners as a worker needs to know them."""
        return [listener.for_workers(bind)._replace(tls=self.certificates.tls(bind)) for listener, bind in self.served]

    @property
    def plan(self) -> ev.Plan:
        """What it asks of the supervisor."""
        server, timeouts = self.config.server, self.config.timeouts
        return ev.Plan(
            workers=server.workers,
            surge=server.surge,
            boot_timeout=timeouts.boot,
            graceful_timeout=timeouts.graceful,
            stop_delay=server.stop_delay,
        )


class Configurations:
    """See the module. `in_force` changes with `commit` alone."""

    def __init__(
        self,
        first: PreparedConfig,
        reload_config: ReadConfig,
        passed: Mapping[str, list[int]],
        environ: Mapping[str, str],
        files: CertificateFiles | None = None,
    ) -> None:
        self.in_force = first
        self.files = files or CertificateFiles(environ)
        self.read_config = reload_config
        self._passed = passed
        self._environ = environ
        self._prepared: dict[int, PreparedConfig] = {}

    def __repr__(self) -> str:
        return f"<Configurations prepared={list(self._prepared)}>"

    def read(self) -> PreparedConfig:
        """Read the configuration again and open what is new. Blocks: call it in a thread. Raises PrepareError."""
        current = self.in_force
        try:
            config = self.read_config()
        except ConfigError as error:
            raise PrepareError.of(error.problems) from None
        except Exception as error:
            raise PrepareError(Code.INTERNAL, f"the configuration cannot be read: {error!r}") from error
        if problems := reload_problems(current.config, config):
            raise PrepareError.of(problems)
        certificates = self._certificates(config)
        try:
            listeners = open_listeners(
                addresses(config), socket_options(config), passed=self._passed, kept=current.listeners
            )
            try:
                return PreparedConfig.of(config, listeners, self._environ, certificates)
            except BindError:
                self._close(tuple(listeners), current.listeners)
                raise
        except BindError as error:
            certificates.close()
            raise PrepareError(error.code, str(error)) from None

    def _certificates(self, config: Config) -> Certificates:
        """Those that a configuration names. Clients must be no worse off with them. Raises PrepareError."""
        try:
            certificates = Certificates.load(config.server.bind, self.files)
        except UnusableError as error:
            raise PrepareError(Code.CERTIFICATE_UNUSABLE, f"server.bind: {error}") from None
        now = time.time()
        known = self.in_force.certificates.untimely(now)
        if untimely := [line for line in certificates.untimely(now) if line not in known]:
            certificates.close()
            raise PrepareError(Code.CERTIFICATE_REFUSED, f"server.bind: {'; '.join(untimely)}")
        return certificates

    def hold(self, generation: int, prepared: PreparedConfig) -> None:
        """Keep what was prepared until it is known what becomes of the generation."""
        self._prepared[generation] = prepared

    def of(self, generation: int) -> PreparedConfig:
        """A generation's configuration: its own while it is not in force yet."""
        return self._prepared.get(generation, self.in_force)

    def commit(self, generation: int) -> Callable[[], list[str]]:
        """Bring the generation's configuration into force. What is left to do blocks: what fails, one line each."""
        prepared = self._prepared.pop(generation, None)
        if prepared is None:
            return list
        old, self.in_force = self.in_force, prepared

        def settle() -> list[str]:
            old.certificates.close()
            failed = cannot_be_removed(self._close(old.listeners, prepared.listeners))
            return failed + (_adjust(prepared) if prepared.options != old.options else [])

        return settle

    def discard(self, generation: int) -> Callable[[], list[str]]:
        """Give up what was opened for the generation alone. As with `commit`, closing it is left to do."""
        prepared, kept = self._prepared.pop(generation, None), self.in_force.listeners
        if prepared is None:
            return list

        def settle() -> list[str]:
            prepared.certificates.close()
            return cannot_be_removed(self._close(prepared.listeners, kept))

        return settle

    def close(self) -> dict[str, str]:
        """Close everything. Why something could not be removed, by the listener's name."""
        for generation in list(self._prepared):
            self.discard(generation)()
        self.in_force.certificates.close()
        return self._close(self.in_force.listeners, (), last=True)

    def _close(
        self, listeners: tuple[BoundListener, ...], kept: tuple[BoundListener, ...], *, last: bool = False
    ) -> dict[str, str]:
        failed = {}
        for listener in listeners:
            if listener not in kept:
                try:
                    if last:
                        listener.leave()
                    else:
                        listener.close()
                except OSError as error:
                    failed[listener.name] = error.strerror or str(error)
        return failed


def _adjust(prepared: PreparedConfig) -> list[str]:
    failed = []
    for listener in prepared.listeners:
        try:
            listener.adjust(prepared.options)
        except OSError as error:
            failed.append(f"{listener.name} keeps its backlog, mode and owner: {error}")
    return failed


def cannot_be_removed(failed: Mapping[str, str]) -> list[str]:
    """One line each, of why by name."""
    return [f"{name} cannot be removed: {why}; the next start replaces it" for name, why in failed.items()]


def with_binds(config: Config, listeners: Sequence[BoundListener]) -> list[tuple[BoundListener, Bind]]:
    """Each listener with the entry of server.bind that it stands for."""
    binds = {bind.address: bind for bind in config.server.bind}
    return [(listener, binds[listener.name]) for listener in listeners]


def _check_shared(config: Config, listeners: Sequence[BoundListener]) -> None:
    """Raises BindError where one socket, that of "[::]", serves two entries of server.bind that are not alike."""
    own = {listener.name for listener in listeners}
    for bind in config.server.bind:
        port = bind.address.rpartition(":")[2]
        beside = [other for other in config.server.bind if other.address.rpartition(":")[2] == port]
        if bind.address not in own and any(other.options != bind.options for other in beside):
            raise BindError(
                Code.NEEDS_RESTART,
                f"cannot listen on {bind.address}: a socket that serves it until now has other options; "
                "it needs a restart",
            )


def addresses(config: Config) -> list[str]:
    """Where it is listened, by the names of listeners."""
    return [bind.address for bind in config.server.bind]


def socket_options(config: Config) -> SocketOptions:
    server = config.server
    return SocketOptions(server.backlog, server.socket_mode, server.socket_owner, server.socket_group)
