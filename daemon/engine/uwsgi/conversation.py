"""A conversation in uwsgi: the plain engine's, with another grammar, and with whom it is that may speak it."""

from __future__ import annotations

from ..plain import Conversation
from .connection import UwsgiConnection


class UwsgiConversation(Conversation):
    """One client's, over a socket. See `contract.Conversation`."""

    __slots__ = ()

    def _begin(self) -> None:
        site, address = self.site, self.base["REMOTE_ADDR"]
        self._proxy = site.uwsgi_peer
        self._http = http = site.parser_for(self.base, UwsgiConnection)
        http.stranger = "" if site.uwsgi_peer.trusts(address) else address
