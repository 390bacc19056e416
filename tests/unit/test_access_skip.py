"""Which requests get no line in the access log: the rules, the mode for problems, and that they are counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from miniwsgi.daemon.config.configuration import load
from miniwsgi.daemon.config.problems import ConfigError
from miniwsgi.daemon.engine.choice import choose
from miniwsgi.daemon.log.access_log import AccessLog, SelectiveAccessLog
from miniwsgi.daemon.log.access_skip import Lines, parse_rule, wanted
from miniwsgi.metrics import scoreboard

from tests.conformance.case import get
from tests.fuzz.engine_worker import Lines as Writer
from tests.unit.conversation_world import GARBAGE, NOW, World

SECOND = 10**9
PROBE = "kube-probe/1.29"


def is_written(rules: Sequence[str], request: str, agent: str = "", lines: Lines = Lines.ALL, ns: int = 0) -> bool:
    """Whether there is a line of a request: "GET /healthz?full 200"."""
    method, target, status = request.split()
    environ = {"REQUEST_METHOD": method, "RAW_URI": target}
    if agent:
        environ["HTTP_USER_AGENT"] = agent
    chosen = wanted(rules, lines, SECOND)
    return chosen is None or chosen(environ, f"{status} Reason", ns)


@pytest.mark.parametrize(
    ("rule", "skipped", "written"),
    [
        ("/healthz", ["GET /healthz 200", "HEAD /healthz 204", "GET /healthz?full=1 200", "GET /healthz 301"],
         ["GET /healthz 500", "GET /healthz 404", "GET /healthz 499", "GET /healthz/ 200", "GET /a/healthz 200",
          "GET /healthz2 200", "GET /HEALTHZ 200", "GET http://a/healthz 200", "GET /?/healthz 200"]),
        ("GET /healthz", ["GET /healthz 200"], ["HEAD /healthz 200", "POST /healthz 200", "GET /healthz 503"]),
        ("GET /healthz 2xx", ["GET /healthz 200", "GET /healthz 299"], ["GET /healthz 304", "GET /healthz 500"]),
        ("/static/*", ["GET /static/a/b.css 200", "GET /static/ 304"], ["GET /static 200", "GET /static/a 404"]),
        ("/static/*.css 304", ["GET /static/a/b.css 304"], ["GET /static/a.css 200", "GET /static/a.css.map 304"]),
        ("*/ping", ["GET /a/ping 200", "GET /ping 200"], ["GET /pingpong 200", "GET ping 200"]),
        ("/a*b*c", ["GET /abc 200", "GET /aXbbYc 200"], ["GET /acb 200"]),
        ("/a.b", ["GET /a.b 200"], ["GET /axb 200"]),
        ("/favicon.ico 404", ["GET /favicon.ico 404"], ["GET /favicon.ico 200"]),
        ("/ready any", ["GET /ready 200", "GET /ready 503"], ["GET /other 503"]),
        ("/x 2xx 404 5xx", ["GET /x 200", "GET /x 404", "GET /x 503"], ["GET /x 304", "GET /x 403"]),
        ("304", ["GET / 304", "HEAD /a 304"], ["GET / 200"]),
        ("2xx 3xx", ["GET / 200", "GET / 304"], ["GET / 404", "GET / 500"]),
        ("OPTIONS", ["OPTIONS /a 204"], ["OPTIONS /a 405", "GET /a 204"]),
    ],
)  # fmt: skip
def test_a_rule(rule: str, skipped: list[str], written: list[str]) -> None:
    assert [request for request in skipped if is_written([rule], request)] == []
    assert [request for request in written if not is_written([rule], request)] == []


@pytest.mark.parametrize(
    ("rule", "agents", "others"),
    [
        ("agent:kube-probe", [PROBE, "kube-probe", "Kube-Probe/2"], ["curl/8", "not kube-probe/1", ""]),
        ("agent:ELB-HealthChecker/2.0", ["ELB-HealthChecker/2.0"], ["ELB-HealthChecker/1.0"]),
        ("agent:*Health-Check-Service", ["Amazon-Route53-Health-Check-Service (ref 1)"], ["Health"]),
        ("agent:Uptime Robot", ["Uptime Robot/1"], ["Uptime"]),
        ("GET / 2xx agent:GoogleHC", ["GoogleHC/1.0"], ["Mozilla"]),
    ],
)
def test_a_rule_about_who_asks(rule: str, agents: list[str], others: list[str]) -> None:
    assert [agent for agent in agents if is_written([rule], "GET / 200", agent)] == []
    assert [agent for agent in others if not is_written([rule], "GET / 200", agent)] == []
    assert all(is_written([rule], "GET / 500", agent) for agent in agents)


def test_one_rule_of_several_is_enough() -> None:
    rules = ["/healthz", "agent:kube-probe", "304"]
    requests = [("GET /healthz 200", ""), ("GET / 200", PROBE), ("GET / 304", ""), ("GET / 200", "")]
    assert [is_written(rules, request, agent) for request, agent in requests] == [False, False, False, True]


@pytest.mark.parametrize(
    ("request_", "ns", "expected"),
    [
        ("GET / 200", 0, False), ("GET / 304", 0, False), ("GET / 400", 0, True), ("GET / 404", 0, True),
        ("GET / 500", 0, True), ("GET / 499", 0, True), ("GET / 200", SECOND, False), ("GET / 200", SECOND + 1, True),
        ("GET /healthz 200", 2 * SECOND, False), ("GET /missing 404", 0, False), ("GET /echo 101", 2 * SECOND, False),
    ],
)  # fmt: skip
def test_problems_alone(request_: str, ns: int, expected: bool) -> None:
    """What a rule names is left out all the same: a stream is slow by design."""
    assert is_written(["/healthz", "/missing 404"], request_, "", Lines.PROBLEMS, ns) is expected


def test_nothing_is_decided_where_nothing_is_configured() -> None:
    assert wanted((), Lines.ALL, SECOND) is None
    chosen = wanted((), Lines.PROBLEMS, 0)
    assert chosen is not None
    assert not chosen({}, "200 OK", 10**15)


@pytest.mark.parametrize("left", [None, 7, b"/healthz", ["/healthz"]])
def test_what_an_application_has_left_in_its_environ_hides_nothing(left: Any) -> None:
    chosen = wanted(["GET /healthz", "agent:kube"], Lines.ALL)
    assert chosen is not None
    assert chosen({"REQUEST_METHOD": "GET", "RAW_URI": left, "HTTP_USER_AGENT": left}, "200 OK", 0)
    assert chosen({}, "", 0)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("", "it says nothing"), ("  ", "it says nothing"), ("agent:", "nothing behind agent:"),
        ("healthz", "'healthz' is no method, path or status"), ("get /", "'get' is no method, path or status"),
        ("/a 600", "'600' is no status"), ("/a 20x", "'20x' is no status"), ("200 /a", "'/a' is no method"),
        ("/a /b", "'/b' is no status"), ("/a?b=c", "a path has no query here"), ("GET /a POST", "'POST' is no status"),
        ("ANY /a", "'ANY' is no method: a rule without one is for each"), ("ALL /a 304", "'ALL' is no method"),
        ("agent:kube-probe GET /healthz", "a path stands in front of agent:"),
    ],
)  # fmt: skip
def test_a_rule_that_is_none_is_told_with_what_is_wrong(rule: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_rule(rule)
    with pytest.raises(ConfigError) as caught:
        load(None, {"app.module": "x", "log.access_skip": [rule]}, {})
    assert f'log.access_skip = "{rule}": expected a rule such as "GET /healthz", ' in str(caught.value)
    assert (told if rule.strip() else "for none an empty list") in str(caught.value)


def test_no_rule_takes_long() -> None:
    """With a pattern that is tried in all ways this takes years."""
    for request in ("GET /" + "a" * 8000 + " 200", "GET /" + "ab" * 4000 + " 200"):
        assert is_written(["/*a*a*a*b*c"], request)


# --- both engines ---


def asked(engine: str, format: str, rules: Sequence[str], lines: Lines, *requests: bytes) -> tuple[list[bytes], World]:
    """The lines of these requests, each answered 200, and who answered them."""
    begin: Any = choose(engine).begin
    writer: Any = Writer(begin.append)
    chosen = wanted(rules, lines)
    faster = begin.access_lines
    access = (
        AccessLog("-", format, writer, faster=faster)
        if chosen is None
        else SelectiveAccessLog(chosen, "-", format, writer, faster=faster)
    )
    world = World(engine, access=access)
    for request in requests:
        world.send(request)
        world.conversation.serve(world.thread, NOW)
        world._read()
    return writer.take(), world


@pytest.mark.parametrize("format", ["combined", "json", '"%(r)s" %(s)s'])
def test_what_is_left_out_is_counted(engine: str, format: str) -> None:
    requests = (get(b"/healthz"), get(b"/shop"), get(b"/", b"User-Agent: kube-probe/1.29"), get(b"/healthz?x"))
    rules = ["GET /healthz", "agent:kube-probe"]
    lines, world = asked(engine, format, rules, Lines.ALL, *requests)
    assert [b"/shop" in line for line in lines] == [True]
    assert world.context.slot.cells[scoreboard.REQUESTS] == len(requests)
    every, _ = asked(engine, format, (), Lines.ALL, *requests)
    assert len(every) == len(requests)


def test_a_refusal_is_a_problem(engine: str) -> None:
    lines, world = asked(engine, "combined", ["/healthz"], Lines.PROBLEMS, get(b"/"), GARBAGE)
    assert len(lines) == 1
    assert b" 400 " in lines[0]
    assert world.context.slot.cells[scoreboard.REJECTED] == 1
