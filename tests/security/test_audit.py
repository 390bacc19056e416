"""What `audit.py` makes of pip-audit's words."""

from __future__ import annotations

import json

import pytest

from .audit import read

GOOD = {"name": "good", "version": "1.0", "vulns": []}
BAD = {"name": "bad", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1", "2.0"], "aliases": []}]}
UNKNOWN = {"name": "ours", "skip_reason": "Dependency not found and could not be audited: ours (0.1)"}
TRACEBACK = "Traceback (most recent call last):\n  …\nrequests.exceptions.ConnectionError: Name or service not known\n"


@pytest.mark.parametrize(
    ("dependencies", "status", "said"),
    [
        ([GOOD], 0, "1 packages audited, 0 skipped, 0 vulnerabilities known"),
        ([GOOD, UNKNOWN], 0, "1 packages audited, 1 skipped, 0 vulnerabilities known"),
        ([GOOD, BAD], 1, "bad 1.0: PYSEC-1, mended in 1.1, 2.0"),
    ],
)
def test_where_the_database_is_within_reach(dependencies: list[object], status: int, said: str) -> None:
    audit = read(json.dumps({"dependencies": dependencies, "fixes": []}), "")
    assert audit.status(required=False) == audit.status(required=True) == status
    assert said in str(audit)


@pytest.mark.parametrize(
    ("output", "errors", "said"),
    [
        ("", TRACEBACK, "not audited: the database of vulnerabilities is out of reach (requests.exceptions.Connection"),
        (
            json.dumps({"dependencies": [UNKNOWN]}),
            "",
            "not audited: the database of vulnerabilities is out of reach (Dep",
        ),
        (json.dumps({"dependencies": []}), "", "not audited"),
    ],
    ids=["no network", "a mirror without it", "nothing installed"],
)
def test_where_it_is_not_nothing_is_known(output: str, errors: str, said: str) -> None:
    audit = read(output, errors)
    assert (audit.status(required=False), audit.status(required=True)) == (0, 2)
    assert str(audit).startswith(said)
