"""`traceparent` (W3C Trace Context): what is one, and where its trace is told. Both engines alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from miniwsgi.daemon.engine.account import Account
from miniwsgi.daemon.engine.contract import Outcome
from miniwsgi.daemon.log.access_log import AccessLog
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.traceparent import VARIABLE, Trace, trace_id_of, trace_of
from miniwsgi.metrics import scoreboard as sb
from miniwsgi.metrics.collector import Collector
from miniwsgi.metrics.exposition import Format, render
from miniwsgi.metrics.families import Exemplar, Family, Histogram, Sample
from miniwsgi.metrics.scoreboard import SLOT_BYTES
from miniwsgi.metrics.slot import Slot

from tests.unit.conversation_world import NOW, World
from tests.unit.test_access_lines import USUAL, agree, made
from tests.unit.test_metrics_collector import FACTS, board

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
NOBODYS = f"00-{TRACE}-{SPAN}-00"
MILLISECOND = 1_000_000

VALID = {
    SAMPLED: True,
    NOBODYS: False,
    f"00-{TRACE}-{SPAN}-03": True,  # level 2's flag for a random id
    f"00-{TRACE}-{SPAN}-02": False,
    f"00-{TRACE}-{SPAN}-ff": True,
    f"01-{TRACE}-{SPAN}-01": True,
    f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like": True,
    f"cc-{TRACE}-{SPAN}-01-": True,
}
INVALID: list[Any] = [
    "", "-", "00", TRACE, SAMPLED[:-1], f"{SAMPLED}0", f"{SAMPLED}-", f"{SAMPLED}-more", SAMPLED.upper(),
    f"cc-{TRACE}-{SPAN}-01.what", f"ff-{TRACE}-{SPAN}-01", f"0x-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE[:-1]}g-{SPAN}-01", f"00-{TRACE}-{SPAN[:-1]}.-01", f"00-{TRACE}-{SPAN}-0g",
    f"00_{TRACE}-{SPAN}-01", f"00-{TRACE}_{SPAN}-01", f"00-{TRACE}-{SPAN}_01", f"00-{TRACE[:-1]}-{SPAN}-01-",
    f" {SAMPLED}", f"{SAMPLED} ", f"{SAMPLED}\n", f"{SAMPLED},{SAMPLED}", SAMPLED.replace("0", "\u0660"),
    "0" * 10_000, None, 7, SAMPLED.encode(),
]  # fmt: skip


@pytest.mark.parametrize("value", VALID)
def test_what_the_specification_allows_is_read(value: str) -> None:
    assert trace_of({VARIABLE: value}) == Trace(TRACE, SPAN, VALID[value])
    assert trace_id_of({VARIABLE: value}) == TRACE


@pytest.mark.parametrize("value", INVALID)
def test_what_it_does_not_is_ignored(value: Any) -> None:
    assert trace_of({VARIABLE: value}) is None
    assert trace_id_of({VARIABLE: value}) is None


# --- a request that has one ---------------------------------------------------------------------------------


class Served:
    """A conversation of one engine whose requests are logged."""

    def __init__(self, engine: str, path: Path, format: str = "json") -> None:
        self.path = path / "access.log"
        self.access = AccessLog(str(self.path), format, at_once=True, faster=faster(engine))
        self.world = World(engine, access=self.access)

    def ask(self, *fields: str, method: str = "GET") -> None:
        head = "".join(f"{field}\r\n" for field in fields)
        self.world.send(f"{method} / HTTP/1.1\r\nHost: a\r\n{head}\r\n".encode())
        assert self.world.conversation.serve(self.world.thread, NOW) is Outcome.IDLE

    def lines(self) -> list[str]:
        self.access.writer.flush(10)
        return self.path.read_text().splitlines()

    def exemplars(self) -> list[sb.Exemplar]:
        return self.world.context.slot.exemplars()


def faster(engine: str) -> Any:
    from miniwsgi.daemon.engine.choice import choose

    return choose(engine).begin.access_lines


def test_the_access_log_tells_the_trace_of_who_has_one(engine: str, tmp_path: Path) -> None:
    served = Served(engine, tmp_path)
    served.ask()
    for value in (SAMPLED, NOBODYS, f"cc-{TRACE}-{SPAN}-01-x", SAMPLED.upper(), "\t" + SAMPLED + " "):
        served.ask(f"traceparent: {value}")
    served.ask(f"Traceparent: {SAMPLED}", f"TraceParent: {SAMPLED}")  # twice: one list, which is no traceparent
    without, *known, upper, blanks, twice = served.lines()
    told = f',"trace_id":"{TRACE}","span_id":"{SPAN}"}}'
    assert all(line.endswith(told) for line in (*known, blanks))
    assert not [line for line in (without, upper, twice) if "trace_id" in line or "span_id" in line]


def test_both_engines_agree_on_what_is_one(engine: str) -> None:
    for value in (*VALID, *INVALID):
        agree(list(made(engine)), {**USUAL, VARIABLE: value}, "200 OK", 5, 999)


def test_a_format_string_may_have_it_too(engine: str, tmp_path: Path) -> None:
    served = Served(engine, tmp_path, "%(m)s %(trace_id)s %(span_id)s")
    served.ask()
    served.ask(f"traceparent: {SAMPLED}")
    assert served.lines() == ["GET - -", f"GET {TRACE} {SPAN}"]


def test_the_application_gets_both_fields_as_they_came_and_may_name_its_own_span(engine: str, tmp_path: Path) -> None:
    seen: list[Any] = []
    own = f"00-{TRACE}-{'1' * 16}-01"

    def application(environ: Any, start_response: Any) -> list[bytes]:
        seen.append((environ[VARIABLE], environ["HTTP_TRACESTATE"]))
        environ[VARIABLE] = own
        start_response("200 OK", [])
        return []

    access = AccessLog(str(tmp_path / "log"), "%(span_id)s", at_once=True, faster=faster(engine))
    world = World(engine, access=access, use=application)
    world.send(f"GET / HTTP/1.1\r\nHost: a\r\ntraceparent: {SAMPLED}\r\ntracestate: a=1,b=2\r\n\r\n".encode())
    world.conversation.serve(world.thread, NOW)
    access.writer.flush(10)
    assert seen == [(SAMPLED, "a=1,b=2")]
    assert (tmp_path / "log").read_text() == f"{'1' * 16}\n"
    assert [one.span_id for one in world.context.slot.exemplars()] == ["1" * 16]


def test_who_is_sampled_is_an_example_of_its_series(engine: str, tmp_path: Path) -> None:
    served = Served(engine, tmp_path)
    for fields in ((), (f"traceparent: {NOBODYS}",), (f"traceparent: {SAMPLED.upper()}",), ()):
        served.ask(*fields)
    assert served.exemplars() == []
    served.ask(f"traceparent: {SAMPLED}", method="POST")
    (one,) = served.exemplars()
    assert (one.trace_id, one.span_id) == (TRACE, SPAN)
    assert sb.series_labels(one.series)[:2] == ("POST", 200)
    for _ in range(3):
        served.ask(method="POST")
    assert served.exemplars() == [one]


def test_requests_sent_ahead_have_theirs(engine: str) -> None:
    world = World(engine)
    fields = (f"traceparent: 00-{TRACE[:-1]}{number}-{SPAN}-01\r\n" for number in range(4))
    world.send("".join(f"GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n" for field in fields).encode())
    outcome = world.conversation.serve(world.thread, NOW)
    while outcome in {Outcome.AGAIN, Outcome.REQUEST}:
        outcome = world.conversation.serve(world.thread, NOW)
    (last, *_) = sorted(world.context.slot.exemplars(), key=lambda one: -one.at_ns)
    assert last.trace_id == f"{TRACE[:-1]}3"


def test_entries_of_the_error_log_about_it_have_its_trace(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[dict[str, object]] = []
    monkeypatch.setattr(ErrorLog, "error", lambda _self, _code, _message, **fields: logged.append(fields))
    for fields in ("", f"traceparent: {NOBODYS}\r\n"):
        world = World(engine)
        world.answer = lambda: 1 / 0
        world.send(f"GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode())
        world.conversation.serve(world.thread, NOW)
    assert [sorted(fields) for fields in logged] == [["request_id"], ["request_id", "trace_id"]]
    assert logged[1]["trace_id"] == TRACE


def test_a_request_that_takes_too_long_is_told_with_its_trace(engine: str) -> None:
    world = World(engine)
    told: list[Any] = []
    world.during = lambda: told.append(world.conversation.expire(1, world.conversation.called_ns + 2))
    world.send(f"GET / HTTP/1.1\r\nHost: a\r\ntraceparent: {NOBODYS}\r\n\r\n".encode())
    world.conversation.serve(world.thread, NOW)
    assert told[0].trace_id == TRACE


# --- exemplars ----------------------------------------------------------------------------------------------


def slot() -> Slot:
    return Slot(0, memoryview(bytearray(SLOT_BYTES)))


def test_each_bucket_has_the_last_one() -> None:
    found = slot()
    account = Account(found, None, None)  # type: ignore[arg-type]
    at = found.series("GET", 200)
    for duration_ns, trace in ((1, "1"), (2, "2"), (10**12, "3")):
        account.traced(at, {VARIABLE: f"00-{trace * 32}-{SPAN}-01"}, duration_ns)
    assert [(one.duration_ns, one.trace_id[0]) for one in found.exemplars()] == [(2, "2"), (10**12, "3")]


def test_one_that_is_being_written_is_not_shown() -> None:
    found = slot()
    at = found.series("GET", 200)
    found.keep_exemplar(at, 1, TRACE, SPAN, 7)
    (one,) = found.exemplars()
    assert one == sb.Exemplar(found.cells[at + sb.S_KEY], 1, TRACE, SPAN, 7)
    found.cells[sb.EXEMPLARS_AT + sb.E_AT] = 0
    assert found.exemplars() == []


def test_a_process_of_a_connection_hands_its_own_on() -> None:
    own, workers = slot(), slot()
    own.keep_exemplar(own.series("GET", 200, own.route("/a")), MILLISECOND, TRACE, SPAN, 7)
    workers.route("/other")
    seen: dict[int, list[int]] = {}
    workers.fold(own, seen)
    (one,) = workers.exemplars()
    assert (one.trace_id, one.at_ns, workers.route_names()[sb.series_labels(one.series)[2] - 1]) == (TRACE, 7, "/a")
    workers.keep_exemplar(workers.series("GET", 500), MILLISECOND, TRACE, SPAN, 8)
    workers.fold(own, seen)
    assert [one.at_ns for one in workers.exemplars()] == [8]


def test_openmetrics_has_them_behind_their_buckets_and_the_text_format_has_none() -> None:
    found = board(3)
    for number, status in enumerate((200, 200, 500)):
        kept = found.slot(2 - number)
        kept.record("GET", status, 30 * MILLISECOND)
        kept.keep_exemplar(kept.series("GET", status), 30 * MILLISECOND, TRACE[:-1] + str(number), SPAN, 10**9 + number)
    families = Collector(found).collect(FACTS)
    lines = render(families, Format.OPENMETRICS).decode().splitlines()
    told = [line.split(" # ") for line in lines if " # " in line]
    name = "http_server_request_duration_seconds_bucket"
    assert [(start.split("{")[0], 'le="0.05"' in start) for start, _ in told] == [(name, True)] * 2
    first, second = sorted(told, key=lambda one: "500" in one[0])
    assert first[1] == f'{{trace_id="{TRACE[:-1]}1",span_id="{SPAN}"}} 0.03 1.000'
    assert f'trace_id="{TRACE[:-1]}2"' in second[1]
    assert " # " not in render(families, Format.TEXT).decode()


def test_one_beyond_the_last_bound_stands_behind_infinity() -> None:
    shown = Histogram((1.0,), (0, 1), 5.0, (Exemplar((("trace_id", "a"),), 5.0, 2.5),))
    text = render([Family("x", "histogram", "h", "", [Sample((), shown)])], Format.OPENMETRICS).decode()
    assert 'x_bucket{le="+Inf"} 1 # {trace_id="a"} 5.0 2.500\n' in text
    assert 'x_bucket{le="1.0"} 0\n' in text
