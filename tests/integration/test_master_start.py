"""A start, from the command line to the first answer, and every way in which it is refused."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon import ALONE
from tests.support.ports import free_port, is_listened_on
from tests.support.service import Service, get
from tests.support.users import as_root, open_python
from tests.support.waiting import PATIENCE_SECONDS, wait_for


def test_it_says_where_it_listens_and_is_ready_when_it_answers(service: Service) -> None:
    daemon = service.start("--workers", "2", "--threads", "3")
    assert get(daemon).startswith("v1 ")
    line = f"listening on http://127.0.0.1:{daemon.port} (pool epoll, 2 workers × 3 threads, pid {daemon.process.pid})"
    daemon.wait_for_log(line)


def test_processes_have_their_titles(service: Service) -> None:
    daemon = service.start("--workers", "2")
    daemon.wait(lambda: len(daemon.workers()) == 2, "two workers")
    title = Path(f"/proc/{daemon.process.pid}/cmdline").read_text().strip("\0")
    assert title == "miniwsgi: master [app]"
    others = daemon.processes()[1:]
    for process in others:  # as ps and systemctl status show them
        python, isolated, program, application, *_ = process.cmdline()
        assert (python, isolated, application) == (sys.executable, "-P", "app")
        assert program.endswith("/miniwsgi/daemon/worker/launch.py")
        assert len(" ".join(process.cmdline())) < len(python) + len(program) + 20
    comms = sorted(Path(f"/proc/{p.pid}/comm").read_text().strip() for p in others)
    assert comms == ["mw-launcher", "mw-worker/0", "mw-worker/1"]


# The file systems that hold temporary files, as a command's prefix. Its own directory is one of them (tempfile).
READ_ONLY = """
mount --make-rprivate /
for place in /tmp /var/tmp /usr/tmp "$PWD" /; do
  ! [ -d "$place" ] || { [ "$place" = / ] || mount --bind "$place" "$place"; mount -o remount,bind,ro "$place"; }
done
! touch "$PWD/written" 2>/dev/null
exec "$@"
"""


# --- what cannot be started ------------------------------------------------------------------------------------------


def test_an_application_that_does_not_import_is_status_3_with_its_own_traceback(service: Service) -> None:
    service.write("import does_not_exist_anywhere\n")
    done = service.run("--bind", "127.0.0.1:0")
    assert done.returncode == 3
    assert 'app.py", line 1' in done.stderr
    assert "does_not_exist_anywhere" in done.stderr
    assert "daemon/worker" not in done.stderr, "our own frames are of no use to anybody"


def test_without_preload_it_is_the_same(service: Service) -> None:
    service.write("def application(: pass\n")
    done = service.run("--bind", "127.0.0.1:0", "--preload", "false")
    assert done.returncode == 3
    assert "SyntaxError" in done.stderr


def test_an_application_that_ends_the_process_while_it_is_imported_is_status_3(service: Service) -> None:
    service.write("import os\nos._exit(7)\n")
    done = service.run("--bind", "127.0.0.1:0")
    assert done.returncode == 3
    assert "MW2314 start failed: the launcher exited with status 7 before its first worker was ready" in done.stderr


def test_an_import_that_takes_too_long_is_ended_and_shown(service: Service) -> None:
    service.write("import time\ntime.sleep(1000)\n")
    done = service.run("-c", service.configure("[timeouts]\nboot = 5\n"), "--bind", "127.0.0.1:0")
    assert done.returncode == 3
    assert "timeouts.boot" in done.stderr
    assert 'app.py", line 2' in done.stderr, "the stack says where it hangs"


def test_an_interpreter_that_cannot_be_executed(service: Service) -> None:
    done = service.run("--bind", "127.0.0.1:0", "--python", "/bin/false")
    assert done.returncode == 3
    assert "/bin/false Python 3.11 or newer?" in done.stderr


@as_root
def test_where_nothing_can_be_written_it_serves_without_the_applications_metrics_and_says_so(service: Service) -> None:
    read_only = ("unshare", "-m", "sh", "-ec", READ_ONLY, "sh")
    if subprocess.run([*read_only, "true"], cwd=service.directory, capture_output=True).returncode:
        pytest.skip("this machine permits no mount namespace")
    daemon = service.start("--workers", "1", "--metrics-bind", f"127.0.0.1:{free_port()}", under=read_only)
    assert get(daemon).startswith("v1 ")
    assert "no directory for the application's metrics: no directory for temporary files can be used" in daemon.log()
    assert daemon.stop() == 0


def test_a_port_in_use_is_status_1_and_one_line(service: Service) -> None:
    daemon = service.start()
    done = service.run("--bind", f"127.0.0.1:{daemon.port}")
    assert done.returncode == 1
    assert f"port {daemon.port} is in use by miniwsgi: master [app] (pid {daemon.process.pid})" in done.stderr
    assert get(daemon).startswith("v1 ")


def test_a_pid_file_is_written_guarded_and_removed(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "daemon.pid"
    daemon = service.start("--pid-file", str(path))
    assert path.read_text() == f"{daemon.process.pid}\n"
    done = service.run("--bind", "127.0.0.1:0", "--pid-file", str(path))
    assert done.returncode == 1
    assert f"is held by a daemon that runs (pid {daemon.process.pid})" in done.stderr
    assert daemon.stop() == 0
    assert not path.exists()


def test_a_stale_pid_file_is_replaced(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "daemon.pid"
    path.write_text("999999999\n")
    daemon = service.start("--pid-file", str(path))
    assert path.read_text() == f"{daemon.process.pid}\n"


def test_a_pid_file_that_cannot_be_written_is_status_1(service: Service) -> None:
    done = service.run("--bind", "127.0.0.1:0", "--pid-file", "/nonexistent/daemon.pid")
    assert done.returncode == 1
    assert "/nonexistent/daemon.pid cannot be written: there is no directory /nonexistent" in done.stderr


# --- how it runs -----------------------------------------------------------------------------------------------------


@as_root
def test_it_becomes_the_user_once_the_listeners_are_open(service: Service, tmp_path: Path) -> None:
    python = open_python()
    for folder in [tmp_path, *tmp_path.parents]:
        folder.chmod(folder.stat().st_mode | 0o055)
    daemon = service.start("--user", "nobody", "--python", python)
    uids = {process.uids().real for process in daemon.processes()}
    assert len(uids) == 1
    assert 0 not in uids
    groups = {gid for process in daemon.processes() for gid in process.gids()}
    assert 0 not in groups
    assert get(daemon).startswith("v1 ")


def test_a_unix_socket_is_served_and_removed(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    daemon = service.start("--bind", f"unix:{path}")
    assert stat.S_ISSOCK(path.stat().st_mode)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert sock.makefile("rb").read().startswith(b"HTTP/1.1 200 OK\r\n")
    assert daemon.stop() == 0
    assert not path.exists()


EXECUTE = """
import os, sys
fd = int(sys.argv[1])
if fd != 3:
    os.dup2(fd, 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="http")
os.execv(sys.executable, [sys.executable, "-m", "miniwsgi.daemon", "serve", *sys.argv[2:]])
"""


def test_a_socket_of_systemd_keeps_its_queue_when_the_daemon_stops(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = held.getsockname()
        command = [sys.executable, "-c", EXECUTE, str(held.fileno()), "app", "--chdir", str(service.directory)]
        process = subprocess.Popen(
            [*command, "--bind", "systemd:http"], pass_fds=[held.fileno()], env={**os.environ, **ALONE}
        )
        try:
            answer = http.client.HTTPConnection(*address, timeout=PATIENCE_SECONDS)
            answer.request("GET", "/")
            assert answer.getresponse().read().startswith(b"v1 ")
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()
            process.wait()
        with socket.create_connection(address, timeout=PATIENCE_SECONDS):
            assert held.accept()[0].close() is None, "whoever comes next is left for the next daemon"


def test_the_application_runs_under_its_own_interpreter_without_miniwsgi_installed(
    service: Service, tmp_path: Path
) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    service.write(
        """
        import sys
        def application(environ, start_response):
            start_response("200 OK", [])
            return [repr((sys.prefix, [p for p in sys.path if "miniwsgi" in p])).encode()]
        """
    )
    python = str(venv / "bin" / "python")
    daemon = service.start("--python", python, environ={"PYTHONPATH": "/nowhere/miniwsgi"})
    assert get(daemon) == repr((str(venv), []))
    assert daemon.log().count("not passed on to the application: PYTHON") == 1


def test_the_environment_is_the_applications(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", "/ours")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    service.write(
        """
        import os
        names = ("VIRTUAL_ENV", "NOTIFY_SOCKET", "PYTHONDONTWRITEBYTECODE", "SHOP")
        seen = [os.environ.get(name) for name in names]
        def application(environ, start_response):
            start_response("200 OK", [])
            return [repr((seen, os.getcwd())).encode()]
        """
    )
    daemon = service.start("--env", "SHOP=open")
    assert get(daemon) == repr(([None, None, "1", "open"], str(service.directory)))


def test_an_import_that_leaves_a_thread_is_not_forked(service: Service) -> None:
    service.write(
        """
        import os, threading, time
        threading.Thread(target=time.sleep, args=(1000,), daemon=True, name="poller").start()
        imported_in = os.getpid()
        def application(environ, start_response):
            start_response("200 OK", [])
            return [str(imported_in == os.getpid()).encode()]
        """
    )
    daemon = service.start("--workers", "2")
    daemon.wait_for_log("each worker imports the application by itself")
    daemon.wait_for_log("poller")
    assert get(daemon) == "True"
    daemon.wait(lambda: len(daemon.workers()) == 2 and len(daemon.launchers()) == 1, "two workers, one launcher")


def test_preload_imports_once_and_workers_do_not_share_random_numbers(service: Service) -> None:
    service.write(
        """
        import os, random
        imported_in = os.getpid()
        random.seed(1)
        def application(environ, start_response):
            start_response("200 OK", [])
            return [f"{imported_in} {os.getpid()} {random.random()}".encode()]
        """
    )
    daemon = service.start("--workers", "2")
    daemon.wait(lambda: len(daemon.workers()) == 2, "two workers")
    answers: dict[str, str] = {}

    def both_answered() -> bool:
        launcher, worker, number = get(daemon).split()
        assert int(launcher) == daemon.launchers()[0]
        answers.setdefault(worker, number)
        return len(answers) == 2

    daemon.wait(both_answered, "answers of both workers")
    assert len(set(answers.values())) == 2


def test_systemd_hears_of_readiness_status_and_life(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    daemon = service.start("--workers", "2")
    if not any("STATUS=running: 2 of 2" in notice for notice in daemon.notices):
        daemon.wait_for_notice("STATUS=running: 2 of 2 workers ready, generation 1")
    daemon.wait_for_notice("WATCHDOG=1")
    daemon.signal(signal.SIGHUP)
    reloading = daemon.wait_for_notice("RELOADING=1")
    assert "MONOTONIC_USEC=" in reloading
    daemon.wait_for_notice("READY=1")
    daemon.signal(signal.SIGTERM)
    daemon.wait_for_notice("STOPPING=1")


def test_two_addresses_are_served(service: Service) -> None:
    other = free_port()
    daemon = service.start("--bind", f"127.0.0.1:{other}")
    for port in (daemon.port, other):
        daemon.address = ("127.0.0.1", port)
        assert get(daemon).startswith("v1 ")


def test_a_daemon_that_was_started_without_standard_streams_serves(service: Service) -> None:
    port = free_port()
    command = [sys.executable, "-m", "miniwsgi.daemon", "serve", "app", "--bind", f"127.0.0.1:{port}"]
    process = subprocess.Popen(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command],
        cwd=service.directory,
        env={**os.environ, **ALONE},
    )
    try:
        wait_for(lambda: is_listened_on(port), "it listens")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        connection.request("GET", "/")
        assert connection.getresponse().read().startswith(b"v1 ")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
