"""All cases, one module a topic. To add a case, add a line to the CASES of its module.

A new topic is a module with a TOPIC and CASES, named in PARSING (how messages are read) or in SERVING (what comes of
them). `CASES` holds every case with its topic filled in; names are unique within a topic.
"""

from __future__ import annotations

from dataclasses import replace

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
    limits,
    prefix,
    request_line,
    responses,
    targets,
    timeouts,
    trusted,
    wsgi_input,
)

PARSING = (request_line, fields, host, framing, chunks, targets, connection, expect, limits)
SERVING = (environ, responses, heads, failures, wsgi_input, files, timeouts, trusted, forwarded, prefix)

CASES: tuple[Case, ...] = tuple(
    replace(case, topic=module.TOPIC, parsing=module in PARSING)
    for module in (*PARSING, *SERVING)
    for case in module.CASES
)

if len({str(case) for case in CASES}) != len(CASES):
    seen: set[str] = set()
    twice = [str(case) for case in CASES if str(case) in seen or seen.add(str(case))]  # type: ignore[func-returns-value]
    raise ValueError(f"two cases of one name: {', '.join(twice)}")
