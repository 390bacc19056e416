"""A finding, as the rules make it."""

from __future__ import annotations

from collections.abc import Iterable

from miniwsgi.manager import messages as ms


def finding(
    name: str, severity: ms.Severity, sentence: str, evidence: Iterable[str] = (), remedy: str = ""
) -> ms.Finding:
    """`evidence`: lines; empty ones fall away."""
    return ms.Finding(name, severity, sentence, [line for line in evidence if line], remedy)
