"""Looking into a worker: the order goes out with the writing end of a pipe, and what comes back is handed on.

What a worker finds is in JSON lines: see `worker/inspecting`. One that does not answer is stopped, or its interpreter
is held in C code: then the stack signal alone sees more (`stacks`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from typing import Any

from .readable import readable
from .worker_handle import WorkerHandle

ANSWER_SECONDS = 3.0  # for a worker to hear
MARGIN_SECONDS = 10.0  # beyond its time: for results that are slow to come
MAX_BYTES = 64 * 1024 * 1024  # that a worker may say in one line, or where all is kept
CHUNK_BYTES = 256 * 1024


class NotAnswered(Exception):
    """The worker has not heard the order in time: it is stopped, or the interpreter is held in C code."""


async def inspect(worker: WorkerHandle, order: dict[str, Any], seconds: float) -> list[bytes] | None:
    """All that the worker says, line by line, of an order that takes it so long; None: it did not answer in time."""
    said, size = [], 0
    found = results(worker, order, seconds)
    try:
        async for line in found:
            size += len(line)
            if size > MAX_BYTES:
                break
            said.append(line)
    except NotAnswered:
        return None
    finally:
        await found.aclose()
    return said


async def results(worker: WorkerHandle, order: dict[str, Any], seconds: float) -> AsyncGenerator[bytes]:
    """Line by line, as they come; without one of kind `end`, `refused` or `failed` the worker has left. Whoever goes on
    no more ends the inspection. Raises NotAnswered.
    """
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        worker.send("inspect", (writing,), order={**order, "seconds": seconds})
        ends = loop.time() + ANSWER_SECONDS
        text, received = b"", False
        while len(text) <= MAX_BYTES:
            if not await readable(reading, ends - loop.time()):
                if received:
                    return
                raise NotAnswered
            chunk = os.read(reading, CHUNK_BYTES)
            if not chunk:
                return
            if not received:
                ends = loop.time() + seconds + MARGIN_SECONDS
            received = True
            *lines, text = (text + chunk).split(b"\n")
            for line in lines:
                yield line + b"\n"
    finally:
        os.close(reading)
