"""The watch over certificates: those that are renewed come into force by themselves, without a reload.

It runs while there are any, in a thread of its own that nobody waits for: their disk may hang.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from miniwsgi.codes import Code
from miniwsgi.manager.daemon_threads import DaemonThreads

from ...config import Config
from ...tls.verification import UnusableError, date
from ..certificates.installed import Installed
from ..certificates.renewal import Outcome, Renewals
from .master import Master

LOOK_SECONDS = 1.0
LOOKING_SECONDS = 30.0  # how long a look may last


class CertificateWatch:
    """Renews what the configuration in force serves with, and `also` what others do."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._threads = DaemonThreads(1)
        self._renewals = Renewals(master.configurations.files)
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self.also: list[Installed] = []
        self.results = {"success": 0, "failure": 0}
        self.on_outcome: list[Callable[[Outcome], None]] = []

    def __repr__(self) -> str:
        return f"<CertificateWatch {self._renewals}>"

    @property
    def served(self) -> list[Installed]:
        """All certificates in force."""
        return [*self._master.configurations.in_force.certificates, *self.also]

    def watch(self, _config: Config) -> None:
        """Called with each configuration that comes into force."""
        if self._timer is None and self._task is None and self.served:
            self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def stop(self) -> None:
        for running in (self._timer, self._task):
            if running is not None:
                running.cancel()

    def _look(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._renew())

    async def _renew(self) -> None:
        served = self.served
        try:
            outcomes = await self._threads.run(lambda: self._renewals.look(served, time.monotonic()), LOOKING_SECONDS)
            in_force = self.served
            for outcome in outcomes:
                if outcome.installed in in_force:
                    self._take(outcome)
        except TimeoutError:
            told = "files of certificates cannot be read: no answer"
            self._master.log.limited("certificates-late", "error", Code.CERTIFICATE_UNUSABLE, told)
        finally:
            self._task = None
            self.watch(self._master.config)

    def _take(self, outcome: Outcome) -> None:
        installed, loaded = outcome.installed, outcome.loaded
        if loaded is not None:
            known = installed.loaded.verified
            try:
                installed.replace(loaded)
            except UnusableError as error:
                outcome = Outcome(installed, None, str(error))
            else:
                if loaded.verified.material == known.material:
                    return  # written again as they were
                self._master.fleet.tell_of_certificates()
        self._tell(outcome)

    def _tell(self, outcome: Outcome) -> None:
        log = self._master.log
        if outcome.loaded is None:
            self.results["failure"] += 1
            log.error(Code.CERTIFICATE_UNUSABLE, describe(outcome))
        else:
            self.results["success"] += 1
            log.info(describe(outcome))
            for warning in outcome.loaded.verified.warnings:
                log.warning(Code.CERTIFICATE_DOUBTFUL, warning)
        for call in self.on_outcome:
            call(outcome)


def describe(outcome: Outcome) -> str:
    """One line."""
    address = outcome.installed.address
    if outcome.loaded is None:
        return f"{address}: certificates cannot be renewed, the old ones stay: {outcome.error}"
    served = outcome.loaded.verified.served
    shown = ", ".join(f"{', '.join(one.names) or one.file} (until {date(one.not_after)})" for one in served)
    return f"{address}: certificates are renewed: {shown}"
