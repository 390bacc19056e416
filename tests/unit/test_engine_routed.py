"""An application whose requests have routes, called by an engine: the compiled one does itself what `Routed` says."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from miniwsgi.daemon.http.response import BadResponse
from miniwsgi.daemon.routes import routed as module
from miniwsgi.daemon.routes.routed import MARKS, MEASURED, SAMPLED, Routed
from miniwsgi.daemon.routes.variables import CPU_NS, CPU_OF, ROUTE
from miniwsgi.metrics import scoreboard as sb

from tests.conformance.case import get
from tests.support.counted_series import series
from tests.support.engines import ENGINES
from tests.unit import turn_world
from tests.unit.conversation_world import NOW, World


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Any:
    return request.param


class Service:
    """One conversation, whose application is routed by these finders; `environs` are those of its requests."""

    def __init__(self, engine: str, *finders: Any, by_path: Any = None) -> None:
        self.environs: list[dict[str, Any]] = []
        self.start: Callable[..., Any] = lambda start_response: start_response("200 OK", [])
        self.result: Callable[[], Any] = lambda: [b"."]
        self.world = World(engine, use=self.application)
        self.world.context.site.application = Routed(self.application, finders, by_path)

    def application(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.environs.append(environ)
        self.start(start_response)
        return self.result()

    def ask(self, count: int = 1) -> dict[str, Any]:
        """The last request's environ, or what the engine has put there."""
        for _ in range(count):
            self.world.send(get(b"/"))
            self.world.conversation.serve(self.world.thread, NOW)
            self.world.read_all()
        return self.environs[-1]


def test_a_finder_is_given_the_environ_and_the_frame_that_has_begun_the_response(engine: str) -> None:
    seen: list[tuple[dict[str, Any], FrameType | None]] = []

    def finder(environ: dict[str, Any], frame: FrameType | None) -> str:
        seen.append((environ, frame.f_locals["mark"] if frame is not None else None))
        return "/found"

    def begin(start_response: Any) -> None:
        mark = len(seen)
        start_response("200 OK", [("X-Mark", str(mark))])

    service = Service(engine, finder)
    service.start = begin
    assert service.ask()[ROUTE] == "/found"
    assert service.ask()[ROUTE] == "/found"
    assert seen == [(service.environs[0], 0), (service.environs[1], 1)]


def test_it_is_asked_once_however_often_the_response_is_begun(engine: str) -> None:
    asked: list[object] = []

    def begin(start_response: Any) -> None:
        start_response("200 OK", [])
        try:
            raise ValueError
        except ValueError:
            start_response("500 Mistake", [], sys.exc_info())

    service = Service(engine, lambda environ, _frame: asked.append(environ) or "/once")
    service.start = begin
    assert service.ask()[ROUTE] == "/once"
    assert len(asked) == 1


def test_what_the_application_says_itself_is_not_looked_for(engine: str) -> None:
    service = Service(engine, lambda _environ, _frame: pytest.fail("it was asked"))

    def begin(start_response: Any) -> None:
        service.environs[-1][ROUTE] = "/own"
        start_response("200 OK", [])

    service.start = begin
    assert service.ask()[ROUTE] == "/own"


class Text(str):
    """Of a class that the application has made."""


@pytest.mark.parametrize(
    ("found", "route"),
    [("/x" * 200, ("/x" * 200)[:200]), (Text("/text"), "/text"), (None, "/by/path"), (7, "")],
    ids=["long", "a class of text", "nothing", "no text"],
)
def test_what_is_not_plainly_a_route_is_settled(engine: str, found: object, route: str) -> None:
    service = Service(engine, lambda _environ, _frame: found, by_path=lambda _environ, _frame: "/by/path")
    assert service.ask()[ROUTE] == route


def test_a_finder_that_raises_has_found_nothing(engine: str) -> None:
    service = Service(engine, lambda _environ, _frame: {}["nothing"])
    assert service.ask()[ROUTE] == ""


def test_an_answer_of_404_has_no_route_by_its_path(engine: str) -> None:
    service = Service(engine, lambda _environ, _frame: None, by_path=lambda _environ, _frame: "/by/path")
    service.start = lambda start_response: start_response("404 Not Found", [])
    assert service.ask()[ROUTE] == ""


def test_what_raises_has_the_route_that_its_frames_know(engine: str) -> None:
    def finder(_environ: dict[str, Any], frame: FrameType | None) -> str | None:
        return None if frame is None else frame.f_locals.get("rule")

    def fail(_start_response: Any) -> None:
        rule = "/that/raises"
        raise ValueError(rule)

    service = Service(engine, finder)
    service.start = fail
    assert service.ask()[ROUTE] == "/that/raises"


def test_what_calls_start_response_wrongly_has_the_route_that_its_frames_know(engine: str) -> None:
    def finder(_environ: dict[str, Any], frame: FrameType | None) -> str | None:
        while frame is not None and "rule" not in frame.f_locals:
            frame = frame.f_back
        return None if frame is None else frame.f_locals["rule"]

    def begin(start_response: Any) -> None:
        rule = "/that/errs"
        start_response(rule)

    service = Service(engine, finder)
    service.start = begin
    assert service.ask()[ROUTE] == "/that/errs"


def test_a_response_begun_late_says_nothing_of_the_next_request(engine: str) -> None:
    kept: list[Any] = []
    seen: list[bool] = []

    def begin(start_response: Any) -> None:
        kept.append(start_response)
        if len(kept) == 2:
            try:
                kept[0]("200 OK", [])  # of the request before
            finally:
                seen.append(ROUTE in service.environs[1])
        start_response("200 OK", [])

    service = Service(engine, lambda environ, _frame: f"/{service.environs.index(environ)}")
    service.start = begin
    service.ask(2)
    assert seen == [False]
    assert [environ[ROUTE] for environ in service.environs] == ["/0", "/1"]


def test_at_many_requests_the_same_eighth_is_measured_by_all_engines(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the machine is: they are many by the clock."""
    monkeypatch.setattr(
        module, "time", SimpleNamespace(monotonic_ns=lambda: 0, thread_time_ns=module.time.thread_time_ns)
    )
    service = Service(engine, lambda _environ, _frame: "/")
    service.ask(1 + len(MARKS))
    measured = [at for at, environ in enumerate(service.environs) if CPU_NS in environ]
    # The first window's end, at which the weight changes, is within the 64th.
    assert measured == [*range(63), *(at for at in range(63, len(MARKS) + 1) if MARKS[at % len(MARKS)] & MEASURED)]
    assert [environ.get(CPU_OF, 1) for environ in (service.environs[0], service.environs[measured[-1]])] == [1, SAMPLED]


def test_what_raises_is_measured_as_well(engine: str) -> None:
    def fail(_start_response: Any) -> None:
        raise ValueError

    service = Service(engine, lambda _environ, _frame: "/")
    service.start = fail
    assert service.ask()[CPU_NS] > 0


@pytest.mark.parametrize(
    ("computed", "counted"),
    [(70, 70), (10**14, 10**14), (10**15, 0), (2**63, 0), (2**70, 0), (-1, 0), (-(2**70), 0), (True, 0), ("70", 0)],
)
def test_what_is_no_measure_is_not_counted(engine: str, computed: object, counted: int) -> None:
    def result() -> Iterator[bytes]:
        yield b"."
        service.environs[-1][CPU_NS] = computed  # behind the call, at whose end the engine says it

    service = Service(engine, lambda _environ, _frame: "/")
    service.result = result
    service.ask(3)
    (cells,) = series(service.world.context.slot.cells)
    assert (sum(cells[sb.S_BUCKETS :]), cells[sb.S_CPU]) == (3, 3 * counted)


# --- answers that wait -----------------------------------------------------------------------------------------------


@pytest.fixture
def held() -> Iterator[turn_world.World]:
    made = turn_world.World(logged=False)
    yield made
    made.end()


@pytest.mark.skipif("compiled" not in ENGINES, reason="no compiled engine in this Python")
def test_an_answer_that_waits_keeps_of_its_request_only_what_is_counted(held: turn_world.World) -> None:
    seen: list[object] = []
    held.client("/1")
    held.client("/2")
    environ: Any = None

    def first() -> None:
        nonlocal environ
        environ = held.by_target["/1"]._environ  # type: ignore[attr-defined]
        environ.update({ROUTE: "/<n>", CPU_NS: 70})

    held.during["/1"] = first
    held.during["/2"] = lambda: seen.append(sys.getrefcount(environ))
    held.serve(2)
    assert seen == [2]  # of the test
    (counted,) = (cells for cells in series(held.context.slot.cells) if sb.series_labels(cells[sb.S_KEY])[2])
    assert (sum(counted[sb.S_BUCKETS :]), counted[sb.S_SENT], counted[sb.S_CPU]) == (1, 2, 70)


@pytest.mark.skipif("compiled" not in ENGINES, reason="no compiled engine in this Python")
def test_a_slow_request_whose_answer_waits_is_told_whole() -> None:
    held = turn_world.World(logged=False)
    told: list[Any] = []
    held.context.site.account.tell_slow(10**9, lambda environ, *_more: told.append(environ.get("PATH_INFO")))
    waited: Any = held.client("/1")
    held.client("/2")

    def wait() -> None:
        waited.ready_ns -= 10**9

    held.during["/1"] = wait
    held.serve(2)
    held.end()
    assert told == ["/1"]


@pytest.mark.skipif("compiled" not in ENGINES, reason="no compiled engine in this Python")
def test_what_an_environ_held_may_begin_the_response_anew_as_it_goes_while_the_answer_waits(
    held: turn_world.World,
) -> None:
    begun: list[str] = []

    class Kept:
        def __init__(self, start_response: Any) -> None:
            self.start = start_response

        def __del__(self) -> None:
            try:
                self.start("200 OK", [])
            except BadResponse as error:
                begun.append(str(error))

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        environ["kept"] = Kept(start_response)
        return held.application(environ, start_response)

    held.context.site.application = Routed(application, [lambda _environ, _frame: "/<n>"])
    for target in ("/1", "/2"):
        held.client(target)
    held.serve(2)
    assert begun == ["start_response was called twice, without exc_info"] * 2
    assert held.is_answered("/1")
    assert held.is_answered("/2")


@pytest.mark.skipif("compiled" not in ENGINES, reason="no compiled engine in this Python")
def test_a_response_begun_anew_while_the_answer_waits_says_nothing_of_the_clients_next_requests(
    held: turn_world.World,
) -> None:
    kept: list[Any] = []

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        if kept:
            with pytest.raises(BadResponse):
                kept[0]("200 OK", [])
        result = held.application(environ, start_response)
        if not kept:
            kept.append(start_response)
            environ.clear()
        return result

    held.context.site.application = Routed(application, [lambda _environ, _frame: "/<n>"])
    first = held.client("/1")
    held.client("/2")
    held.serve(2)
    assert ROUTE not in first.base  # type: ignore[attr-defined]
