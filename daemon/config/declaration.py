"""How a configuration key is declared: a dataclass field that carries a `Key`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from .kinds import Kind, Variables

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a computed default may depend on."""

    environ: Mapping[str, str]
    directory: str  # where the daemon was started
    home: str  # of the project that is served; else the same
    uid: int  # as whom
    values: Mapping[str, Any]  # of the keys declared before


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of one key. `compute` gives a default that depends on the machine or on other keys."""

    path: str  # "server.workers"
    kind: Kind[Any]
    default: Any
    doc: str
    flag: str = ""  # its flag on the command line
    compute: Callable[[Surroundings], Any] | None = None
    computed: str = ""  # what `compute` gives, in words
    secret: bool = False  # its values may be secrets: error messages do not repeat them

    @property
    def section(self) -> str:
        return self.path.partition(".")[0]

    @property
    def name(self) -> str:
        return self.path.partition(".")[2]

    @property
    def variable(self) -> str:
        """The environment variable that sets it; "" for tables."""
        return "" if isinstance(self.kind, Variables) else "MINIWSGI_" + self.path.replace(".", "_").upper()

    @property
    def default_text(self) -> str:
        """The default as the reference and `--help` show it."""
        return self.computed or self.kind.show(self.default)


def key(
    kind: Kind[T],
    default: Any,
    doc: str,
    *,
    flag: str = "",
    compute: Callable[[Surroundings], T] | None = None,
    computed: str = "",
    secret: bool = False,
) -> Any:
    """A section's field. Its key path is filled in when the section is registered in KEYS."""
    metadata = {"key": Key("", kind, default, doc, flag=flag, compute=compute, computed=computed, secret=secret)}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)
