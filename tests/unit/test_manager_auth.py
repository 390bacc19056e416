"""Who may do what, and that a directory service which hangs or lies holds up nobody it should not."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from miniwsgi.manager.control import auth
from miniwsgi.manager.control.auth import Access, Principal, look_up
from miniwsgi.manager.daemon_threads import DaemonThreads
from miniwsgi.manager.http.exchange import HttpRefusal, PeerCredentials
from miniwsgi.manager.messages import Role

STRANGER = 64_999


@pytest.fixture(autouse=True)
def accounts(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A directory of users and groups that is a table; it counts how often it is asked."""
    users = {"alice": 5001, "bob": 5002, "carol": 5003}
    groups = {"ops": 6001, "watchers": 6002}
    calls = {"count": 0}

    def getpwnam(name: str) -> Any:
        calls["count"] += 1
        return pwd.struct_passwd((name, "", users[name], 1, "", "", ""))

    def getpwuid(uid: int) -> Any:
        calls["count"] += 1
        names = {number: name for name, number in users.items()} | {0: "root"}
        return pwd.struct_passwd((names[uid], "", uid, 1, "", "", ""))

    def getgrnam(name: str) -> Any:
        calls["count"] += 1
        return grp.struct_group((name, "", groups[name], []))

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    monkeypatch.setattr(grp, "getgrnam", getgrnam)
    monkeypatch.setattr(os, "geteuid", lambda: 4000)
    monkeypatch.setattr(auth, "unmapped", lambda _kind: -1)
    return calls


def peer(uid: int, gid: int = 1, groups: tuple[int, ...] | None = ()) -> PeerCredentials:
    return PeerCredentials(pid=77, uid=uid, gid=gid, groups=groups)


GRANTED: dict[Role, Sequence[str]] = {
    "read": ("@watchers", "alice", "7000"),
    "operate": ("@ops", "bob", "@7001"),
    "admin": ("carol",),
}


async def role(access: Access, who: PeerCredentials | None) -> str:
    try:
        return (await access.principal(who)).role
    except HttpRefusal as refusal:
        return str(refusal.status)


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        (peer(0), "admin"),
        (peer(4000), "admin"),  # the daemon's own user
        (peer(5001), "read"),
        (peer(5002), "operate"),
        (peer(5003), "admin"),
        (peer(7000), "read"),
        (peer(STRANGER), "403"),
        (peer(STRANGER, gid=6002), "read"),
        (peer(STRANGER, groups=(5, 6001)), "operate"),
        (peer(STRANGER, groups=(6002, 6001)), "operate"),  # the strongest role counts
        (peer(5001, groups=(7001,)), "operate"),
        (peer(6001), "403"),  # a uid is no gid
        (None, "403"),
    ],
)
def test_roles(who: PeerCredentials | None, expected: str) -> None:
    async def body() -> None:
        assert await role(Access(GRANTED, DaemonThreads()), who) == expected

    asyncio.run(body())


@pytest.mark.parametrize(
    ("mine", "needed", "may"),
    [
        ("read", "read", True),
        ("read", "operate", False),
        ("read", "admin", False),
        ("operate", "read", True),
        ("operate", "admin", False),
        ("admin", "operate", True),
        ("admin", "admin", True),
    ],
)
def test_a_role_includes_those_below_it(mine: Role, needed: Role, may: bool) -> None:
    assert Principal(1, 1, "", mine).may(needed) is may


def test_without_grants_nothing_is_looked_up(accounts: dict[str, int]) -> None:
    async def body() -> None:
        access = Access({}, DaemonThreads())
        assert await role(access, peer(0)) == "admin"
        assert await role(access, peer(STRANGER)) == "403"
        assert accounts["count"] == 0

    asyncio.run(body())


def test_root_and_the_daemons_user_need_no_directory_service(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    asked: list[str | int] = []

    def hang(name: str | int) -> None:
        asked.append(name)
        never.wait(30)

    for module, function in ((pwd, "getpwnam"), (grp, "getgrnam"), (pwd, "getpwuid")):
        monkeypatch.setattr(module, function, hang)
    monkeypatch.setattr(auth, "LOOKUP_SECONDS", 0.1)

    async def body() -> None:
        access = Access(GRANTED, DaemonThreads())
        assert await role(access, peer(0)) == "admin"
        assert await role(access, peer(4000)) == "admin"
        assert not asked
        assert await role(access, peer(5001)) == "503"
        assert (await access.named(await access.principal(peer(0)))).who == "unknown user (uid 0, pid 77)"

    try:
        asyncio.run(body())
    finally:
        never.set()


def test_names_are_remembered_and_looked_up_again_after_a_while(accounts: dict[str, int]) -> None:
    now = 0.0

    async def body() -> None:
        nonlocal now
        access = Access(GRANTED, DaemonThreads(), clock=lambda: now)
        for _ in range(10):
            assert await role(access, peer(5001)) == "read"
        assert accounts["count"] == 5  # each name once
        now = 61.0
        await role(access, peer(5001))
        assert accounts["count"] == 10

    asyncio.run(body())


def test_many_at_once_share_one_look_up(accounts: dict[str, int]) -> None:
    async def body() -> None:
        access = Access(GRANTED, DaemonThreads())
        assert await asyncio.gather(*[role(access, peer(5002)) for _ in range(100)]) == ["operate"] * 100
        assert accounts["count"] == 5

    asyncio.run(body())


def test_when_a_later_look_up_fails_the_former_one_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    async def body() -> None:
        nonlocal now
        access = Access(GRANTED, DaemonThreads(), clock=lambda: now)
        assert await role(access, peer(5001)) == "read"
        monkeypatch.setattr(auth, "look_up", _fails)
        now = 100.0
        assert await role(access, peer(5001)) == "read"

    asyncio.run(body())


def _fails(_granted: object) -> auth.Grants:
    raise OSError("no directory")


def test_a_name_that_nobody_has_grants_nothing_and_is_told_once() -> None:
    told: list[str] = []
    now = 0.0

    async def body() -> None:
        nonlocal now
        access = Access({"admin": ("dave", "@nogroup", "alice")}, DaemonThreads(), told.append, clock=lambda: now)
        assert await role(access, peer(5001)) == "admin"
        now = 100.0
        assert await role(access, peer(STRANGER)) == "403"

    asyncio.run(body())
    assert told == ["dave", "@nogroup"]


def test_without_the_kernels_word_the_groups_are_those_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 6001] if name == "alice" else [gid])

    async def body() -> None:
        access = Access({"operate": ("@ops",)}, DaemonThreads())
        assert await role(access, peer(5001, groups=None)) == "operate"
        assert await role(access, peer(5002, groups=None)) == "403"
        assert await role(access, peer(STRANGER, groups=None)) == "403"  # no name: no groups
        assert await role(access, peer(5001, groups=())) == "403"  # the kernel's word counts

    asyncio.run(body())


def test_a_uid_from_outside_the_user_namespace_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "unmapped", lambda _kind: 65534)

    async def body() -> None:
        access = Access({"admin": ("65534", "@65534")}, DaemonThreads())
        with pytest.raises(HttpRefusal, match="user namespace"):
            await access.principal(peer(65534))
        assert await role(access, peer(STRANGER, gid=65534, groups=(65534,))) == "403"
        assert await role(access, peer(0)) == "admin"

    asyncio.run(body())


def test_nobody_is_the_daemons_own_user_where_everybody_from_outside_has_its_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(auth, "unmapped", lambda _kind: 65534)
    monkeypatch.setattr(os, "geteuid", lambda: 65534)

    async def body() -> None:
        access = Access({"admin": ("65534",)}, DaemonThreads())
        with pytest.raises(HttpRefusal, match=r"cannot be told apart there: run the daemon as another user"):
            await access.principal(peer(65534))
        assert await role(access, peer(0)) == "admin"

    asyncio.run(body())


def test_a_stranger_is_told_what_to_configure() -> None:
    async def body() -> None:
        with pytest.raises(HttpRefusal, match=r"uid 64999 is granted nothing; name the user .* control\.read"):
            await Access({}, DaemonThreads()).principal(peer(STRANGER))

    asyncio.run(body())


def test_the_callers_name_is_for_people() -> None:
    async def body() -> None:
        access = Access(GRANTED, DaemonThreads())
        assert (await access.named(await access.principal(peer(5002)))).who == "bob (uid 5002, pid 77)"

    asyncio.run(body())


def test_the_strongest_grant_of_a_name_wins() -> None:
    assert look_up({"admin": ("alice",), "read": ("alice",)}).users == {5001: "admin"}


# --- beside the loop -----------------------------------------------------------------------------------------------


def test_daemon_threads_gives_results_and_errors() -> None:
    async def body() -> None:
        threads = DaemonThreads()
        assert await threads.run(lambda: 42, 5) == 42
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 / 0, 5)  # type: ignore[arg-type,return-value]

    asyncio.run(body())


def test_daemon_threads_gives_up_what_hangs_and_when_all_hang_fails_at_once() -> None:
    never, hanging = threading.Event(), []

    def hang() -> int:
        hanging.append(threading.current_thread())
        return int(never.wait())

    async def body() -> None:
        threads = DaemonThreads(limit=2)
        while len(hanging) < 2:  # where the machine is busy, one may be given up before it has begun
            with pytest.raises(TimeoutError):
                await threads.run(hang, 0.05)
        with pytest.raises(TimeoutError):
            await threads.run(lambda: 42, 0.05)
        never.set()
        assert await threads.run(lambda: 42, 5) == 42

    try:
        asyncio.run(body())
    finally:
        never.set()


def _hang(event: threading.Event) -> Callable[[], bool]:
    return lambda: event.wait(30)


def test_a_thread_that_hangs_does_not_hold_the_end_of_the_loop() -> None:
    never = threading.Event()

    async def body() -> None:
        with pytest.raises(TimeoutError):
            await DaemonThreads().run(_hang(never), 0.05)

    started = time.monotonic()
    try:
        asyncio.run(body())
        assert time.monotonic() - started < 25
    finally:
        never.set()
