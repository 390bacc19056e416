"""X-Accel-Redirect and X-Sendfile, of WSGI applications, Flask and Django, over a conversation of each engine."""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from miniwsgi.daemon.engine import outgoing, x_sendfile
from miniwsgi.daemon.engine.contract import Outcome
from miniwsgi.daemon.settings import StaticFiles

from tests.conformance.case import get

from .conversation_world import NOW, World
from .static_client import Answered, whole_answer

CONTENT = bytes(range(256)) * 8
Headers = list[tuple[str, str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    inside = tmp_path / "protected"
    (inside / "deep").mkdir(parents=True)
    (inside / "deep" / "a b.pdf").write_bytes(CONTENT)
    (inside / "link").symlink_to("../secret")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "a.css").write_text("a {}")
    return tmp_path


@pytest.fixture
def made(engine: str, root: Path) -> Iterator[Callable[..., World]]:
    """A world whose application is wrapped, as a worker's is."""
    worlds: list[World] = []

    def make(application: Any, *, internal: bool = True) -> World:
        entries = (
            StaticFiles("/protected/", str(root / "protected"), internal=internal, cache=(("*", "private"),)),
            StaticFiles("/public/", str(root / "public")),
        )
        world = World(engine, static=entries, use=application)
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        for end in (world.near, world.far):
            end.close()


def ask(world: World, *fields: str, target: str = "/download", method: str = "GET") -> Answered:
    world.send(get(target.encode(), *(field.encode() for field in fields), method=method.encode()))
    return whole_answer(world, world.conversation.serve(world.thread, NOW), method)


def names(field: str, value: str, *others: tuple[str, str], status: str = "200 OK") -> Any:
    """An application whose answer names a file."""

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(
            status, [(field, value), ("Content-Length", "4"), ("Content-Disposition", "attachment"), *others]
        )
        return [b"body"]

    return application


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("X-Accel-Redirect", "/protected/deep/a%20b.pdf"),
        ("x-accel-redirect", "/protected/deep/a%20b.pdf?ignored=1"),
        ("X-Sendfile", "{root}/protected/deep/a b.pdf"),
    ],
)
def test_the_file_is_the_body(made: Callable[..., World], root: Path, field: str, value: str) -> None:
    world = made(names(field, value.format(root=root), ("Set-Cookie", "a=b"), ("Content-Type", "text/own")))
    answer = ask(world)
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer["Content-Length"] == str(len(CONTENT))
    assert answer["Content-Disposition"] == "attachment"
    assert answer["Set-Cookie"] == "a=b"
    assert answer["Content-Type"] == "text/own"
    assert answer["Cache-Control"] == "private"
    assert answer[field] is None
    head = ask(world, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert [field for field in head.fields if field[0] != "Date"] == [
        field for field in answer.fields if field[0] != "Date"
    ]


def test_ranges_and_conditions(made: Callable[..., World]) -> None:
    world = made(
        names("X-Accel-Redirect", "/protected/deep/a%20b.pdf", ("Content-Range", "bytes 0-1/2"), status="206 X")
    )
    whole = ask(world)
    assert (whole.status, whole.body, whole["Content-Range"]) == (200, CONTENT, None)
    assert whole["Content-Type"] == "application/pdf"
    part = ask(world, "Range: bytes=10-19")
    assert (part.status, part.body) == (206, CONTENT[10:20])
    assert part["Content-Range"] == f"bytes 10-19/{len(CONTENT)}"
    same = ask(world, f"If-None-Match: {whole['ETag']}")
    assert (same.status, same.body, same["Content-Type"]) == (304, b"", None)
    beyond = ask(world, "Range: bytes=99999-")
    assert (beyond.status, beyond["Content-Range"]) == (416, f"bytes */{len(CONTENT)}")
    assert ask(world, 'If-Match: "x"').status == 412


def test_the_applications_own_validators_win(made: Callable[..., World]) -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    own = (("ETag", '"own"'), ("Last-Modified", date))
    world = made(names("X-Accel-Redirect", "/protected/deep/a%20b.pdf", *own))
    answer = ask(world)
    assert (answer["ETag"], answer["Last-Modified"]) == ('"own"', date)
    assert ask(world, 'If-None-Match: "own"').status == 304
    assert ask(world, f"If-Modified-Since: {date}").status == 304


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("X-Accel-Redirect", "/protected/../secret"), ("X-Accel-Redirect", "/protected/%2e%2e/secret"),
        ("X-Accel-Redirect", "/protected/link"), ("X-Accel-Redirect", "/protected/deep"),
        ("X-Accel-Redirect", "/protected/none"), ("X-Accel-Redirect", "/elsewhere"), ("X-Accel-Redirect", ""),
        ("X-Sendfile", "{root}/secret"), ("X-Sendfile", "{root}/protected/../secret"),
        ("X-Sendfile", "{root}/protectedness"), ("X-Sendfile", "{root}/protected/link"), ("X-Sendfile", "/etc/passwd"),
        ("X-Sendfile", "{root}/protected/\N{GREEK SMALL LETTER ALPHA}"), ("X-Sendfile", "deep/a b.pdf"),
        ("X-Sendfile", "{root}/public/a.css"), ("X-Sendfile", ""),
    ],
)  # fmt: skip
def test_nothing_else_is_sent(made: Callable[..., World], root: Path, field: str, value: str) -> None:
    answer = ask(made(names(field, value.format(root=root))))
    assert (answer.status, answer.body, answer["Content-Disposition"]) == (404, b"404 Not Found\n", None)


def test_a_public_directory_may_be_named_by_its_path(made: Callable[..., World]) -> None:
    assert ask(made(names("X-Accel-Redirect", "/public/a.css"))).body == b"a {}"


def test_without_an_internal_entry_they_are_fields_like_any_other(made: Callable[..., World]) -> None:
    """A proxy in front may be who is to read them."""
    answer = ask(made(names("X-Accel-Redirect", "/protected/deep/a%20b.pdf"), internal=False))
    assert (answer.body, answer["X-Accel-Redirect"]) == (b"body", "/protected/deep/a%20b.pdf")


def test_only_a_success_means_the_file(made: Callable[..., World]) -> None:
    answer = ask(made(names("X-Accel-Redirect", "/protected/deep/a%20b.pdf", status="403 Forbidden")))
    assert (answer.status, answer.body, answer["X-Accel-Redirect"]) == (403, b"", None)


def test_a_generator_may_begin_its_answer_late(made: Callable[..., World]) -> None:
    closed: list[str] = []

    def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        try:
            yield b""
            wanted = [("X-Accel-Redirect", "/public/a.css")] if environ["PATH_INFO"] == "/download" else []
            start_response("200 OK", wanted)
            yield b"one"
            yield b"two"
        finally:
            closed.append(environ["PATH_INFO"])

    world = made(application)
    assert ask(world).body == b"a {}"
    assert ask(world, target="/other").body == b"onetwo"
    assert closed == ["/download", "/other"]


def test_an_application_that_fails_is_answered_as_ever(made: Callable[..., World]) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("X-Accel-Redirect", "/public/a.css")])
        raise RuntimeError("late")

    assert ask(made(application)).status == 500


def test_an_answer_that_replaces_another_may_name_a_file(made: Callable[..., World]) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("X-First", "1")])
        try:
            raise RuntimeError
        except RuntimeError:
            start_response("200 OK", [("X-Accel-Redirect", "/public/a.css")], sys.exc_info())
        return [b"body"]

    answer = ask(made(application))
    assert (answer.status, answer.body, answer["X-First"]) == (200, b"a {}", None)


def test_a_generator_that_fails_before_its_answer_is_closed(made: Callable[..., World]) -> None:
    class Result:
        closed = 0

        def __iter__(self) -> Iterator[bytes]:
            raise RuntimeError

        def close(self) -> None:
            self.closed += 1

    result = Result()
    assert ask(made(lambda environ, start_response: result)).status == 500
    assert result.closed == 1


def test_descriptors_are_closed(made: Callable[..., World]) -> None:
    world = made(names("X-Accel-Redirect", "/protected/deep/a%20b.pdf"))
    ask(world)
    gc.collect()  # or what other tests have left is closed meanwhile
    before = len(os.listdir("/proc/self/fd"))
    for field in ("X: y", "Range: bytes=0-1", "If-None-Match: *", 'If-Match: "x"', "Range: bytes=9999-"):
        ask(world, field)
        ask(world, field, method="HEAD")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("field", ["X: y", "If-None-Match: *", "Range: bytes=9999-"])
def test_a_descriptor_is_closed_once_if_the_answer_cannot_be_sent(
    made: Callable[..., World], monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    """Closed twice it could be another thread's by then."""
    world = made(names("X-Accel-Redirect", "/protected/deep/a%20b.pdf", ("X-Bad", "a\nb")))
    closed: list[int] = []

    def close(fd: int) -> None:
        closed.append(fd)
        os.close(fd)

    monkeypatch.setattr(x_sendfile, "os", SimpleNamespace(close=close))
    assert ask(world, field).status == 500
    assert len(closed) == 1


def test_no_descriptor_left_to_keep_the_rest_by(
    made: Callable[..., World], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "public" / "big").write_bytes(bytes(8 << 20))
    world = made(names("X-Accel-Redirect", "/public/big"))
    gc.collect()  # or what other tests have left is closed meanwhile
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(outgoing, "os", SimpleNamespace(dup=no_more, sendfile=os.sendfile))
    world.send(get(b"/download"))
    assert world.conversation.serve(world.thread, NOW) in {Outcome.GONE, Outcome.LAST}
    assert len(os.listdir("/proc/self/fd")) == before


def no_more(_fd: int) -> int:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_client_that_leaves_meanwhile(made: Callable[..., World], root: Path) -> None:
    (root / "public" / "big").write_bytes(bytes(8 << 20))
    world = made(names("X-Accel-Redirect", "/public/big"))
    gc.collect()  # or what other tests have left is closed meanwhile
    before = len(os.listdir("/proc/self/fd"))
    world.send(get(b"/download"))
    assert world.conversation.serve(world.thread, NOW) is Outcome.UNSENT
    world.leave()
    world.conversation.abandon()
    world.conversation.close()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_flask(made: Callable[..., World], root: Path) -> None:
    flask = pytest.importorskip("flask")
    app = flask.Flask(__name__)
    app.config["USE_X_SENDFILE"] = True

    @app.route("/download")
    def download() -> Any:
        return flask.send_file(root / "protected" / "deep" / "a b.pdf", as_attachment=True)

    world = made(app)
    answer = ask(world)
    assert (answer.status, answer.body, answer["X-Sendfile"]) == (200, CONTENT, None)
    assert answer["Content-Type"] == "application/pdf"
    assert "attachment" in (answer["Content-Disposition"] or "")
    part = ask(world, "Range: bytes=5-9")
    assert (part.status, part.body, part["Content-Range"]) == (206, CONTENT[5:10], f"bytes 5-9/{len(CONTENT)}")
    assert ask(world, f"If-None-Match: {answer['ETag']}").status == 304
    assert ask(world, method="HEAD")["Content-Length"] == str(len(CONTENT))


def test_django(made: Callable[..., World]) -> None:
    """As django-sendfile2's nginx backend does it."""
    pytest.importorskip("django")
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse
    from django.test.utils import override_settings
    from django.urls import path
    from django.utils.encoding import iri_to_uri

    def download(request: Any) -> Any:
        response = HttpResponse(headers={"Content-Disposition": 'attachment; filename="a b.pdf"'})
        response["X-Accel-Redirect"] = iri_to_uri("/protected/deep/a%20b.pdf")
        del response["Content-Type"]
        return response

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"])
    with override_settings(ROOT_URLCONF=(path("download", download),), ALLOWED_HOSTS=["*"]):
        answer = ask(made(WSGIHandler()))
    assert (answer.status, answer.body, answer["Content-Type"]) == (200, CONTENT, "application/pdf")
