"""What `why` and `doctor` print, and their exit statuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniwsgi.manager import messages as ms

from tests.support.ctl_daemon import T0, FakeDaemon

FIGURES = ms.LookFigures(40, 8.0, 1.02, 0.3, 8.0, 8, 2.4, 0.05, 4, 1)
WAITS = ms.Finding(
    "waits",
    "warning",
    "6 of 8 busy threads wait at shop/db.py:3\x1b[31m in psycopg2.",
    ["8 of 8 threads busy"],
    "ask it",
)
NOTE = ms.Finding("routes", "note", "Most time goes to /orders: 90 %.", [], "")
GROUP = ms.ThreadGroup(6.0, "/srv/shop/db.py", 3, "orders", "psycopg2 … execute", "waits", "GET /orders")
ROOT = ms.Risk("root", "warning", "The application runs as root.", "server.user")
FULL = ms.Risk("disk", "critical", "The disk is nearly full.", "make room")


def looked(*findings: ms.Finding) -> dict[str, ms.Why]:
    return {"GET /why": ms.Why(T0, 5.0, list(findings), FIGURES, [GROUP])}


def test_why_says_sentences_with_what_they_rest_on(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s", looked(WAITS, NOTE)) as daemon:
        found = daemon.run("why")
        wide = daemon.run("why", "-o", "wide").out
    assert found.out.splitlines() == [
        r"! 6 of 8 busy threads wait at shop/db.py:3\x1b[31m in psycopg2. [waits]",
        "    8 of 8 threads busy",
        "    → ask it",
        "· Most time goes to /orders: 90 %. [routes]",
    ]
    assert (found.status, found.err) == (10, "")
    assert "an answer      1.0 s, after 300 ms of waiting" in wide
    assert "/srv/shop/db.py:3 psycopg2 … execute" in wide


@pytest.mark.parametrize(
    ("severities", "status"), [(["note"], 0), (["note", "warning"], 10), (["warning", "critical"], 20)]
)
def test_the_gravest_finding_is_the_exit_status(tmp_path: Path, severities: list[ms.Severity], status: int) -> None:
    findings = [ms.Finding("x", severity, "So it is.", [], "") for severity in severities]
    with FakeDaemon(tmp_path / "s", looked(*findings)) as daemon:
        assert daemon.run("why").status == status
        assert daemon.run("why", "-o", "json").status == status


def test_how_long_is_asked_for_and_bounded(tmp_path: Path) -> None:
    with FakeDaemon(tmp_path / "s", {"GET /why": ms.Why(T0, 20.0, [NOTE], FIGURES, [])}) as daemon:
        assert daemon.run("why", "--seconds", "20").status == 0
        assert daemon.run("why", "--seconds", "2s").status == 0
        asked = [one.target for one in daemon.asked]
        refused = daemon.run("why", "--seconds", "61")
    assert [target.partition("?")[2] for target in asked] == ["seconds=20", "seconds=2"]
    assert (refused.status, "expected a time from 1.0 s to 1m" in " ".join(refused.err.split())) == (2, True)


def test_doctor_names_risks_with_their_remedies(tmp_path: Path) -> None:
    answers = {"GET /doctor": ms.Doctor(T0, [FULL, ROOT], ["wedge"], ["clock"])}
    with FakeDaemon(tmp_path / "s", answers) as daemon:
        found = daemon.run("doctor")
        ignoring = daemon.run("doctor", "--ignore", "disk")
        well = daemon.run("doctor", "--ignore", "disk", "--ignore", "root")
        wrong = daemon.run("doctor", "--ignore", "disc")
        listed = daemon.run("doctor", "-o", "json").json
    assert found.out.splitlines() == [
        "✗ The disk is nearly full. [disk]",
        "    → make room",
        "! The application runs as root. [root]",
        "    → server.user",
        "could not be seen: clock",
    ]
    assert (found.status, ignoring.status, well.status, wrong.status) == (20, 10, 0, 2)
    assert "disk" not in ignoring.out
    assert well.out.startswith("No risk is seen: 1 check passed.")
    assert "there are clock, disk, root, wedge" in wrong.err
    assert [risk["name"] for risk in listed["risks"]] == ["disk", "root"]
