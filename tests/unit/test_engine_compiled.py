"""What only the compiled engine has to promise: what it keeps from one request for the next is nobody else's."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from miniwsgi.daemon.engine import choice
from miniwsgi.daemon.engine.account import ThreadAccount
from miniwsgi.daemon.engine.contract import Outcome
from miniwsgi.daemon.engine.site import Site
from miniwsgi.daemon.http.response import BadResponse

from tests.conformance.case import get

from .conversation_world import NOW, World

if "compiled" not in choice.available():
    pytest.skip("no compiled engine in this Python", allow_module_level=True)


class Keeper(World):
    """Its application keeps what it likes; `calls_seen` are the objects behind start_response."""

    def __init__(self, keep: Callable[[dict[str, Any], Any], object]) -> None:
        super().__init__("compiled")
        self.calls_seen: list[int] = []
        self.kept: list[object] = []
        self._keep = keep

    def application(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.calls_seen.append(id(start_response.__self__))
        self.kept.append(self._keep(environ, start_response))
        if not start_response.__self__.status:
            start_response("200 OK", [])
        return [b"."]

    def request(self) -> None:
        self.send(get())
        assert self.conversation.serve(self.thread, NOW) is Outcome.IDLE


def test_a_call_that_nobody_has_is_the_next_ones() -> None:
    before = _ours()
    world = Keeper(lambda environ, start_response: None)
    for _ in range(5):
        world.request()
        assert [name for number, name in _ours().items() if number not in before].count("Call") == 1, "the spare one"
    assert len(set(world.calls_seen)) == 1


@pytest.mark.parametrize(
    "keep",
    [
        lambda environ, start_response: start_response,
        lambda environ, start_response: start_response.__self__,
        lambda environ, start_response: start_response.__self__.write,
    ],
    ids=["start_response", "the call", "write"],
)
def test_a_call_that_somebody_has_is_not(keep: Callable[[dict[str, Any], Any], object]) -> None:
    world = Keeper(keep)
    for _ in range(5):
        world.request()
    assert len(set(world.calls_seen)) == 5


@pytest.mark.parametrize("keep", [lambda environ, _: environ["wsgi.early_hints"], lambda environ, _: environ])
def test_early_hints_that_somebody_has_are_not_the_next_ones(keep: Callable[[dict[str, Any], Any], Any]) -> None:
    world = Keeper(keep)
    for _ in range(3):
        world.request()
        world.far.recv(10_000)
    kept: list[Any] = [thing["wsgi.early_hints"] if type(thing) is dict else thing for thing in world.kept]
    assert len(set(map(id, kept))) == 3

    def hint_of_the_first() -> None:
        kept[0]([("Link", "</a>")])
        with pytest.raises(BadResponse):
            kept[0]([("Li nk", "</a>")])

    world.during = hint_of_the_first
    world.request()
    assert world.far.recv(10_000).startswith(b"HTTP/1.1 200")


FIELDS = ("HTTP_COOKIE", "HTTP_REFERER", "HTTP_USER_AGENT", "miniwsgi.request_id")


@pytest.mark.parametrize(
    "keep",
    [
        lambda environ: [environ[name] for name in FIELDS],
        lambda environ: list({environ[name]: 1 for name in FIELDS}),
        lambda environ: [sys.intern(environ[name]) for name in FIELDS],
        lambda environ: [environ.pop(name) for name in FIELDS],
        lambda environ: environ,
        lambda environ: environ.copy(),
    ],
    ids=["values", "keys", "interned", "popped", "the environ", "a copy"],
)
def test_a_value_that_somebody_has_stays_what_it_was(keep: Callable[[dict[str, Any]], Any]) -> None:
    world = Keeper(lambda environ, _start_response: (keep(environ), [environ.get(name) for name in FIELDS]))
    told = []
    for at in range(8):
        values = [f"session={at}{'x' * (at % 3)}", f"http://a/{'é' * (at == 5)}{at}", "b" * (29 + at)]
        world.send(get(b"/", *map(str.encode, map("{}: {}".format, ("Cookie", "Referer", "User-Agent"), values))))
        assert world.conversation.serve(world.thread, NOW) is Outcome.IDLE
        told.append([value.encode().decode("latin-1") for value in values])
    kept: list[Any] = [[thing[name] for name in FIELDS] if type(thing) is dict else thing for thing, _ in world.kept]
    assert [values[:3] for values in kept] == told
    ids = [values[3] for values in kept]
    assert len(set(ids)) == 8
    assert [int(text.rpartition("-")[2]) for text in ids] == list(range(1, 9))
    for values in kept:
        for value in values:
            assert {value: 1}["".join(value)] == 1, "its hash is its own"


def test_a_value_that_nobody_has_is_the_next_ones_text() -> None:
    seen: list[tuple[int, str, int]] = []

    def look(environ: dict[str, Any], _start_response: Any) -> None:
        cookie = environ["HTTP_COOKIE"]
        seen.append((id(cookie), str(cookie.encode(), "ascii"), hash(cookie)))

    world = Keeper(look)
    values = [b"a=1", b"b=22", b"c", b"d=" + b"x" * 29]
    for value in [b"", *values]:
        world.send(get(b"/", b"Cookie: " + value))
        assert world.conversation.serve(world.thread, NOW) is Outcome.IDLE
    assert len({at for at, _text, _hash in seen[2:]}) == 1
    assert [text for _at, text, _hash in seen] == ["", *(value.decode() for value in values)]
    assert [number for _at, _text, number in seen] == [hash(value.decode()) for value in [b"", *values]]


@pytest.mark.parametrize(
    "find",
    [
        lambda environ, start_response: start_response,
        lambda environ, start_response: start_response("200 OK", []),
        lambda environ, start_response: environ["wsgi.early_hints"],
    ],
    ids=["start_response", "write", "early_hints"],
)
def test_a_weak_reference_finds_nothing_of_the_next_request(find: Callable[[dict[str, Any], Any], Any]) -> None:
    kept: list[weakref.ref[Any]] = []

    def keep(environ: dict[str, Any], start_response: Any) -> None:
        kept.append(weakref.ref(find(environ, start_response)))

    world = Keeper(keep)
    world.request()
    world.request()
    assert kept[0]() is None


def _raises() -> Any:
    raise ValueError


@pytest.mark.parametrize("answer", [lambda: [b"."], lambda: iter([b"."]), _raises], ids=["list", "iterator", "error"])
def test_nothing_is_left_to_the_collector(answer: Callable[[], Any], capfd: pytest.CaptureFixture[str]) -> None:
    """Neither of a conversation that goes on nor of one that ends with its answer."""
    gc.collect()
    before = _ours()
    world = World("compiled")
    world.answer = answer
    gc.disable()
    try:
        for fields in ("Connection: keep-alive", "Connection: keep-alive", "Connection: close"):
            world.send(f"GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n".encode())
            world.conversation.serve(world.thread, NOW)
        world.conversation.close()
        world.thread.conversation = None
        del world.conversation
        left = [name for number, name in _ours().items() if number not in before]
    finally:
        gc.enable()
    assert "Conversation" not in left
    assert "Connection" not in left
    assert left.count("Call") <= 1, "the spare one"


def _ours() -> dict[int, str]:
    """The engine's objects, by identity: their classes."""
    return {
        id(thing): type(thing).__name__
        for thing in gc.get_objects()
        if str(type(thing).__module__).endswith("compiled._engine")
    }


def test_a_request_is_shown_by_its_own_thread_whatever_others_do_before_its_call() -> None:
    """Between what a turn knows of its thread and the call another thread may be given a request of its own."""
    world, shown = World("compiled"), []
    other = world.beside("/other")
    thread = ThreadAccount(1, world.context.slot, 0, world.calls)

    def parts(conversation: Any) -> bool:
        if conversation is world.conversation:
            other.answer(thread, NOW)
        return False

    world.context.site.parts = parts
    world.during = lambda: shown.append((world.thread.conversation, [run.path for run in world.context.slot.running()]))
    world.send(get(b"/mine"))
    assert world.conversation.serve(world.thread, NOW) is Outcome.IDLE
    assert thread.conversation is other
    assert shown[-1] == (world.conversation, ["/mine", "/other"])


def test_what_was_never_begun_says_so() -> None:
    engine = type(World("compiled").conversation)
    conversation = engine.__new__(engine)
    for use in (lambda: conversation.receive(NOW), conversation.settle):
        with pytest.raises(RuntimeError, match="never begun"):
            use()


def _with_its_own(of: type[Any], name: str, what: str) -> type[Any]:
    """A subclass of `of`, which keeps that attribute elsewhere."""
    if what == "slot":
        return type("Own", (of,), {"__slots__": (name,)})
    return type("Own", (of,), {name: property(lambda self: None, lambda self, value: None)})


@pytest.mark.parametrize("what", ["slot", "property"])
def test_who_keeps_elsewhere_what_is_read_by_its_place_is_refused(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("compiled")
    thread = _with_its_own(ThreadAccount, "conversation", what)(0, world.context.slot, 0)
    world.send(get())
    with pytest.raises(TypeError, match="'conversation' where ThreadAccount does"):
        world.conversation.serve(thread, NOW)
    monkeypatch.setattr("miniwsgi.daemon.worker.context.Site", _with_its_own(Site, "closing", what))
    with pytest.raises(TypeError, match="'closing' where Site does"):
        World("compiled")


def test_a_subclass_that_keeps_more_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("miniwsgi.daemon.worker.context.Site", type("More", (Site,), {}))
    world = World("compiled")
    world.send(get())
    assert world.conversation.serve(world.thread, NOW) is Outcome.IDLE
