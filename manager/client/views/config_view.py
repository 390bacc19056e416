"""The configuration in force, and what another one would change, as people read them."""

from __future__ import annotations

from ... import messages
from .. import text
from ..options import Session


def lines(view: messages.ConfigView, session: Session) -> list[str]:
    """What `config show` prints: every key with its value and where that comes from."""
    rows = [(value.key, _value(value), value.origin) for value in view.values]

    def cell(column: int, said: str, padded: str) -> str:
        if column != 2:
            return padded
        return session.styled(padded, dim=True) if said == "default" else session.styled(padded, fg="cyan")

    found = [f"# {text.clean(view.path)}" if view.path else "# no configuration file", ""]
    found += text.table(("KEY", "VALUE", "FROM"), rows, cell=cell, heading=session.heading)
    if view.file_variables:
        found += ["", "# from app.env_files: " + text.clean(", ".join(view.file_variables))]
    return found + [f"# {text.clean(note)}" for note in view.notes]


def _value(value: messages.ConfigValue) -> str:
    if value.origin == "runtime":
        return f"{value.text} (configured: {value.configured})"
    return value.text


def verdict(report: messages.ConfigReport, where: str, session: Session) -> list[str]:
    """What `config check` prints of a configuration that is valid."""
    found = [f"{text.clean(where)}: {session.styled('valid', fg='green')}"]
    for heading, changes in (
        ("A reload would change", report.changes),
        ("Only a restart would change; a reload is refused", report.restart),
    ):
        if changes:
            found += ["", heading]
            found += [text.clean(f"  {change.key} = {change.old} → {change.new}") for change in changes]
    if not report.changes and not report.restart:
        found.append("It is what is in force.")
    return found + [f"note: {text.clean(note)}" for note in report.notes]


def difference(report: messages.ConfigReport, session: Session) -> list[str]:
    """What `config diff` prints: removed and added, as diff(1) does."""
    found = []
    for changes, remark in ((report.changes, ""), (report.restart, "  # needs a restart")):
        for change in changes:
            found.append(session.styled(text.clean(f"-{change.key} = {change.old}"), fg="red"))
            found.append(session.styled(text.clean(f"+{change.key} = {change.new}"), fg="green") + remark)
    return found


def mistakes(problems: list[messages.ConfigProblem], where: str) -> str:
    """All that is wrong, one line each."""
    said = f"{text.count(len(problems), 'mistake')} in {where}"
    return said + "".join(f"\n  {text.coded(problem.code, problem.message)}" for problem in problems)
