"""What `miniwsgi import` has written is served by a real daemon: cases from the wild, and three projects that move."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from tests.support import migrated
from tests.support.daemon import Daemon

QUICK = {"gunicorn-command", "procfile-shell", "uwsgi-inherited", "unit-several"}  # one for each server
SERVED = [pytest.param(name, marks=() if name in QUICK else pytest.mark.full) for name in migrated.NAMES]


def get(address: tuple[str, int], path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection(*address, timeout=20)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("name", SERVED)
def test_a_case_is_imported_and_served(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = migrated.prepare(name, tmp_path / "case")
    case.convert()
    for variable in migrated.FOREIGN:
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "daemon").mkdir()
    prefix = str(case.keys.get("server.script_name", ""))
    with Daemon(tmp_path / "daemon", "-c", str(case.output)) as daemon:
        assert get(daemon.address, f"{prefix}/x") == (200, f"{name} {prefix}|/x")
        assert daemon.stop() == 0, daemon.log()
