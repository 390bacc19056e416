"""Answers that cost the master time: made once for all who ask meanwhile, and for a fifth of the time at most."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ..http.exchange import Answer

GZIP_BYTES = 1024  # a smaller body goes as it is
GZIP_LEVEL = 1  # a scrape is thrown away at once: time matters more
REST = 4  # after making an answer, times the CPU time that it took …
REST_SECONDS = 0.5  # … and so long at most


class SharedAnswers:
    """Answers that cost time: who asks for one before the next is begun shares it, so that it never is from before it
    was asked for; between two lies a rest. Compressed or not, it is made once.
    """

    def __init__(self) -> None:
        self._next: dict[str, asyncio.Task[_MadeAnswer]] = {}  # not begun
        self._turn = asyncio.Lock()
        self._due = 0.0  # of the loop's clock: when the next may begin
        self._rest = 0.0  # after the last one

    def __repr__(self) -> str:
        return f"<SharedAnswers next={len(self._next)} rest={self._rest:.3f}>"

    async def answer(self, name: str, make: Callable[[], Awaitable[Answer]], *, packed: bool = False) -> Answer:
        """What `make` gives, now or soon. A client that leaves does not take it from the others."""
        task = self._next.get(name)
        if task is None:
            task = self._next[name] = asyncio.get_running_loop().create_task(self._make(name, make))
        made = await asyncio.shield(task)
        if not packed:
            return made.plain
        if made.packed is None:
            began = time.thread_time()
            made.packed = _compressed(made.plain)
            self._rest_after(time.thread_time() - began)
        return made.packed

    async def _make(self, name: str, make: Callable[[], Awaitable[Answer]]) -> _MadeAnswer:
        loop = asyncio.get_running_loop()
        async with self._turn:
            if (wait := self._due - loop.time()) > 0:
                await asyncio.sleep(wait)
            self._due = loop.time() + self._rest  # as it turns out, below
        del self._next[name]
        began = time.thread_time()
        try:
            return _MadeAnswer(await make())
        finally:
            self._rest = self._rest_after(time.thread_time() - began)

    def _rest_after(self, seconds: float) -> float:
        """The next may not begin before a rest, which is returned: `seconds` of processor time have been taken."""
        rest = min(REST_SECONDS, REST * seconds)
        self._due = max(self._due, asyncio.get_running_loop().time() + rest)
        return rest


@dataclass(slots=True)
class _MadeAnswer:
    """An answer, and the same compressed once somebody wants it so."""

    plain: Answer
    packed: Answer | None = None


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a client takes gzip (RFC 9110, section 12.5.3)."""
    wanted = {}
    for item in accept_encoding.lower().split(","):
        coding, *parameters = (part.strip() for part in item.split(";"))
        refused = any(_is_zero(parameter) for parameter in parameters)
        wanted["gzip" if coding == "x-gzip" else coding] = not refused
    return wanted.get("gzip", wanted.get("*", False))


def _is_zero(parameter: str) -> bool:
    """Whether a parameter is a weight of 0."""
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and not value.strip().strip("0.")


def _compressed(answer: Answer) -> Answer:
    if len(answer.body) < GZIP_BYTES:
        return answer
    body = gzip.compress(answer.body, GZIP_LEVEL, mtime=0)
    return Answer(answer.status, body, answer.content_type, (("Content-Encoding", "gzip"), *answer.fields))
