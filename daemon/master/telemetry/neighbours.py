"""The other daemons of this host, as `miniwsgictl list` finds them: by the control sockets in runtime directories.

Asked over those sockets as the daemon's user, so that nothing is told here that this user may not ask for: a daemon
that does not let it in is there, and no more. Looked for only while somebody looks at the page, beside the loop.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

from miniwsgi.manager.client import socket_paths
from miniwsgi.manager.client.client import Client, RequestRefused, TransportError, Trouble
from miniwsgi.manager.daemon_threads import DaemonThreads
from miniwsgi.manager.port.public_page import Neighbour

LOOK_SECONDS = 15.0  # how old what is known may be
ANSWER_SECONDS = 0.5  # for each
ALL_SECONDS = 3.0
MOST = 32  # that are asked
NO_ACCESS = "no access"


class Neighbours:
    """What is known of them; `known` begins a look if that is old."""

    def __init__(self, threads: DaemonThreads, look: Callable[[], list[Neighbour]] | None = None) -> None:
        self._threads = threads
        self._look = look or look_around
        self._known: list[Neighbour] = []
        self._looked_at = -LOOK_SECONDS
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Neighbours {self._known}>"

    def known(self) -> list[Neighbour]:
        """The latest ones. The first call has none yet."""
        if (self._task is None or self._task.done()) and time.monotonic() - self._looked_at >= LOOK_SECONDS:
            self._task = asyncio.get_running_loop().create_task(self._refresh())
        return self._known

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _refresh(self) -> None:
        try:
            self._known = await self._threads.run(self._look, ALL_SECONDS)
        except (OSError, TimeoutError):
            self._known = []  # what cannot be looked at is not told
        finally:
            self._looked_at = time.monotonic()


def look_around() -> list[Neighbour]:
    """All that are there but this one. Blocks."""
    found = []
    end = time.monotonic() + ALL_SECONDS - ANSWER_SECONDS
    for name, path in socket_paths.all_sockets(os.environ, os.geteuid())[:MOST]:
        if time.monotonic() > end:
            break
        neighbour = _ask(name or "(no name)", path)
        if neighbour is not None:
            found.append(neighbour)
    return found


def _ask(name: str, path: str) -> Neighbour | None:
    """None: nobody listens there, or it is this daemon itself."""
    try:
        with Client(path, answer_seconds=ANSWER_SECONDS) as client:
            status = client.status().value
    except RequestRefused:
        return Neighbour(name, NO_ACCESS, "denied")
    except TransportError as error:
        state = {
            Trouble.FORBIDDEN: NO_ACCESS, Trouble.LATE: "no answer", Trouble.VERSION: "other version",
        }.get(error.trouble)  # fmt: skip
        return Neighbour(name, state, "no answer" if state == "no answer" else "denied") if state is not None else None
    if status.pid == os.getpid():
        return None
    state = status.state if status.verdict.level == "healthy" else f"{status.state}, {status.verdict.level}"
    workers = status.workers
    return Neighbour(
        name, state, status.verdict.level, workers.ready, workers.target, status.uptime_seconds, status.version
    )
