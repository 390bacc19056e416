"""`profile` and `memory`: what the lines of workers become, on the screen and in files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from miniwsgi.manager.client.client import Client, TransportError, Trouble
from miniwsgi.manager.client.profiles.flame_graph import flame_graph
from miniwsgi.manager.client.profiles.formats import Format, collapsed, speedscope
from miniwsgi.manager.client.profiles.profile import Clock, Profile, heaviest

from tests.support.ctl_daemon import FakeDaemon, Raw, problem
from tests.support.manager_world import memory

MS = 1_000_000
SERVER, APPLICATION, LIBRARY, STDLIB = "server", "application", "library", "stdlib"
FRAMES = [
    ("_run_thread", "/opt/miniwsgi/daemon/threads.py", 246, "miniwsgi/daemon/threads.py", SERVER),
    ("index", "/srv/shop/views.py", 7, "shop/views.py", APPLICATION),
    ("Cursor.execute", "/opt/lib/psycopg/cursor.py", 97, "psycopg/cursor.py", LIBRARY),
    ("beat", "/srv/shop/jobs.py", 3, "shop/jobs.py", APPLICATION),
    ("_loop", "/opt/miniwsgi/daemon/loop.py", 155, "miniwsgi/daemon/loop.py", SERVER),
]
NODES = [(0, 0), (1, 1), (2, 2), (0, 3), (1, 4)]  # 1 _run_thread, 2 index, 3 execute, 4 beat, 5 _loop
REQUEST, THREAD, LOOP = 2, 3, 1
END = {"kind": "end", "why": "time", "looks": 100, "cut_stacks": 0, "cut_depth": 0, "cut_rows": 0, "no_clock": 0}


def samples(slot: int, *rows: tuple[int, ...], looks: int = 100, frames: Any = FRAMES) -> dict[str, Any]:
    """A line of a worker: rows of (node, request, state, samples, wall ms, on-CPU ms)."""
    whole = [
        (0, node, -1, request, state, count, wall * MS, cpu * MS) for node, request, state, count, wall, cpu in rows
    ]
    return {
        "slot": slot, "kind": "samples", "seconds": 1.0, "looks": looks, "late_ns": 0, "frames": frames,
        "nodes": NODES, "threads": [(0, "all", -1)], "requests": [("/orders/<id>", "", "", "", 0)], "rows": whole,
    }  # fmt: skip


def lines(*slots: int) -> list[dict[str, Any]]:
    """What a daemon says, whose workers do the same."""
    found: list[dict[str, Any]] = [{"kind": "profile", "slots": list(slots), "seconds": 1.0}]
    rows = (2, 1, REQUEST, 10, 100, 80), (3, 1, REQUEST, 70, 700, 10), (4, 0, THREAD, 5, 50, 0), (5, 0, LOOP, 1, 5, 5)
    for slot in slots:
        found += [{"slot": slot, "kind": "begin", "pid": 1}, samples(slot, *rows), {"slot": slot, **END}]
    return found


def profile_of(said: list[dict[str, Any]], **options: Any) -> Profile:
    found = Profile(**options)
    for line in said:
        found.add(json.loads(json.dumps(line)))
    return found


# --- merging -------------------------------------------------------------------------------------------------------


def test_workers_are_merged_and_requests_stand_together() -> None:
    found = profile_of(lines(0, 3))
    assert (found.samples, found.seconds) == (172, 1.0)
    assert (found.total_ns(Clock.WALL), found.total_ns(Clock.CPU)) == (1710 * MS, 190 * MS)
    assert dict(found.routes) == {"/orders/<id>": 1600 * MS}
    assert [(one.frame.name, one.own_ns, one.total_ns) for one in heaviest(found, Clock.WALL, 2)] == [
        ("Cursor.execute (psycopg/cursor.py:97)", 1400 * MS, 1400 * MS),
        ("index (shop/views.py:7)", 200 * MS, 1600 * MS),
    ]
    assert heaviest(found, Clock.CPU, 1)[0].frame.name == "index (shop/views.py:7)"


def test_the_whole_is_what_its_calls_have_and_nothing_of_stacks_that_are_not_known() -> None:
    more = samples(0, (0, 0, THREAD, 3, 30, 30), frames=[])
    more["nodes"], more["requests"] = [], []
    found = profile_of([*lines(0), more])
    assert found.samples == profile_of(lines(0)).samples == 86
    for clock in Clock:
        assert found.total_ns(clock) == sum(call.own_ns(clock) for _, call in found.root.walk())


def test_collapsed_stacks_are_those_of_other_tools() -> None:
    assert collapsed(profile_of(lines(0)), Clock.WALL, 100) == (
        "beat (shop/jobs.py:3) 5\n"
        "requests;index (shop/views.py:7) 10\n"
        "requests;index (shop/views.py:7);Cursor.execute (psycopg/cursor.py:97) 70\n"
    )
    assert collapsed(profile_of(lines(0)), Clock.CPU, 1000).splitlines() == [
        "_run_thread (miniwsgi/daemon/threads.py);_loop (miniwsgi/daemon/loop.py) 5",
        "requests;index (shop/views.py:7) 80",
        "requests;index (shop/views.py:7);Cursor.execute (psycopg/cursor.py:97) 10",
    ]


def test_lines_of_a_function_are_taken_together_if_so_asked() -> None:
    again = samples(0, (2, 1, REQUEST, 1, 10, 10), frames=[])
    again["nodes"], again["requests"] = [], []
    found = profile_of([*lines(0), again], by_function=True)
    assert "requests;index (shop/views.py) 11\n" in collapsed(found, Clock.WALL, 100)


# https://www.speedscope.app/file-format-schema.json: what it says of sampled profiles.
NUMBERS = {"type": "array", "items": {"type": "number"}}
SAMPLED = {
    "type": "object",
    "properties": {
        "type": {"enum": ["sampled"]},
        "name": {"type": "string"},
        "unit": {"enum": ["bytes", "microseconds", "milliseconds", "nanoseconds", "none", "seconds"]},
        "startValue": {"type": "number"},
        "endValue": {"type": "number"},
        "samples": {"type": "array", "items": NUMBERS},
        "weights": NUMBERS,
    },
    "required": ["endValue", "name", "samples", "startValue", "type", "unit", "weights"],
}
FRAME = {
    "type": "object",
    "properties": {
        "name": {"type": "string"}, "file": {"type": "string"}, "line": {"type": "number"}, "col": {"type": "number"}
    },
    "required": ["name"],
}  # fmt: skip
SPEEDSCOPE = {
    "type": "object",
    "properties": {
        "$schema": {"enum": ["https://www.speedscope.app/file-format-schema.json"]},
        "shared": {
            "type": "object",
            "properties": {"frames": {"type": "array", "items": FRAME}},
            "required": ["frames"],
        },
        "profiles": {"type": "array", "items": SAMPLED},
        "name": {"type": "string"},
        "activeProfileIndex": {"type": "number"},
        "exporter": {"type": "string"},
    },
    "required": ["$schema", "profiles", "shared"],
}


@pytest.mark.parametrize("clock", Clock)
def test_speedscope_gets_what_it_wants(clock: Clock) -> None:
    document = json.loads(msgspec.json.encode(speedscope(profile_of(lines(0, 1)), clock, "a profile")))
    jsonschema.validate(document, SPEEDSCOPE)
    chosen = document["profiles"][document["activeProfileIndex"]]
    assert chosen["name"] == clock.noun
    assert sum(chosen["weights"]) == chosen["endValue"] == profile_of(lines(0, 1)).total_ns(clock)
    assert len(chosen["samples"]) == len(chosen["weights"])
    names = [frame["name"] for frame in document["shared"]["frames"]]
    stacks = [[names[number] for number in stack] for stack in chosen["samples"]]
    assert ["requests", "index", "Cursor.execute"] in stacks


def test_a_flame_graph_needs_nothing_else_and_takes_no_name_for_markup() -> None:
    evil = "</script><script>alert(1)</script><!--\u2028"
    said = lines(0)
    said[2]["frames"] = [(evil, f"/srv/{evil}", 1, evil, APPLICATION), *FRAMES[1:]]
    page = flame_graph(profile_of(said), Clock.WALL, evil)
    assert page.count("</script>") == 1
    assert "<!--" not in page.replace("<!DOCTYPE", "")
    assert "\u2028" not in page
    assert not re.search(r"(?:src|href|url)\s*[=(]|https?://", page)
    (data,) = re.findall(r"const data = (.*);\n", page)
    document = json.loads(data)
    assert document["title"] == evil
    assert evil in {frame[0] for frame in document["frames"]}
    calls = document["calls"]
    assert all(caller < number for number, (caller, *_) in enumerate(calls))
    assert sum(wall for *_, wall, _cpu in calls) == 855_000


def test_the_format_is_the_files() -> None:
    assert [Format.of(name) for name in ("a.html", "a", "a.json", "a.txt")] == [
        Format.FLAME, Format.FLAME, Format.SPEEDSCOPE, Format.COLLAPSED,
    ]  # fmt: skip


# --- the command ---------------------------------------------------------------------------------------------------


def run(path: Path, said: Any, *arguments: str, command: str = "profile") -> Any:
    with FakeDaemon(path / "s", {"POST /profile": lambda _asked: said}) as daemon:
        found = daemon.run(command, *arguments)
        return found, daemon.bodies("POST", "/v1/profile")


def test_a_profile_is_written_and_summed_up(tmp_path: Path) -> None:
    file = tmp_path / "a.html"
    found, asked = run(tmp_path, lines(0, 3), "0", "3", "-d", "1", "--route", "/orders/<id>", "--file", str(file))
    assert (found.status, asked) == (
        0, [{"slots": [0, 3], "seconds": 1.0, "rate": 100.0, "route": "/orders/<id>"}],
    )  # fmt: skip
    assert found.out.splitlines()[0] == "2 workers, 1.0 s, 172 samples; 1.7 s of wall time in all threads"
    assert found.out.splitlines()[3] == "81.9%  81.9%  Cursor.execute (psycopg/cursor.py:97)"
    assert found.out.splitlines()[-1].split() == ["100%", "/orders/<id>"]
    assert "written: " in found.err
    assert "const data = {" in file.read_text("utf-8")


def test_on_a_terminal_that_shows_colours_none_of_them_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    said = lines(0)
    said[2]["frames"] = [*FRAMES[:2], ("evil\x9b2J", "/srv/a.py", 1, "a.py", APPLICATION), *FRAMES[3:]]
    with FakeDaemon(tmp_path / "s", {"POST /profile": lambda _asked: said}) as daemon:
        out = daemon.run("profile", "--file", str(tmp_path / "a.html"), terminal=True).out
    assert "\x1b[1m SELF  TOTAL  FUNCTION\x1b[0m\n" in out
    assert "\\x1b" not in out
    assert "evil\\x9b2J (a.py:1)\n" in out  # what is the application's is cleaned, once


def test_a_summary_for_programs(tmp_path: Path) -> None:
    file = str(tmp_path / "a.json")
    found, _ = run(tmp_path, lines(0), "--cpu", "--file", file, "-o", "json")
    assert (found.json["file"], found.json["clock"], found.json["samples"]) == (file, "cpu", 86)
    assert found.json["top"][0]["function"] == "index"
    refused, _ = run(tmp_path, lines(0), "--file", "-", "-o", "json")
    assert refused.status == 2


def test_what_was_seen_is_written_when_it_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_self: Client, _request: object) -> Any:
        yield from lines(0)[:3]
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "profile", interrupted)
    file = tmp_path / "a.txt"
    found, _ = run(tmp_path, [], "--file", str(file))
    assert found.status == 0
    assert "requests;index (shop/views.py:7) 10\n" in file.read_text()


def test_what_was_seen_is_written_when_the_daemon_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, said = tmp_path / "a.txt", lines(0)[:2]

    def lost(_self: Client, _request: object) -> Any:
        yield from said
        raise TransportError(Trouble.LOST)

    monkeypatch.setattr(Client, "profile", lost)
    for written in (False, True):
        found, _ = run(tmp_path, [], "--file", str(file))
        assert (found.status, file.exists(), "it stopped or died" in found.err) == (3, written, True)
        said.append(lines(0)[2])


def test_a_file_that_fails_does_not_lose_the_summary_and_one_that_is_replaced_is_named(tmp_path: Path) -> None:
    failed, _ = run(tmp_path, lines(0), "--file", "/dev/full")
    assert (failed.status, "No space left" in failed.err, "Cursor.execute" in failed.out) == (1, True, True)
    file = tmp_path / "a.txt"
    for replaced in (False, True):
        found, _ = run(tmp_path, lines(0), "--file", str(file))
        assert ("in place of what was there" in found.err) is replaced


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ({"kind": "silent", "why": "worker 3 (pid 7) does not answer: …", "stacks": 'File "a.py"'}, 0, 'File "a.py"'),
        ({"kind": "refused", "why": "there is one at a time"}, 0, "worker 3: there is one at a time"),
        ({"kind": "left", "why": "worker 3 (pid 7) has ended"}, 0, "worker 3 (pid 7) has ended"),
        ({**END, "cut_stacks": 7}, 0, "worker 3: 7 samples are shown only in part"),
        ({**END, "cut_depth": 1}, 0, "the outermost calls of 1 sample are missing"),
        ({**END, "no_clock": 2}, 0, "the CPU time of 2 threads is not known"),
    ],
)
def test_what_a_profile_does_not_show_is_said(tmp_path: Path, line: dict[str, Any], status: int, said: str) -> None:
    whole = [{"kind": "profile", "slots": [0, 3], "seconds": 1.0}, *lines(0)[1:], {"slot": 3, **line}]
    found, _ = run(tmp_path, whole, "--file", str(tmp_path / "a.html"))
    assert (found.status, said in found.err) == (status, True)


@pytest.mark.parametrize(
    ("said", "arguments", "why"),
    [
        ([{"kind": "profile", "slots": []}], (), "no worker serves"),
        ([{"kind": "profile", "slots": [0]}, {"slot": 0, "kind": "refused", "why": "no"}], (), "no worker could be"),
        ([{"kind": "profile", "slots": [0]}, samples(0)], (), "the workers were idle"),
        ([{"kind": "profile", "slots": [0]}, samples(0)], ("--route", "/x"), "running a request of the route /x"),
        (
            [{"kind": "profile", "slots": [0]}, samples(0, (4, 0, THREAD, 5, 50, 0))],
            ("--cpu",),
            "no time on the CPU was seen, though threads were at work",
        ),
    ],
)
def test_nothing_seen_is_nothing_written(tmp_path: Path, said: Any, arguments: tuple[str, ...], why: str) -> None:
    file = tmp_path / "a.html"
    found, _ = run(tmp_path, said, *arguments, "--file", str(file))
    assert (found.status, why in found.err, file.exists()) == (1, True, False)


def test_what_cannot_be_is_said_before_anybody_is_asked(tmp_path: Path) -> None:
    for arguments, status in (
        (("--file", str(tmp_path / "nowhere" / "a.html")), 1),
        (("-d", "0"), 2),
        (("-d", "soon"), 2),
        (("-d", "2h"), 2),
        (("--rate", "0"), 2),
        (("--format", "svg"), 2),
    ):
        found, asked = run(tmp_path, lines(0), *arguments)
        assert (found.status, asked) == (status, [])


# --- memory --------------------------------------------------------------------------------------------------------


def test_what_memory_holds(tmp_path: Path) -> None:
    answers = {"POST /workers/0/memory": memory(), "POST /workers/1/memory": problem(409, "worker 1: one at a time")}
    with FakeDaemon(tmp_path / "s", answers) as daemon:
        found = daemon.run("memory", "0", "--for", "1m", "--diff", "--pause", "50ms")
        as_json = daemon.run("memory", "0", "-o", "json").json
        refused = daemon.run("memory", "1")
        bodies = daemon.bodies("POST", "/v1/workers/0/memory")
    assert bodies == [
        {"seconds": 60.0, "diff": True, "pause_seconds": 0.05}, {"seconds": 0.0, "diff": False, "pause_seconds": 0.02},
    ]  # fmt: skip
    assert "Rss     34.0 MiB  +2.0 MiB  in RAM, with what it shares" in found.out
    assert "1500 objects (+250) that the collector knows (without 35000 frozen ones, from before" in found.out
    assert "  250   +249  shop.Order" in found.out
    assert "4.0 KiB      12  +2.0 KiB  /srv/shop/cart.py:17" in found.out
    assert "held the worker up for 4.0 ms at most" in found.out
    assert as_json["traced_bytes"] == 9000
    assert (refused.status, "one at a time" in refused.err) == (1, True)


def test_what_was_left_out_of_memory_is_said(tmp_path: Path) -> None:
    told = msgspec.structs.replace(memory(), objects=None, objects_grown=None, types=[], not_counted="too many objects")
    with FakeDaemon(tmp_path / "s", {"POST /workers/0/memory": told}) as daemon:
        assert "objects are not counted: too many objects (--pause allows more)" in daemon.run("memory", "0").out


def test_what_was_seen_before_the_timeout_is_written(tmp_path: Path) -> None:
    said = [json.dumps(line).encode() + b"\n" for line in lines(0)[:-1]]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(line), line) for line in said)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    found, _ = run(tmp_path, Raw(head + chunks, hold=True), "--file", str(tmp_path / "p.html"), "--timeout", "0.5")
    assert found.status == 4
    assert found.err.endswith("\nminiwsgictl: profile ended after --timeout\n")
    assert (tmp_path / "p.html").exists()
