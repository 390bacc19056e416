"""What all conversations of a worker share: the application, limits, the server's own lines, ids, counters.

One a worker, made by the thread that imported the application: its context variables are what requests begin with.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from miniwsgi.codes import Code
from miniwsgi.metrics.slot import Slot

from .. import __version__
from ..http.connection import ConnectionSteps
from ..http.errors import REASONS, ProtocolError
from ..http.head import Known, Limits
from ..http.response import Encodings, ServerFields, refusal
from ..routes.choice import routed
from ..settings import Listener, Settings
from ..temporary import temporary_directory
from .account import Account
from .call import Application, CallSteps
from .claim import Claim
from .contract import Conversation
from .environ import connection_environ, server_software, worker_environ
from .https_policy import REDIRECT, https_policy
from .logs import AccessLog, Log
from .mount import Mount
from .request_ids import RequestIds
from .upgrade import Lack, Sockets
from .variables import variables_of_the_import

if TYPE_CHECKING:
    from ..static.routes import Routes
    from .proxy import Proxy

_UNNAMED = frozenset({"LOCAL", "UNKNOWN"})  # clients whom a PROXY header does not name
C = TypeVar("C", bound=ConnectionSteps)

UNLIMITED_BYTES = 10**18  # more than a Content-Length can say
_LIMIT_KEYS = {
    "request_line_bytes": "limits.request_line",
    "field_bytes": "limits.field_size",
    "fields": "limits.fields",
    "fields_bytes": "limits.fields_size",
    "body_max_bytes": "limits.body_max",
    "head_timeout": "timeouts.head",
    "minimum_rate": "timeouts.minimum_rate",
}  # by the name in Settings, the key of the configuration

# By the status of the server's own answer.
REFUSED = {
    400: Code.REFUSED_400,
    403: Code.REFUSED_403,
    408: Code.REFUSED_408,
    411: Code.REFUSED_411,
    413: Code.REFUSED_413,
    414: Code.REFUSED_414,
    417: Code.REFUSED_417,
    431: Code.REFUSED_431,
    501: Code.REFUSED_501,
    503: Code.REFUSED_503,
    505: Code.REFUSED_505,
}  # fmt: skip


class Site:
    """Also the CallSite of its calls: what is wrong with an application's answer is told in the error log."""

    __slots__ = (
        "_access", "_body_memory_bytes", "_environ", "_known", "_known_of_unix", "_log", "_proxy", "_spool_directory",
        "_unix_limits", "_uwsgi_peer", "account", "after_crash", "answers", "application", "closing", "encodings",
        "limits", "mount", "parts", "request_ids", "request_variables", "server_fields", "settings", "shared",
        "sockets", "static",
    )  # fmt: skip

    def __init__(
        self, settings: Settings, slot: Slot, log: Log, access: AccessLog | None, application: Application,
        errors: object,
    ) -> None:  # fmt: skip
        """`errors` is wsgi.errors."""
        self.settings = settings
        self.application = https_policy(routed(application, settings.routes), settings)
        self.account = Account(slot, log, access)
        self.answers: Claim[CallSteps] = Claim()  # each call that is under way: who takes it may end it
        self.closing = False  # each answer is its connection's last
        # The slot's last worker crashed, or was killed for want of memory: the next one is to cost as little as can be.
        self.after_crash = False
        # Otherwise, where others wait: whether this answer is to be its connection's last. Called by any thread.
        self.parts: Callable[[Conversation], bool] | None = None
        self.sockets: Sockets | None = None  # who has threads for connections that are taken over; None: nobody
        self.shared: Any = None  # what an engine keeps for all of its conversations
        self.encodings = Encodings()
        self.server_fields = ServerFields(settings.server_header, settings.request_id_header)
        self.request_ids = RequestIds()
        self.request_variables = variables_of_the_import()
        self.mount = Mount.of(settings)
        self.static: Routes | None = None
        if settings.static:
            from ..static.routes import Routes
            from .x_sendfile import SendsFiles

            self.static = Routes(settings.static, Encodings(), log)
            if self.static.has_internal:
                self.application = SendsFiles(self.application, self.static, self._tell_of_file)
        self._body_memory_bytes = settings.body_memory_bytes
        self._spool_directory = settings.spool_directory or _temporary_directory()
        self._known, self._known_of_unix = Known(), Known()
        self.limits = Limits(
            settings.request_line_bytes,
            settings.field_bytes,
            settings.fields,
            settings.fields_bytes,
            settings.body_max_bytes or UNLIMITED_BYTES,
        )
        self._unix_limits = self.limits._replace(host_is_path=True)
        self._proxy = _trusted(settings)
        self._uwsgi_peer: Proxy | None = None
        self._log = log
        self._access = access
        self._environ = worker_environ(
            pool=settings.pool,
            slot=slot.index,
            generation=settings.generation,
            multithread=settings.pool == "epoll" and settings.threads > 1,
            multiprocess=settings.pool != "single",
            errors=errors,
            server=server_software(__version__),
        )

    def __repr__(self) -> str:
        return f"<Site {self.account!r}>"

    def count_in(self, slot: Slot) -> None:
        """From now on count in another slot: the process has been forked, and has counters of its own."""
        self.account = Account(slot, self._log, self._access)
        self.request_ids.start_afresh()

    # --- connections ---

    def connection_environ(self, listener: Listener, address: Any) -> dict[str, Any]:
        """What every request of a new connection shares; `address` is what accept(2) gave."""
        host, port = ("", "") if listener.unix else (address[0], str(address[1]))
        if host.startswith("::ffff:") and "." in host:  # an IPv4 client of a dual-stack listener
            host = host[7:]
        environ = connection_environ(self._environ, listener.server_name, listener.server_port, host, port)
        if listener.redirect:
            environ[REDIRECT] = listener.redirect
        return environ

    def parser_for(self, base: dict[str, Any], make: Callable[..., C]) -> C:
        """The grammar of a connection, within the limits of what its client may send; `make` is its class."""
        if base["REMOTE_ADDR"]:
            limits, known = self.limits, self._known
        else:
            limits, known = self._unix_limits, self._known_of_unix
        return make(limits, self._body_memory_bytes, self._spool_directory, base, known)

    @property
    def trusts_proxies(self) -> bool:
        """Whether `proxy_for` depends on the client; else it is None for all."""
        return self._proxy is not None

    def trusts(self, address: str) -> bool:
        """Whether it is in proxy.trusted; "": a Unix socket's peer."""
        return self._proxy is not None and self._proxy.trusts(address)

    def proxy_for(self, base: dict[str, Any]) -> Proxy | None:
        """The trust to apply to a connection's requests, or None: the client is not a trusted proxy.

        One whom a PROXY header names is trusted only by its own address; whom it does not name could be anybody.
        """
        proxy, address, header = self._proxy, base["REMOTE_ADDR"], base.get("PROXY_PROTOCOL")
        if proxy is None or header in _UNNAMED:
            return None
        trusts = proxy.trusts if header is None else proxy.names
        return proxy if trusts(address) else None

    @property
    def uwsgi_peer(self) -> Proxy:
        """The trust to apply to requests that come by uwsgi."""
        if self._uwsgi_peer is None:
            from .proxy import UwsgiPeer

            self._uwsgi_peer = UwsgiPeer(self.settings.trusted)
        return self._uwsgi_peer

    def tell_of_opening(self, key: str, what: str, peer: str) -> None:
        """A connection was closed before its first request."""
        self._log.limited(key, "warning", Code.OPENING_FAILED, what, peer=peer)

    def checks(self, proxy: Proxy | None) -> bool:
        """Whether a whole request is looked at before it is the application's: a proxy's words, its path."""
        return proxy is not None or self.static is not None

    # --- refusals ---

    def refuse(self, why: ProtocolError | OSError | str, base: dict[str, Any], *, head_only: bool) -> bytes:
        """The server's own answer to a request that does not reach the application, counted and logged.

        OSError: its body could not be kept. Text: the pool will not take it.
        """
        status = why.status if isinstance(why, ProtocolError) else 503
        line = f"{status} {REASONS[status]}"
        client = base["REMOTE_ADDR"] or "a Unix-socket client"
        told = f"refused a request with {line}: {self._told(why)}"
        self._log.limited(f"refused-{status}", "warning", REFUSED[status], told, peer=client)
        self.account.refused(status, line, base, len(REASONS[status]) + 5)
        return refusal(status, self.server_fields, head_only=head_only)

    def _told(self, why: ProtocolError | OSError | str) -> str:
        if isinstance(why, ProtocolError):
            key = _LIMIT_KEYS.get(why.limit)
            return f"{why.detail}{f'; the limit is {key}' if key else ''} ({why.section})"
        if isinstance(why, OSError):
            what = f"a request body could not be kept: {why}; see server.spool_directory and limits.body_memory"
            self._log.limited(f"spool-{why.errno or 0}", "error", Code.BODY_NOT_KEPT, what)
            return "its body could not be kept"
        return why

    # --- what calls tell ---

    def exception(self, call: CallSteps, error: BaseException) -> None:
        when = "before" if not call.aborted and call.sent == 0 else "during"
        try:
            kind, text = type(error).__name__, application_traceback(error)
        except BaseException as another:  # its class is the application's, too; or memory is short
            kind, text = "an exception", f"which cannot be formatted: {object.__repr__(another)}"
        what = f"the application raised {kind} {when} its response\n{text}"
        self._log.error(Code.RAISED, what, **call.known_by())

    def no_socket(self, lack: Lack, request_id: str) -> None:
        """The application wanted to take its connection over, and could not."""
        settings = self.settings
        code = Code.SOCKETS_UNSERVED
        if lack is Lack.THREAD:
            code = Code.NO_THREAD
            why = "no thread could be started for it; see TasksMax and memory"
        elif lack is Lack.PLACES:
            code = Code.SOCKETS_FULL
            why = f"limits.sockets = {settings.sockets} are open in this worker"
        elif settings.pool != "epoll":
            why = f'server.pool = "{settings.pool}" has no threads for them; set server.pool = "epoll"'
        elif settings.threads == 1:
            why = "server.threads = 1 leaves no thread for them; set server.threads = 2 or more"
        else:
            why = "limits.sockets is off"
        key = f"socket-{lack.name}"
        self._log.limited(key, "warning", code, f"a WebSocket got {lack.status}: {why}", request_id=request_id)

    def _tell_of_file(self, what: str) -> None:
        told = f"the application's response: {what}"
        self._log.limited(f"file-{what[:24]}", "warning", Code.SENDFILE_WRONG, told)

    def mistake(self, call: CallSteps, what: str) -> None:
        line = f"the application's response: {what}"
        self._log.limited(f"mistake-{what[:24]}", "warning", Code.RESPONSE_WRONG, line, **call.known_by())


def application_traceback(error: BaseException) -> str:
    """As Python prints it, from the application's own first frame on: those above are of no help."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("miniwsgi.daemon."):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace or error.__traceback__)).rstrip()


def _temporary_directory() -> str | None:
    """Where large bodies go; settled once, and not for each. None: nowhere, of which whoever sends one is told."""
    try:
        return temporary_directory()
    except FileNotFoundError:
        return None


def _trusted(settings: Settings) -> Proxy | None:
    """None: nobody is; then what reads addresses and proxies' fields is not needed."""
    if not settings.trusted:
        return None
    from .proxy import Proxy

    return Proxy.of(settings)
