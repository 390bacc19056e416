"""The quick comparison: its rows, its command line, and that it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import quick, report
from bench.experiments import OURS, ColdStart, Throughput
from bench.figures import Row, Verdict
from bench.processes import ServerError, free_port, start, tree
from bench.suite import quick as quick_experiments
from bench.trial import Sample, ask_twice, wait_for_answer

ROOT = Path(__file__).resolve().parents[2]

FAKE = """
import socket, sys
body = sys.argv[2].encode().decode("unicode_escape").encode()
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, _ = listener.accept()
    while connection.recv(4096):
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
"""


def sample(rate: float, cpu: float = 10.0, errors: int = 0) -> Sample:
    return Sample(rate, cpu * 0.6, cpu * 0.4, 0.001, 0.002, errors, saturated=False)


def filled(ours: list[Sample], bjoern: list[Sample]) -> Throughput:
    hello = quick_experiments()["hello"]
    assert isinstance(hello, Throughput)
    hello.samples[OURS] = dict(enumerate(ours))
    hello.samples["bjoern"] = dict(enumerate(bjoern))
    hello.problems["gunicorn-gthread"] = "gunicorn: no matching distribution"
    return hello


def test_a_ratio_above_its_target_is_met_and_a_missing_peer_says_why() -> None:
    rows = filled([sample(70e3), sample(72e3)], [sample(100e3), sample(100e3)]).rows()
    by_target = {row.target: row for row in rows if row.target}
    met = by_target["≥ 0.65 × bjoern"]
    assert (met.verdict, round(met.ratio or 0, 2)) == (Verdict.MET, 0.71)
    void = by_target["≥ 6 × gunicorn-gthread"]
    assert (void.verdict, void.ratio) == (Verdict.VOID, None)
    assert "no matching distribution" in void.note
    assert [row.note for row in rows if row.server == "gunicorn-gthread"] == ["gunicorn: no matching distribution"]


def test_errors_void_a_row_and_its_ratio() -> None:
    rows = filled([sample(70e3, errors=3)], [sample(100e3)]).rows()
    assert rows[0].verdict is Verdict.VOID
    assert rows[0].note.startswith("3 errors")
    assert rows[1].verdict is Verdict.VOID


def test_an_experiment_that_was_not_reached_is_void() -> None:
    rows = ColdStart("cold-start", "start").rows()
    assert [(row.verdict, row.note) for row in rows] == [(Verdict.VOID, "not measured")]


def test_every_target_of_the_quick_run_has_a_row_even_when_nothing_ran() -> None:
    rows = [row for experiment in quick_experiments().values() for row in experiment.rows()]
    assert sum(bool(row.target) for row in rows) >= 13
    assert all(row.verdict is Verdict.VOID for row in rows)


def test_every_server_goes_first_in_turn() -> None:
    hello = quick_experiments()["hello"]
    assert {hello.turn(number)[0] for number in range(3)} == set(hello.servers)


def test_an_unknown_name_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        quick.main(["--only", "helo"])
    assert stopped.value.code == 2
    assert "unknown name 'helo'; known are hello, browser," in capsys.readouterr().err


def test_the_plain_table_lines_up() -> None:
    row = Row("hello", "bjoern", "1 req/s", 1.0, "≥ 2", 0.5, "x", Verdict.MISSED, "slow")
    header, line = report.plain([report.cells(row)]).splitlines()
    assert line.index("bjoern") == header.index("server")
    assert line.index("slow") == header.index("note")


def start_fake(tmp_path: Path, body: str) -> None:
    port = free_port()
    running = start("fake", [sys.executable, "-c", FAKE, str(port), body], port, tmp_path / "log")
    try:
        wait_for_answer(running)
        assert len(ask_twice(port)) == 2
        assert running.workers() == [running.process.pid]
    finally:
        running.stop()
    assert running.process.poll() is not None


def test_a_server_that_answers_rightly_is_accepted(tmp_path: Path) -> None:
    start_fake(tmp_path, r"Hello, world!\n")


def test_a_server_that_answers_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="fake answered wrongly: the body is"):
        start_fake(tmp_path, r"Goodbye, Hello, world!\n")


def test_a_server_that_ends_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    running = start("fake", [sys.executable, "-c", "raise SystemExit('no such thing')"], 1, tmp_path / "log")
    with pytest.raises(ServerError, match="fake ended: no such thing"):
        wait_for_answer(running)
    running.stop()


def test_a_missing_program_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="No such file"):
        start("fake", ["/nonexistent/server"], 1, tmp_path / "log")


def test_orphans_are_found_and_ended(tmp_path: Path) -> None:
    script = f"""
import os, subprocess, sys, time
sys.path.insert(0, {str(ROOT)!r})
from bench.processes import become_reaper, stop_all, tree
become_reaper()
middle = subprocess.Popen([sys.executable, "-c",
    "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True)"], stdout=subprocess.PIPE)
orphan = int(middle.stdout.readline()); middle.wait()
assert orphan in tree(os.getpid())
stop_all()
print(os.path.exists(f"/proc/{{orphan}}"))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr


def test_an_interrupted_run_prints_what_it_has_and_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            ROOT / "bench/quick.py",
            "--peers",
            sys.executable,
            "--only",
            "cold-start",
            "--rounds",
            "9999",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "round 3/" in line:
            break
    children = tree(process.pid)[1:]
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "cold-start" in output
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert not list(tmp_path.iterdir())
