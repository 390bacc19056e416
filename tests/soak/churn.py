"""What people do to the daemon all the time: reload, scale, restart, change the log level, look, scrape.

Every change must succeed and everything that is looked at must be there; counters must not go back between scrapes.
"""

from __future__ import annotations

import http.client
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.control import Control
from tests.support.daemon import Daemon
from tests.support.metrics_client import Metrics, Series
from tests.support.shops import Site
from tests.support.waiting import PATIENCE_SECONDS

LOOKS = ("/status", "/workers", "/operations", "/events?limit=50", "/config", "/metrics", "/openapi.json")


@dataclass
class Deeds:
    """What was done. Times are of time.monotonic."""

    changes: list[tuple[float, str]] = field(default_factory=list)
    looks: Counter[str] = field(default_factory=Counter)
    scrapes: int = 0
    wrong: list[str] = field(default_factory=list)

    def counts(self) -> Counter[str]:
        return Counter(what for _, what in self.changes)


class Churn:
    """One thread that changes and looks, from `start` to `stop`; `every` seconds on average, `calm`: it only looks."""

    def __init__(
        self, site: Site, daemon: Daemon, control: Control, metrics: Metrics, every: float, *, calm: bool, seed: int = 1
    ) -> None:
        self.deeds = Deeds()
        self._site = site
        self._daemon = daemon
        self._control = control
        self._metrics = metrics
        self._every = every
        self._calm = calm
        self._chance = random.Random(seed)
        self._release = 0
        self._counters: Series = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="churn", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> Deeds:
        self._over.set()
        self._thread.join(2 * PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "a change does not end"
        return self.deeds

    def _run(self) -> None:
        changes: list[Callable[[], str]] = [
            *[self._reload] * 3,
            self._reload_by_signal,
            *[self._scale] * 3,
            self._one_more_or_fewer,
            self._restart,
            self._restart_a_slot,
            self._log_level,
        ]
        self._chance.shuffle(changes)
        while not self._over.wait(self._every * self._chance.uniform(0.5, 1.5)):
            self._attempt(self._scrape)
            self._attempt(self._look)
            if not self._calm:
                # In turns, so that a short run has some of each.
                change = changes.pop(0)
                changes.append(change)
                self._attempt(lambda change=change: self._note(change))  # type: ignore[misc]

    def _attempt(self, what: Callable[[], object]) -> None:
        try:
            what()
        except (AssertionError, OSError, http.client.HTTPException) as error:
            self.deeds.wrong.append(f"{type(error).__name__}: {error}"[:2000])

    def _note(self, change: Callable[[], str]) -> None:
        at = time.monotonic()
        self.deeds.changes.append((at, change()))

    # --- changes ---

    def _new_code(self) -> None:
        self._release += 1
        self._site.release(f"v{self._release}")

    def _reload(self) -> str:
        self._new_code()
        self._control.change("/reload")
        return "reload"

    def _reload_by_signal(self) -> str:
        self._new_code()
        before = self._latest()
        self._daemon.signal(signal.SIGHUP)
        self._daemon.wait(lambda: self._latest() > before, "the reload's operation")
        answer = self._control.get(f"/operations/{self._latest()}?wait=60")
        assert answer["state"] == "succeeded", answer
        return "reload"

    def _scale(self) -> str:
        self._control.change("/scale", {"workers": self._chance.choice([1, 2, 2, 3, 4])})
        return "scale"

    def _one_more_or_fewer(self) -> str:
        number = self._chance.choice([signal.SIGTTIN, signal.SIGTTOU])
        before = self._latest()
        self._daemon.signal(number)
        target = self._control.status()["workers"]["target"]
        if number == signal.SIGTTIN or target > 1:
            self._daemon.wait(lambda: self._latest() > before, f"the operation of {number.name}")
            self._control.get(f"/operations/{self._latest()}?wait=60")
        return "scale"

    def _restart(self) -> str:
        self._control.change("/restart")
        return "restart"

    def _restart_a_slot(self) -> str:
        ready = [worker["slot"] for worker in self._control.workers() if worker["state"] == "ready"]
        answer = self._control.post(f"/workers/{self._chance.choice(ready)}/restart?wait=60")
        # It may just be leaving for another reason.
        assert answer.status == 409 or answer["state"] == "succeeded", answer
        return "restart"

    def _log_level(self) -> str:
        for body in ({"level": self._chance.choice(["debug", "warning"])}, {"reset": True}):
            answer = self._control.call("PUT", "/log-level", body)
            assert answer.status == 200, answer
        return "log level"

    def _latest(self) -> int:
        operations = self._control.get("/operations")["operations"]
        return max((operation["id"] for operation in operations), default=0)

    # --- looks ---

    def _look(self) -> None:
        target = self._chance.choice(LOOKS)
        answer = self._control.get(target)
        self.deeds.looks[target] += 1
        assert answer.status == 200, answer
        assert answer.body

    def _scrape(self) -> None:
        series, growing = self._metrics.counted()
        self.deeds.scrapes += 1
        for name, value in self._counters.items():
            assert series.get(name, -1.0) >= value, f"{name} fell from {value} to {series.get(name)}"
        self._counters = {name: series[name] for name in growing}
