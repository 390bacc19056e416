"""What `doctor` says of a daemon at rest: each check on what it warns of, and on what is well."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from miniwsgi.daemon.master.insight import clock, counters, examination
from miniwsgi.daemon.master.insight.register import CHECKS
from miniwsgi.daemon.master.insight.rest import Listening, LogFile, Rest, Room
from miniwsgi.daemon.master.insight.risks import examine

NOW = datetime(2026, 3, 1, tzinfo=UTC)
GIB = 1 << 30
WELL: dict[str, Any] = {
    "boot_check": "/ping", "request_timeout": 60.0, "max_rss": GIB, "preloaded": True, "engine": "compiled",
    "pss_bytes": 100 << 20, "memory_bytes": 4 * GIB, "memory_limit": GIB, "descriptors": 65536, "synchronised": True,
    "rooms": (Room("log.file /var/log/x", 50 * GIB, 0.5),), "version": "1.0", "installed": "1.0", "cpus": 4,
    "listeners": (Listening("0.0.0.0:80", True, 2048), Listening("unix:x", False, None)),
    "logs": (LogFile("log.file", "/var/log/x", 1 << 40, True),), "trusted": ("10.0.0.0/8", "unix"),
    "certificates": (("shop.example", 80 * 86400.0),), "workers": 4,
}  # fmt: skip
RISKY: dict[str, tuple[dict[str, Any], str, str]] = {
    "boot-check": ({"boot_check": ""}, "warning", "before it has answered"),
    "request-timeout": ({"request_timeout": 0.0}, "warning", "for ever"),
    "wedge": ({"wedge_timeout": 0.0}, "warning", "never replaced"),
    "last-reload": ({"reload_error": "no module shop"}, "warning", "no module shop"),
    "stale-code": ({"newer_source": "shop.py"}, "note", "shop.py"),
    "upgraded": ({"installed": "1.1"}, "warning", "miniwsgi 1.0 runs, and 1.1 is installed"),
    "memory": ({"pss_bytes": 240 << 20}, "warning", "4 workers of 240.0 MiB each"),
    "memory-bound": ({"max_rss": 0}, "note", "leaks"),
    "single-worker": ({"workers": 1}, "note", "one worker"),
    "too-many-workers": ({"workers": 30, "pss_bytes": 1 << 20}, "note", "30 workers share 4 CPUs"),
    "backlog": ({"listeners": (Listening("0.0.0.0:80", True, 128),)}, "warning", "0.0.0.0:80 lets 128"),
    "descriptors": ({"descriptors": 1024}, "warning", "1024 descriptors"),
    "disk": ({"rooms": (Room("log.file /x", GIB, 0.02),)}, "warning", "log.file /x is nearly full: 1.0 GiB"),
    "log-rotation": ({"logs": (LogFile("log.file", "/x", GIB, False),)}, "warning", "rotate /x (log.file)"),
    "debug": ({"environment": ("FLASK_DEBUG=1",)}, "warning", "FLASK_DEBUG=1"),
    "root": ({"root": True}, "warning", "runs as root"),
    "proxy": ({"trusted": ("*",)}, "warning", "proxy.trusted has *"),
    "control-mode": ({"control_mode": 0o666}, "note", "Every user"),
    "metrics-open": ({"metrics_open": True}, "warning", "open to whoever"),
    "certificate": ({"certificates": (("shop.example", 3 * 86400.0),)}, "warning", "shop.example ends in 3 days"),
    "clock": ({"synchronised": False}, "warning", "not synchronised"),
    "preload": ({"preloaded": False}, "note", "for itself"),
    "engine": ({"engine": "plain", "engine_note": "no build"}, "warning", "The engine is plain"),
    "scaled": ({"override": 8}, "note", "8 workers"),
    "state-directory": ({"persist_error": "read-only"}, "warning", "read-only"),
    "metrics-port": ({"metrics_error": "in use"}, "warning", "in use"),
}


def found(**changed: Any) -> dict[str, tuple[str, str]]:
    doctor = examine(Rest(**{**WELL, **changed}), NOW)
    assert len(doctor.risks) + len(doctor.passed) + len(doctor.unknown) == len(CHECKS)
    return {risk.name: (risk.severity, risk.sentence) for risk in doctor.risks}


def test_nothing_is_said_where_all_is_well() -> None:
    assert found() == {}


def test_each_check_is_in_the_table() -> None:
    assert set(RISKY) == set(CHECKS)


@pytest.mark.parametrize("name", RISKY)
def test_a_risk_is_named(name: str) -> None:
    changed, severity, words = RISKY[name]
    risks = found(**changed)
    assert list(risks) == [name]
    assert risks[name][0] == severity
    assert words in risks[name][1]


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("memory", {"pss_bytes": 300 << 20}),
        ("disk", {"rooms": (Room("log.file /x", 1 << 20, 0.001),)}),
        ("certificate", {"certificates": (("shop.example", -5.0),)}),
    ],
)
def test_what_is_over_already_is_critical(name: str, changed: dict[str, Any]) -> None:
    assert found(**changed)[name][0] == "critical"


@pytest.mark.parametrize(
    "changed",
    [
        {"rooms": (Room("spool /tmp", 100 << 20, 0.99),)},  # a small tmpfs, empty
        {"rooms": (Room("spool /data", 400 * GIB, 0.04),)},
        {"trusted": ("*",), "listeners": (Listening("unix:x", False, None),)},
    ],
)
def test_what_only_looks_like_a_risk_is_none(changed: dict[str, Any]) -> None:
    assert found(**changed) == {}


def test_what_could_not_be_seen_is_said() -> None:
    doctor = examine(Rest(**{**WELL, "pss_bytes": None, "synchronised": None, "installed": None}), NOW)
    assert (doctor.risks, doctor.unknown) == ([], ["upgraded", "memory", "clock"])


def test_the_gravest_comes_first() -> None:
    doctor = examine(Rest(**{**WELL, "workers": 1, "root": True, "certificates": (("x", -1.0),)}), NOW)
    assert [risk.severity for risk in doctor.risks] == ["critical", "warning", "note"]


def test_a_log_with_older_parts_beside_it_is_rotated(tmp_path: Path) -> None:
    log = tmp_path / "error.log"
    log.touch()
    assert not examination._is_rotated(str(log))
    (tmp_path / "error.log.1").touch()
    assert examination._is_rotated(str(log))


def test_source_that_is_newer_than_what_runs_is_found(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    for name in ("shop/old.py", "shop/new.py"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000, 1000))
    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / "pyvenv.cfg").touch()
    (venv / "other.py").touch()
    assert examination._newer_source(str(tmp_path), 2000.0) == ""
    os.utime(tmp_path / "shop/new.py", (3000, 3000))
    assert examination._newer_source(str(tmp_path), 2000.0) == "shop/new.py"


@pytest.mark.parametrize(
    ("address", "public"),
    [("127.0.0.1:80", False), ("[::1]:80", False), ("unix:x", False), ("[::]:80", True), (":80", True), ("h:80", True)],
)
def test_who_can_reach_an_address(address: str, public: bool) -> None:
    assert examination._is_public(address) is public


def test_the_kernel_is_asked_about_this_host() -> None:
    assert clock.is_synchronised() in {True, False, None}
    own = counters.process_counts(os.getpid())
    assert own is not None
    assert own.cpu_seconds > 0
    assert own.state in "RSD"
    assert counters.process_counts(2**22 + 1) is None


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [([], [], None), ([(10, 1)], [(10, 1)], None), ([(10, 1), (10, 0)], [(20, 6), (20, 1)], 0.5)],
)
def test_the_quota_that_was_used_up_most_counts(
    before: list[tuple[int, int]], after: list[tuple[int, int]], share: float | None
) -> None:
    assert counters.throttled_share(before, after) == share
