"""Findings and risks for people: the sentence, and below it what it rests on."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from ... import messages
from .. import text
from ..options import Session

COLOURS = {"critical": "red", "warning": "yellow", "note": "green"}
MARKS = {"critical": "✗", "warning": "!", "note": "·"}
INDENT = "    "


def why_lines(found: messages.Why, session: Session) -> list[str]:
    """What `why` prints."""
    lines: list[str] = []
    for finding in found.findings:
        lines += _headed(finding.severity, finding.sentence, finding.name, session)
        lines += [session.styled(line, dim=True) for said in finding.evidence for line in _wrapped(said, session)]
        if finding.remedy:
            lines += _wrapped(f"→ {finding.remedy}", session)
    if session.wide:
        lines += _measured(found.figures)
        lines += _threads(found.threads, session)
    return lines


def doctor_lines(found: messages.Doctor, risks: Sequence[messages.Risk], session: Session) -> list[str]:
    """What `doctor` prints: `risks` are those that are not ignored."""
    lines: list[str] = []
    for risk in risks:
        lines += _headed(risk.severity, risk.sentence, risk.name, session)
        lines += _wrapped(f"→ {risk.remedy}", session)
    if not risks:
        lines.append(session.styled(f"No risk is seen: {text.count(len(found.passed), 'check')} passed.", fg="green"))
    if found.unknown:
        lines.append(session.styled(f"could not be seen: {', '.join(found.unknown)}", dim=True))
    if session.wide:
        lines.append(session.styled(f"well: {', '.join(found.passed)}", dim=True))
    return lines


def _headed(severity: messages.Severity, sentence: str, name: str, session: Session) -> list[str]:
    mark = session.styled(MARKS[severity], fg=COLOURS[severity], bold=True)
    first, *rest = _wrapped(f"{sentence} [{name}]", session, "  ")
    return [f"{mark} {session.styled(first.strip(), bold=True)}", *(session.styled(line, bold=True) for line in rest)]


def _wrapped(said: str, session: Session, indent: str = INDENT) -> list[str]:
    """As wide as the terminal; where there is none, a line stays a line."""
    cleaned, width = text.clean(said), session.width()
    if width is None:
        return [indent + cleaned]
    return textwrap.wrap(
        cleaned, max(40, width), initial_indent=indent, subsequent_indent=indent + "  " * (indent == INDENT),
        break_long_words=False, break_on_hyphens=False,
    ) or [indent]  # fmt: skip


def _measured(figures: messages.LookFigures) -> Iterator[str]:
    yield ""
    yield f"answers        {figures.answers}, {text.rate(figures.rate)}/s, {figures.server_errors} of them 5xx"
    yield f"an answer      {text.seconds(figures.run_seconds)}, after {text.seconds(figures.queue_seconds)} of waiting"
    yield f"threads        {figures.busy_threads:.1f} of {figures.threads} busy, {figures.waiting:.1f} requests waiting"
    yield f"CPU            {figures.cpu:.2f} of {figures.cpus}"


def _threads(groups: Sequence[messages.ThreadGroup], session: Session) -> list[str]:
    if not groups:
        return []
    rows = [
        (f"{one.threads:.1f}", one.doing, one.request, f"{one.file}:{one.line} {one.call or one.function}")
        for one in groups
    ]
    header = ("THREADS", "DOING", "REQUEST", "WHERE")
    return ["", *text.table(header, rows, right="r", width=session.width(), heading=session.heading)]
