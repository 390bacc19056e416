"""All cases, in the order of the specifications. To add a case, add a line to a group of its module.

A module is one subject, a group of it one section: its title begins with the document and the number, and is the
cases' topic. What is refused is refused by that section, which the log names, unless the case says another. A new
module is named in PARSING (how messages are read) or in SERVING (what comes of them). Names are unique in a group.
"""

from __future__ import annotations

import re
from dataclasses import replace
from types import ModuleType

from ..case import Case
from . import (
    chunks,
    connection,
    environ,
    expect,
    failures,
    fields,
    files,
    forwarded,
    framing,
    heads,
    host,
    incomplete,
    limits,
    prefix,
    request_line,
    responses,
    targets,
    timeouts,
    trusted,
    wsgi_input,
)

PARSING = (request_line, targets, host, fields, framing, chunks, incomplete, connection, expect, limits)
SERVING = (timeouts, responses, forwarded, environ, wsgi_input, heads, failures, files, trusted, prefix)

DOCUMENTS = ("RFC 9112", "RFC 9110", "RFC 3875", "RFC 6585", "RFC 7239", "RFC 8297", "PEP 3333", "miniwsgi")
PEP_3333 = (  # whose sections have no numbers
    "Specification Details",
    "environ Variables",
    "Input and Error Streams",
    "The start_response() Callable",
    "Handling the Content-Length Header",
    "Buffering and Streaming",
    "The write() Callable",
    "Error Handling",
    "Other HTTP Features",
    "Optional Platform-Specific File Handling",
)
TITLE = re.compile(r"(RFC \d+ section (\d+(?:\.\d+)*)|PEP 3333|miniwsgi) (.+)")


def section(topic: str) -> tuple[str, list[int]]:
    """The section that a title begins with, and its numbers for the order."""
    match = TITLE.fullmatch(topic)
    if match is None:
        raise ValueError(f"{topic}: a title begins with its section, as in RFC 9112 section 6.3 Message Body Length")
    if match[1] == "PEP 3333":
        return match[1], [PEP_3333.index(match[3])]
    return match[1], [int(number) for number in (match[2] or "0").split(".")]


def place(topic: str) -> tuple[int, list[int]]:
    """Where a topic stands among the others."""
    name, numbers = section(topic)
    return DOCUMENTS.index(name.partition(" section ")[0]), numbers


def filled_in(case: Case, topic: str, module: ModuleType) -> Case:
    return replace(
        case,
        topic=topic,
        table=module.__name__.rpartition(".")[2],
        parsing=module in PARSING,
        section=case.section or (section(topic)[0] if case.refusal else ""),
    )


GROUPS = sorted(
    ((topic, module) for module in (*PARSING, *SERVING) for topic in module.GROUPS), key=lambda group: place(group[0])
)
CASES: tuple[Case, ...] = tuple(
    filled_in(case, topic, module) for topic, module in GROUPS for case in module.GROUPS[topic]
)

if len({str(case) for case in CASES}) != len(CASES):
    seen: set[str] = set()
    twice = [str(case) for case in CASES if str(case) in seen or seen.add(str(case))]  # type: ignore[func-returns-value]
    raise ValueError(f"two cases of one name: {', '.join(twice)}")
