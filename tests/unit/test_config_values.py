"""Each kind of value: what it accepts, what it makes of it, what it says of the rest, and how it is shown again."""

from __future__ import annotations

import math
import os
import tomllib
from pathlib import Path as FilePath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniwsgi.daemon.config.addresses import Address, Network, Peer, SystemAccount
from miniwsgi.daemon.config.kinds import Boolean, Choice, Kind, Many, MismatchError, Mode, Path, Text, Variables, is_off
from miniwsgi.daemon.config.numbers import Duration, Integer, Size

from tests.support.users import unprivileged

BASE = "/srv/shop"
INTEGER = Integer(1, 256)
INTEGER_OFF = Integer(10, 256, off=True)
SIZE = Size(1, 1 << 40, off=True)
DURATION = Duration(0.1, 86400, off=True)


@pytest.mark.parametrize(
    ("kind", "value", "parsed"),
    [
        (INTEGER, 1, 1),
        (INTEGER, 256, 256),
        (INTEGER_OFF, 0, 0),
        (INTEGER_OFF, "off", 0),
        (INTEGER_OFF, False, 0),
        (SIZE, 8190, 8190),
        (SIZE, "8190", 8190),
        (SIZE, "512 B", 512),
        (SIZE, "16 KiB", 16384),
        (SIZE, "16kib", 16384),
        (SIZE, "16K", 16384),
        (SIZE, "16 kB", 16000),
        (SIZE, " 100 MiB ", 100 * 1024 * 1024),
        (SIZE, "1.5 GiB", 1536 * 1024 * 1024),
        (SIZE, "1 GB", 1_000_000_000),
        (SIZE, "OFF", 0),
        (SIZE, "0", 0),
        (DURATION, 10, 10.0),
        (DURATION, 0.5, 0.5),
        (DURATION, "500ms", 0.5),
        (DURATION, "10s", 10.0),
        (DURATION, "1.5 s", 1.5),
        (DURATION, "5m", 300.0),
        (DURATION, "5min", 300.0),
        (DURATION, "1h", 3600.0),
        (DURATION, "1d", 86400.0),
        (DURATION, "75", 75.0),
        (DURATION, "off", 0.0),
        (Mode(), "0660", 0o660),
        (Mode(), "660", 0o660),
        (Mode(), "0o027", 0o27),
        (Mode(optional=True), "", None),
        (Boolean(), True, True),
        (Choice("auto", "true", "false"), True, "true"),
        (Choice("auto", "true", "false"), "Auto", "auto"),
        (Text("a path", r"/.*", off=True), "/x", "/x"),
        (Text("a path", r"/.*", off=True), "off", ""),
        (Text("a path", r"/.*", off=True), False, ""),
        (SIZE, "", 0),
        (Path(), "x.pid", "/srv/shop/x.pid"),
        (Path(), "../x.pid", "/srv/x.pid"),
        (Path(), "/run/x.pid", "/run/x.pid"),
        (Path(), "~/x", os.path.expanduser("~/x")),
        (Path(off=True), "off", ""),
        (Path(words=("-",)), "-", "-"),
        (Path("directory"), "/", "/"),
        (Address(), "127.0.0.1:8000", "127.0.0.1:8000"),
        (Address(), ":8000", ":8000"),
        (Address(), "localhost:0", "localhost:0"),
        (Address(), "[::1]:8000", "[::1]:8000"),
        (Address(), "[fe80::1%eth0]:8000", "[fe80::1%eth0]:8000"),
        (Address(), "unix:/run/x.sock", "unix:/run/x.sock"),
        (Address(), "unix:x.sock", "unix:/srv/shop/x.sock"),
        (Address(), "unix:@abstract", "unix:@abstract"),
        (Address(), "fd:3", "fd:3"),
        (Address(), "systemd:http", "systemd:http"),
        (Address(off=True), "off", ""),
        (Address(off=True), False, ""),
        (Many(Address()), ":8000", (":8000",)),
        (Many(Address()), [":8000", "fd:3"], (":8000", "fd:3")),
        (Many(Address()), [], ()),
        (Peer(), "10.0.0.1", "10.0.0.1"),
        (Peer(), "10.0.0.0/8", "10.0.0.0/8"),
        (Peer(), "::1", "::1"),
        (Peer(), "2001:db8::/32", "2001:db8::/32"),
        (Peer(), "unix", "unix"),
        (Peer(), "*", "*"),
        (SystemAccount("user"), "root", "root"),
        (SystemAccount("user"), 4711, "4711"),
        (SystemAccount("group"), "0", "0"),
        (SystemAccount("group"), "", ""),
        (Variables(), {"A": "b=c"}, {"A": "b=c"}),
        (Variables(), ("A=b=c", "B="), {"A": "b=c", "B": ""}),
    ],
)
def test_accepts(kind: Kind[Any], value: object, parsed: object) -> None:
    result = kind.parse(value, BASE)
    assert result == parsed
    assert type(result) is type(parsed)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (INTEGER, "four", "a whole number from 1 to 256"),
        (INTEGER, "4", "a whole number from 1 to 256"),  # a text in TOML
        (INTEGER, 4.0, "a whole number from 1 to 256"),
        (INTEGER, True, "a whole number from 1 to 256"),
        (INTEGER, 0, "a whole number from 1 to 256"),
        (INTEGER, 257, "a whole number from 1 to 256"),
        (INTEGER, -1, "a whole number from 1 to 256"),
        (INTEGER, 10**30, "a whole number from 1 to 256"),
        (INTEGER, None, "a whole number from 1 to 256"),
        (INTEGER, "off", "a whole number from 1 to 256"),
        (INTEGER_OFF, 5, 'a whole number from 10 to 256, or "off"'),
        (SIZE, "100 furlongs", 'a size (bytes, or as "16 KiB", "100 MB") from 1 to 1 TiB, or "off"'),
        (SIZE, "-1", "from 1 to"),
        (SIZE, "1.5", "from 1 to"),
        (SIZE, 1.5, "from 1 to"),
        (SIZE, "2000 GiB", "from 1 to"),
        (SIZE, "9" * 5000, "from 1 to"),
        (SIZE, True, "from 1 to"),
        (DURATION, "10 parsecs", 'a duration (seconds, or as "500ms", "10s", "5m") from 100ms to 1d, or "off"'),
        (DURATION, "1m30s", "from 100ms"),
        (DURATION, math.inf, "from 100ms"),
        (DURATION, math.nan, "from 100ms"),
        (DURATION, -3, "from 100ms"),
        (DURATION, 0.05, "from 100ms"),
        (DURATION, True, "from 100ms"),
        (DURATION, [10], "from 100ms"),
        (Mode(), 0o660, 'permission bits in octal, as a text: "0660"'),
        (Mode(), "0680", "octal"),
        (Mode(), "7777", "octal"),
        (Mode(), "", "octal"),
        (Boolean(), 1, "true or false"),
        (Boolean(), "true", "true or false"),
        (Choice("epoll", "fork"), "threads", '"epoll" | "fork"'),
        (Choice("auto", "true", "false"), 1, '"auto" | true | false'),
        (Text("a path", r"/.*", off=True), "x", 'a path or "off"'),
        (Text(), "nul\0", "a text"),
        (Text(), 3, "a text"),
        (Path(), "", "a path"),
        (Path(), 3, "a path"),
        (Path("directory"), "/nonexistent", "the path of a directory; there is nothing of that name"),
        (Path("directory"), "nonexistent", "(it is taken as /srv/shop/nonexistent)"),
        (Path("directory"), "/etc/passwd", "; it is no directory"),
        (Path("file"), "/etc", "; it is a directory"),
        (Path("program"), "no-such-program", "the path of a program, or its name on PATH"),
        (Path("program"), "/etc/passwd", "the path of a program"),
        (Many(Address()), 8000, '(for port 8000 on every address: ":8000")'),
        (Address(), 8000, '(for port 8000 on every address: ":8000")'),
        (Address(), "8000", '(for port 8000 on every address: ":8000")'),
        (Address(), "localhost", '"HOST:PORT", ":PORT"'),
        (Address(), "http://localhost:8000", '"HOST:PORT", ":PORT"'),
        (Address(), ":65536", "a port from 0 to 65535"),
        (Address(), "::1:8000", 'an IPv6 address in brackets: "[::1]:8000"'),
        (Address(), "[::g]:8000", 'an IPv6 address in brackets: "[::1]:8000"'),
        (Address(), "[1.2.3.4]:8000", "an IPv6 address in brackets"),
        (Address(), "256.0.0.1:80", "not 256.0.0.1"),
        (Address(), "a b:80", '"HOST:PORT"'),
        (Address(), "unix:", '"unix:/path" or "unix:@name"'),
        (Address(), "unix:@", '"unix:/path" or "unix:@name"'),
        (Address(), "unix:/" + "x" * 107, "a socket path of at most 107 bytes"),
        (Address(), "unix:" + "x" * 100, "a socket path of at most 107 bytes"),  # with the directory before it
        (Address(), "fd:stdin", '"fd:N", the number of an inherited descriptor'),
        (Address(), "fd:-1", '"fd:N"'),
        (Address(), "systemd:", '"systemd:NAME"'),
        (Address(), "systemd:a:b", '"systemd:NAME"'),
        (Address(), True, '"HOST:PORT"'),
        (Address(), "off", '"HOST:PORT"'),
        (Many(Address(), low=1), [], "at least one"),
        (Many(Address()), {"a": 1}, "a list, each item"),
        (Peer(), "proxy.example", 'an IP address, a network such as "10.0.0.0/8", "unix" or "*"'),
        (Peer(), "10.0.0.1/8", 'did you mean "10.0.0.0/8"?'),
        (Network(), "*", '(for every address: "0.0.0.0/0" and "::/0")'),
        (Peer(), 10, "an IP address"),
        (SystemAccount("user"), "no-such-user-here", "the name or number of a user that exists"),
        (SystemAccount("group"), "no-such-group-here", "the name or number of a group that exists"),
        (SystemAccount("user"), -1, "the name or number of a user"),
        (SystemAccount("user"), True, "the name or number of a user"),
        (Variables(), {"A": 1}, "a text for A, in quotes"),
        (Variables(), {"A=B": "x"}, "a variable's name without '=', not 'A=B'"),
        (Variables(), {"": "x"}, "a variable's name"),
        (Variables(), ("NAME",), "NAME=VALUE; 'NAME' has no '='"),
        (Variables(), ["A=b"], "a table of texts"),
        (Variables(), {"A": "nul\0"}, "a text for A"),
    ],
)
def test_says_what_was_expected(kind: Kind[Any], value: object, expected: str) -> None:
    with pytest.raises(MismatchError) as caught:
        kind.parse(value, BASE)
    said = [caught.value.expected, *(text for _, text in caught.value.items)]
    assert any(expected in text for text in said), said


def test_every_wrong_item_of_a_list_is_found() -> None:
    with pytest.raises(MismatchError) as caught:
        Many(Address()).parse([":80", "x", ":80", 9], BASE)
    assert [wrong.value for wrong in caught.value.items] == ["x", ":80", 9]
    assert caught.value.items[1].expected == "each item once"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (INTEGER, "4", 4),
        (INTEGER, " 4 ", 4),
        (INTEGER, "four", "four"),
        (INTEGER, "٤", "٤"),
        (SIZE, "100", 100),
        (SIZE, "16 KiB", "16 KiB"),
        (DURATION, "10s", "10s"),
        (Boolean(), "on", True),
        (Boolean(), "No", False),
        (Boolean(), "maybe", "maybe"),
        (Many(Address()), ":80, :81,", [":80", ":81"]),
        (Variables(), "A=1", ("A=1",)),
    ],
)
def test_reads_texts_of_flags_and_environment_variables(kind: Kind[Any], text: str, value: object) -> None:
    assert kind.from_text(text) == value


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Integer(0, 10**12), st.integers(0, 10**12)),
        (INTEGER_OFF, st.integers(10, 256) | st.just(0)),
        (SIZE, st.integers(0, 1 << 40)),
        (DURATION, st.floats(0.1, 86400) | st.just(0.0)),
        (Duration(0, 86400), st.floats(0, 86400) | st.integers(0, 86400).map(float)),
        (Mode(), st.integers(0, 0o777)),
        (Mode(optional=True), st.none()),
        (Boolean(), st.booleans()),
        (Choice("auto", "true", "false"), st.sampled_from(["auto", "true", "false"])),
        (Text(), texts),
        (Text(off=True), texts),
        (Variables(), st.dictionaries(texts.filter(lambda name: name and "=" not in name), texts)),
        (Many(Peer()), st.lists(st.ip_addresses().map(str), unique=True).map(tuple)),
    ],
)
def test_what_is_shown_is_toml_for_an_equal_value(kind: Kind[Any], values: st.SearchStrategy[Any]) -> None:
    @given(values)
    def check(value: Any) -> None:
        value = "" if isinstance(value, str) and is_off(value) and kind.accepts() == "or off" else value
        shown = tomllib.loads(f"key = {kind.show(value)}")["key"]
        assert kind.parse(shown, "/") == value

    check()


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        (SIZE, 100 * 1024 * 1024, '"100 MiB"'),
        (SIZE, 8190, "8190"),
        (SIZE, 0, '"off"'),
        (DURATION, 300.0, '"5m"'),
        (DURATION, 75.0, '"75s"'),
        (DURATION, 0.5, '"500ms"'),
        (Duration(0, 1), 0.0005, '"0.5ms"'),
        (Duration(0, 1), 0.0, "0"),
        (Mode(), 0o660, '"0660"'),
        (Path(off=True), "", '"off"'),
        (Many(Address()), (":80", "fd:3"), '[":80", "fd:3"]'),
        (Variables(), {"A": "b", "a.b": 'q"'}, '{ A = "b", "a.b" = "q\\"" }'),
    ],
)
def test_values_are_shown_as_people_write_them(kind: Kind[Any], value: object, shown: str) -> None:
    assert kind.show(value) == shown


def test_a_program_is_found_on_path_and_beside_the_file(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "venv/bin/python9"
    program.parent.mkdir(parents=True)
    program.symlink_to("/bin/sh")
    assert Path("program").parse("venv/bin/python9", str(tmp_path)) == str(program)  # the link itself: a venv's
    monkeypatch.setenv("PATH", str(program.parent))
    assert Path("program").parse("python9", "/") == str(program)


@pytest.mark.parametrize("searched", ["", ":", ".", "venv", ":/usr/bin:"])
def test_no_program_is_looked_for_where_we_happen_to_be_started(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch, searched: str
) -> None:
    (tmp_path / "venv").mkdir()
    for place in (tmp_path, tmp_path / "venv"):
        (place / "python9").symlink_to("/bin/sh")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", searched)
    with pytest.raises(MismatchError):
        Path("program").parse("python9", str(tmp_path))


def test_a_file_that_may_not_be_read_is_said_to_be_so(open_directory: FilePath) -> None:
    secret = open_directory / "secret"
    secret.touch(0o000)
    said = unprivileged(lambda: str(Path("file").parse(str(secret), "/")))
    assert said.startswith("MismatchError")
    assert f"may not read {secret}, which is " in said
