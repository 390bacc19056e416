"""Which cases count for other servers, and what else than our own answer is right there: what the specifications say.

A case counts when RFC 9110, RFC 9112 or PEP 3333 decide it: a MUST, or a message outside their grammar where they do
not allow a recipient to be lenient. What they leave to the server, or do not know of, is a promise of this project
alone and is not asked; `NOT_DEMANDED` says which that is and why.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .case import Case, Status
from .client import Response
from .exchange import Outcome

ERROR = frozenset(range(400, 600))

LINE_ENDS = "RFC 9112, 2.2: a bare LF may end a line, and a bare CR may be taken for a space"
WHITE_SPACE = "RFC 9112, 3: a server may split the request line at any white space"
METHODS = "which methods and forms of a target a server passes on is its choice (405, 501)"
REPLACED = "RFC 9110, 5.5; RFC 9112, 5.2: control characters and folded lines may be replaced by spaces"
LISTS = "RFC 9110, 5.6.1 and 8.6: empty members of lists, and equal lengths, may be accepted"
SIZES = "how long a message may be, and how long its end is awaited, is the server's choice"
TRAILERS = "RFC 9112, 7.1.2: trailers may be discarded unread"
EXTENSIONS = "RFC 9112, 7.1.1: extensions are ignored; nothing says how closely they are looked at"
OWN_NAMES = "not in PEP 3333: names that servers may add to the environ, 103, the raw target"
POLICY = "no specification asks for it: a choice of this project, mostly for safety"
BUFFERING = "PEP 3333 lets a server call the application before the body is complete"
MISTAKES = "PEP 3333 does not say what becomes of this mistake of an application"
EXPECTATIONS = "RFC 9110, 10.1.1: 417 may be sent; an immediate final answer too"
READLINE = "PEP 3333 demands read(size), readline(), readlines(hint) and iteration, no more"
HALF_CLOSED = "no specification speaks of half-closed connections"

# By table: names of cases (a pattern for the start of the name) and why they are not asked.
NOT_DEMANDED: dict[str, Sequence[tuple[str, str]]] = {
    "request_line": (
        (".* without an end|a byte of no request", SIZES),
        (".* and no more", HALF_CLOSED),
        ("space in front of the first field", REPLACED),
        ("bare LF|LF CR|bare CR in front|blank line", LINE_ENDS),
        (r"(two|three) spaces|(space|tab) (behind|before the version|in front)|tab (behind|before)", WHITE_SPACE),
        ("vertical tab|form feed|bare CR as|two CRs|no version but", WHITE_SPACE),
        ("method (?!HEAD|alone|and)", METHODS),
        ("two empty|three empty|a hundred empty", "RFC 9112, 2.2: at least one empty line is ignored"),
        ("version 1.2 streams", POLICY),
    ),
    "fields": (
        ("bare LF|LF CR LF|bare CR(?! in a name)", LINE_ENDS),
        ("repeated, the first of them empty", LISTS),
        (r"control 0x|NUL (at the end of a value|for|in a value)", REPLACED),
        (r"folded (with|into|in|Host|Content|Transfer)", REPLACED),
        ("underscore|Content-Type twice|Content_Type|Transfer_Encoding|Proxy|PROXY", POLICY),
        ("repeated Cookie|Cookie thrice", "RFC 6265, 5.4: a client sends one Cookie field"),
    ),
    "framing": (
        ("twice, equal|twice in different|listed(, equal| with)|empty coding|comma alone|empty member", LISTS),
        ("chunked and nothing", LISTS),
        ("wraps|too large|a hundred digits|5,000|zeros$", SIZES),
        ("NUL", REPLACED),
        (
            "identity|chunked, chunked|chunked in two fields",
            "RFC 9112, 6.3 forbids what is not last; this is undecided",
        ),
        (r"body on OPTIONS \*", METHODS),
    ),
    "chunks": (
        ("size (above|of) |extension without end|extensions that outweigh|200 kB|20 kB|20,000", SIZES),
        (".* of (the longest|a) name|extension of 5,000|trailer of more|.* line without an end", SIZES),
        (r"trailer (without|with|that)|folded trailer", TRAILERS),
        ("extension with a (NUL|DEL)|extension without (a name|the value)|extension of two words", EXTENSIONS),
        ("quoted (extension without|CRLF)", EXTENSIONS),
        ("wsgi.input ends", OWN_NAMES),
    ),
    "targets": (
        ("raw target", OWN_NAMES),
        ("empty target|tab in the target", WHITE_SPACE),
        (".* without an end", SIZES),
        (r"slashes|dots|encoded dots|path //$|path /\.\.|obs-text", POLICY),
        (r"OPTIONS \*|CONNECT|absolute-form (of|with user)|mailto", METHODS),
    ),
    "connection": (
        ("half-closed", HALF_CLOSED),
        ("close (in two words|in quotes|with a parameter|behind a no-break space)", POLICY),
        ("Upgrade to TLS", METHODS),
    ),
    "incomplete": (
        ("nothing at all|unfinished request line behind", HALF_CLOSED),
        ("unfinished (body|chunk|last|trailers)|no last chunk|reset amid|left amid|bad chunk:", BUFFERING),
    ),
    "expect": (
        ("another expect|expectation|empty Expect|a list|100-continue, body not read", EXPECTATIONS),
        ("bad chunk", BUFFERING),
    ),
    "host": (
        (".*Unix socket", "not every server listens there"),
        ("an address of the future|IPv6 with a zone", POLICY),
    ),
    "limits": (("(?!request line of 8,000)", SIZES),),
    "environ": (
        ("wsgi.input_terminated|.*early_hints|REMOTE_PORT|wsgi.file_wrapper", OWN_NAMES),
        ("nothing of os|X-Forwarded|Forwarded", POLICY),
        (".*(Unix socket|IPv6)", "not every server listens there"),
    ),
    "responses": (("a (1xx|101)", MISTAKES), ("Server", POLICY)),
    "heads": (
        ("Date of|Server of", POLICY),
        ("(another )?status without|white space around", MISTAKES),
        ("hop-by-hop fields|unfit value: (wide|value)|unfit name: bytes|unfit status: (wide|bytes|number)", MISTAKES),
        (".*hints", OWN_NAMES),
    ),
    "failures": (
        ("None|a number|a list of|text", MISTAKES),
        ("the traceback|raised in close", POLICY),
    ),
    "wsgi_input": ((r".*(readline:|read:-1|read:none)", READLINE),),
    "timeouts": (("", SIZES),),
    "trusted": (("", POLICY),),
    "forwarded": (("", POLICY),),
    "prefix": (("", "how a prefix is configured differs"),),
}

MAY_BE_PROCESSED = "Content-Length and|chunked and Content|chunked in HTTP/1.0|both in"


def exemption(case: Case) -> str:
    """Why a case does not count for other servers; "" if it does."""
    for pattern, reason in NOT_DEMANDED.get(case.table, ()):
        if re.match(pattern, case.name):
            return reason
    return ""


def alternatives(case: Case) -> list[tuple[tuple[Status, ...], bool]]:
    """Other statuses than ours that are right, each with whether the connection closes behind them."""
    before = case.statuses[:-1]
    found: list[tuple[tuple[Status, ...], bool]] = []
    if case.refusal:
        # 400 is what a server SHOULD answer (RFC 9112, 2.2): any error will do, or a close without a word
        found += [((*before, ERROR), True), (before, True)]
        if case.table not in {"framing", "chunks"}:
            found.append(((*before, ERROR), False))  # where it ends is known: nothing forbids to go on
    if case.table == "framing" and re.match(MAY_BE_PROCESSED, case.name):
        found.append(((200,), True))  # RFC 9112, 6.1 and 6.3: may be processed, if the connection closes
    if case.table == "heads" and case.name.startswith(("unfit", "close() of a result with an unfit")):
        found += [((500,), True), ((), True)]
    return found


def closes_early(case: Case, finals: list[Response]) -> bool:
    """Whether the server announced a close that we would not have: it may close after any answer (RFC 9112, 9.6)."""
    if not finals or len(finals) > len(case.statuses):
        return False
    tokens = finals[-1].tokens("Connection")
    return "close" in tokens or (b" HTTP/1.0\r\n" in case.sent and "keep-alive" not in tokens)


def spaced(value: Any) -> Any:
    """A list as we join it: the space behind a comma may be missing (RFC 9110, 5.3)."""
    return re.sub(", *", ", ", value) if isinstance(value, str) else value


def is_optional(case: Case, outcome: Outcome) -> bool:
    """Whether the interim answers are right too: 100 may be sent though the body is here (RFC 9110, 10.1.1)."""
    return set(outcome.interims) == {100} and not case.interim and not case.closes_by_default
