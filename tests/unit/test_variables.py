"""What a request finds in context variables: what the import left, never what another request did."""

from __future__ import annotations

import decimal
import socket
import threading
from contextvars import Context, ContextVar

import pytest
from miniwsgi.daemon.engine.account import ThreadAccount
from miniwsgi.daemon.engine.contract import Outcome
from miniwsgi.daemon.engine.file_wrapper import FileWrapper
from miniwsgi.daemon.engine.plain import Conversation
from miniwsgi.daemon.engine.site import Site
from miniwsgi.daemon.engine.variables import variables_of_the_import
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.settings import Listener, Settings
from miniwsgi.metrics.board import Board

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


@pytest.fixture
def converse():
    """A conversation whose request is here, at a site with these variables; its answer pauses after each block."""
    near, far = socket.socketpair()
    near.setblocking(False)
    board = Board.create()
    settings = Settings(generation=1, listeners=(), scoreboard_fd=board.fd, module="x", directory="/")
    slot, log = board.claim(0), ErrorLog("info", "text", False, "worker", slot=0)
    thread = ThreadAccount(0, slot, 0)
    thread.turn_ends_ns = 1

    def make(fresh, application):
        site = Site(settings, slot, log, None, application, None)
        site.request_variables = fresh
        base = site.connection_environ(Listener(0, "x", False, "x", "80"), ("127.0.0.1", 1))
        conversation = Conversation(site, near, base, 0)
        far.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert conversation.receive(0) is Outcome.REQUEST
        return conversation

    with near, far:
        yield make, thread


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ("resumed", ("import", "call", "next", "next", "next", "close")),
        ("abandoned", ("import", "call", "next", "close")),
    ],
)
def test_call_iteration_and_close_share_one_context_on_whatever_thread(converse, end, expected):
    def application(environ, start_response):
        step("call")
        start_response("200 OK", [])
        return Parts(found)

    make, thread = converse
    fresh, found = imported(lambda: step("import")), []
    for _ in range(2):
        conversation = make(fresh, application)
        outcome = on_a_thread(lambda conversation=conversation: conversation.answer(thread, 0))
        while outcome is Outcome.PAUSED:
            conversation.settle()
            assert (conversation.abandon() if end == "abandoned" else conversation.flush()) is Outcome.RESUME
            outcome = on_a_thread(lambda conversation=conversation: conversation.resume(thread, 0))
    assert found == [expected, expected]
    assert STEPS.get() == ()


def test_reading_and_closing_a_file_is_part_of_the_request(converse):
    def application(environ, start_response):
        start_response("200 OK", [])
        return FileWrapper(Parts(found))

    make, thread = converse
    found = []
    assert make(imported(), application).answer(thread, 0) is Outcome.DONE
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
