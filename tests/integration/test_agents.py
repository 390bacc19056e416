"""Agents and import paths come to the application by PYTHON* variables, as under any program that Python runs.

An agent is a sitecustomize on PYTHONPATH, which its wrapper (ddtrace-run, opentelemetry-instrument, newrelic-admin)
puts there: it starts in the master as well, and in each generation.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.service import Service, get

# What agents do: threads, a function that is wrapped, themselves taken out of the path.
AGENT = """
import _thread, builtins, os, select, threading

builtins.agent_of = os.getpid()
fork = os.fork
os.fork = lambda: fork()
os.environ["PYTHONPATH"] = os.environ["PYTHONPATH"].partition(os.pathsep)[2]
threading.Thread(target=threading.Event().wait, daemon=True, name="agent").start()
_thread.start_new_thread(threading.Event().wait, ())  # as those of a library, of which threading does not know
builtins.agents_loop = select.epoll()
"""
ASKS_FOR_IT = """
import os, helper

def application(environ, start_response):
    start_response("200 OK", [])
    return [f"{agent_of} {os.getppid()} {helper.VERSION} {os.environ['PYTHONHASHSEED']}".encode()]
"""


def place(directory: Path, name: str, source: str) -> str:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(source)
    return str(directory)


def test_an_agent_on_the_path_starts_with_each_generation(service: Service, tmp_path: Path) -> None:
    agent = place(tmp_path / "agent", "sitecustomize.py", AGENT)
    library = place(tmp_path / "library", "helper.py", "VERSION = 'v1'")
    service.write(ASKS_FOR_IT)
    daemon = service.start(environ={"PYTHONPATH": f"{agent}:{library}", "PYTHONHASHSEED": "7"})
    for reloads in range(2):
        daemon.wait(lambda: len(daemon.launchers()) == 1, "one generation")
        (launcher,) = daemon.launchers()
        assert get(daemon) == f"{launcher} {launcher} v1 7"
        assert reloads or daemon.reload()
    assert "each worker imports the application by itself" not in daemon.log()  # the import has left nothing


def test_an_agent_starts_again_where_the_application_is_not_preloaded(service: Service, tmp_path: Path) -> None:
    """The launcher has executed itself anew, after the agent had taken itself out of the path."""
    agent = place(tmp_path / "agent", "sitecustomize.py", AGENT)
    library = place(tmp_path / "library", "helper.py", "VERSION = 'v1'")
    service.write(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()" + ASKS_FOR_IT
    )
    daemon = service.start(environ={"PYTHONPATH": f"{agent}:{library}", "PYTHONHASHSEED": "7"})
    daemon.wait_for_log("each worker imports the application by itself")
    (launcher,) = daemon.launchers()
    assert get(daemon) == f"{launcher} {launcher} v1 7"


def test_the_configured_path_is_read_again_and_hides_nothing_of_the_server(service: Service, tmp_path: Path) -> None:
    """By app.env or a file of app.env_files, as Kubernetes and systemd write them; a reload reads them anew."""
    for version in ("v1", "v2"):
        library = tmp_path / version
        place(library, "helper.py", f"VERSION = {version!r}")
        for name in ("miniwsgi", "codes", "daemon", "metrics"):
            place(library / name, "__init__.py", "raise ImportError('not meant')")
    service.write(ASKS_FOR_IT.replace("agent_of", "0"))
    env_file = tmp_path / "environment"
    config = service.configure(
        f"""
        env_files = ["{env_file}"]
        env = {{ PYTHONHASHSEED = "7" }}
        [server]
        workers = 1
        """
    )
    for version in ("v1", "v2"):
        env_file.write_text(f"PYTHONPATH={tmp_path / version}\n")
        daemon = service.daemons[0] if service.daemons else service.start("-c", config)
        assert version == "v1" or daemon.reload()
        daemon.wait(lambda: len(daemon.launchers()) == 1, "one generation")  # noqa: B023 - called at once
        assert get(daemon).split()[2:] == [version, "7"]


# --- real ones, where they are installed (make test-agents) -----------------------------------------------------------

# Nothing answers to their reports: port 9 is discard (RFC 863), where nobody listens.
NOWHERE = {
    "DD_TRACE_AGENT_URL": "http://127.0.0.1:9",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "NEW_RELIC_APP_NAME": "shop",
    "NEW_RELIC_LICENSE_KEY": 40 * "0",
    "NEW_RELIC_DEVELOPER_MODE": "true",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
}
# The command that wraps, and what shows in a view that the agent has instrumented its request.
AGENTS = {
    "ddtrace": (("ddtrace-run",), "import ddtrace", "ddtrace.tracer.current_span() is not None"),
    "newrelic": (
        ("newrelic-admin", "run-program"),
        "import newrelic.agent",
        "newrelic.agent.current_transaction() is not None",
    ),
    "opentelemetry": (
        ("opentelemetry-instrument",),
        "from opentelemetry import trace",
        "trace.get_current_span().get_span_context().is_valid",
    ),
}


@pytest.mark.agents
@pytest.mark.parametrize("name", AGENTS)
def test_a_real_agent_sees_the_requests_of_each_generation(service: Service, name: str) -> None:
    (wrapper, *arguments), imported, seen = AGENTS[name]
    command = Path(sys.executable).with_name(wrapper)
    service.write(
        f"""
        import flask, os
        {imported}
        app = flask.Flask(__name__)
        preloaded_in = os.getpid()
        @app.route("/")
        def index():
            return f"{{{seen}}} {{preloaded_in != os.getpid()}}"
        """
    )
    daemon = service.start("--workers", "1", environ=NOWHERE, under=(str(command), *arguments))
    for reloads in range(2):
        daemon.wait(lambda: get(daemon) == "True True", "requests are seen")  # New Relic's begins after the first one
        assert reloads or daemon.reload()
    assert daemon.stop() == 0
    for trouble in ("crashed", "failed:", "the master", "killed"):
        assert trouble not in daemon.log()
