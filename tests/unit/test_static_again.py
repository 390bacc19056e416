"""A static file that is asked for again and again, which an engine may answer from memory: nobody sees a difference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from miniwsgi.daemon.engine.contract import Outcome, Stage
from miniwsgi.daemon.settings import StaticFiles
from miniwsgi.daemon.static import directory
from miniwsgi.metrics import scoreboard as sb

from tests.conformance.case import get

from .conversation_world import NOW, World
from .static_client import Answered, Lines, whole_answer

CSS = b"a { color: red }\n"
LARGE = bytes(range(256)) * 200  # more than what is joined with its head


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(directory, "SETTLED_NS", -1)
    monkeypatch.setattr(directory, "FRESH_NS", 3600 * 10**9)  # what is remembered is not looked at again
    for name, content in (("a.css", CSS), ("large.js", LARGE), ("empty.txt", b"")):
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def logged(engine: str, root: Path) -> Iterator[tuple[World, Lines]]:
    lines: Any = Lines()
    world = World(engine, access=lines, static=(StaticFiles("/static/", str(root)),))
    yield world, lines
    for end in (world.near, world.far):
        end.close()


def ask(world: World, target: str, *fields: str, method: str = "GET") -> Answered:
    world.send(get(target.encode(), *(field.encode() for field in fields), method=method.encode()))
    return whole_answer(world, world.conversation.receive(NOW), method)


def remembered(world: World, target: str, *fields: str) -> Answered:
    """The answer when it has been given before: the first time it is read, then looked at, then kept."""
    for _ in range(3):
        answer = ask(world, target, *fields)
    return answer


@pytest.mark.parametrize(("name", "content"), [("a.css", CSS), ("large.js", LARGE), ("empty.txt", b"")])
def test_the_same_answer_and_the_same_figures(world: World, root: Path, name: str, content: bytes) -> None:
    world.serve_files(root)
    first = ask(world, f"/static/{name}")
    for _ in range(5):
        again = ask(world, f"/static/{name}")
        assert (again.status, again.fields, again.body) == (200, first.fields, content)
    slot = world.context.slot
    assert (slot.cells[sb.REQUESTS], slot.cells[sb.FIRSTS], slot.cells[sb.BYTES_OUT]) == (6, 1, 6 * len(content))
    at = slot.series("GET", 200, slot.route("static:/static/"))
    assert sum(slot.cells[at + sb.S_BUCKETS : at + sb.S_BUCKETS + len(sb.BOUNDS_NS) + 1]) == 6
    assert world.conversation.requests == 6


def test_each_of_a_trace_that_is_kept_is_an_example_of_its_series(world: World, root: Path) -> None:
    world.serve_files(root)
    slot = world.context.slot
    for number in range(1, 6):
        ask(world, "/static/a.css", f"traceparent: 00-{number:032x}-{1:016x}-01")
        assert f"{number:032x}" in {one.trace_id for one in slot.exemplars()}
    at = slot.series("GET", 200, slot.route("static:/static/"))
    assert {one.series for one in slot.exemplars()} == {slot.cells[at + sb.S_KEY]}
    ask(world, "/static/a.css", f"traceparent: 00-{6:032x}-{1:016x}-00")
    assert f"{6:032x}" not in {one.trace_id for one in slot.exemplars()}


def test_only_the_plain_engine_asks_anew(world: World, root: Path, engine: str) -> None:
    world.serve_files(root)
    remembered(world, "/static/a.css")
    static: Any = world.context.site.static
    asked, answer = [], static.answer
    static.answer = lambda *request: asked.append(request) or answer(*request)
    assert ask(world, "/static/a.css").body == CSS
    assert bool(asked) == (engine == "plain")


def test_what_asks_for_something_else_gets_it(world: World, root: Path) -> None:
    world.serve_files(root)
    whole = remembered(world, "/static/a.css")
    etag, date = whole["ETag"], whole["Last-Modified"]
    for field in (f"If-None-Match: {etag}", f"If-Modified-Since: {date}"):
        assert ask(world, "/static/a.css", field).status == 304
    for field in ('If-Match: "x"', "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT"):
        assert ask(world, "/static/a.css", field).status == 412
    assert ask(world, "/static/a.css", "Range: bytes=2-4").body == CSS[2:5]
    assert ask(world, "/static/a.css", "Range: bytes=2-4", 'If-Range: "x"').body == CSS
    head = ask(world, "/static/a.css", method="HEAD")
    assert (head.fields, head.body) == (whole.fields, b"")
    assert ask(world, "/static/a.css", method="POST").status == 405
    assert ask(world, "/static/a.css").body == CSS


def test_each_client_gets_the_coding_that_it_accepts(world: World, root: Path) -> None:
    (root / "a.css.gz").write_bytes(b"gz")
    (root / "a.css.br").write_bytes(b"br")
    world.serve_files(root)
    wanted = {"gzip": b"gz", "br, gzip": b"br", "gzip;q=0": CSS}
    for accepted, content in wanted.items():
        assert remembered(world, "/static/a.css", f"Accept-Encoding: {accepted}").body == content
    assert remembered(world, "/static/a.css").body == CSS
    for number in range(20):  # more than are kept
        assert remembered(world, "/static/a.css", f"Accept-Encoding: gzip, x{number}").body == b"gz"
    for accepted, content in wanted.items():
        assert ask(world, "/static/a.css", f"Accept-Encoding: {accepted}").body == content
    assert ask(world, "/static/a.css").body == CSS


def test_a_file_that_has_changed(world: World, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "FRESH_NS", -1)  # all is looked at each time
    world.serve_files(root)
    assert remembered(world, "/static/a.css").body == CSS
    (root / "a.css").write_bytes(b"b")
    assert ask(world, "/static/a.css").body == b"b"
    (root / "a.css").unlink()
    assert ask(world, "/static/a.css").status == 404


def test_a_file_that_the_directory_has_forgotten(world: World, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more content is kept than the directory says."""
    world.serve_files(root)
    assert remembered(world, "/static/a.css").body == CSS
    (root / "a.css").write_bytes(b"b")
    monkeypatch.setattr(directory, "KEPT_BYTES", 0)
    assert ask(world, "/static/large.js").body == LARGE
    assert ask(world, "/static/a.css").body == b"b"


def test_the_date_goes_on(world: World, root: Path) -> None:
    world.serve_files(root)
    remembered(world, "/static/a.css")
    server = world.context.site.server_fields
    server.lines = tuple(line.replace(b"Date: ", b"Date: X") for line in server.lines)
    assert (ask(world, "/static/a.css")["Date"] or "").startswith("X")


def test_the_last_answer_says_so(world: World, root: Path) -> None:
    world.serve_files(root)
    remembered(world, "/static/a.css")
    world.context.site.parts = lambda _conversation: True
    world.send(get(b"/static/a.css"))
    assert world.conversation.receive(NOW) is Outcome.LAST
    assert b"Connection: close\r\n" in world._read()


def test_a_client_that_does_not_read(world: World, root: Path) -> None:
    world.serve_files(root)
    remembered(world, "/static/a.css")
    world.fill()
    world.send(get(b"/static/a.css"))
    assert world.conversation.receive(NOW) is Outcome.UNSENT
    assert world.conversation.stage is Stage.UNSENT
    world.read_all()
    outcome = world.conversation.flush() if world.conversation.unsent else Outcome.IDLE
    assert outcome is Outcome.IDLE


def test_a_client_that_has_left(world: World, root: Path) -> None:
    world.serve_files(root)
    remembered(world, "/static/a.css")
    world.send(get(b"/static/a.css"))
    world.leave()
    assert world.conversation.receive(NOW) is Outcome.GONE
    slot = world.context.slot
    assert (slot.cells[sb.ABORTED], slot.cells[sb.REQUESTS]) == (1, 4)
    assert slot.cells[sb.BYTES_OUT] == 3 * len(CSS)


def test_what_is_sent_ahead_is_answered_in_turns(world: World, root: Path) -> None:
    world.serve_files(root)
    remembered(world, "/static/a.css")
    world.send(get(b"/static/a.css") * 3)
    assert [world.conversation.receive(NOW) for _ in range(3)] == [Outcome.AGAIN, Outcome.AGAIN, Outcome.IDLE]
    assert world._read().count(CSS) == 3


def test_each_has_a_line_and_an_id(logged: tuple[World, Lines]) -> None:
    world, lines = logged
    for number in range(4):
        ask(world, "/static/a.css?v=1", f"User-Agent: me{number}")
    assert [environ["HTTP_USER_AGENT"] for environ, *_ in lines.told] == ["me0", "me1", "me2", "me3"]
    assert len({environ["miniwsgi.request_id"] for environ, *_ in lines.told}) == 4
    for environ, status, headers, sent, duration_ns in lines.told:
        assert (status, sent, duration_ns >= 0) == ("200 OK", len(CSS), True)
        assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/static/a.css", "v=1")
        assert environ["miniwsgi.route"] == "static:/static/"
        assert ("Content-Type", "text/css; charset=utf-8") in headers
