"""The comparison: its command line, its order, servers that fail, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench import run
from bench.exchange import Exchange, complaint
from bench.load import LoadError
from bench.peers import Environment
from bench.plan import OPERATIONS, chosen_operations, chosen_workloads, steps
from bench.processes import ServerError, start, tree
from bench.results_file import Results
from bench.servers import OURS, Kind, Order, Programs, Server
from bench.steps import Afterwards, Round, fixed_rate
from bench.system_calls import counted
from bench.trial import Bench, WrongAnswer
from bench.workloads import WORKLOADS, Workload, quick_workloads
from tests.support.effort import effort
from tests.support.programs import needs
from tests.support.waiting import PATIENCE_SECONDS, wait_for

ROOT = Path(__file__).resolve().parents[2]

FAKE = """
import os, socket, sys
port, body, refused = int(sys.argv[1]), sys.argv[2].encode().decode("unicode_escape").encode(), sys.argv[3]
if refused and not os.path.exists(refused):
    open(refused, "w").write(str(port))
    sys.exit("OSError: [Errno 98] Address already in use")
listener = socket.create_server(("127.0.0.1", port))
while True:
    connection, _ = listener.accept()
    while connection.recv(4096):
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
"""
HELLO = Workload("hello", "hello-world", "bench_app:hello", ("fake",))


def fake(name: str = "fake", body: str = r"Hello, world!\n", refused: str = "", kind: Kind = Kind.PEER) -> Server:
    def command(programs: Programs, order: Order) -> list[str]:
        return [programs.ours, "-c", FAKE, str(order.port), body, refused]

    return Server(name, kind, "", "a fake", command)


def make_bench(scratch: Path, *servers: Server) -> Bench:
    directory = scratch / "scratch"
    directory.mkdir(exist_ok=True)
    environment = Environment(sys.executable, "3", {}, {"absent": "no matching distribution"})
    programs = Programs(sys.executable, sys.executable)
    return Bench(programs, environment, directory, 0.1, 0.0, servers={one.name: one for one in servers})


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def sample(number: int, rate: float, errors: int = 0) -> dict[str, float | None]:
    return {"round": number, "rate": rate, "user_us": 1.0, "system_us": 1.0, "p50": 0.1, "p99": 0.2, "errors": errors}


# --- the command line ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flag", "known"), [("--servers", "bjoern, fastwsgi,"), ("--workloads", "hello, browser,")])
def test_an_unknown_name_lists_the_known_ones(flag: str, known: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run.main([flag, "helo"])
    assert stopped.value.code == 2
    complaint = capsys.readouterr().err
    assert f"unknown {flag[2:-1]} 'helo'; known are " in complaint
    assert known in complaint


@pytest.mark.parametrize(
    "flags", [["--rounds", "0"], ["--seconds", "-1"], ["--with", "x.json"], ["--compare", "/none"]]
)
def test_bad_values_are_usage_errors(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run.main(flags)
    assert stopped.value.code == 2


def test_servers_that_take_no_part_in_a_workload_are_a_usage_error() -> None:
    with pytest.raises(SystemExit) as stopped:
        run.main(["--servers", "echo-c", "--workloads", "reload"])
    assert stopped.value.code == 2


def test_the_list_names_every_server_workload_and_operation(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--list"]) == 0
    words = capsys.readouterr().out.split()
    assert {"bjoern", "loop-c", "hello", "slow-clients", "scale-1-to-8"} <= set(words)


def test_two_results_are_compared_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("old", "new"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"format": 1, "cells": [], "servers": [], "workloads": []}))
    assert run.main(["--compare", str(tmp_path / "old.json"), "--with", str(tmp_path / "new.json")]) == 0
    assert capsys.readouterr().out


# --- the order ----------------------------------------------------------------------------------------------------


def test_rounds_are_interleaved_and_every_server_goes_first_in_turn(tmp_path: Path) -> None:
    workloads = [replace(HELLO, name=name, servers=("a", "b", "c")) for name in ("one", "two")]
    bench = make_bench(tmp_path, fake("a"), fake("b"), fake("c"))
    found = [step for step in steps(workloads, [], 3, bench, system_calls=True) if isinstance(step, Round)]
    assert [(step.number, step.workload.name) for step in found[::3]] == [
        (n, w) for n in range(3) for w in ("one", "two")
    ]
    assert [step.server for step in found if step.workload.name == "one"] == [
        "a",
        "b",
        "c",
        "b",
        "c",
        "a",
        "c",
        "a",
        "b",
    ]


def test_what_needs_rates_comes_after_the_rounds(tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    bench.servers = run.SERVERS
    workloads = [WORKLOADS["hello"], WORKLOADS["mixed"]]
    found = steps(workloads, list(OPERATIONS.values()), 2, bench, system_calls=False)
    kinds = [type(step).__name__ for step in found]
    assert kinds == sorted(kinds, key=["Round", "Afterwards", "OperationStep"].index)
    later = [step for step in found if isinstance(step, Afterwards)]
    assert not {"echo-c", "gunicorn-sync", "granian-default"} & {step.server for step in later}
    keep_connections = [name for name in WORKLOADS["mixed"].servers if run.SERVERS[name].keeps_alive]
    assert Counter(step.server for step in later if step.workload.name == "mixed") == Counter(keep_connections * 2)


def test_named_servers_and_workloads_are_paired() -> None:
    assert [one.servers for one in chosen_workloads(["fork"], ["json", "file"], quick=False)] == [("fork",)] * 2
    assert {one.name for one in chosen_workloads(["fork"], None, quick=False)} == {"hello", "connection-each"}
    assert [one.name for one in chosen_operations(None, ["reload"], quick=False)] == ["reload"]
    assert chosen_operations(None, ["hello"], quick=False) == []


def test_the_quick_run_has_what_has_a_target_and_known_servers() -> None:
    assert {"hello", "browser", "flask", "blocking-32", "mixed", "file"} <= set(quick_workloads())
    for workload in (*WORKLOADS.values(), *quick_workloads().values()):
        assert set(workload.servers) <= set(run.SERVERS)
        assert workload.script is None or (ROOT / "bench/wrk" / workload.script).exists()


# --- what comes of a cell -----------------------------------------------------------------------------------------


def test_errors_void_a_row_and_keep_its_rounds() -> None:
    cell = Results().cell("hello", "fake")
    cell.rounds += [sample(0, 100.0), sample(1, 90.0, errors=12)]
    found = cell.as_json()
    assert found["void"] == "12 errors"
    assert len(found["rounds"]) == 2


def test_a_round_that_failed_is_a_note_when_others_did_not() -> None:
    cell = Results().cell("hello", "fake")
    cell.fail("fake ended: once")
    cell.rounds.append(sample(1, 100.0))
    found = cell.as_json()
    assert (found["void"], found["note"]) == ("", "not every round: fake ended: once")


def test_a_server_that_is_missing_is_a_row_that_says_so(tmp_path: Path) -> None:
    results = Results()
    bench = make_bench(tmp_path, replace(fake(), package="absent"))
    Round(HELLO, "fake", 0, 1.0).run(bench, results)
    cell = results.cell("hello", "fake")
    assert cell.void == "absent: no matching distribution"
    assert cell.given_up


def test_a_server_that_lacks_the_threads_of_a_workload_is_a_row_that_says_so(tmp_path: Path) -> None:
    results, bench = Results(), make_bench(tmp_path, replace(fake(), most_threads=1))
    Round(replace(HELLO, threads=32), "fake", 0, 1.0).run(bench, results)
    assert results.cell("hello", "fake").void == "does not offer 32 threads"


def test_a_wrong_answer_is_not_timed_and_not_tried_again(tmp_path: Path) -> None:
    results = Results()
    Round(HELLO, "fake", 0, 1.0).run(make_bench(tmp_path, fake(body="Goodbye")), results)
    cell = results.cell("hello", "fake")
    assert "the body is b'Goodbye'" in cell.void
    assert cell.given_up
    assert not cell.rounds


def test_what_may_pass_is_tried_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise LoadError("wrk stumbled")

    monkeypatch.setattr(Bench, "load", broken)
    results, bench = Results(), make_bench(tmp_path, fake())
    cell = results.cell("hello", "fake")
    for number, given_up in ((0, False), (1, True)):
        Round(HELLO, "fake", number, 1.0).run(bench, results)
        assert (cell.void, cell.given_up) == ("wrk stumbled", given_up)


def test_the_fixed_rate_is_half_of_what_the_slowest_that_counts_can_do(tmp_path: Path) -> None:
    bench = make_bench(
        tmp_path,
        fake("slow"),
        fake("fast", kind=Kind.OURS),
        fake("slow-default"),
        fake("floor", kind=Kind.FLOOR),
        replace(fake("closing"), keeps_alive=False),
        fake("void"),
    )
    results = Results()
    rates = {"slow": 1000.0, "fast": 9000.0, "slow-default": 10.0, "floor": 10.0, "closing": 10.0}
    for name, rate in rates.items():
        results.cell("hello", name).rounds.append(sample(0, rate))
    results.cell("hello", "void").rounds.append(sample(0, 10.0, errors=1))
    assert fixed_rate(bench, results, "hello", list(bench.servers)) == 500.0
    assert fixed_rate(bench, Results(), "hello", list(bench.servers)) is None
    results.cell("hello", "slow").rounds[0]["rate"] = 1e6
    results.cell("hello", "fast").rounds[0]["rate"] = 1e6
    assert fixed_rate(bench, results, "hello", list(bench.servers)) == 8000.0  # what the generator can do


# --- processes ----------------------------------------------------------------------------------------------------


def test_a_server_that_answers_rightly_is_served_and_stopped(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, fake())
    order = bench.order(HELLO)
    with bench.serving("fake", order, Exchange()) as running:
        assert running.workers() == [running.process.pid]
        assert running.pss() > 0
    assert running.process.poll() is not None
    assert str(ROOT) not in bench.commands["fake"]
    assert not order.scratch.exists()


@needs("strace")
def test_system_calls_are_counted_while_a_server_is_asked(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, fake())
    with bench.serving("fake", bench.order(HELLO), Exchange()) as running:
        try:
            with counted(running.pids(), tmp_path / "strace") as count:
                for _ in range(10):
                    assert complaint(running.port, Exchange()) == ""
        except ServerError as error:
            pytest.skip(str(error))  # where processes may not be traced
    assert count.calls is not None
    assert count.calls >= 10 * 5  # accept, and receive and send twice


def test_a_port_in_use_picks_another(tmp_path: Path) -> None:
    marker = tmp_path / "refused"
    bench = make_bench(tmp_path, fake(refused=str(marker)))
    with bench.serving("fake", bench.order(HELLO), Exchange()) as running:
        assert running.port != int(marker.read_text())


@pytest.mark.parametrize(
    ("server", "complaint"),
    [
        (fake(body=r"Goodbye, Hello, world!\n"), "answers wrongly: the body is"),
        (
            replace(fake(), command=lambda *_: [sys.executable, "-c", "raise SystemExit('no such thing')"]),
            "no such thing",
        ),
        (replace(fake(), command=lambda *_: ["/nonexistent/server"]), "No such file"),
    ],
)
def test_a_server_that_does_not_serve_is_an_error_with_its_last_words(
    tmp_path: Path, server: Server, complaint: str
) -> None:
    bench = make_bench(tmp_path, server)
    with pytest.raises(ServerError, match=complaint), bench.serving("fake", bench.order(HELLO), Exchange()):
        pass


def test_only_a_wrong_answer_is_for_good(tmp_path: Path) -> None:
    assert issubclass(WrongAnswer, ServerError)
    with pytest.raises(ServerError) as failed:
        start("fake", ["/nonexistent/server"], 1, tmp_path / "log")
    assert not isinstance(failed.value, WrongAnswer)


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


@pytest.mark.parametrize("number", effort([signal.SIGINT], [signal.SIGINT, signal.SIGTERM]))
def test_an_interrupted_run_keeps_what_it_has_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "tmp").mkdir()
    results = tmp_path / "results.json"
    process = subprocess.Popen(
        [
            *(sys.executable, ROOT / "bench/run.py", "--peers", sys.executable, "--rounds", "999"),
            *("--servers", OURS, "--workloads", "cold-start", "--json", results),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "round 2, cold start" in line:
            break
    children = tree(process.pid)[1:]
    process.send_signal(number)
    output, _ = process.communicate(timeout=2 * PATIENCE_SECONDS)
    assert process.returncode == 130
    assert "cold start" in output
    document = json.loads(results.read_text())
    assert document["interrupted"]
    (operation,) = document["operations"]
    assert operation["values"]
    wait_for(lambda: not [pid for pid in children if Path(f"/proc/{pid}").exists()], "its processes are gone")
    assert not list((tmp_path / "tmp").iterdir())
