"""Who may do what: a peer's uid and groups, by the kernel's word, to one of three roles.

Root and the daemon's own user are admin, whatever else fails. Others are what `[control]` grants their user or one of
their groups ("@name"). Names are looked up beside the loop, with a time limit, and remembered for a while: a directory
service that hangs holds up nobody but those whose right depends on it.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

from msgspec import Struct, structs

from ..daemon_threads import DaemonThreads
from ..http.exchange import HttpRefusal, PeerCredentials
from ..messages import Role
from .unit_peer import is_of_unit, service_manager

T = TypeVar("T")

ROLES: tuple[Role, ...] = ("read", "operate", "admin")  # each may do what those before it may
LOOKUP_SECONDS = 2.0
REMEMBERED_SECONDS = 60.0
REMEMBERED_NAMES = 256
WHOLE_RANGE = ["0", "0", "4294967295"]  # of /proc/self/uid_map and gid_map where there is no user namespace


class Principal(Struct, frozen=True):
    """Somebody who may use the API."""

    uid: int
    pid: int
    user: str  # "" if the uid has no name, nobody could tell in time, or nobody has asked yet
    role: Role
    of_unit: bool = False  # systemd runs it for the daemon's own unit

    @property
    def who(self) -> str:
        """For logs and operations."""
        if self.of_unit:
            return "systemd"
        return f"{self.user or 'unknown user'} (uid {self.uid}, pid {self.pid})"

    def may(self, role: Role) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


class Grants(Struct, frozen=True):
    """What the configuration grants, by number."""

    users: Mapping[int, Role]
    groups: Mapping[int, Role]
    unknown: tuple[str, ...]  # names that nobody has


class Access:
    """Roles of peers. `granted` maps each role to names or numbers of users, and of groups with "@" before them."""

    def __init__(
        self,
        granted: Mapping[Role, Sequence[str]],
        threads: DaemonThreads,
        on_unknown: Callable[[str], None] = lambda _message: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._granted = {role: tuple(names) for role, names in granted.items()}
        self._threads = threads
        self._on_unknown = on_unknown
        self._clock = clock
        self._own_uid = os.geteuid()
        self._manager = service_manager(os.environ)
        self._unmapped_uid = unmapped("uid")
        self._unmapped_gid = unmapped("gid")
        self._grants: Grants | None = None
        self._looked_up = 0.0
        self._told: tuple[str, ...] = ()
        self._lookup: asyncio.Task[Grants] | None = None
        self._names: dict[int, tuple[str, float]] = {}
        self._groups: dict[int, tuple[tuple[int, ...], float]] = {}

    def __repr__(self) -> str:
        return f"<Access {self._granted}>"

    async def principal(self, peer: PeerCredentials | None) -> Principal:
        """Who asks. Raises HttpRefusal: 403 for strangers, 503 while their right cannot be looked up."""
        if peer is None:
            raise HttpRefusal(403, "who you are cannot be told")
        role = await self._role(peer)
        if role is None:
            raise HttpRefusal(403, self._why_not(peer))
        return Principal(peer.uid, peer.pid, "", role)

    async def named(self, principal: Principal) -> Principal:
        """The same with who that is: for what is logged. Only then it is worth a look-up."""
        try:
            of_unit = await self._threads.run(lambda: is_of_unit(principal.pid, self._manager), LOOKUP_SECONDS)
        except (TimeoutError, OSError):
            of_unit = False
        return structs.replace(principal, user="" if of_unit else await self.name(principal.uid), of_unit=of_unit)

    async def name(self, uid: int) -> str:
        """A user's name; "" if there is none, or it cannot be looked up in time."""
        known = self._names.get(uid)
        if known is not None and self._clock() - known[1] < REMEMBERED_SECONDS:
            return known[0]
        try:
            name = await self._threads.run(lambda: _user_name(uid), LOOKUP_SECONDS)
        except (TimeoutError, OSError):
            name = known[0] if known is not None else ""
        _remember(self._names, uid, (name, self._clock()))
        return name

    async def _role(self, peer: PeerCredentials) -> Role | None:
        if peer.uid == self._unmapped_uid:  # whoever that is, even if the daemon's own user is shown so
            return None
        if peer.uid in {0, self._own_uid}:
            return "admin"
        if not any(self._granted.values()):
            return None
        grants = await self._current_grants()
        roles = [grants.users[peer.uid]] if peer.uid in grants.users else []
        if grants.groups:
            groups = {peer.gid, *await self._groups_of(peer)} - {self._unmapped_gid}
            roles += [grants.groups[gid] for gid in groups if gid in grants.groups]
        return max(roles, key=ROLES.index, default=None)

    async def _current_grants(self) -> Grants:
        """The grants, looked up again from time to time; the former ones if that fails."""
        if self._grants is None or self._clock() - self._looked_up >= REMEMBERED_SECONDS:
            if self._lookup is None:
                self._lookup = asyncio.create_task(self._threads.run(lambda: look_up(self._granted), LOOKUP_SECONDS))
            task = self._lookup
            try:
                self._grants = await asyncio.shield(task)
            except (TimeoutError, OSError):
                if self._grants is None:
                    raise HttpRefusal(503, "users and groups cannot be looked up now") from None
            finally:
                if task.done():
                    self._lookup = None
            self._looked_up = self._clock()
            if self._grants.unknown != self._told:
                self._told = self._grants.unknown
                for name in self._told:
                    self._on_unknown(name)
        return self._grants

    async def _groups_of(self, peer: PeerCredentials) -> tuple[int, ...]:
        """A peer's supplementary groups: those of its connection, or those of its user where the kernel is silent."""
        if peer.groups is not None:
            return peer.groups
        known = self._groups.get(peer.uid)
        if known is not None and self._clock() - known[1] < REMEMBERED_SECONDS:
            return known[0]
        try:
            groups = await self._threads.run(lambda: _groups_of_user(peer.uid, peer.gid), LOOKUP_SECONDS)
        except (TimeoutError, OSError):
            raise HttpRefusal(503, "your groups cannot be looked up now") from None
        _remember(self._groups, peer.uid, (groups, self._clock()))
        return groups

    def _why_not(self, peer: PeerCredentials) -> str:
        if peer.uid == self._unmapped_uid:
            why = (
                f"your uid is shown as {peer.uid}: it is not mapped into the daemon's user namespace "
                "(PrivateUsers=, a container)"
            )
            if peer.uid == self._own_uid:
                why += ", or it is the daemon's own, which cannot be told apart there: run the daemon as another user"
            return why
        return (
            f"uid {peer.uid} is granted nothing; name the user or one of its groups in control.read, "
            "control.operate or control.admin"
        )


def look_up(granted: Mapping[Role, Sequence[str]]) -> Grants:
    """Names to numbers. Blocks."""
    users: dict[int, Role] = {}
    groups: dict[int, Role] = {}
    unknown: list[str] = []
    for role in ROLES:  # the weakest first: a later one wins
        for name in granted.get(role, ()):
            bare = name.removeprefix("@")
            try:
                if name.startswith("@"):
                    groups[int(bare) if bare.isdecimal() else grp.getgrnam(bare).gr_gid] = role
                else:
                    users[int(bare) if bare.isdecimal() else pwd.getpwnam(bare).pw_uid] = role
            except KeyError:
                unknown.append(name)
    return Grants(users, groups, tuple(unknown))


def unmapped(kind: Literal["uid", "gid"]) -> int:
    """The number that stands for all that this process's user namespace does not know; -1 if it knows all.

    Source: user_namespaces(7), /proc/sys/kernel/overflowuid and overflowgid.
    """
    try:
        with open(f"/proc/self/{kind}_map", encoding="utf-8") as file:
            if file.read().split() == WHOLE_RANGE:
                return -1
        with open(f"/proc/sys/kernel/overflow{kind}", encoding="utf-8") as file:
            return int(file.read())
    except (OSError, ValueError):
        return -1


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _groups_of_user(uid: int, gid: int) -> tuple[int, ...]:
    name = _user_name(uid)
    return tuple(os.getgrouplist(name, gid)) if name else ()


def _remember(table: dict[int, tuple[T, float]], key: int, value: tuple[T, float]) -> None:
    if len(table) >= REMEMBERED_NAMES:
        table.clear()
    table[key] = value
