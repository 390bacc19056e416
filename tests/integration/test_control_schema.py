"""schemathesis against openapi.json: what the description says is what a real daemon does.

Requests come from the schema and from outside of it; every answer must have a described status, type and body, and no
request may be a 5xx. `stop` is left out, and what would follow events for ever.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from miniwsgi.manager import messages as ms
from miniwsgi.manager.control.api import Api
from miniwsgi.manager.control.auth import Access
from miniwsgi.manager.daemon_threads import DaemonThreads
from schemathesis import Case, GenerationMode
from schemathesis.core import NotSet

from tests.support.control import Control
from tests.support.manager_world import FakeDaemon
from tests.support.waiting import PATIENCE_SECONDS

from .control_storm import serving
from .relay import Relay

EXAMPLES = 15
SHORT_SECONDS = 0.01


@pytest.fixture(scope="module")
def control_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with serving(tmp_path_factory.mktemp("schema"), workers=1) as (daemon, path):
        yield path
        assert Control(path).status()["pid"] == daemon.process.pid
        assert "failed:" not in "\n".join(line for line in daemon.log().splitlines() if "control API" in line)


@pytest.fixture(scope="module")
def api_schema(control_path: Path) -> Iterator[Any]:
    """Over a TCP port that is the control socket: the HTTP client of schemathesis knows no Unix sockets."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with Relay(listener, control_path):
        schema = schemathesis.openapi.from_url(f"{url}/v1/openapi.json")
        schema.config.update(base_url=url, request_timeout=PATIENCE_SECONDS)
        yield schema


def operations() -> list[tuple[str, str]]:
    """What the API has, but `stop`."""
    found = [
        (route.method, route.path) for route in Api(FakeDaemon(), Access({}, DaemonThreads()), print).router.routes
    ]
    found.remove(("POST", "/v1/stop"))
    return found


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), operations(), ids=str)
def test_every_answer_is_as_described(api_schema: Any, method: str, path: str, mode: GenerationMode) -> None:
    @given(case=api_schema[path][method].as_strategy(generation_mode=mode))
    @settings(max_examples=1 if path == "/v1/why" else EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    def check(case: Case) -> None:
        _tame(case)
        case.call_and_validate()

    try:
        check()
    except Unsatisfiable:
        pytest.skip("nothing can be wrong with such a request")


def _tame(case: Case) -> None:
    """Nothing that lasts, and no more workers than the machine bears: it is about answers."""
    query: Any = case.query
    if case.path.endswith("/why") and (not isinstance(query, dict) or type(query.get("seconds", 1)) is int):
        query = case.query = {**(query if isinstance(query, dict) else {}), "seconds": 1}
    if isinstance(query, dict):
        query.pop("follow", None)
        if isinstance(query.get("wait"), int):
            query["wait"] = min(query["wait"], 5)
    looks = case.path.endswith(("/profile", "/memory"))
    if looks and isinstance(case.body, NotSet):
        case.body = {}
    if not isinstance(case.body, dict):
        return
    if looks:
        seconds = case.body.setdefault("seconds", SHORT_SECONDS)
        if type(seconds) in {int, float} and 0 < seconds <= ms.MAX_PROFILE_SECONDS:
            case.body["seconds"] = SHORT_SECONDS
    workers = case.body.get("workers")
    is_number = type(workers) is int or (type(workers) is float and workers.is_integer())  # 4.0 is one to JSON Schema
    if is_number and 0 < workers <= ms.MAX_WORKERS:  # what is refused stays as it is
        case.body["workers"] = min(int(workers), 4)
    elif re.search(ms.DIFFERENCE, str(workers)):
        case.body["workers"] = "+1"  # that "-9" would leave fewer than one, only the daemon knows
