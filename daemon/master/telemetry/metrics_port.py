"""The metrics port's place in the daemon: its sockets, from before the privileges are dropped to the end, and its
server in the master's loop, which answers whatever has become of the workers.

An address that cannot be had is an error at the start, unless nobody has asked for it: the default one is one line in
the log, and the daemon serves without.
"""

from __future__ import annotations

import socket
import traceback
from collections.abc import Mapping, Sequence
from ipaddress import ip_network

from miniwsgi.codes import Code
from miniwsgi.manager.http.server import HttpServer
from miniwsgi.manager.port.gate import Gate, Rules
from miniwsgi.manager.port.metrics_api import LIMITS, MetricsApi, Sources

from ...config import Config
from ...config.endpoints import Endpoint
from ...log.error_log import ErrorLog
from ...tls.material import ClientCertificates, Material
from ..certificates.files import CertificateFiles, Loaded
from ..certificates.installed import Installed
from ..running.configurations import socket_options
from ..running.master import Master
from ..sockets.listeners import BindError, BoundListener, open_listeners

LAST_ANSWERS_SECONDS = 0.5
OFF = "metrics and health are off"


def open_metrics(config: Config, passed: Mapping[str, list[int]], log: ErrorLog) -> tuple[list[BoundListener], str]:
    """The port's sockets, none: it is off; and why, if nobody wanted that, as when a second daemon has the default.

    Raises BindError if an address that was asked for cannot be had.
    """
    bind = config.metrics.bind.address
    if not bind:
        return [], ""
    try:
        return open_listeners([bind], socket_options(config), passed=passed), ""
    except BindError as error:
        if config.origins.get("metrics.bind") != "default":
            raise BindError(
                error.code,
                f"metrics and health: {error}; metrics.bind (--metrics-bind) names their address, off does without",
            ) from None
        log.warning(Code.METRICS_OFF, f"{OFF}: {error}; --metrics-bind names another address, or off")
        return [], f"{error}; metrics.bind names another address"


class PortContext:
    """What handshakes on the port are made with, of the latest certificates."""

    def __init__(self, endpoint: Endpoint, loaded: Loaded) -> None:
        """Raises OSError."""
        self._endpoint = endpoint
        self.put(loaded.verified.material)
        self.installed = Installed(endpoint.address, endpoint, loaded, self.put)

    def put(self, material: Material) -> None:
        """Take others. Raises OSError, and then has changed nothing."""
        from ...tls.contexts import server_context  # with OpenSSL, which a master may do without

        endpoint = self._endpoint
        client = ClientCertificates(endpoint.client)
        self.context = server_context(material, client=client, minimum=endpoint.tls_minimum, ciphers=endpoint.ciphers)


def open_context(config: Config, files: CertificateFiles) -> PortContext | None:
    """None: no TLS is spoken. Raises UnusableError, OSError."""
    endpoint = config.metrics.bind
    return PortContext(endpoint, files.load(endpoint)) if endpoint.secure else None


class MetricsPort:
    """Metrics, health and the status page, served from `start` to `stop` in the master's loop.

    `sources`: where its answers come from.
    """

    def __init__(
        self,
        master: Master,
        listeners: Sequence[BoundListener],
        context: PortContext | None,
        log: ErrorLog,
        sources: Sources,
    ) -> None:
        self._master = master
        self._listeners = listeners
        self._context = context
        self._log = log
        self._gate = Gate(rules_of(master.config), self._denied)
        self._server = HttpServer(MetricsApi(sources, self._gate), self._failed, LIMITS)
        master.on_commit.append(self._committed)

    async def start(self) -> None:
        if not self._listeners:
            return
        try:
            tls = self._context
            sockets = [listener.socket for listener in self._listeners]
            await self._server.start(sockets, None if tls is None else lambda: tls.context)
        except OSError as error:
            told = f"{OFF}: {self._master.config.metrics.bind.address}: {error.strerror}"
            self._log.error(Code.METRICS_OFF, told)
            return
        for listener in self._listeners:
            self._log.info(f"metrics and health are on {listener.url(self._master.config.metrics.bind.scheme)}")

    async def stop(self) -> None:
        await self._server.stop(LAST_ANSWERS_SECONDS)

    def _committed(self, config: Config) -> None:
        self._gate.rules = rules_of(config)

    def _denied(self, message: str) -> None:
        self._log.limited("metrics-denied", "warning", Code.METRICS_DENIED, f"metrics port: {message}")

    def _failed(self, message: str, error: BaseException | None) -> None:
        trace = "".join(traceback.format_exception(error)) if error is not None else ""
        self._log.limited("metrics-failed", "error", Code.INTERNAL, f"metrics port: {message}\n{trace}")


def rules_of(config: Config) -> Rules:
    """Who may, as the configuration has it."""
    host = config.metrics.bind.address.rpartition(":")[0].strip("[]")
    names = {name.lower() for name in (host, socket.gethostname()) if name}
    return Rules(
        token=config.metrics_token,
        allow=tuple(ip_network(network) for network in config.metrics.allow),
        names=frozenset(names),
    )
