"""The tests' own apparatus: an engine that is added is tested without another word, and one that is asked for runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from miniwsgi.daemon.engine import choice

from tests.conformance.engine_parser import parser_of
from tests.conformance.parser import parse

ROOT = Path(__file__).parents[2]
WITH_ANOTHER = """
import sys
import pytest
from miniwsgi.daemon.engine import choice

def no_build():
    raise ImportError("no build for this Python")

choice.ENGINES.insert(0, choice.Engine("made-up", lambda: object))
choice.ENGINES.insert(0, choice.Engine("unavailable", no_build))
sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def output(*command: str, **environ: str) -> str:
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # each would be compiled anew, with its assertions rewritten
    everything = {**os.environ, **alone, **environ}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=everything, capture_output=True, text=True, timeout=120
    ).stdout


def collected(engine: str = "auto", *, full: bool = True) -> list[str]:
    """The ids of the conformance tests where there is another engine, each without its parameters' names."""
    environ = {"MINIWSGI_SERVER_ENGINE": engine, "MINIWSGI_TEST_FULL": "1" if full else ""}
    found = output("-c", WITH_ANOTHER, "tests/conformance/test_engine.py", **environ)
    return sorted(line.partition("[")[2] for line in found.splitlines() if "::" in line)


def test_each_engine_that_runs_here_is_tested() -> None:
    names = [name.removesuffix("]").replace("made-up", "made_up").split("-", 1) for name in collected()]
    pools = [rest for engine, rest in names if engine == "plain"]
    assert pools
    for engine in ("made_up", *choice.available()):
        assert [rest for name, rest in names if name == engine] == pools
    assert len(names) == (1 + len(choice.available())) * len(pools)


def test_in_the_short_run_one_pool_has_each_engine_and_each_pool_the_first() -> None:
    names = collected(full=False)
    assert sorted(name for name in names if name.endswith("-epoll-1]")) == sorted(
        f"{name}-epoll-1]" for name in ("made-up", *choice.available())
    )
    assert {name.partition("-")[0] for name in names if not name.endswith("-epoll-1]")} == {"made"}


def test_each_engine_parses_the_byte_tables() -> None:
    for name in choice.available():
        assert (parser_of(name) is parse) is (name == "plain"), "others are asked by a conversation of theirs"
        outcome = parser_of(name)([b"GET /a HTTP/1.1\r\nHost: b\r\n\r\n\0"])
        assert [request.path for request in outcome.requests] == ["/a"]
        assert outcome.status == 400


def test_one_that_is_named_is_tested_alone() -> None:
    assert {name.partition("-")[0] for name in collected("plain")} == {"plain"}


def test_the_long_run_asks_for_those_that_run_here() -> None:
    assert output("-m", "tests.support.engines").split() == choice.available()


@pytest.mark.parametrize("name", ["tests/integration/test_pool_children.py", "tests/faults", "tests/fuzz"])
def test_the_long_run_has_pools_faults_and_fuzz(name: str) -> None:
    printed = subprocess.run(
        ["make", "--dry-run", "test-engines"], cwd=ROOT, capture_output=True, text=True, timeout=60
    ).stdout
    assert name in printed
