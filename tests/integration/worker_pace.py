"""How fast things go in a worker under test: its looks at the clock, its limits, what it learns of an application."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from tests.support import retries

from .worker_harness import Site


def hurry() -> None:
    """For `Site.fork(prepare=…)`: what a worker looks at once a second or so, it looks at every 50 ms."""
    from miniwsgi.daemon.worker import monitor, recycling
    from miniwsgi.daemon.worker.pools import fork, prefork
    from miniwsgi.daemon.worker.pools.epoll import loop

    loop.NANOSECONDS = loop.CHECK_NS = recycling.LOOK_NS = 50_000_000
    loop.IDLE_WAIT_SECONDS = prefork.IDLE_WAIT_SECONDS = fork.WAIT_SECONDS = fork.CHILD_WAIT_SECONDS = 0.05
    monitor.PERIOD_SECONDS = fork.TIDY_SECONDS = fork.FOLD_SECONDS = 0.05


BRIEF_SECONDS = 0.25  # a limit that is reached soon
LIMITS_SECONDS = (BRIEF_SECONDS, 1.0, 4.0)


def at_any_pace(why: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """For tests of a time limit that somebody has to keep, and `why`: `limit` (seconds) is passed to them.

    On a machine that is slow or busy he may be held up for longer than the limit: what fails is tried again with longer
    ones, on a site of its own. What is broken fails with each of them.
    """

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(test)
        wanted = [parameter for name, parameter in signature.parameters.items() if name != "limit"]

        @functools.wraps(test)
        def run(site: Site, **others: Any) -> None:
            for limit in LIMITS_SECONDS[:-1]:
                directory = site.directory / f"{limit:g}"
                directory.mkdir()
                attempt = Site(directory)
                try:
                    return test(site=attempt, limit=limit, **others)
                except Exception as error:
                    retries.note(f"with a limit of {limit:g} s: {error!r}", why)
                finally:
                    attempt.close()
            return test(site=site, limit=LIMITS_SECONDS[-1], **others)

        run.__signature__ = signature.replace(parameters=wanted)  # type: ignore[attr-defined]
        return run

    return decorate


class FixedPace:
    """For `prepare`: the pool does not learn how the application is, it is told by `slow`: whether to hand over."""

    slow = mixed = False

    def __init__(self, *_arguments: object, **_named: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_arguments: None

    @classmethod
    def install(cls) -> None:
        from miniwsgi.daemon.worker.pools.epoll import loop

        cls.slow = False
        loop.Pace = cls  # type: ignore[assignment, misc]
