"""Listening sockets: every form of address, what is left behind, and the one line when it cannot be had."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from miniwsgi.daemon.config.binds import Bind
from miniwsgi.daemon.master.sockets import unix_sockets
from miniwsgi.daemon.master.sockets.listeners import BindError, BoundListener, Origin, SocketOptions, open_listeners
from miniwsgi.daemon.master.sockets.unix_sockets import SocketFile

from tests.support.ports import free_port
from tests.support.users import as_root, unprivileged

OPTIONS = SocketOptions(backlog=16)


@pytest.fixture
def opened() -> Iterator[list[BoundListener]]:
    """Listeners that are closed at the end."""
    listeners: list[BoundListener] = []
    yield listeners
    for listener in listeners:
        listener.close()


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def connects(address: str | tuple[str, int], family: int) -> bool:
    with socket.socket(family) as sock:
        sock.settimeout(60)
        return sock.connect_ex(address) == 0


# --- TCP ------------------------------------------------------------------------------------------------------------


def test_a_host_and_a_port(opened: list[BoundListener]) -> None:
    opened += open_listeners(["127.0.0.1:0"], OPTIONS)
    (listener,) = opened
    port = listener.socket.getsockname()[1]
    assert listener.url() == f"http://127.0.0.1:{port}"
    assert connects(("127.0.0.1", port), socket.AF_INET)
    assert listener.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert not listener.socket.getblocking()
    assert not listener.socket.get_inheritable()
    settings = listener.for_workers(Bind())
    assert (settings.fd, settings.server_name, settings.server_port) == (listener.fd, "127.0.0.1", str(port))
    assert not settings.unix


def test_a_port_alone_is_every_address_of_both_families(opened: list[BoundListener]) -> None:
    opened += open_listeners([":0"], OPTIONS)
    (listener,) = opened
    port = listener.socket.getsockname()[1]
    assert connects(("127.0.0.1", port), socket.AF_INET)
    if has_ipv6():
        assert connects(("::1", port), socket.AF_INET6)
    assert listener.for_workers(Bind()).server_name == socket.gethostname()


def families(port: int) -> str:
    """To which families the port answers."""
    found = [(socket.AF_INET, "127.0.0.1", "4"), (socket.AF_INET6, "::1", "6")]
    return "".join(shown for family, host, shown in found if connects((host, port), family))


@needs_ipv6
@pytest.mark.parametrize("host", ["[::]", "[0:0::0]"])
def test_every_ipv6_address_alone_is_for_both_families(opened: list[BoundListener], host: str) -> None:
    port = free_port()
    opened += open_listeners([f"{host}:{port}", "127.0.0.1:0"], OPTIONS)
    assert families(port) == "46"
    assert opened[0].url() == f"http://[::]:{port}"


@needs_ipv6
@pytest.mark.parametrize("beside", ["0.0.0.0", "127.0.0.1"])
@pytest.mark.parametrize("turned", [False, True])
def test_beside_an_ipv4_address_it_is_for_ipv6(opened: list[BoundListener], beside: str, turned: bool) -> None:
    port = free_port()
    opened += open_listeners([f"[::]:{port}", f"{beside}:{port}"][:: -1 if turned else 1], OPTIONS)
    assert families(port) == "46"
    assert sorted(listener.serves_ipv4 for listener in opened) == [False, True]


@needs_ipv6
def test_an_address_that_is_not_every_one_is_for_its_own_family(opened: list[BoundListener]) -> None:
    port = free_port()
    opened += open_listeners([f"[::1]:{port}"], OPTIONS)
    assert families(port) == "6"


def reloaded(opened: list[BoundListener], *binds: str) -> list[BoundListener]:
    """As a reload does it: what is not kept is closed afterwards."""
    found = open_listeners(binds, OPTIONS, kept=opened)
    for listener in opened:
        if listener not in found:
            listener.close()
    opened[:] = found
    return found


@needs_ipv6
@pytest.mark.parametrize("beside", ["0.0.0.0", "127.0.0.1"])
def test_a_reload_adds_ipv4_to_what_serves_it_already(opened: list[BoundListener], beside: str) -> None:
    port = free_port()
    (kept,) = reloaded(opened, f"[::]:{port}")
    assert reloaded(opened, f"[::]:{port}", f"{beside}:{port}") == [kept]
    assert reloaded(opened, f"{beside}:{port}", f"[::]:{port}") == [kept]
    assert families(port) == "46"


@needs_ipv6
def test_a_reload_takes_ipv4_away_and_leaves_it_to_every_address(opened: list[BoundListener]) -> None:
    port = free_port()
    first = reloaded(opened, f"[::]:{port}", f"0.0.0.0:{port}")
    second = reloaded(opened, f"[::]:{port}")
    assert second[0] is first[0]
    assert [listener.name for listener in second] == [f"[::]:{port}"] * 2
    assert families(port) == "46"
    assert reloaded(opened, f"[::]:{port}") == second
    assert reloaded(opened, f"[::]:{port}", f"0.0.0.0:{port}") == second


@needs_ipv6
def test_a_reload_from_ipv4_to_both_families_keeps_the_queue_of_ipv4(opened: list[BoundListener]) -> None:
    port = free_port()
    (old,) = open_listeners([f"0.0.0.0:{port}"], OPTIONS)
    with socket.create_connection(("127.0.0.1", port)) as client:
        opened.append(old)
        new = reloaded(opened, f"[::]:{port}")
        taken = next(listener for listener in new if listener.serves_ipv4).socket.accept()[0]
        assert taken.getpeername() == client.getsockname()
        taken.close()
    assert families(port) == "46"


@needs_ipv6
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["[::]", "127.0.0.1"], ["[::]"]),
        (["0.0.0.0"], [""]),
        ([""], ["0.0.0.0"]),
    ],
)
def test_what_a_reload_cannot_change_is_refused_and_says_so(
    opened: list[BoundListener], before: list[str], after: list[str]
) -> None:
    port = free_port()
    reloaded(opened, *(f"{host}:{port}" for host in before))
    with pytest.raises(BindError, match="has the port until then; it needs a restart"):
        reloaded(opened, *(f"{host}:{port}" for host in after))
    assert opened


def test_a_name_is_looked_up(opened: list[BoundListener]) -> None:
    opened += open_listeners(["localhost:0"], OPTIONS)
    assert opened[0].socket.getsockname()[0] in {"127.0.0.1", "::1"}


def test_a_name_that_is_unknown_is_refused() -> None:
    with pytest.raises(
        BindError, match=r"cannot listen on nowhere\.invalid:8000: the name nowhere\.invalid is not known"
    ):
        open_listeners(["nowhere.invalid:8000"], OPTIONS)


def test_a_port_in_use_names_who_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(BindError, match=rf"port {port} is in use by .+ \(pid {os.getpid()}\); stop that") as caught:
            open_listeners([f"127.0.0.1:{port}"], OPTIONS)
        assert "\n" not in str(caught.value)


def test_an_address_that_this_machine_does_not_have() -> None:
    with pytest.raises(BindError, match=r"this machine has no address 203\.0\.113\.7; .*:8000"):
        open_listeners(["203.0.113.7:8000"], OPTIONS)


def test_a_privileged_port_is_refused_with_the_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: socket.socket, _address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(BindError, match=r"port 80 is privileged; .*AmbientCapabilities=.*setcap"):
        open_listeners(["127.0.0.1:80"], OPTIONS)


def test_when_one_of_several_cannot_be_had_the_others_are_closed(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(BindError):
            open_listeners([f"unix:{path}", f"127.0.0.1:{taken}"], OPTIONS)
    assert not path.exists()


def test_what_has_the_same_name_is_kept_and_only_what_is_new_is_opened(opened: list[BoundListener]) -> None:
    opened += open_listeners(["127.0.0.1:0"], OPTIONS)
    again = open_listeners(["[::1]:0" if has_ipv6() else "127.0.0.2:0", "127.0.0.1:0"], OPTIONS, kept=opened)
    opened.append(again[0])
    assert again[1] is opened[0]


def test_a_failure_leaves_what_was_kept_open(opened: list[BoundListener]) -> None:
    opened += open_listeners(["127.0.0.1:0"], OPTIONS)
    with pytest.raises(BindError):
        open_listeners(["127.0.0.1:0", "nowhere.invalid:1"], OPTIONS, kept=opened)
    assert connects(opened[0].socket.getsockname(), socket.AF_INET)


def test_a_shrunk_backlog_takes_no_more_than_one_connection(opened: list[BoundListener]) -> None:
    opened += open_listeners(["127.0.0.1:0"], OPTIONS)
    opened[0].shrink_backlog()
    address = opened[0].socket.getsockname()
    waiting = []
    for _ in range(4):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(address)
        waiting.append(sock)
    accepted = []
    try:
        while True:
            accepted.append(opened[0].socket.accept()[0])
    except BlockingIOError:
        pass
    assert len(accepted) < 4
    for sock in (*waiting, *accepted):
        sock.close()


# --- Unix sockets -----------------------------------------------------------------------------------------------------


def test_a_unix_socket_has_its_mode_and_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    (listener,) = open_listeners([f"unix:{path}"], SocketOptions(mode=0o640))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert connects(str(path), socket.AF_UNIX)
    assert listener.unix
    assert (listener.url(), listener.url("uwsgi")) == (f"unix:{path}", f"uwsgi:{path}")
    assert (listener.for_workers(Bind()).server_name, listener.for_workers(Bind()).server_port) == ("localhost", "")
    assert [entry.name for entry in tmp_path.iterdir()] == ["http.sock"], "no temporary name is left"
    listener.close()
    assert not list(tmp_path.iterdir())


@as_root
def test_a_unix_socket_has_its_owner_and_group(tmp_path: Path, opened: list[BoundListener]) -> None:
    path = tmp_path / "http.sock"
    opened += open_listeners([f"unix:{path}"], SocketOptions(owner="nobody", group="12345"))
    assert path.stat().st_uid != 0
    assert path.stat().st_gid == 12345
    opened[0].adjust(SocketOptions(mode=0o600, owner="0"))
    assert path.stat().st_uid == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_a_socket_has_already_it_need_not_be_given(
    tmp_path: Path, opened: list[BoundListener], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: object, **_named: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refused)  # as under a filter of system calls
    options = SocketOptions(owner=str(os.geteuid()), group=str(os.getegid()))
    opened += open_listeners([f"unix:{tmp_path}/http.sock"], options)
    with pytest.raises(
        BindError, match=r"cannot give it to the group 12345; the unit needs SupplementaryGroups=12345"
    ) as g:
        open_listeners([f"unix:{tmp_path}/other.sock"], SocketOptions(group="12345"))
    assert g.value.access
    with pytest.raises(BindError, match=r"cannot give it to 12345, only root can; see socket_owner and socket_group"):
        open_listeners([f"unix:{tmp_path}/other.sock"], SocketOptions(owner="12345"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["http.sock"]


def test_a_stale_socket_is_replaced_without_a_moment_in_which_there_is_none(
    tmp_path: Path, opened: list[BoundListener]
) -> None:
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    opened += open_listeners([f"unix:{path}"], OPTIONS)
    assert connects(str(path), socket.AF_UNIX)


def test_a_socket_on_which_somebody_listens_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(path))
        alive.listen()
        with pytest.raises(BindError, match=rf"unix:{path}: .+ \(pid {os.getpid()}\) listens on it"):
            open_listeners([f"unix:{path}"], OPTIONS)
        assert connects(str(path), socket.AF_UNIX)


def test_a_file_that_is_no_socket_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    path.write_text("precious")
    with pytest.raises(BindError, match="no socket; remove it or take another path"):
        open_listeners([f"unix:{path}"], OPTIONS)
    assert path.read_text() == "precious"


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BindError, match=rf"the directory {tmp_path}/run does not exist; make it \(mkdir -p"):
        open_listeners([f"unix:{tmp_path}/run/http.sock"], OPTIONS)
    with pytest.raises(BindError, match="RuntimeDirectory=no-such-directory-here in the systemd unit"):
        open_listeners(["unix:/run/no-such-directory-here/http.sock"], OPTIONS)


def test_a_directory_that_may_not_be_written() -> None:
    said = unprivileged(lambda: str(open_listeners(["unix:/usr/http.sock"], OPTIONS)))
    assert said.startswith("BindError")
    assert "Permission denied" in said


def test_a_file_system_that_is_read_only_is_said_once() -> None:
    error = unix_sockets._explain("/etc/x/s", OSError(errno.EROFS, "Read-only file system"), "")
    assert str(error).startswith(
        "cannot listen on unix:/etc/x/s: Read-only file system: ReadWritePaths=/etc/x lets a unit"
    )


def test_an_unknown_owner_is_named(tmp_path: Path) -> None:
    with pytest.raises(BindError, match="no-such-user"):
        open_listeners([f"unix:{tmp_path}/http.sock"], SocketOptions(owner="no-such-user"))
    assert not list(tmp_path.iterdir())


def test_a_path_of_the_longest_length_works(tmp_path: Path, opened: list[BoundListener]) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    path = f"{directory}/" + "s" * (107 - len(str(directory)) - 1)
    opened += open_listeners([f"unix:{path}"], OPTIONS)
    assert connects(path, socket.AF_UNIX)
    assert len(list(directory.iterdir())) == 1


def test_a_socket_that_another_daemon_has_replaced_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    (listener,) = open_listeners([f"unix:{path}"], OPTIONS)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        listener.close()
        assert path.exists()


def test_an_abstract_socket(opened: list[BoundListener]) -> None:
    name = f"miniwsgi-test-{secrets.token_hex(8)}"
    opened += open_listeners([f"unix:@{name}"], OPTIONS)
    assert connects("\0" + name, socket.AF_UNIX)
    with pytest.raises(BindError, match=rf"unix:@{name}: .+ \(pid {os.getpid()}\) listens on it"):
        open_listeners([f"unix:@{name}"], OPTIONS)


# --- inherited ----------------------------------------------------------------------------------------------


def test_an_inherited_descriptor_is_adopted_and_its_queue_left_to_its_owner(opened: list[BoundListener]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        opened += open_listeners([f"fd:{given.fileno()}"], OPTIONS)
        (listener,) = opened
        assert listener.origin is Origin.INHERITED
        address = given.getsockname()
        listener.shrink_backlog()
        pending = [socket.create_connection(address, timeout=60) for _ in range(3)]
        assert connects(address, socket.AF_INET), "its backlog is as it was"
        for sock in pending:
            sock.close()


def test_sockets_that_systemd_passed_are_found_by_name(opened: list[BoundListener]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        passed = {"http": [one.fileno(), two.fileno()]}
        opened += open_listeners(["systemd:http"], OPTIONS, passed=passed)
        assert [listener.url() for listener in opened] == [
            f"http://127.0.0.1:{sock.getsockname()[1]}" for sock in (one, two)
        ]
        with pytest.raises(BindError, match=r"no socket of that name \(passed: http\).*FileDescriptorName=https"):
            open_listeners(["systemd:https"], OPTIONS, passed=passed)


@pytest.mark.parametrize("bind", ["fd:999", "fd:0"])
def test_a_descriptor_that_is_no_socket_is_refused(bind: str) -> None:
    with pytest.raises(BindError, match=f"cannot listen on {bind}: descriptor "):
        open_listeners([bind], OPTIONS)


def test_a_datagram_socket_is_refused() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        pytest.raises(BindError, match="no stream socket"),
    ):
        open_listeners([f"fd:{sock.fileno()}"], OPTIONS)


def test_a_listener_says_what_it_is(opened: list[BoundListener]) -> None:
    opened += open_listeners(["127.0.0.1:0"], OPTIONS)
    assert repr(opened[0]) == f"<BoundListener 127.0.0.1:0 fd={opened[0].fd} ours>"


def test_a_socket_is_missing_only_if_it_can_be_seen_that_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = SocketFile(str(tmp_path / "socket"), 0, 0)
    assert file.is_missing

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.lstat", refuse)
    assert not file.is_missing
