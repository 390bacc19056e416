"""The changes that can be asked of a daemon: what the control API asks for is what the supervisor hears, in one shape.

Plain data, for both sides: the API and signals make them, the supervisor decides, and each becomes an operation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """`who` is for people: "SIGHUP", "alice (uid 1000, pid 712)"; `uid` and `pid` are of the client, if one asks."""

    name: ClassVar[str]  # of the kind of operation

    who: str = ""
    uid: int | None = None
    pid: int | None = None


# --- what people ask for ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scale(Change):
    """So many workers: `to` absolutely or `by` more or fewer; neither: as configured again, also after a restart."""

    name = "scale"

    to: int | None = None
    by: int = 0
    persist: bool = False  # also after a restart of the daemon


@dataclass(frozen=True, slots=True)
class Reload(Change):
    """New configuration, new environment, new code."""

    name = "reload"


@dataclass(frozen=True, slots=True)
class Restart(Change):
    """The same generation in new processes, replacements first: one slot, or all of them.

    `now`, of one slot: its worker is killed at once, and replaced then.
    """

    name = "restart"

    slot: int | None = None
    now: bool = False


@dataclass(frozen=True, slots=True)
class Drain(Change):
    """Accept nothing more, finish, stay up without workers."""

    name = "drain"


@dataclass(frozen=True, slots=True)
class Undrain(Change):
    """The end of a drain."""

    name = "undrain"


@dataclass(frozen=True, slots=True)
class SetLogLevel(Change):
    """The error log of master and workers holds this level; None: as configured again."""

    name = "log-level"

    level: str | None = None


@dataclass(frozen=True, slots=True)
class Stop(Change):
    """The end: gracefully, or with `now` at once. A second graceful one means at once, too."""

    name = "stop"

    now: bool = False


# --- what the daemon asks of itself -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start(Change):
    """The first generation, with the configuration that the master was started with."""

    name = "start"


@dataclass(frozen=True, slots=True)
class Recover(Change):
    """Another launcher, as that of the generation in force has died."""

    name = "recover"
