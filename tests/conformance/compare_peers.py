"""`python -m tests.conformance.compare_peers`: the cases that count for everybody, asked of every WSGI server there is.

Each is started from the interpreter given, with one process where it can be chosen and with its defaults otherwise,
serves the same application and is asked the same cases in the same ways; `demands.py` says which count. A case whose
answer did not come in time is asked once more, patiently, before it counts as failed. Writes docs/conformance.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import miniwsgi.daemon
import psutil

from bench.peers import inspect
from tests.support.ports import free_port

from .case import Case, get
from .demands import NOT_DEMANDED, exemption
from .exchange import End, Exchange, Send, run
from .runner import PIPELINED, Effort, Target, Verdict, check
from .tables import CASES

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "conformance.md"
READY_SECONDS = 30.0
EFFORT = Effort(splits=2, serving_splits=0)
ONCE_MORE = Effort(splits=0, serving_splits=0)
AT_ONCE = 10  # servers; most of the time they wait for each other's clients
DEADLINE_SECONDS = 5.0  # what is not answered by then is asked once more
AGAIN_SECONDS = 10.0
EVENTS_SECONDS = 5.0  # for close() to be called
FILE_WRAPPER = "wsgi.file_wrapper"  # optional (PEP 3333)
FILES = "PEP 3333 Optional Platform-Specific File Handling"  # asked where it exists


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """A server, and how it is started for one port."""

    name: str
    package: str
    command: Callable[[str], list[str]]  # behind the interpreter: the port is the argument
    how: str
    concurrency: int = 64  # connections at once; fewer for those that give each a thread


def embedded(lines: str) -> Callable[[str], list[str]]:
    """A program that has no command of its own."""
    return lambda port: ["-c", f"from application import application; {lines.replace('PORT', port)}"]


def module(text: str) -> Callable[[str], list[str]]:
    return lambda port: ["-m", *text.replace("PORT", port).split()]


def program(name: str, text: str) -> Callable[[str], list[str]]:
    """A program beside the interpreter, for servers that are no module."""
    start = "import os, sys; os.execv(os.path.join(os.path.dirname(sys.executable), sys.argv[1]), sys.argv[1:])"
    return lambda port: ["-c", start, name, *text.replace("PORT", port).split()]


MINIWSGI = "miniwsgi.daemon serve application:application --bind 127.0.0.1:PORT --workers 1"
PEERS = (
    Peer("miniwsgi", "miniwsgi", module(MINIWSGI), "`miniwsgi serve … --workers 1`"),
    Peer("gunicorn", "gunicorn", module("gunicorn -b 127.0.0.1:PORT -k gthread --threads 32 application:application"),
         "`gunicorn -k gthread --threads 32`", 24),
    Peer("waitress", "waitress", module("waitress --listen=127.0.0.1:PORT application:application"),
         "`waitress-serve --listen=…`"),
    Peer("cheroot", "cheroot", module("cheroot --bind 127.0.0.1:PORT --threads 32 application:application"),
         "`cheroot --bind … --threads 32`", 24),
    Peer("gevent", "gevent", embedded("from gevent.pywsgi import WSGIServer; "
         "WSGIServer(('127.0.0.1', PORT), application).serve_forever()"), "`WSGIServer(…).serve_forever()`"),
    Peer("granian", "granian", module("granian --interface wsgi --host 127.0.0.1 --port PORT application:application"),
         "`granian --interface wsgi`"),
    Peer("bjoern", "bjoern", embedded("import bjoern; bjoern.run(application, '127.0.0.1', PORT)"), "`bjoern.run(…)`"),
    Peer("fastwsgi", "fastwsgi", embedded("import fastwsgi; fastwsgi.run(wsgi_app=application, host='127.0.0.1', "
         "port=PORT)"), "`fastwsgi.run(…)`"),
    Peer("socketify", "socketify", module("socketify application:application --interface wsgi --host 127.0.0.1 "
         "--port PORT"), "`socketify --interface wsgi`"),
)  # fmt: skip


class Running:
    """A context: the server answers on entry and is gone on exit; `restart` after it has ended."""

    def __init__(self, peer: Peer, python: str, directory: Path) -> None:
        self.peer = peer
        self.port = free_port()
        self._argv = [python, *peer.command(str(self.port))]
        self._directory = directory
        self._family: dict[int, psutil.Process] = {}
        self.log_path = directory / f"{peer.name}.log"

    def __enter__(self) -> Running:
        settings = {"CONFORMANCE_RECORDS": str(self._directory / "records"), "MINIWSGI_CONTROL_SOCKET": "off"}
        settings |= {"MINIWSGI_METRICS_BIND": "off", "PYTHONPATH": str(HERE)}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self._argv, cwd=HERE, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **settings},
            )  # fmt: skip
        deadline = time.monotonic() + READY_SECONDS
        while not self.answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.__exit__()
                raise OSError(f"it does not start: {self.log_path.read_text('utf-8', 'replace')[-300:]}")
            time.sleep(0.1)
        self.family()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.family():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        self.process.wait()

    @property
    def target(self) -> Target:
        return Target(
            ("127.0.0.1", self.port),
            strict=False,
            concurrency=self.peer.concurrency,
            deadline_seconds=DEADLINE_SECONDS,
            events_seconds=EVENTS_SECONDS,
        )

    def answers(self, seconds: float = 2.0) -> bool:
        asking = Exchange([Send(get(b"/", b"Connection: close"))], seconds=seconds)
        run([asking], self.target.address)
        return bool(asking.outcome and asking.outcome.responses)

    def family(self) -> list[psutil.Process]:
        """All processes that it ever had and that still run."""
        try:
            master = psutil.Process(self.process.pid)
            for process in [master, *master.children(recursive=True)]:
                self._family[process.pid] = process
        except psutil.NoSuchProcess:
            pass
        return [one for one in self._family.values() if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]

    def is_whole(self, before: set[int]) -> bool:
        """Whether it answers, and none of these processes has ended."""
        return self.process.poll() is None and before <= {one.pid for one in self.family()} and self.answers(10.0)

    def restart(self) -> None:
        self.__exit__()
        self._family.clear()
        self.__enter__()


@dataclasses.dataclass(slots=True)
class Result:
    """What a server did with the cases."""

    peer: Peer
    version: str
    verdicts: list[Verdict] = dataclasses.field(default_factory=list)
    deadly: list[str] = dataclasses.field(default_factory=list)  # cases after which a process of it was gone
    wrapper: bool = True
    trouble: str = ""  # why it could not be asked


def ask(peer: Peer, python: str, version: str, cases: Sequence[Case]) -> Result:
    """Ask one server everything, topic by topic; restart it when it ends."""
    result = Result(peer, version)
    with tempfile.TemporaryDirectory(prefix="conformance-") as directory:
        try:
            with Running(peer, python, Path(directory)) as server:
                result.wrapper = offers_wrapper(server.target)
                topics: dict[str, list[Case]] = defaultdict(list)
                for case in cases:
                    topics[case.topic].append(case)
                for topic, members in topics.items():
                    print(f"{peer.name}: {topic}", file=sys.stderr)
                    if topic != FILES or result.wrapper:
                        ask_topic(server, members, result)
        except OSError as error:
            result.trouble = str(error)
    return result


def ask_topic(server: Running, cases: Sequence[Case], result: Result) -> None:
    before = {one.pid for one in server.family()}
    verdicts = check(server.target, cases, EFFORT)
    if not server.is_whole(before):
        server.restart()  # which of them was it?
        result.verdicts += [ask_alone(server, verdict.case, result) for verdict in verdicts]
        return
    late = [verdict.case for verdict in verdicts if any(End.DEADLINE.value in fault for fault in verdict.faults)]
    patient = dataclasses.replace(server.target, deadline_seconds=AGAIN_SECONDS)
    again = {str(verdict.case): verdict for verdict in check(patient, late, ONCE_MORE)}
    result.verdicts += [again.get(str(verdict.case), verdict) for verdict in verdicts]


def ask_alone(server: Running, case: Case, result: Result) -> Verdict:
    before = {one.pid for one in server.family()}
    (verdict,) = check(server.target, [case], EFFORT)
    if not server.is_whole(before):
        result.deadly.append(str(case))
        verdict.faults.append("a process of the server ended")
        server.restart()
    return verdict


def offers_wrapper(target: Target) -> bool:
    asking = Exchange([Send(get(b"/", b"Connection: close"))], seconds=AGAIN_SECONDS)
    run([asking], target.address)
    assert asking.outcome is not None
    return FILE_WRAPPER in json.loads(asking.outcome.responses[0].body)["environ"]


# --- the page ---------------------------------------------------------------------------------------------------------


def page(results: Sequence[Result], cases: Sequence[Case], python: str) -> str:
    asked = [result for result in results if not result.trouble]
    names = [result.peer.name for result in asked]
    topics = list(dict.fromkeys(case.topic for case in cases))
    lines = [
        "# HTTP/1.1 and PEP 3333, case by case",
        "",
        f"Made by `python -m tests.conformance.compare_peers` on {datetime.datetime.now(datetime.UTC):%d %B %Y}, with",
        f"Python {python}. It is not written by hand: a new run replaces it.",
        "",
        f"The tests hold {len(CASES)} cases of raw bytes, each with what must come back (`tests/conformance/tables`),",
        "in the order of the specifications. Our daemon must pass all of them in each pool, before every release, and",
        "its log must name the section that a refusal rests on. For other servers, only those count that the",
        f"specifications decide: {len(cases)} cases, asked in the same ways of every server. Each goes out whole,",
        "byte by byte, split in two at several places, and with a second request right behind it; a case is passed",
        "when all of these are.",
        "",
        "| Section | Cases | " + " | ".join(names) + " |",
        "|---|--:|" + "--:|" * len(names),
    ]
    for topic in topics:
        members = [case for case in cases if case.topic == topic]
        cells = [cell(result, topic) for result in asked]
        lines.append(f"| {topic} | {len(members)} | " + " | ".join(cells) + " |")
    lines.append(f"| **all** | **{len(cases)}** | " + " | ".join(f"**{cell(result)}**" for result in asked) + " |")
    lines.append(f"| all, one at a time | {len(cases)} | " + " | ".join(map(one_at_a_time, asked)) + " |")
    lines += [
        "",
        "A dash: the server does not offer this optional part of PEP 3333, which then does not count. *One at a time*:",
        "what was passed but for the second request behind it, for servers that do not answer pipelined requests as",
        "RFC 9112, 9.3.2 demands.",
        "",
    ]
    lines += ["## Who was asked", "", "| Server | Version | Started as |", "|---|---|---|"]
    lines += [f"| {result.peer.name} | {result.version} | {result.peer.how} |" for result in results]
    lines += ["", "Everything else is each server's default.", ""]
    lines += findings(results)
    lines += fairness(cases)
    lines += DELIBERATE
    lines += [
        "## How to repeat it",
        "",
        "With the servers installed in an environment of their own, from the top of the source tree:",
        "",
        "```sh",
        "python -m venv peers",
        "peers/bin/pip install " + " ".join(peer.package for peer in PEERS[1:]),
        "python -m tests.conformance.compare_peers --python peers/bin/python",
        "```",
        "",
        "One server alone, with the reason for each failure: start it on a port, serving `application:application`",
        "from `tests/conformance`, and ask `python -m tests.conformance --lenient --port PORT`. Without `--lenient` it",
        "is asked for everything that we promise.",
        "",
    ]
    return "\n".join(lines)


def cell(result: Result, topic: str = "") -> str:
    verdicts = [verdict for verdict in result.verdicts if topic in {"", verdict.case.topic}]
    if not verdicts:
        return "—"
    passed = sum(verdict.passed for verdict in verdicts)
    missing = "" if topic or result.wrapper else f" of {len(verdicts)}"
    return f"{passed}{missing}"


def one_at_a_time(result: Result) -> str:
    passed = [verdict for verdict in result.verdicts if all(fault.startswith(PIPELINED) for fault in verdict.faults)]
    return str(len(passed))


def findings(results: Sequence[Result]) -> list[str]:
    """Servers that ended, or never began."""
    lines = []
    for result in results:
        if result.trouble:
            reason = result.trouble.strip().splitlines()[-1][:160]
            lines.append(f"- {result.peer.name} could not be asked: {reason}")
        if result.deadly:
            cases = "; ".join(f"“{case}”" for case in result.deadly)
            lines.append(f"- {result.peer.name}: a process of it ended during these cases, asked alone: {cases}.")
    return ["## Servers that ended", "", *(lines or ["None."]), ""]


DELIBERATE = [
    "## What is refused on purpose",
    "",
    "For those who migrate: each of these is a 400 (or the status said), a closed connection and a line in the log.",
    "",
    "Where a recipient may be lenient, and we are not, because two parsers in a row would read different requests:",
    "",
    "- `Transfer-Encoding: ,chunked`: empty members in a list that frames a message;",
    "- chunk sizes of more than 16 digits, also if they are zeros;",
    "- a bare LF or CR for CRLF, white space in front of a colon, folded fields, two spaces in a request line;",
    "- Content-Length twice or listed, also if all are equal, and together with Transfer-Encoding;",
    "- two Content-Type fields (RFC 9110 section 8.3): one parser takes the first, another the last.",
    "",
    "Where gunicorn accepts what we refuse:",
    "",
    "- `#` in a request target: it is no part of one (RFC 9112 section 3.2), and a filter in front may stop there;",
    "- `Transfer-Encoding: identity`: 501; it was taken out of HTTP/1.1 in 2014 (RFC 7230);",
    "- HTTP/1.1 without Host (RFC 9112 section 3.2). A health check may have to be told to send one.",
    "",
    "Fields with an underscore in their name are dropped, not refused: `X_A` would be taken for `X-A`.",
    "",
]

TRUST = [
    "## How far to trust this",
    "",
    "We wrote the cases, and the rules above, knowing what our own server does, and only ours was mended by them. The",
    "counts of others move by some cases from run to run (late answers count as wrong), most for those that end",
    "processes. uWSGI is left out: by its HTTP router it passed so few that we do not trust how we asked it. Splits in",
    "two are tried at line ends and two more places, for cases of parsing.",
    "",
]


def fairness(cases: Sequence[Case]) -> list[str]:
    reasons = Counter(filter(None, map(exemption, CASES)))
    lines = [
        "## Which cases count, and what is right",
        "",
        "A case counts if RFC 9110, RFC 9112 or PEP 3333 say what must happen, or if its bytes are outside of their",
        "grammar and none of their permissions to be lenient covers them. More than our own answer is right:",
        "",
        "- a bad message may get any 4xx or 5xx, or a close without a word, and where its end is known the connection",
        "  may go on; only bad framing must end it;",
        "- the server may close after any answer if it announces that; the client would send the rest again;",
        "- Content-Length or chunks: the server's choice where the application gave no length; HEAD may omit both;",
        "- 100 (Continue) may be sent although the body is here; an RST for a FIN behind a whole answer is no fault;",
        "- an exchange may take five seconds; where the answer is late, the case is asked once more, with ten.",
        "",
        f"{len(CASES) - len(cases)} of our cases are left out, for these reasons (the list by name is "
        "`tests/conformance/demands.py`):",
        "",
        "| Cases | Why no other server is asked |",
        "|--:|---|",
    ]
    lines += [f"| {count} | {reason} |" for reason, count in reasons.most_common()]
    return [*lines, "", *TRUST]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.compare_peers", description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the other servers")
    parser.add_argument(
        "--only", nargs="*", default=[], metavar="NAME", help="these servers alone; prints their failures"
    )
    parser.add_argument("--page", type=Path, default=PAGE, help="where the page goes; not written with --only")
    options = parser.parse_args(arguments)
    assert set(NOT_DEMANDED) <= {case.table for case in CASES}, "a table that does not exist"
    cases = [case for case in CASES if not exemption(case) and case.profile == "plain" and not (case.unix or case.ipv6)]
    there = inspect(options.python, [peer.package for peer in PEERS[1:]])
    chosen = []
    for peer in PEERS:
        if options.only and peer.name not in options.only:
            continue
        own = peer is PEERS[0]
        version = miniwsgi.daemon.__version__ if own else there.versions.get(peer.package)
        if version is None:
            print(f"{peer.name}: not installed", flush=True)
            continue
        chosen.append((peer, sys.executable if own else options.python, version, cases))
    results: dict[str, Result] = {}
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for asked in as_completed([threads.submit(ask, *one) for one in chosen]):
            result = asked.result()
            results[result.peer.name] = result
            print(f"{result.peer.name} {result.version}: {cell(result)} {result.trouble} {result.deadly}", flush=True)
            if options.only:
                show_failures(result)
            else:  # each adds its column, so that one that takes for ever loses nothing
                finished = [results[peer.name] for peer in PEERS if peer.name in results]
                options.page.write_text(page(finished, cases, there.python_version), "utf-8")
    return 0


def show_failures(result: Result) -> None:
    for verdict in result.verdicts:
        if not verdict.passed:
            print(f"    {verdict.case}: {verdict.faults[0]}")


if __name__ == "__main__":
    sys.exit(main())
