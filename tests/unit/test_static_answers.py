"""What clients are told of static files, over a real conversation of each engine."""

from __future__ import annotations

import errno
import gc
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from miniwsgi.daemon.engine import outgoing
from miniwsgi.daemon.engine.contract import Outcome, Stage
from miniwsgi.daemon.settings import StaticFiles
from miniwsgi.daemon.static import directory
from miniwsgi.metrics import scoreboard as sb

from tests.conformance.case import get

from .conversation_world import NOW, World
from .static_client import Answered, Lines, whole_answer

BIG = bytes(range(256)) * 4096  # a megabyte
CSS = b"a { color: red }\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(directory, "SETTLED_NS", -1)
    (tmp_path / "a.css").write_bytes(CSS)
    (tmp_path / "big.bin").write_bytes(BIG)
    (tmp_path / "empty.txt").touch()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.html").write_text("index")
    return tmp_path


def files(world: World, root: Path, **options: Any) -> None:
    world.serve_files(root, **options)


def ask(world: World, target: str, *fields: str, method: str = "GET") -> Answered:
    """One request, answered without the application."""
    world.send(get(target.encode(), *(field.encode() for field in fields), method=method.encode()))
    calls = world.calls_made
    answer = whole_answer(world, world.conversation.receive(NOW), method)
    assert world.calls_made == calls
    return answer


def test_get_and_head_say_the_same(world: World, root: Path) -> None:
    files(world, root, cache=(("*", "max-age=60"),))
    for name, content in (("a.css", CSS), ("big.bin", BIG), ("empty.txt", b"")):
        for _ in range(2):  # anew, and as remembered
            got = ask(world, f"/static/{name}")
            head = ask(world, f"/static/{name}", method="HEAD")
            assert (got.status, got.body, head.body) == (200, content, b"")
            assert got.fields == head.fields
            assert got["Content-Length"] == str(len(content))
            assert got["Cache-Control"] == "max-age=60"
            assert got["Accept-Ranges"] == "bytes"
            assert re.fullmatch(r'"[0-9a-f-]+"', got["ETag"] or "")


@pytest.mark.parametrize("name", ["a.css", "big.bin"])
def test_ranges_and_conditions(world: World, root: Path, name: str) -> None:
    files(world, root)
    content = (root / name).read_bytes()
    size, path = len(content), f"/static/{name}"
    whole = ask(world, path)
    etag, date = whole["ETag"], whole["Last-Modified"]
    part = ask(world, path, "Range: bytes=2-5", f"If-Range: {etag}")
    assert (part.status, part.body) == (206, content[2:6])
    assert part["Content-Range"] == f"bytes 2-5/{size}"
    assert part["ETag"] == etag
    assert part["Content-Type"] == whole["Content-Type"]
    for fields in (("Range: bytes=0-1,3-4",), ("Range: bytes=2-5", 'If-Range: "x"'), ("Range: lines=1-2",)):
        everything = ask(world, path, *fields)
        assert (everything.status, everything.body) == (200, content)
    head = ask(world, path, "Range: bytes=2-5", method="HEAD")
    assert (head.status, head["Content-Length"]) == (200, str(size))
    beyond = ask(world, path, f"Range: bytes={size}-")
    assert (beyond.status, beyond["Content-Range"]) == (416, f"bytes */{size}")
    for field in (f"If-None-Match: {etag}", f"If-Modified-Since: {date}"):
        same = ask(world, path, field, "Range: bytes=2-5")
        assert (same.status, same.body) == (304, b"")
        assert same["ETag"] == etag
        assert same["Content-Type"] is None
    changed = ask(world, path, 'If-Match: "x"')
    assert changed.status == 412
    assert ask(world, path).body == content


def test_compressed_siblings(world: World, root: Path) -> None:
    (root / "a.css.gz").write_bytes(b"0123456789")
    files(world, root)
    plain = ask(world, "/static/a.css")
    packed = ask(world, "/static/a.css", "Accept-Encoding: gzip")
    assert (packed["Content-Encoding"], packed.body) == ("gzip", b"0123456789")
    assert packed["Content-Type"] == "text/css; charset=utf-8"
    assert plain["Vary"] == packed["Vary"] == "Accept-Encoding"
    etag = packed["ETag"]
    assert etag != plain["ETag"]
    assert ask(world, "/static/a.css", "Accept-Encoding: gzip", f"If-None-Match: {etag}").status == 304
    assert ask(world, "/static/a.css", f"If-None-Match: {etag}").status == 200
    part = ask(world, "/static/a.css", "Accept-Encoding: gzip", "Range: bytes=-3")
    assert (part.status, part["Content-Encoding"], part.body) == (206, "gzip", b"789")


@pytest.mark.parametrize("target", ["/static/none", "/static/../a.css", "/static/%2e%2e/x", "/static/.env", "/static/"])
def test_not_found(world: World, root: Path, target: str) -> None:
    files(world, root)
    response = ask(world, target)
    assert (response.status, response.body) == (404, b"404 Not Found\n")
    assert ask(world, target, method="HEAD").fields == response.fields


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods(world: World, root: Path, method: str) -> None:
    files(world, root)
    response = ask(world, "/static/a.css", method=method)
    assert (response.status, response["Allow"]) == (405, "GET, HEAD")


def test_a_body_is_read_and_dropped(world: World, root: Path) -> None:
    files(world, root)
    world.send(get(b"/static/a.css", b"Content-Length: 5", body=b"hello"), get(b"/static/empty.txt"))
    assert world.conversation.receive(NOW) is Outcome.AGAIN
    assert world.conversation.receive(NOW) is Outcome.IDLE
    assert world._read().count(b"200 OK") == 2


@pytest.mark.parametrize("stripped", ["/static", "/static/docs"])
def test_a_directory_with_an_index(world: World, root: Path, stripped: str) -> None:
    (root / "index.html").write_text("index")
    files(world, root, index_name="index.html")
    moved = ask(world, f"{stripped}?a=b")
    assert (moved.status, moved["Location"]) == (301, f"./{stripped.rpartition('/')[2]}/?a=b")
    found = ask(world, f"{stripped}/")
    assert (found.status, found.body, found["Content-Type"]) == (200, b"index", "text/html; charset=utf-8")


def test_a_redirect_says_what_it_was_asked(world: World, root: Path) -> None:
    (root / "a:b ü%").mkdir()
    (root / "a:b ü%" / "index.html").touch()
    files(world, root, index_name="index.html")
    moved = ask(world, "/static/a:b%20%c3%bc%25")
    assert moved["Location"] == "./a:b%20%C3%BC%25/"


def test_only_what_is_absent_falls_through(world: World, root: Path) -> None:
    (root / "link").symlink_to("a.css")
    files(world, root, fallthrough=True)
    assert ask(world, "/static/a.css").status == 200
    for target in ("/static/../a.css", "/static/a%00b", "/static/link", "/static//a.css"):
        assert ask(world, target).status == 404
    assert ask(world, "/static/a.css", method="POST").status == 405
    for request in (get(b"/static/none"), get(b"/static/none", method=b"POST"), get(b"/static/"), get(b"/other")):
        world.send(request)
        assert world.conversation.serve(world.thread, NOW) is Outcome.IDLE
    assert world.calls_made == 4


def test_others_go_to_the_application(world: World, root: Path) -> None:
    files(world, root)
    for number, target in enumerate((b"/", b"/statics", b"/static", b"/x/static/a.css"), 1):
        world.send(get(target))
        assert world.conversation.serve(world.thread, NOW) is Outcome.IDLE
        assert world.calls_made == number


def test_the_longest_prefix_wins(root: Path, engine: str) -> None:
    (root / "deep").mkdir()
    (root / "deep" / "a.css").write_text("deep")
    entries = (StaticFiles("/", str(root)), StaticFiles("/s/", str(root)), StaticFiles("/s/t/", str(root / "deep")))
    world = World(engine, static=entries)
    assert ask(world, "/s/t/a.css").body == b"deep"
    assert ask(world, "/s/a.css").body == CSS
    assert ask(world, "/a.css").body == CSS
    assert ask(world, "/s/t/big.bin").status == 404


def test_internal_ones_are_nobodys(world: World, root: Path) -> None:
    files(world, root, internal=True)
    assert ask(world, "/static/a.css").status == 404


def test_what_is_sent_ahead_is_answered_in_turns(world: World, root: Path) -> None:
    """Thousands of requests in one segment keep nobody else waiting, and no stack overflows."""
    files(world, root)
    many, one = 800, get(b"/static/empty.txt")
    world.send(one * many, get(b"/"))
    data = b""
    for _ in range(many):
        assert world.conversation.receive(NOW) is Outcome.AGAIN
        data += world._read()
    assert world.conversation.serve(world.thread, NOW) is Outcome.IDLE
    data += world._read()
    assert (data.count(b"HTTP/1.1 200 OK"), world.calls_made) == (many + 1, 1)
    assert data.endswith(b"\r\n\r\n.")


def test_answers_of_both_kinds_keep_their_order(world: World, root: Path) -> None:
    files(world, root)
    world.send(get(b"/1"), get(b"/static/a.css"), get(b"/2"), get(b"/static/a.css"))
    outcome = world.conversation.serve(world.thread, NOW)
    while outcome in {Outcome.AGAIN, Outcome.REQUEST}:
        outcome = world.conversation.serve(world.thread, NOW)
    assert outcome is Outcome.IDLE
    bodies = re.findall(rb"\r\n\r\n(\.|a \{.*?\n)", world._read())
    assert bodies == [b".", CSS, b".", CSS]


def test_counted_under_a_route_of_its_own(world: World, root: Path) -> None:
    files(world, root)
    slot = world.context.slot
    ask(world, "/static/a.css")
    ask(world, "/static/a.css", method="HEAD")
    ask(world, "/static/none")
    assert slot.cells[sb.REQUESTS] == 3
    assert slot.cells[sb.BYTES_OUT] == len(CSS) + len("404 Not Found\n")
    assert slot.cells[sb.FIRSTS] == 1
    route = slot.route("static:/static/")
    for method, status in (("GET", 200), ("HEAD", 200), ("GET", 404)):
        at = slot.series(method, status, route)
        assert sum(slot.cells[at + sb.S_BUCKETS : at + sb.S_BUCKETS + len(sb.BOUNDS_NS) + 1]) == 1


@pytest.fixture
def logged(engine: str, root: Path) -> Iterator[tuple[World, Lines]]:
    lines: Any = Lines()
    world = World(
        engine, access=lines, static=(StaticFiles("/static/", str(root)),), request_id_header="X-Request-ID",
        trusted=("127.0.0.1",),
    )  # fmt: skip
    yield world, lines
    for end in (world.near, world.far):
        end.close()


def test_a_line_and_an_id_as_for_other_requests(logged: tuple[World, Lines]) -> None:
    world, lines = logged
    response = ask(world, "/static/a.css?x=1", "User-Agent: me", "X-Forwarded-For: 192.0.2.1")
    given = ask(world, "/static/a.css", "X-Request-ID: theirs", "X-Forwarded-For: 192.0.2.1")
    (environ, status, headers, sent, duration_ns), (second, *_) = lines.told
    assert (status, sent, duration_ns >= 0) == ("200 OK", len(CSS), True)
    assert environ["HTTP_USER_AGENT"] == "me"
    assert environ["REMOTE_ADDR"] == "192.0.2.1"
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/static/a.css", "x=1")
    assert ("Content-Type", "text/css; charset=utf-8") in headers
    assert response["X-Request-ID"] == environ["miniwsgi.request_id"]
    assert given["X-Request-ID"] == second["miniwsgi.request_id"] == "theirs"


def test_a_client_that_leaves_meanwhile(world: World, root: Path) -> None:
    files(world, root)
    world.send(get(b"/static/big.bin"))
    assert world.conversation.receive(NOW) is Outcome.UNSENT
    assert world.conversation.stage is Stage.UNSENT
    world.leave()
    assert world.conversation.abandon() is Outcome.GONE
    assert world.context.slot.cells[sb.ABORTED] == 1
    world.conversation.close()


def test_a_client_that_has_left_already(world: World, root: Path) -> None:
    files(world, root)
    world.send(get(b"/static/a.css"))
    world.leave()
    assert world.conversation.receive(NOW) is Outcome.GONE
    assert world.context.slot.cells[sb.ABORTED] == 1
    route = world.context.slot.route("static:/static/")
    at = world.context.slot.series("GET", 499, route)
    assert sum(world.context.slot.cells[at + sb.S_BUCKETS : at + sb.S_BUCKETS + len(sb.BOUNDS_NS) + 1]) == 1


def test_a_file_that_shrinks_while_it_is_sent(world: World, root: Path) -> None:
    files(world, root)
    world.send(get(b"/static/big.bin"))
    assert world.conversation.receive(NOW) is Outcome.UNSENT
    (root / "big.bin").write_bytes(b"")
    while world._read():
        pass
    assert world.conversation.flush() is Outcome.GONE


def test_a_small_file_that_shrinks_while_it_is_read(world: World, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than its Content-Length would take its bytes from the next answer."""
    files(world, root)
    monkeypatch.setattr(directory, "_read_all", lambda fd, size: b"a {"[:size])
    for fields in ((), ("Range: bytes=0-9",)):
        assert ask(world, "/static/a.css", *fields).status == 500
    monkeypatch.undo()
    assert ask(world, "/static/a.css").body == CSS


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_no_descriptor_left_to_open_a_file(
    world: World, root: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    files(world, root)
    monkeypatch.setattr(directory, "open_beneath", raising(code))
    assert ask(world, "/static/a.css").status == 503


def test_no_descriptor_left_to_keep_the_rest_of_a_file(
    world: World, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One connection is lost, and not the worker."""
    files(world, root)
    world.send(get(b"/static/big.bin"))
    monkeypatch.setattr(outgoing, "os", SimpleNamespace(dup=raising(errno.EMFILE), sendfile=os.sendfile))
    gc.collect()  # or what other tests have left is closed meanwhile
    before = len(os.listdir("/proc/self/fd"))
    assert world.conversation.receive(NOW) is Outcome.GONE
    assert len(os.listdir("/proc/self/fd")) == before
    assert world.context.slot.cells[sb.ABORTED] == 1


def raising(code: int) -> Any:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return refuse


def test_the_last_answer_says_so(world: World, root: Path) -> None:
    files(world, root)
    world.context.site.closing = True
    world.send(get(b"/static/a.css"))
    assert world.conversation.receive(NOW) is Outcome.LAST
    assert b"Connection: close\r\n" in world._read()
