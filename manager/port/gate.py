"""Who may ask the metrics port for what: by address, by token, and by the name under which it is asked.

Unix sockets and loopback always pass the list of addresses. The token is asked of everybody, a proxy on the same
machine included, but never for health. A page of some site in a browser here could have its name lead to a loopback
address (DNS rebinding) and read what is told there: on loopback, names that are not this machine's own are refused,
unless there is a token, which such a page does not have.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address

from miniwsgi.codes import Code

from ..http.exchange import HttpRefusal, Request

REALM = 'realm="miniwsgi", charset="UTF-8"'
CHALLENGES = (("WWW-Authenticate", 'Bearer realm="miniwsgi"'), ("WWW-Authenticate", f"Basic {REALM}"))
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?")


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds. `names` are hosts beyond IP addresses and localhost under which loopback may be asked."""

    token: str = field(default="", repr=False)
    allow: tuple[IPv4Network | IPv6Network, ...] = ()  # none: everybody who can connect
    names: frozenset[str] = frozenset()


class Gate:
    """Enforces `rules`, which may be replaced at any time. `on_denied` gets a line for the log."""

    def __init__(self, rules: Rules, on_denied: Callable[[str], None]) -> None:
        self.rules = rules
        self._on_denied = on_denied

    def check_address(self, request: Request) -> None:
        """Raise HttpRefusal (403) for who is not on the list."""
        allow = self.rules.allow
        if not allow or request.peer is not None:
            return
        client = request.ends.client if request.ends is not None else None
        if client is None or not (client.is_loopback or any(client in network for network in allow)):
            raise self._denied(request, 403, "metrics.allow does not have this address")

    def check_reader(self, request: Request) -> None:
        """Raise HttpRefusal (401, 421) for who may ask for nothing but health."""
        if self.rules.token:
            if not _carries(request.fields.get("HTTP_AUTHORIZATION", ""), self.rules.token):
                why = "this takes the token that metrics.token_file has: Authorization: Bearer, or as a password"
                raise self._denied(request, 401, why, CHALLENGES)
        elif request.ends is not None and request.ends.server.is_loopback:
            host = request.fields.get("HTTP_HOST", "")
            if not _is_ours(host, self.rules.names):
                why = "on a loopback address this is told under an IP address or localhost alone (see metrics.bind)"
                raise self._denied(request, 421, why)

    def _denied(self, request: Request, status: int, why: str, fields: tuple[tuple[str, str], ...] = ()) -> HttpRefusal:
        who = str(request.ends.client) if request.ends is not None else "a Unix socket"
        self._on_denied(f"denied {request.method} {request.path[:100]} to {who}: {why}")
        return HttpRefusal(status, f"{why} ({Code.METRICS_DENIED})", fields=fields)


def _carries(authorization: str, token: str) -> bool:
    """Whether the field has the token: as Bearer (RFC 6750), or as the password of Basic (RFC 7617), for browsers."""
    scheme, _, given = authorization.partition(" ")
    given = given.strip()
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode("latin-1").partition(":")[2]
        except ValueError:
            return False
    elif scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.encode("latin-1", "replace"), token.encode())


def _is_ours(host: str, names: frozenset[str]) -> bool:
    """Whether a Host field (RFC 9110, section 7.2) is nothing that a foreign name server could answer for."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match[1].strip("[]").lower().removesuffix(".")
    if not name or name == "localhost" or name.endswith(".localhost") or name in names:  # RFC 6761, section 6.3
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
