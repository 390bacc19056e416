"""An application whose requests have routes: when one is looked for, what is measured, what nothing may break."""

from __future__ import annotations

import gc
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from miniwsgi.daemon.routes import routed as module
from miniwsgi.daemon.routes.choice import route_of_running, routed
from miniwsgi.daemon.routes.frameworks import simplified
from miniwsgi.daemon.routes.routed import SAMPLED, Routed
from miniwsgi.daemon.routes.variables import CPU_NS, ROUTE

MS = 1_000_000


class Clock:
    """The module's `time`: tests say what it is."""

    def __init__(self) -> None:
        self.now_ns = self.cpu_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def thread_time_ns(self) -> int:
        return self.cpu_ns


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "time", found)
    return found


def hello(_environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [])
    return [b"."]


def start_response(_status: str, _headers: Any, _exc_info: Any = None) -> None:
    pass


def call(application: Any) -> dict[str, Any]:
    environ: dict[str, Any] = {"SCRIPT_NAME": ""}
    application(environ, start_response)
    return environ


# --- when ------------------------------------------------------------------------------------------------------------


def test_an_application_of_no_known_framework_is_called_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "flask.app",
        "bottle",
        "django.core.handlers.wsgi",
        "cherrypy._cpwsgi",
        "pyramid.router",
        "falcon.app",
    ):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert routed(hello) is hello


def test_what_the_application_says_itself_counts() -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ[ROUTE] = "/its/own"
        return hello(environ, start_response)

    assert call(Routed(application, [lambda _environ, _frame: "/found"]))[ROUTE] == "/its/own"


def test_the_route_of_an_error_is_that_of_the_request() -> None:
    """start_response is called again, with exc_info, when routing is long over."""
    asked = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        try:
            raise ValueError
        except ValueError:
            start_response("500 Error", [], sys.exc_info())
        return []

    def finder(_environ: Any, _frame: Any) -> str:
        asked.append(1)
        return "/a"

    assert call(Routed(application, [finder]))[ROUTE] == "/a"
    assert asked == [1]


def test_what_raises_has_the_route_that_its_frames_know() -> None:
    def application(_environ: dict[str, Any], _start_response: Any) -> list[bytes]:
        here = "/of/the/frame"  # noqa: F841
        raise ValueError

    environ: dict[str, Any] = {}
    with pytest.raises(ValueError, match=r"^$"):
        Routed(application, [lambda _environ, frame: frame.f_locals["here"]])(environ, start_response)  # type: ignore[union-attr]
    assert environ[ROUTE] == "/of/the/frame"


# --- whatever the application's objects are --------------------------------------------------------------------------


class Hostile(str):
    """A string that is to be asked for nothing."""

    def __bad(self, *_: Any) -> Any:
        raise AssertionError("it was asked")

    __eq__ = __hash__ = __len__ = __getitem__ = __format__ = __str__ = __bool__ = __bad  # type: ignore[assignment]


def raising(_environ: Any, _frame: Any) -> str:
    raise RuntimeError("a property of the application's")


@pytest.mark.parametrize(
    ("finder", "route"),
    [
        (raising, ""),
        (lambda _environ, _frame: Hostile("/a"), "/a"),
        (lambda _environ, _frame: "/x" * 10_000_000, "/x" * 100),
        (lambda _environ, _frame: b"/bytes", ""),
        (lambda _environ, _frame: 7, ""),
        (lambda _environ, _frame: None, ""),
    ],
)
def test_no_object_of_the_application_breaks_a_request(finder: Any, route: str) -> None:
    environ = call(Routed(hello, [finder]))
    assert environ[ROUTE] == route
    assert type(environ[ROUTE]) is str
    assert route_of_running({ROUTE: Hostile("/b")}, None) == "/b"


def test_the_next_finder_is_asked_where_one_has_found_nothing() -> None:
    finders = [raising, lambda _environ, _frame: None, lambda _environ, _frame: "/c"]
    assert call(Routed(hello, finders))[ROUTE] == "/c"


def test_nothing_of_a_request_is_kept() -> None:
    class Request:
        url_rule = None

    kept = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["werkzeug.request"] = request = Request()
        kept.append(weakref.ref(request))
        del request
        return hello(environ, start_response)

    served = Routed(application, [lambda environ, _frame: environ["werkzeug.request"].url_rule])
    gc.disable()
    try:
        call(served)
        assert kept[0]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("route", "simple"),
    [
        ("orders/<int:pk>/", "orders/<int:pk>/"),
        (r"^orders/(?P<pk>[^/.]+)/$", "orders/<pk>/"),
        (r"api/^users/(?P<pk>[^/.]+)/notes/(?P<note>(a|b(c))+)/$", "api/users/<pk>/notes/<note>/"),
        (r"^a/(\d+)\.(?:html|txt)$", "a/<…>.<…>"),
        (r"^d/(?i)(?=x)(?:page-(?P<n>\d+)/)?$", "d/<…>"),
        (r"^b/(?P<x>[]()]+)/\Z", "b/<x>/"),
        (r"^c/(?P<x>[^])]+)$", "c/<x>"),
        (r"^broken/(?P<x", "broken/"),
        ("^" + "(" * 5000, "<…>"),
        ("^trailing\\", "trailing\\"),
    ],
)
def test_a_regular_expression_is_written_as_people_would(route: str, simple: str) -> None:
    assert simplified(route) == simple


# --- CPU time --------------------------------------------------------------------------------------------------------


def test_at_few_requests_each_is_measured_and_counts_once(clock: Clock) -> None:
    def application(_environ: Any, _start_response: Any) -> list[bytes]:
        clock.cpu_ns += 3 * MS
        return []

    served = Routed(application, [])
    for _ in range(200):
        clock.now_ns += 10 * MS
        assert call(served)[CPU_NS] == 3 * MS


@pytest.mark.parametrize("period", [1, 2, 3, 8, 16, 64])
def test_at_many_requests_an_eighth_is_measured_whatever_their_rhythm(clock: Clock, period: int) -> None:
    """Each `period`-th request burns: in the sum it is estimated as what it is."""
    application_calls = 0

    def application(_environ: Any, _start_response: Any) -> list[bytes]:
        nonlocal application_calls
        application_calls += 1
        clock.cpu_ns += MS if application_calls % period == 0 else 0
        return []

    served = Routed(application, [])
    for _ in range(64):
        call(served)
    burnt, estimated, measured = 0, 0, 0
    for _ in range(64 * 200):
        clock.now_ns += 10_000
        before = clock.cpu_ns
        environ = call(served)
        burnt += clock.cpu_ns - before
        if CPU_NS in environ:
            measured += 1
            estimated += environ[CPU_NS]
    assert measured == pytest.approx(64 * 200 / SAMPLED, rel=0.02)
    assert estimated == pytest.approx(burnt, rel=0.1)


def test_threads_that_compute_are_told_from_those_that_sleep() -> None:
    """By the real clock: of the thread alone, so that a busy machine changes nothing."""

    def burns(_environ: Any, _start_response: Any) -> list[bytes]:
        ends = time.thread_time_ns() + 5 * MS
        while time.thread_time_ns() < ends:
            pass
        return []

    def sleeps(_environ: Any, _start_response: Any) -> list[bytes]:
        time.sleep(0.005)
        return []

    burnt = [call(Routed(burns, []))[CPU_NS] for _ in range(4)]
    slept = [call(Routed(sleeps, []))[CPU_NS] for _ in range(4)]
    assert min(burnt) >= 5 * MS
    assert min(burnt) < 8 * MS
    assert min(slept) < 2 * MS


def test_a_result_that_raises_is_measured_as_well(clock: Clock) -> None:
    def application(_environ: Any, _start_response: Any) -> list[bytes]:
        clock.cpu_ns += MS
        raise KeyError

    environ: dict[str, Any] = {}
    with pytest.raises(KeyError):
        Routed(application, [])(environ, start_response)
    assert environ[CPU_NS] == MS
