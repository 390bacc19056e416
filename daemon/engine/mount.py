"""Where the application is mounted: which part of a request's path is SCRIPT_NAME, and which is left for PATH_INFO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..settings import Settings

if TYPE_CHECKING:
    from .proxy import Proxy


class Mount:
    """Of a site: its own prefix, in front of which a trusted proxy may have one for each request."""

    __slots__ = ("script_name", "stripped")

    def __init__(self, script_name: str = "", *, stripped: bool = False) -> None:
        """`stripped`: whoever is in front has taken `script_name` off the path already."""
        self.script_name = script_name
        self.stripped = stripped

    def __repr__(self) -> str:
        return f"<Mount {self.script_name or '/'}>"

    @classmethod
    def of(cls, settings: Settings) -> Mount:
        return cls(settings.script_name, stripped=settings.script_name_stripped)

    def splits(self, proxy: Proxy | None) -> bool:
        """Whether `split` may have anything to do for a peer."""
        return bool(self.script_name) or (proxy is not None and proxy.mounts)

    def split(self, environ: dict[str, Any], path: str, proxy: Proxy | None) -> None:
        """Set SCRIPT_NAME and PATH_INFO. A path that is not below a prefix stays whole, and is not below it."""
        script_name, rest = "", path
        if proxy is not None and proxy.mounts:
            script_name, rest = _below(proxy.prefix(environ), rest, stripped=proxy.stripped)
        own, rest = _below(self.script_name, rest, stripped=self.stripped)
        environ["SCRIPT_NAME"] = script_name + own
        environ["PATH_INFO"] = rest


def _below(prefix: str, path: str, *, stripped: bool) -> tuple[str, str]:
    """The prefix and the rest; a prefix ends where a segment does."""
    if stripped:
        return prefix, path
    if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in {"", "/"}:
        return prefix, path[len(prefix) :]
    return "", path
