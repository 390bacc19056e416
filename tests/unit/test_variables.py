"""What a request finds in context variables: what the import left, never what another request did."""

from __future__ import annotations

import decimal
import threading
from contextvars import Context, ContextVar

import pytest
from miniwsgi.daemon.engine.call import Exchange
from miniwsgi.daemon.engine.file_wrapper import FileWrapper
from miniwsgi.daemon.http.response import ServerFields
from miniwsgi.daemon.worker.variables import variables_of_the_import

from .wsgi_world import Reporter, Wire

STEPS: ContextVar[tuple[str, ...]] = ContextVar("steps", default=())


def imported(*calls):
    """As if these were what an import does; what each request begins with."""

    def load():
        for call in calls:
            call()
        return variables_of_the_import()

    return Context().run(load)


def step(name):
    STEPS.set((*STEPS.get(), name))


class Parts:
    """A result that notes each call of it."""

    def __init__(self, found):
        self.found = found
        self.left = 2

    def __iter__(self):
        return self

    def __next__(self):
        step("next")
        if not self.left:
            raise StopIteration
        self.left -= 1
        return b"part"

    def read(self, size):
        step("read")
        return b""

    def close(self):
        step("close")
        self.found.append(STEPS.get())


def on_a_thread(call):
    results = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]


def exchange(variables, wire):
    return Exchange(wire, "GET", True, True, ServerFields(""), Reporter(), variables)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("resumed", ("import", "call", "next", "next", "next", "close")),
        ("abandoned", ("import", "call", "next", "close")),
    ],
)
def test_call_iteration_and_close_share_one_context_on_whatever_thread(end, expected):
    def application(environ, start_response):
        step("call")
        start_response("200 OK", [])
        return Parts(found)

    fresh, found = imported(lambda: step("import")), []
    for _ in range(2):
        of_one = exchange(fresh(), Wire(full=True))
        assert not on_a_thread(lambda of_one=of_one: of_one.run(application, {}))
        if end == "abandoned":
            on_a_thread(of_one.abandon)
        else:
            while not on_a_thread(of_one.resume):
                pass
    assert found == [expected, expected]
    assert STEPS.get() == ()


def test_reading_and_closing_a_file_is_part_of_the_request():
    def application(environ, start_response):
        start_response("200 OK", [])
        return FileWrapper(Parts(found))

    found = []
    assert exchange(imported()(), Wire()).run(application, {})
    assert found == [("read", "close")]


def precision(digits):
    return lambda: setattr(decimal.getcontext(), "prec", digits)


@pytest.mark.parametrize(
    ("calls", "expected"),
    [((), 28), ((decimal.getcontext,), 28), ((precision(50),), 50)],
    ids=["unused", "used", "changed"],
)
def test_a_decimal_context_is_the_requests_own_and_as_the_import_left_it(calls, expected):
    fresh = imported(lambda: step("import"), *calls)
    for _ in range(2):
        variables = fresh()
        assert variables[STEPS] == ("import",)
        assert variables.run(decimal.getcontext).prec == expected
        variables.run(precision(5))
    assert decimal.getcontext().prec == 28
