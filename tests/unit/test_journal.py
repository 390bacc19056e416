"""The journal's native protocol, read back as journald does."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniwsgi.codes import Code
from miniwsgi.daemon.log import error_log, journal
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.log.journal import JournalWriter, entry, open_journal
from miniwsgi.daemon.log.writer import Writer


def parse(data: bytes) -> dict[str, str]:
    """The fields of an entry (the documentation's description, turned round)."""
    found: dict[str, str] = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if equals:
            data = rest
        else:
            size = int.from_bytes(rest[:8], "little")
            value, data = rest[8 : 8 + size], rest[8 + size :]
            assert data[:1] == b"\n"
            data = data[1:]
        assert name.decode() not in found
        found[name.decode()] = value.decode()
    return found


class Journald:
    """A socket where entries arrive."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(30)

    def receive(self) -> dict[str, str]:
        data, fds, _flags, _address = socket.recv_fds(self._socket, 1 << 20, 1)
        for fd in fds:
            with open(fd, "rb") as file:
                file.seek(0)
                data = file.read()
        return parse(data)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    made = Journald(tmp_path / "socket")
    yield made
    made.close()


@given(
    message=st.text(st.characters(exclude_categories=["Cs"])),
    fields=st.dictionaries(
        st.text("abcdefgh_-.", min_size=1, max_size=80).filter(str.islower),
        st.text(st.characters(exclude_categories=["Cs"])),
        max_size=1,
    ),
)
def test_any_text_comes_through(message: str, fields: dict[str, str]) -> None:
    found = parse(entry("4", message, "worker", 3, fields))
    assert (found.pop("MESSAGE"), found.pop("PRIORITY"), found.pop("SYSLOG_IDENTIFIER")) == (message, "4", "miniwsgi")
    assert (found.pop("MINIWSGI_SOURCE"), found.pop("MINIWSGI_SLOT")) == ("worker", "3")
    assert list(found.values()) == list(fields.values())
    assert all(len(name) <= 64 and name.replace("_", "").isalnum() and name.isupper() for name in found)


def test_an_entry_of_the_error_log_has_its_fields(journald: Journald) -> None:
    log = ErrorLog(source="worker", slot=2, writer=JournalWriter(journald.path))
    log.error(Code.INTERNAL, "it broke\nhere and\x1b[31m there", request="GET /a b", request_id="abc", nothing=None)
    found = journald.receive()
    assert found == {
        "MESSAGE": 'worker/2: MW2901 it broke request="GET /a b" request_id=abc nothing=-\nhere and\\x1b[31m there',
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "miniwsgi",
        "MINIWSGI_SOURCE": "worker",
        "MINIWSGI_SLOT": "2",
        "MINIWSGI_CODE": "MW2901",
        "MESSAGE_ID": "cbddcfb5f1cd4082af7023b4e4922901",
        "MINIWSGI_REQUEST": "GET /a b",
        "MINIWSGI_REQUEST_ID": "abc",
    }
    log.info("from the same")
    found = journald.receive()
    assert found["PRIORITY"] == "6"
    assert "MESSAGE_ID" not in found


@pytest.mark.parametrize("code", Code, ids=str)
def test_each_code_has_a_message_id_as_systemd_wants_it(code: Code) -> None:
    found = parse(entry("4", "hm", "master", None, {}, code))["MESSAGE_ID"]
    assert UUID(found).version == 4
    assert (found, found[-4:]) == (UUID(found).hex, str(code)[2:])


def test_the_master_has_no_slot(journald: Journald) -> None:
    ErrorLog(writer=JournalWriter(journald.path)).warning(Code.INTERNAL, "hm")
    found = journald.receive()
    assert (found["MESSAGE"], found["MINIWSGI_SOURCE"]) == ("master: MW2901 hm", "master")
    assert "MINIWSGI_SLOT" not in found


def test_json_is_the_message_where_it_is_wanted(journald: Journald) -> None:
    ErrorLog(format="json", writer=JournalWriter(journald.path)).info("hm", seconds=1.5)
    found = journald.receive()
    assert '"message": "hm"' in found["MESSAGE"]
    assert found["MINIWSGI_SECONDS"] == "1.5"


def test_an_entry_too_large_for_a_datagram_comes_by_a_file(journald: Journald) -> None:
    log = ErrorLog(writer=JournalWriter(journald.path))
    log.error(Code.INTERNAL, "x" * 3_000_000)
    assert len(journald.receive()["MESSAGE"]) == 3_000_000 + len("master: MW2901 ")
    log.error(Code.INTERNAL, "small again")
    assert journald.receive()["MESSAGE"] == "master: MW2901 small again"


def test_what_the_journal_does_not_take_is_counted(journald: Journald) -> None:
    writer = JournalWriter(journald.path)
    journald.close()
    os.unlink(journald.path)
    writer.put(entry("6", "nobody is there", "master", None, {}))
    assert writer.flush(30)
    assert writer.lost == 1


@contextmanager
def standard_error(fd: int) -> Iterator[None]:
    kept = os.dup(2)
    os.dup2(fd, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def test_the_journals_socket_is_used_where_standard_error_is_its_stream(journald: Journald, tmp_path: Path) -> None:
    stream, other_end = socket.socketpair()
    with stream, other_end, standard_error(stream.fileno()):
        assert isinstance(open_journal(journald.path), JournalWriter)
        plain = open_journal(str(tmp_path / "none"))
    assert not isinstance(plain, JournalWriter)
    assert plain.fd == 2
    with (tmp_path / "file").open("w") as file, standard_error(file.fileno()):
        assert not isinstance(open_journal(journald.path), JournalWriter)


def test_the_error_log_speaks_natively_when_standard_error_is_the_journal(
    monkeypatch: pytest.MonkeyPatch, journald: Journald
) -> None:
    monkeypatch.setattr(error_log, "open_journal", lambda: JournalWriter(journald.path))
    ErrorLog(journal=True).info("hello")
    assert journald.receive()["MESSAGE"] == "master: hello"
    assert isinstance(ErrorLog(journal=False).writer, Writer)
    assert journal.SOCKET == "/run/systemd/journal/socket"
