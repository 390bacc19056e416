"""A connection and a client that deals with it in any order, beside a model that reads the whole stream each time.

The client sends pieces of any stream, the server answers when it likes and as it likes, the client half-closes, the
server loses patience. After each step the connection must show exactly what the reference makes of the bytes that
have arrived: the same requests and bodies, the same stage, an error where there is one.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from miniwsgi.daemon.http.connection import Connection, Parsing
from miniwsgi.daemon.http.errors import ProtocolError

from tests.conformance.case import Stage
from tests.conformance.parser import STAGES, seen
from tests.support.effort import effort

from .mutations import PIECES, RIGHT, SEEDS
from .properties import CONTINUATIONS, SEEN_EARLY
from .properties import SMALL as LIMITS
from .reference import read


def short(seeds):
    return st.sampled_from([seed for seed in seeds if len(seed) <= LIMITS.fields_bytes])


seeds = short(RIGHT) | short(SEEDS)
RARELY = st.sampled_from([False] * 4 + [True])  # or no conversation would last
edits = st.tuples(
    st.integers(0, 600), st.sampled_from([0, 0, 1, 2, 9]), st.sampled_from(PIECES) | st.binary(max_size=3)
)


@st.composite
def streams(draw):
    """Some messages of the conformance tables, with some edits."""
    data = b"".join(draw(st.lists(seeds, min_size=1, max_size=3))) * draw(st.sampled_from([1, 1, 2]))
    for place, drop, piece in draw(st.just([]) | st.lists(edits, max_size=3)):
        at = place % (len(data) + 1)
        data = data[:at] + piece + data[at + drop :]
    return data


class Conversation(RuleBasedStateMachine):
    """`arrived` is what the connection has been given, `answered` how many requests have had their response."""

    def __init__(self):
        super().__init__()
        self.connection = Connection(LIMITS, body_memory_bytes=64)
        self.unsent = b""
        self.connect()

    def connect(self):
        self.arrived = b""
        self.answered = 0
        self.status = 0  # of the error
        self.over = False  # by the server's wish, or the client's end
        self.continued = False  # "100 Continue" has been sent for the present request

    @initialize(data=streams())
    def begin(self, data):
        self.unsent = data

    @property
    def open(self):
        return not self.over and not self.status

    @precondition(lambda self: not self.open)
    @rule(data=streams())
    def connect_again(self, data):
        """The parser's tables stay as they are: what other connections have left there changes nothing."""
        self.connection = Connection(LIMITS, body_memory_bytes=64)
        self.connect()
        self.unsent = data

    @precondition(lambda self: len(self.unsent) < 100)
    @rule(data=streams())
    def compose(self, data):
        self.unsent += data

    # Each run of a machine leaves some rules out: of what must happen for anything to happen there are several.

    @precondition(lambda self: self.unsent and self.open)
    @rule(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6))
    def send_some(self, sizes):
        for size in sizes:
            self.send(size)

    @precondition(lambda self: self.unsent and self.open)
    @rule(eager=st.booleans())
    def send_all(self, eager):
        self.send(len(self.unsent))
        while eager and self.connection.state is Parsing.ANSWERING:
            self.answer(True)

    @precondition(lambda self: self.unsent and self.open)
    @rule(lines=st.integers(1, 4), less=st.integers(0, 3))
    def send_lines(self, lines, less):
        """As far as a line's end, or a little less."""
        end = 0
        for _ in range(lines):
            end = self.unsent.find(b"\r\n", end) + 2 or len(self.unsent)
        self.send(max(1, end - less))

    @precondition(lambda self: self.unsent and self.open)
    @rule(heads=st.integers(1, 3))
    def send_heads(self, heads):
        """Each in a piece of its own, and answered, as a client does that waits."""
        for _ in range(heads):
            end = self.unsent.find(b"\r\n\r\n") + 4
            self.send(end if end > 3 else len(self.unsent))
            while self.connection.state is Parsing.ANSWERING:
                self.answer(True)

    @precondition(lambda self: self.unsent and self.open)
    @rule(eager=st.booleans())
    def send_byte_by_byte(self, eager):
        for _ in range(min(len(self.unsent), 300)):
            self.send(1)
            if eager and self.connection.state is Parsing.ANSWERING:
                self.answer(True)

    def send(self, size):
        if not self.unsent or not self.open:
            return
        piece, self.unsent = self.unsent[:size], self.unsent[size:]
        self.arrived += piece
        before = self.connection.state
        complete = self.parse(lambda: self.connection.receive(piece))
        assert complete is (before is not Parsing.ANSWERING and self.connection.state is Parsing.ANSWERING)
        self.it_shows_what_has_arrived()

    @precondition(lambda self: self.connection.state is Parsing.ANSWERING)
    @rule(persistent=st.sampled_from([True, True, True, False]))
    def answer(self, persistent):
        head = self.connection.head
        goes_on = self.connection.finish(head.persistent and persistent)
        assert goes_on is (head.persistent and persistent)
        self.answered += 1
        self.over = not goes_on
        self.continued = False
        if goes_on:
            complete = self.parse(self.connection.advance)
            assert complete is (self.connection.state is Parsing.ANSWERING)
        self.it_shows_what_has_arrived()

    @precondition(lambda self: self.connection.state is Parsing.ANSWERING)
    @rule()
    def answer_all(self):
        while self.connection.state is Parsing.ANSWERING:
            self.answer(True)

    @precondition(lambda self: self.connection.wants_continue)
    @rule()
    def say_continue(self):
        self.connection.wants_continue = False
        self.continued = True

    @precondition(lambda self: self.open)
    @rule(now=RARELY)
    def half_close(self, now):
        """What is being answered goes on; what is cut off is an error."""
        if not now:
            return
        state = self.connection.state
        self.parse(self.connection.end_of_input)
        assert self.status == (400 if state in {Parsing.HEAD, Parsing.BODY} else 0)
        self.over = self.status != 0
        self.unsent = b""

    @precondition(lambda self: self.open and self.connection.state is not Parsing.ANSWERING)
    @rule(now=RARELY)
    def lose_patience(self, now):
        """The server answers 408, or closes an idle connection."""
        if not now:
            return
        self.connection.close()
        self.over = True

    @precondition(lambda self: self.connection.state is Parsing.IDLE)
    @rule()
    def forget(self):
        self.connection.forget()

    def parse(self, step):
        try:
            return step()
        except ProtocolError as error:
            self.status = error.status
            return self.connection.state is Parsing.ANSWERING

    @invariant()
    def it_shows_what_has_arrived(self):
        connection = self.connection
        if self.over:
            self.it_is_closed()
            return
        reading = read(self.arrived, LIMITS)
        if self.status:
            self.it_is_closed()
            self.the_error_is_one(reading)
            return
        if connection.state is Parsing.ANSWERING:
            assert len(reading.requests) > self.answered
            assert seen(connection) == reading.requests[self.answered]
            return
        assert len(reading.requests) == self.answered
        assert reading.stage is STAGES[connection.state]
        assert connection.wants_continue is (reading.continues and not self.continued)

    def it_is_closed(self):
        connection = self.connection
        assert connection.state is Parsing.CLOSED
        assert connection.body is None
        assert not connection.wants_continue
        assert connection.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") is False
        assert connection.state is Parsing.CLOSED

    def the_error_is_one(self, reading):
        if reading.stage is Stage.REFUSED:
            # Whether there is a bare CR or LF, or too much of a line, is seen before the line is complete.
            assert self.status in reading.faults | SEEN_EARLY
            assert len(reading.requests) == self.answered
            return
        assert reading.stage in {Stage.HEAD, Stage.BODY}, "refused without a fault"
        for more in CONTINUATIONS:
            later = read(self.arrived + more, LIMITS)
            assert len(later.requests) == self.answered, f"refused, but with {more!r} it is a request"

    @invariant()
    def it_keeps_no_more_than_it_must(self):
        connection = self.connection
        if connection.state is Parsing.HEAD:
            assert len(connection.pending) <= LIMITS.request_line_bytes + LIMITS.fields_bytes + 6
        elif connection.state in {Parsing.IDLE, Parsing.BODY}:
            assert connection.pending == b""
        if connection.body is not None:
            assert connection.body.size <= LIMITS.body_max_bytes

    def teardown(self):
        self.connection.close()


Conversation.TestCase.settings = settings(
    max_examples=effort(60, 20_000),
    stateful_step_count=effort(20, 40),
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
TestConversation = Conversation.TestCase
