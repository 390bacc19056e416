"""The changes that can be asked of a daemon: what the control API asks for is what the supervisor hears, in one shape.

Plain data, for both sides: the API and signals make them, the supervisor decides, and each becomes an operation.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct


class Change(Struct, frozen=True, kw_only=True):
    """`who` is for people: "SIGHUP", "alice (uid 1000, pid 712)"; `uid` and `pid` are of the client, if one asks."""

    name: ClassVar[str]  # of the kind of operation

    who: str = ""
    uid: int | None = None
    pid: int | None = None


# --- what people ask for ------------------------------------------------------------------------------------


class Scale(Change, frozen=True):
    """So many workers: `to` absolutely or `by` more or fewer; neither: as configured again, also after a restart."""

    name = "scale"

    to: int | None = None
    by: int = 0
    persist: bool = False  # also after a restart of the daemon


class Reload(Change, frozen=True):
    """New configuration, new environment, new code."""

    name = "reload"


class Restart(Change, frozen=True):
    """The same generation in new processes, replacements first: one slot, or all of them.

    `now`, of one slot: its worker is killed at once, and replaced then.
    """

    name = "restart"

    slot: int | None = None
    now: bool = False


class Drain(Change, frozen=True):
    """Accept nothing more, finish, stay up without workers."""

    name = "drain"


class Undrain(Change, frozen=True):
    """The end of a drain."""

    name = "undrain"


class SetLogLevel(Change, frozen=True):
    """The error log of master and workers holds this level; None: as configured again."""

    name = "log-level"

    level: str | None = None


class Stop(Change, frozen=True):
    """The end: gracefully, or with `now` at once. A second graceful one means at once, too."""

    name = "stop"

    now: bool = False


# --- what the daemon asks of itself -------------------------------------------------------------------------


class Start(Change, frozen=True):
    """The first generation, with the configuration that the master was started with."""

    name = "start"


class Recover(Change, frozen=True):
    """Another launcher, as that of the generation in force has died."""

    name = "recover"
