"""A generation's first answers: told once when many of them are errors, and more than its predecessor's were.

A reload judges what is imported at boot, and what app.boot_check asks for: code that imports, and fails at the first
request, is in force before anybody knows. Call `look` about each second.
"""

from __future__ import annotations

from miniwsgi.codes import Code
from miniwsgi.metrics.answers import NONE, Answers
from miniwsgi.metrics.verdict import FAILING_ANSWERS, FAILING_SHARE

from ..running.master import Master
from .event_recorder import EventRecorder

FIRST_SECONDS = 60.0  # what is answered in that time is judged
FIRST_ANSWERS = 20  # a service that is asked seldom has longer: so many answers,
LAST_SECONDS = 600.0  # or until then
TOLD_SHARE = 0.25  # of 5xx among them


def fails(new: Answers, old: Answers) -> bool:
    """Whether a generation's answers look like code that does not work, next to those of the one before it."""
    share, before = new.share(new.server_errors) or 0.0, old.share(old.server_errors) or 0.0
    return new.server_errors >= FAILING_ANSWERS and share >= TOLD_SHARE and share >= 2 * before


class FirstAnswers:
    """Tells the error log and the event log."""

    def __init__(self, master: Master, recorder: EventRecorder) -> None:
        self._said = ""
        self._master = master
        self._recorder = recorder
        self._current = self._previous = 0
        self._passed = False  # its first answers are given, and were no reason for a word
        self._since = 0.0
        self._told: set[int] = set()

    def __repr__(self) -> str:
        return f"<FirstAnswers generation={self._current} {self._said!r}>"

    @property
    def said(self) -> str:
        """For the verdict, as long as it is so of the generation in force; "" else."""
        current = self._master.supervisor.turnover.current
        return self._said if current is not None and current.number == self._current else ""

    def look(self, now: float) -> None:
        current = self._master.supervisor.turnover.current
        if current is None:
            return
        if current.number != self._current:
            self._previous, self._current, self._since = self._current, current.number, now
            self._passed = False
        age, self._said = now - self._since, ""
        if age > LAST_SECONDS or self._passed:
            return
        counted = self._master.fleet.tally.look(now).generations
        new, lately = counted.get(self._current, (NONE, NONE))
        old, _ = counted.get(self._previous, (NONE, NONE))
        if self._current not in self._told:
            self._passed = age > FIRST_SECONDS and new.total > FIRST_ANSWERS
            if self._passed or not fails(new, old):
                return
            self._tell(self._words(new, old))
        if (lately.share(lately.server_errors) or 0.0) >= FAILING_SHARE:
            self._said = self._words(new, old)

    def _words(self, new: Answers, old: Answers) -> str:
        share, before = new.share(new.server_errors), old.share(old.server_errors)
        name_of = self._master.supervisor.table.name_of
        against = f" ({name_of(self._previous)}'s: {100 * before:.1f} %)" if before is not None else ""
        return f"{100 * (share or 0.0):.0f} % of {name_of(self._current)}'s {new.total} answers are 5xx{against}"

    def _tell(self, words: str) -> None:
        self._told.add(self._current)
        page = self._master.config.app.boot_check
        remedy = (
            f"app.boot_check ({page}) was answered well, and does not ask for what fails"
            if page
            else 'app.boot_check = "/a/page" has new code answer that page before it goes live, or fails the reload'
        )
        self._master.log.warning(Code.NEW_CODE_FAILS, f"the code may be broken: {words}; {remedy}")
        self._recorder.failing(self._current, f"{words}; {remedy}")
