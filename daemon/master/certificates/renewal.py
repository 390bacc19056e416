"""Renewals: files that were replaced are taken up by themselves, once they are whole and found good.

Whoever renews may write in place, move a file over the other or switch a link (certbot's live/, the ..data of
Kubernetes), and a certificate and its key come one after the other. So the files are looked at each second, by their
stamps: no descriptor and no name is held that could be the old one's. What has changed must stay as it is for one look;
what is no good then is tried again for a while, until it is told that the old ones stay.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

from ...tls.verification import UnusableError
from .files import CertificateFiles, Loaded, Stamps
from .installed import Installed

SETTLE_SECONDS = 15.0  # for the second of two files to follow the first


class Outcome(NamedTuple):
    """What came of a look at an address whose files have changed."""

    installed: Installed
    loaded: Loaded | None  # None: the old ones stay
    error: str = ""


class Renewals:
    """Looks for renewed files. Keeps what it saw of each address."""

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._changes: dict[Installed, _Change] = {}

    def __repr__(self) -> str:
        return f"<Renewals {self._changes}>"

    def look(self, served: Iterable[Installed], now: float) -> list[Outcome]:
        """Those that were renewed, or cannot be, each told once. `now` is monotonic. Blocks."""
        watched = list(served)
        self._changes = {one: change for one, change in self._changes.items() if one in watched}
        outcomes = (self._look_at(one, now) for one in watched)
        return [outcome for outcome in outcomes if outcome is not None]

    def _look_at(self, installed: Installed, now: float) -> Outcome | None:
        stamps = self._files.stamps(installed.loaded.stamps)
        if stamps == installed.loaded.stamps:
            self._changes.pop(installed, None)
            return None
        change = self._changes.get(installed)
        if change is None or stamps != change.stamps:
            since = now if change is None or change.told else change.since
            self._changes[installed] = _Change(stamps, since)
            return None
        if change.told:
            return None
        try:
            loaded = self._load(installed)
        except UnusableError as error:
            if now - change.since < SETTLE_SECONDS:
                return None
            self._changes[installed] = change._replace(told=True)
            return Outcome(installed, None, str(error))
        return Outcome(installed, loaded) if loaded.stamps == stamps else None

    def _load(self, installed: Installed) -> Loaded:
        """Raises UnusableError, also for what clients would refuse."""
        loaded = self._files.load(installed.secured)
        if untimely := loaded.verified.untimely(time.time()):
            raise UnusableError(*untimely)
        return loaded


class _Change(NamedTuple):
    """Files that are not those that are served."""

    stamps: Stamps
    since: float  # monotonic
    told: bool = False  # that they are no good
