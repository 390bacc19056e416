"""`python -m tests.conformance.compare_peers`: the cases that count for everybody, asked of every WSGI server there is.

All serve the same application and are asked the same cases in the same ways; `demands.py` says which count. Writes
docs/conformance.md.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import miniwsgi.daemon

from bench.peers import inspect

from .case import Case
from .demands import NOT_DEMANDED, exemption
from .peer_servers import PEERS, Result, ask
from .runner import PIPELINED
from .tables import CASES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"
AT_ONCE = 10  # servers; most of the time they wait for each other's clients


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
    "For those who migrate: each of these is a 400 (or the status said), a closed connection and a line in the log",
    "that names the rule: `refused a request with 400 Bad Request: invalid Host (RFC 9112 section 3.2)`. The client is",
    "told the status alone.",
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
        "- repeated fields may be joined with a comma alone;",
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
