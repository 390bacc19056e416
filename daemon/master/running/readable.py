"""Waiting for a descriptor beside all else that the loop does."""

from __future__ import annotations

import asyncio


async def readable(fd: int, seconds: float) -> bool:
    """Wait until there is something to be read, or its other end is closed; False: not within so long."""
    loop = asyncio.get_running_loop()
    found = asyncio.Event()
    loop.add_reader(fd, found.set)
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await found.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(fd)
    return True
