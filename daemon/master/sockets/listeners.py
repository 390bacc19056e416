"""Listening sockets: opened or adopted once by the master, kept across every reload, scale and crash.

A bind is what the configuration names; it makes one or more listeners (a host name with two addresses,
several sockets of one systemd name). Binds are kept by name. What cannot be had is a `BindError`: one line
with the remedy. Opening may look up host names and read /proc: call it off the event loop.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv6Address

from miniwsgi.codes import Code
from msgspec import Struct, structs

from ...config.binds import Bind
from ...settings import Listener, url_of
from .holders import path_holder, port_holder
from .unix_sockets import BindError, SocketFile, bind_path, numbers_of

__all__ = ["BindError", "BoundListener", "Origin", "SocketOptions", "open_listeners", "prepare_socket"]

OTHER_SCHEMES = frozenset(("unix", "fd", "systemd"))
ANY_ADDRESS = frozenset(("", "0.0.0.0", "::"))  # noqa: S104 - only recognised


class Origin(Enum):
    """Who made the socket, and thus who decides over its queue."""

    OURS = "ours"
    INHERITED = "inherited"  # of systemd or another parent, who may hold it after us


class SocketOptions(Struct, frozen=True):
    """What the configuration says about all listeners. Owner and group are names or numbers, "" unchanged."""

    backlog: int = 2048
    mode: int = 0o666
    owner: str = ""
    group: str = ""

    def by_number(self) -> SocketOptions:
        """Owner and group as numbers. Looks names up: blocks. Raises LookupError."""
        uid, gid = numbers_of(self.owner, self.group)
        return structs.replace(self, owner=str(uid) if self.owner else "", group=str(gid) if self.group else "")


@dataclass(slots=True, eq=False)
class BoundListener:
    """A listening socket of the bind `name`."""

    name: str
    socket: socket.socket
    origin: Origin
    file: SocketFile | None = field(default=None)
    outlives: bool = False  # the service manager keeps it for the next master, its file included

    def __repr__(self) -> str:
        return f"<BoundListener {self.name} fd={self.socket.fileno()} {self.origin.value}>"

    @property
    def fd(self) -> int:
        return self.socket.fileno()

    @property
    def unix(self) -> bool:
        return self.socket.family == socket.AF_UNIX

    @property
    def serves_ipv4(self) -> bool:
        """Whether IPv4 clients reach it (IPV6_V6ONLY, ipv6(7))."""
        if self.socket.family == socket.AF_INET6:
            return not self.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        return self.socket.family == socket.AF_INET

    def url(self, scheme: str = "http") -> str:
        """As `settings.url_of`."""
        return url_of(scheme, self.name if self.unix else self._where(), unix=self.unix)

    def for_workers(self, bind: Bind) -> Listener:
        """As a worker needs to know it, with the options of the entry of server.bind that it stands for."""
        name, host, port = self.name, "localhost", ""
        if not self.unix:
            name = self._where()
            host, port = self.socket.getsockname()[:2]
        return Listener(
            self.fd,
            name,
            unix=self.unix,
            server_name=socket.gethostname() if host in ANY_ADDRESS else host,
            server_port=str(port),
            protocol=bind.protocol,
            proxy_protocol=bind.proxy_protocol,
            redirect=bind.redirect_port,
        )

    def _where(self) -> str:
        host, port = self.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def adjust(self, options: SocketOptions) -> None:
        """Apply changed options, by number, to a socket of ours that is kept. Raises OSError."""
        if self.origin is Origin.OURS:
            self.socket.listen(options.backlog)
            if self.file is not None:
                self.file.set_access(options.mode, options.owner, options.group)

    def shrink_backlog(self) -> None:
        """Let no more connections queue (listen(2) again, with 0): before the queue is emptied for good."""
        if self.origin is Origin.OURS:
            self.socket.listen(0)

    def close(self) -> None:
        """Close it, and remove its file if that is still ours. Raises OSError if it cannot be removed."""
        self.socket.close()
        if self.file is not None:
            self.file.remove()

    def leave(self) -> None:
        """The same at the daemon's end, when another master may go on with it."""
        if self.outlives:
            self.socket.close()
        else:
            self.close()


def open_listeners(
    binds: Sequence[str],
    options: SocketOptions,
    *,
    passed: Mapping[str, list[int]] | None = None,
    kept: Sequence[BoundListener] = (),
) -> list[BoundListener]:
    """A listener or more for each bind: those of `kept` that have its name, else new ones.

    `passed` are systemd's sockets by name. Raises BindError; new ones are then closed again.
    """
    found: list[BoundListener] = []
    opened: list[BoundListener] = []
    try:
        for bind in binds:
            old = [listener for listener in kept if listener.name == bind] or _for_both_families(bind, binds, kept)
            new: list[BoundListener] = []
            dual_stack = _is_dual_stack(bind, binds)
            if not old:
                beside = dual_stack and _ipv4_of(bind, kept)
                opened += (new := _open(bind, options, passed or {}, dual_stack=dual_stack and not beside))
            if dual_stack and not any(listener.serves_ipv4 for listener in old + new):
                opened.append(half := _ipv4_half(bind, options, kept))
                new.append(half)
            found += [listener for listener in old + new if listener not in found]
    except BindError as error:
        for listener in opened:
            listener.close()
        holders = {listener.name for listener in kept if _split(listener.name)[1] == _split(bind)[1] != ""}
        if error.in_use and holders - {bind}:
            own = ", ".join(sorted(holders))
            told = f"cannot listen on {bind}: {own} has the port until then; it needs a restart"
            raise BindError(Code.NEEDS_RESTART, told) from None
        raise
    return found


def _open(
    bind: str, options: SocketOptions, passed: Mapping[str, list[int]], *, dual_stack: bool
) -> list[BoundListener]:
    scheme, _, rest = bind.partition(":")
    if scheme == "systemd":
        if rest not in passed:
            names = ", ".join(passed) or "none"
            raise BindError(
                Code.SOCKET_NOT_PASSED,
                f"cannot listen on {bind}: systemd passed no socket of that name (passed: {names}); "
                f"it needs a socket unit with FileDescriptorName={rest}, and a start by systemd",
            )
        return [_adopt(bind, fd, options) for fd in passed[rest]]
    if scheme == "fd":
        return [_adopt(bind, int(rest), options)]
    if scheme == "unix" and rest.startswith("@"):
        return [_open_abstract(bind, rest[1:], options)]
    if scheme == "unix":
        sock, file = bind_path(rest, options.backlog, options.mode, options.owner, options.group)
        return [BoundListener(bind, sock, Origin.OURS, file)]
    return _open_internet(bind, options, dual_stack=dual_stack)


# --- inherited ----------------------------------------------------------------------------------------------


def _adopt(bind: str, fd: int, options: SocketOptions) -> BoundListener:
    try:
        sock = socket.socket(fileno=os.dup(fd))  # a copy: closing it leaves the passed one for the next reload
        os.set_inheritable(fd, False)
        if sock.type != socket.SOCK_STREAM:
            raise OSError(errno.EINVAL, "it is no stream socket")
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.listen(options.backlog)
    except OSError as error:
        told = f"cannot listen on {bind}: descriptor {fd}: {error.strerror}"
        raise BindError(Code.CANNOT_LISTEN, told) from None
    prepare_socket(sock)
    return BoundListener(bind, sock, Origin.INHERITED)


def prepare_socket(sock: socket.socket) -> None:
    """As workers expect it."""
    sock.setblocking(False)
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it


# --- abstract Unix sockets ----------------------------------------------------------------------------------


def _open_abstract(bind: str, name: str, options: SocketOptions) -> BoundListener:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind("\0" + name)
        sock.listen(options.backlog)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            told = f"cannot listen on {bind}: {_taken(path_holder('@' + name))}"
            raise BindError(Code.ADDRESS_IN_USE, told) from None
        raise BindError(Code.CANNOT_LISTEN, f"cannot listen on {bind}: {error.strerror}") from None
    prepare_socket(sock)
    return BoundListener(bind, sock, Origin.OURS)


def _taken(holder: str) -> str:
    return f"{holder} listens on it; stop that or choose another address" if holder else "it is in use"


# --- the two families ---------------------------------------------------------------------------------------
#
# ":PORT" and "[::]:PORT" are one socket for IPv4 and IPv6; beside an IPv4 address or a name of the same port,
# "[::]:PORT" is for IPv6. A socket cannot change that once it is bound (ipv6(7)), and a listener that is kept across
# a reload is not closed for it: what its socket does for IPv4 is taken as it is, what it lacks is added.


def _is_dual_stack(bind: str, binds: Sequence[str]) -> bool:
    host, port = _split(bind)
    if host != "[::]":
        return not host
    return port == "0" or not any(_split(other)[1] == port and _may_be_ipv4(other) for other in binds)


def _split(bind: str) -> tuple[str, str]:
    """Host and port of a TCP bind, "[::]" in whatever spelling; for all others the port is ""."""
    scheme, _, _ = bind.partition(":")
    if scheme in OTHER_SCHEMES:
        return scheme, ""
    host, _, port = bind.rpartition(":")
    if host.startswith("[") and "%" not in host and IPv6Address(host[1:-1]).is_unspecified:
        host = "[::]"
    return host, str(int(port))


def _may_be_ipv4(bind: str) -> bool:
    return not _split(bind)[0].startswith("[")


def _for_both_families(bind: str, binds: Sequence[str], kept: Sequence[BoundListener]) -> list[BoundListener]:
    """For an IPv4 bind: the listeners of "[::]" that serve its port already, which another socket could not have."""
    host, port = _split(bind)
    if not port or port == "0" or host.startswith("["):
        return []
    every = [listener for listener in kept if _split(listener.name) == ("[::]", port) and listener.name in binds]
    return every if any(listener.serves_ipv4 for listener in every) else []


def _ipv4_half(bind: str, options: SocketOptions, kept: Sequence[BoundListener]) -> BoundListener:
    """What "[::]" lacks that is for IPv6 alone: the socket for all of IPv4 that is beside it, or a new one."""
    if beside := _ipv4_of(bind, kept):
        return BoundListener(bind, socket.socket(fileno=os.dup(beside.fd)), beside.origin)
    any_address = "0.0.0.0"  # noqa: S104 - "[::]:PORT" asks for it
    return _bind_internet(bind, socket.AF_INET, (any_address, int(_split(bind)[1])), options, dual_stack=False)


def _ipv4_of(bind: str, kept: Sequence[BoundListener]) -> BoundListener | None:
    """The socket for all of IPv4 on the port of a "[::]"."""
    host, port = _split(bind)
    address = ("0.0.0.0", int(port or 0))  # noqa: S104 - only recognised
    for listener in kept:
        if host == "[::]" and listener.socket.family == socket.AF_INET and listener.socket.getsockname() == address:
            return listener
    return None


# --- TCP ----------------------------------------------------------------------------------------------------


def _open_internet(bind: str, options: SocketOptions, *, dual_stack: bool) -> list[BoundListener]:
    host, _, port_text = bind.rpartition(":")
    host, port = host.strip("[]"), int(port_text)
    found: list[BoundListener] = []
    refused: BindError | None = None
    for family, address in _addresses(bind, host, port):
        try:
            found.append(_bind_internet(bind, family, address, options, dual_stack=dual_stack))
        except BindError as error:
            refused = error
            if not error.skippable:
                break
        if port == 0 or dual_stack:
            break
    if refused is not None and not (refused.skippable and found):
        for listener in found:
            listener.close()
        raise refused
    return found


def _addresses(bind: str, host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
    """The addresses to bind, in order. Every address is one IPv6 socket for both families if there is IPv6."""
    if not host:
        any_address = "0.0.0.0"  # noqa: S104 - ":PORT" asks for it
        everywhere: list[tuple[int, tuple[object, ...]]] = [(socket.AF_INET, (any_address, port))]
        return [(socket.AF_INET6, ("::", port)), *everywhere] if _has_ipv6() else everywhere
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        told = f"cannot listen on {bind}: the name {host} is not known ({error.strerror})"
        raise BindError(Code.HOST_UNKNOWN, told) from None
    return list(dict.fromkeys((int(family), address) for family, _type, _proto, _name, address in found))


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::", 0))
    except OSError:
        return False
    return True


def _bind_internet(
    bind: str, family: int, address: tuple[object, ...], options: SocketOptions, *, dual_stack: bool
) -> BoundListener:
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        told = f"cannot listen on {bind}: {error.strerror}"
        raise BindError(Code.CANNOT_LISTEN, told, skippable=True) from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
        sock.bind(address)
        sock.listen(options.backlog)
    except OSError as error:
        sock.close()
        raise _explain(bind, address, error) from None
    prepare_socket(sock)
    return BoundListener(bind, sock, Origin.OURS)


def _explain(bind: str, address: tuple[object, ...], error: OSError) -> BindError:
    host, port = str(address[0]), int(str(address[1]))
    if error.errno == errno.EADDRINUSE:
        holder = port_holder(port)
        who = f"by {holder}; stop that" if holder else "by another process; find it with `ss -ltnp`"
        told = f"cannot listen on {bind}: port {port} is in use {who} or choose another port"
        return BindError(Code.ADDRESS_IN_USE, told)
    if error.errno == errno.EACCES:
        return BindError(
            Code.ADDRESS_FORBIDDEN,
            f"cannot listen on {bind}: port {port} is privileged; take a port from 1024, or with systemd a socket "
            "unit or AmbientCapabilities=CAP_NET_BIND_SERVICE, or give the interpreter the capability: "
            "setcap cap_net_bind_service=+ep",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return BindError(
            Code.ADDRESS_NOT_LOCAL,
            f"cannot listen on {bind}: this machine has no address {host}; see `ip address`, "
            f"or listen on every address: :{port}",
            skippable=True,
        )
    return BindError(Code.CANNOT_LISTEN, f"cannot listen on {bind}: {error.strerror}")
