"""Reloads and scaling of a running daemon, good and bad, with the one verdict that each of them has."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.ports import free_port
from tests.support.service import HELD_IMPORT, HELLO, Service, get
from tests.support.waiting import PATIENCE_SECONDS, wait_for


def wait_for_version(daemon: Daemon, version: str) -> None:
    """An old worker may still take a connection while its order to drain is on the way."""
    daemon.wait(lambda: get(daemon).startswith(f"{version} "), f"an answer of {version}")


def test_new_code_goes_live(service: Service) -> None:
    daemon = service.start("--workers", "3")
    for version in ("v2", "v3"):
        service.write(HELLO.replace("v1", version))
        assert daemon.reload()
        wait_for_version(daemon, version)
    daemon.settle(3)
    daemon.wait(lambda: len(daemon.launchers()) == 1, "the former launchers are gone")


@pytest.mark.parametrize("preload", ["true", "false"])
def test_code_that_does_not_boot_is_refused_with_its_traceback_and_the_old_code_goes_on(
    service: Service, preload: str
) -> None:
    daemon = service.start("--workers", "2", "--preload", preload)
    daemon.settle(2)
    before = sorted(daemon.workers())
    service.write("import os\n\nraise RuntimeError('the database is away')\n")
    assert not daemon.reload()
    daemon.wait_for_log('app.py", line 3')
    daemon.wait_for_log("the database is away")
    assert get(daemon).startswith("v1 ")
    daemon.wait(lambda: sorted(daemon.workers()) == before, "the old workers go on, alone")
    service.write(HELLO.replace("v1", "v2"))
    assert daemon.reload()
    wait_for_version(daemon, "v2")


def test_code_that_ends_the_process_at_import_is_refused(service: Service) -> None:
    daemon = service.start()
    service.write("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    assert not daemon.reload()
    daemon.wait_for_log("the launcher was killed by SIGSEGV")
    assert get(daemon).startswith("v1 ")


def test_code_that_hangs_at_import_is_refused_in_time(service: Service) -> None:
    daemon = service.start("-c", service.configure("[timeouts]\nboot = 5\n"))
    service.write("import time\ntime.sleep(1000)\n")
    assert not daemon.reload()
    daemon.wait_for_log('app.py", line 2')
    assert get(daemon).startswith("v1 ")


def test_all_mistakes_of_a_configuration_are_told_and_the_old_one_stays(service: Service) -> None:
    daemon = service.start("-c", service.configure("[server]\nworkers = 2\n"))
    service.configure("[server]\nworkers = -1\nthreds = 3\n")
    assert not daemon.reload()
    (line,) = [line for line in daemon.log().splitlines() if "reload failed" in line]
    assert "server.workers" in line
    assert "server.threds" in line
    assert get(daemon).startswith("v1 ")


def test_what_a_reload_cannot_change_fails_it(service: Service) -> None:
    daemon = service.start("-c", service.configure("[server]\nworkers = 1\n"))
    service.configure("[server]\nworkers = 1\ngroup = 'nogroup'\n")
    assert not daemon.reload()
    daemon.wait_for_log("server.group")
    daemon.wait_for_log("restart")


def test_workers_and_addresses_can_be_changed(service: Service, tmp_path: Path) -> None:
    old, new, path = free_port(), free_port(), tmp_path / "http.sock"
    config = service.configure(f"[server]\nworkers = 1\nbind = ['127.0.0.1:{old}', 'unix:{path}']\n")
    daemon = service.start("-c", config, bind=False)
    daemon.address = ("127.0.0.1", old)
    assert get(daemon).startswith("v1 ")
    service.configure(f"[server]\nworkers = 3\nbind = ['127.0.0.1:{old}', '127.0.0.1:{new}']\n")
    assert daemon.reload()
    daemon.settle(3)
    daemon.wait(lambda: not path.exists(), "the socket file is removed")
    for port in (old, new):
        daemon.address = ("127.0.0.1", port)
        assert get(daemon).startswith("v1 ")
    service.configure(f"[server]\nworkers = 3\nbind = ['127.0.0.1:{new}']\n")
    assert daemon.reload()
    daemon.wait(lambda: socket.socket().connect_ex(("127.0.0.1", old)) != 0, "the old port is refused")
    assert get(daemon).startswith("v1 ")


def test_an_address_that_cannot_be_had_fails_the_reload_before_anything_boots(service: Service) -> None:
    old = free_port()
    daemon = service.start("-c", service.configure(f"[server]\nbind = ['127.0.0.1:{old}']\n"), bind=False)
    daemon.address = ("127.0.0.1", old)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        service.configure(f"[server]\nbind = ['127.0.0.1:{old}', '127.0.0.1:{taken}']\n")
        assert not daemon.reload()
    daemon.wait_for_log(f"port {taken} is in use by")
    assert get(daemon).startswith("v1 ")


def test_a_storm_of_reloads_ends_with_the_last_code(service: Service) -> None:
    daemon = service.start("--workers", "2")
    service.write(HELD_IMPORT + HELLO.replace("v1", "v2"))
    service.hold_imports()
    for _ in range(100):
        daemon.signal(signal.SIGHUP)
    daemon.wait_for_log("reload is asked for")
    service.release()
    daemon.wait_for_log("reload: done")
    time_of_quiet(daemon)
    # The kernel keeps at most one SIGHUP that has not been heard: one may be heard after the release.
    assert daemon.log().count("reload: done") <= 3, "those that came meanwhile were joined into one"
    wait_for_version(daemon, "v2")
    daemon.settle(2)


def time_of_quiet(daemon: Daemon) -> None:
    """Wait until as many reloads have ended as were begun, and no more come."""
    daemon.wait(
        lambda: (
            daemon.log().count("reload: done")
            == sum("reload is asked for" in line and "joins" not in line for line in daemon.log().splitlines())
        ),
        "all reloads have ended",
    )


def test_workers_more_and_fewer_by_signal_outlive_a_reload(service: Service) -> None:
    daemon = service.start("--workers", "2")
    daemon.signal(signal.SIGTTIN)
    daemon.settle(3)
    daemon.signal(signal.SIGTTOU)
    daemon.settle(2)
    daemon.signal(signal.SIGTTOU)
    daemon.settle(1)
    daemon.signal(signal.SIGTTOU)
    daemon.wait_for_log("at least 1 worker is needed")
    assert daemon.reload()
    daemon.settle(1)


def test_a_scale_of_code_that_is_broken_on_disk_brings_the_code_that_runs(service: Service) -> None:
    daemon = service.start("--workers", "1")
    service.write("broken(")
    daemon.signal(signal.SIGTTIN)
    daemon.settle(2)
    daemon.wait_for_log("scale to 2 workers: done")


def test_without_preload_such_a_scale_fails_and_harms_nobody(service: Service) -> None:
    daemon = service.start("--workers", "1", "--preload", "false")
    service.write("broken(")
    daemon.signal(signal.SIGTTIN)
    daemon.wait_for_log("scale to 2 workers failed")
    daemon.wait_for_log("did not boot", 3)
    daemon.settle(1)
    assert get(daemon).startswith("v1 ")


def test_a_running_request_is_answered_by_the_code_that_began_it(service: Service) -> None:
    daemon = service.start("--workers", "1")
    answers: list[str] = []
    service.hold()
    thread = threading.Thread(target=lambda: answers.append(get(daemon, "/hold")))
    thread.start()
    daemon.wait(service.has_begun, "a running request")
    service.write(HELLO.replace("v1", "v2"))
    assert daemon.reload()
    assert not answers, "the reload did not wait for it"
    wait_for_version(daemon, "v2")
    assert not answers
    service.release()
    thread.join(PATIENCE_SECONDS)
    assert answers[0].startswith("v1 ")


def test_a_change_on_disk_reloads(service: Service) -> None:
    pytest.importorskip("watchfiles")
    daemon = service.start("--reload-on-change")
    versions = itertools.count(2)

    def changed_and_seen() -> int:
        number = next(versions)  # the watch takes a moment to begin
        service.write(HELLO.replace("v1", f"v{number}"))
        time.sleep(0.3)
        return number if "a change of app.py" in daemon.log() else 0

    wait_for_version(daemon, f"v{wait_for(changed_and_seen, 'the change is seen', story=daemon.log)}")


@pytest.mark.parametrize("pool", ["epoll", "fork"])
def test_log_files_are_opened_again_after_a_rotation(service: Service, tmp_path: Path, pool: str) -> None:
    """The error log is the master's and the workers'."""
    service.write(HELLO.replace("start_response(", "environ['wsgi.errors'].write('said by it\\n'); start_response(", 1))
    log = tmp_path / "daemon0" / "daemon.log"  # where the fixture looks for it
    config = service.configure(
        f"[server]\nworkers = 1\npool = '{pool}'\n[log]\nfile = '{log}'\naccess_log = '{tmp_path}/access.log'\n"
    )
    daemon = service.start("-c", config)
    get(daemon)
    daemon.wait(lambda: "said by it" in log.read_text(), "what the application said")
    log.rename(tmp_path / "daemon.log.1")
    (tmp_path / "access.log").rename(tmp_path / "access.log.1")
    daemon.signal(signal.SIGUSR1)
    daemon.wait(lambda: log.exists() and "opened again" in log.read_text(), "a new log file")
    access = tmp_path / "access.log"
    # The worker may answer the next request before it hears that it is to open the files again.
    daemon.wait(lambda: get(daemon) and access.exists() and "GET /" in access.read_text(), "a line in the new file")
    daemon.wait(lambda: get(daemon) and "said by it" in log.read_text(), "what the application said, in the new file")


def test_a_log_that_cannot_be_opened_again_is_not_said_to_be(service: Service, tmp_path: Path) -> None:
    service.write(HELLO)
    logs = tmp_path / "logs"
    logs.mkdir()
    log = logs / "error.log"
    config = service.configure(f"[server]\nworkers = 1\n[log]\nfile = '{log}'\naccess_log = '{logs}/access.log'\n")
    daemon = service.start("-c", config)
    old = logs.rename(tmp_path / "gone") / "error.log"
    daemon.signal(signal.SIGUSR1)
    told = "log file {} cannot be opened again: there is no directory " + f"{logs}; the old one stays in use"
    daemon.wait(lambda: told.format(log) in old.read_text(), "the master's word")
    daemon.wait(lambda: told.format(logs / "access.log") in old.read_text(), "the worker's")
    assert "were opened again" not in old.read_text()


def test_a_master_that_was_upgraded_underneath_refuses_to_reload(service: Service, tmp_path: Path) -> None:
    """The package is served from a copy, whose version changes while it runs."""
    import shutil

    import miniwsgi.codes
    import miniwsgi.daemon
    import miniwsgi.metrics

    copy = tmp_path / "site" / "miniwsgi"
    for package in (miniwsgi.codes, miniwsgi.daemon, miniwsgi.metrics):
        name = package.__name__.rpartition(".")[2]
        shutil.copytree(package.__path__[0], copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    daemon = service.start(environ={"PYTHONPATH": str(copy.parent)})
    init = copy / "daemon" / "__init__.py"
    init.write_text(init.read_text().replace(miniwsgi.daemon.__version__, "99.0"))
    os.utime(init, (2_000_000_000, 2_000_000_000))
    assert not daemon.reload()
    daemon.wait_for_log("miniwsgi was upgraded: restart the service")
    assert get(daemon).startswith("v1 ")
