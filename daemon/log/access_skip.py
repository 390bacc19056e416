"""Which requests get no line in the access log: rules such as "GET /healthz", and a mode for problems alone.

A rule is `[METHOD] [PATH] [STATUS …] [agent:BEGINNING]`; a request that has all of what it says gets no line. PATH is
that of the request target as it was received, without its query; BEGINNING is that of User-Agent, in any case; "*"
stands for any text in both. STATUS is "304", "2xx" or "any"; where a rule says none it is for what went well, 1xx to
3xx: it takes an explicit status to hide an error. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, NamedTuple

Wanted = Callable[[dict[str, Any], str, int], bool]

_METHOD = re.compile(r"[A-Z][A-Z-]*")
_STATUS = re.compile(r"[1-5](?:xx|[0-9]{2})|any")
_AGENT = "agent:"
_NO_METHODS = ("ALL", "ANY")  # what other servers write
_FINE = "123"  # with which the statuses begin that are no problem
_PROBLEMS = "45"


class Lines(Enum):
    """Of which requests there are lines."""

    ALL = "all"
    PROBLEMS = "problems"  # those with a status from 400 on, and slow ones


class Pattern(NamedTuple):
    """A text with "*" in it. No regular expression, which might try all the ways in which a long text could fit."""

    beginning: str
    middle: tuple[str, ...]
    end: str | None  # None: there is no "*"

    @classmethod
    def of(cls, text: str) -> Pattern:
        beginning, *rest = text.split("*")
        return cls(beginning, tuple(filter(None, rest[:-1])), rest[-1] if rest else None)

    def fits(self, text: str) -> bool:
        if self.end is None:
            return text == self.beginning
        at, end = len(self.beginning), len(text) - len(self.end)
        if at > end or not (text.startswith(self.beginning) and text.endswith(self.end)):
            return False
        for part in self.middle:
            at = text.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True


class Rule(NamedTuple):
    """None: whichever it is."""

    method: str | None
    path: Pattern | None
    statuses: tuple[str, ...]  # beginnings of a status
    agent: Pattern | None

    def skips(self, environ: dict[str, Any], status: str) -> bool:
        """Whether a request is one of those that it is for."""
        return (
            status.startswith(self.statuses)
            and (self.method is None or _text(environ, "REQUEST_METHOD") == self.method)
            and (self.path is None or self.path.fits(_text(environ, "RAW_URI").partition("?")[0]))
            and (self.agent is None or self.agent.fits(_text(environ, "HTTP_USER_AGENT").lower()))
        )


def parse_rule(text: str) -> Rule:
    """Raises ValueError, saying what is wrong."""
    text, agent_mark, agent = text.partition(_AGENT)
    words = text.split()
    method = words.pop(0) if words and _METHOD.fullmatch(words[0]) else None
    path = words.pop(0) if words and words[0].startswith(("/", "*")) else None
    for word in words:
        if not _STATUS.fullmatch(word):
            raise ValueError(f"{word!r} is no {'status' if path or method else 'method, path or status'}")
    agent = agent.strip()
    if agent_mark and not agent:
        raise ValueError(f"nothing behind {_AGENT}")
    if any(word.startswith("/") for word in agent.split()):
        raise ValueError(f"a path stands in front of {_AGENT}, whose text goes on to the end")
    if method in _NO_METHODS:
        raise ValueError(f"{method!r} is no method: a rule without one is for each")
    if not (words or method or path or agent):
        raise ValueError("it says nothing")
    if path and "?" in path:
        raise ValueError("a path has no query here")
    return Rule(
        method,
        Pattern.of(path) if path else None,
        tuple(_beginning(word) for word in words) or tuple(_FINE),
        Pattern.of(f"{agent.lower()}*") if agent else None,
    )


def wanted(rules: Sequence[str], lines: Lines = Lines.ALL, slow_ns: int = 0) -> Wanted | None:
    """Of a request's environ, status and duration in nanoseconds: whether it gets a line. None: each does.

    `slow_ns`: what takes longer is slow; 0: nothing is. Raises ValueError.
    """
    parsed = tuple(map(parse_rule, rules))
    only_problems = lines is Lines.PROBLEMS
    if not parsed and not only_problems:
        return None

    def is_wanted(environ: dict[str, Any], status: str, duration_ns: int) -> bool:
        # A WebSocket (101) is open for as long as it is wanted: that is not slow.
        slow = 0 < slow_ns < duration_ns and not status.startswith("101")
        if only_problems and not slow and not status.startswith(tuple(_PROBLEMS)):
            return False
        return not any(rule.skips(environ, status) for rule in parsed)

    return is_wanted


def _text(environ: dict[str, Any], variable: str) -> str:
    """An application may have left anything in its environ, whose own methods may do anything: no text fits nothing."""
    value = environ.get(variable)
    return str.__str__(value) if issubclass(type(value), str) else ""


def _beginning(word: str) -> str:
    return "" if word == "any" else word.removesuffix("xx")
