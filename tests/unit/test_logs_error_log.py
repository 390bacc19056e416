"""The error log: readable, for the journal or as JSON, and nobody but us writes a line into it."""

import json
import os
import re
import socket
import threading

import pytest
from miniwsgi.codes import Code
from miniwsgi.daemon.log.error_log import ErrorLog, Writer, detect_journal, iso_timestamp
from miniwsgi.daemon.log.ring import private_ring

from tests.support.waiting import wait_for

NOW = 1795163556.123456  # 2026-11-20T08:32:36.123Z
HEAD = "2026-11-20T08:32:36.123Z"


class Kept:
    """A writer that keeps the entries."""

    def __init__(self):
        self.entries = []
        self.notice = None

    def put(self, entry):
        assert entry.endswith(b"\n")
        self.entries.append(entry.decode())

    def flush(self, timeout):
        return True


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def make():
    def build(*args, **options):
        log = ErrorLog(*args, writer=Kept(), now=lambda: NOW, **options)
        return log, log.writer.entries

    return build


# --- text ---------------------------------------------------------------------------------------------------


def test_a_line_of_text(make):
    log, entries = make()
    log.info("listening", address="127.0.0.1:8000", workers=4, preload=True, user=None)
    assert entries == [f"{HEAD} info    master    listening address=127.0.0.1:8000 workers=4 preload=true user=-\n"]


def test_a_worker_is_named_by_its_slot(make):
    log, entries = make(source="worker", slot=3)
    log.warning(Code.INTERNAL, "slow")
    assert entries == [f"{HEAD} warning worker/3  MW2901 slow\n"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain/value:1", "plain/value:1"),
        ("two words", '"two words"'),
        ('a"b', '"a\\"b"'),
        ("a=b", '"a=b"'),
        ("a\\b", '"a\\\\b"'),
        ("", '""'),
        ("a\nb", '"a\\nb"'),
        ("a\rb", '"a\\rb"'),
        ("a\x1b[2Jb", '"a\\u001b[2Jb"'),
        ("a\x7fb\x85c\x9b", '"a\\x7fb\\x85c\\x9b"'),
        ("a\u2028b", '"a\\u2028b"'),
        ("größe", "größe"),
        ("\udc80", "\\udc80"),
        (1.5, "1.5"),
        (False, "false"),
        (b"x y", "\"b'x y'\""),
        (ValueError("no\nway"), '"no\\nway"'),
    ],
)
def test_fields_are_quoted_where_needed(make, value, shown):
    log, entries = make()
    log.error(Code.INTERNAL, "m", key=value)
    assert entries == [f"{HEAD} error   master    MW2901 m key={shown}\n"]


def test_further_lines_of_a_message_are_indented_and_fields_stay_on_the_first(make):
    log, entries = make()
    log.error(Code.INTERNAL, "Traceback:\n  File x\r\n\tValueError\n", slot=1)
    assert entries == [
        f"{HEAD} error   master    MW2901 Traceback: slot=1\n      File x\n    \tValueError\n",
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"])
def test_no_message_and_no_field_forges_an_entry(make, end):
    log, entries = make()
    forged = f"{HEAD} error   master    forged"
    log.info(f"a{end}{forged}", key=f"a{end}{forged}")
    lines = entries[0].splitlines()
    assert sum(line.startswith("2026") for line in lines) == 1
    assert all(line.startswith("    ") for line in lines[1:])


def test_what_moves_a_terminal_is_escaped_in_messages(make):
    log, entries = make()
    log.info("a\x1b]0;title\x07\x00\x9b2J")
    assert entries == [f"{HEAD} info    master    a\\x1b]0;title\\x07\\x00\\x9b2J\n"]


def test_what_cannot_be_shown_does_not_fail(make):
    class Broken:
        def __str__(self):
            raise RuntimeError("no")

    for format in ("text", "json"):
        log, entries = make(format=format)
        log.info(Broken(), key=Broken())
        log.info("\ud800")
        assert "unprintable Broken" in entries[0]
        assert len(entries) == 2


def test_fields_may_have_any_name(make):
    log, entries = make()
    log.info("m", level="x", message="y", self=1, key=2)
    log.limited_info("key", "m", key="z", level=3)
    assert entries[0].endswith("m level=x message=y self=1 key=2\n")
    assert entries[1].endswith("m key=z level=3\n")


# --- the journal --------------------------------------------------------------------------------------------


def test_each_line_for_the_journal_has_its_priority_and_no_time(make):
    log, entries = make(level="debug", journal=True, source="worker", slot=0)
    log.debug("d")
    log.info("i", a=1)
    log.warning(Code.INTERNAL, "w")
    log.error(Code.INTERNAL, "first\nsecond")
    assert entries == [
        "<7>worker/0: d\n",
        "<6>worker/0: i a=1\n",
        "<4>worker/0: MW2901 w\n",
        "<3>worker/0: MW2901 first\n<3>    second\n",
    ]


@pytest.mark.parametrize(("priority", "level"), list(enumerate(["error"] * 4 + ["warning", "info", "info", "debug"])))
def test_an_entry_that_is_passed_on_keeps_its_priority(make, priority, level):
    log, entries = make(level="debug", journal=True, source="worker", slot=0)
    log.passed_on(priority, "text")
    assert entries == [f"<{priority}>worker/0: text\n"]
    assert log.counts[level] == 1
    log.level = "warning"
    log.passed_on(priority, "text")
    assert len(entries) == 1 + (priority <= 4)


def test_json_for_the_journal_has_its_priority(make):
    log, entries = make(journal=True, format="json")
    log.error(Code.INTERNAL, "first\nsecond")
    assert entries[0].startswith("<3>{")
    assert json.loads(entries[0][3:])["message"] == "first\nsecond"


def test_the_journal_is_known_by_device_and_inode():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        status = os.fstat(ours.fileno())
        name = f"{status.st_dev}:{status.st_ino}"
        assert detect_journal(ours.fileno(), {"JOURNAL_STREAM": name})
        assert not detect_journal(theirs.fileno(), {"JOURNAL_STREAM": name})
        assert not detect_journal(ours.fileno(), {"JOURNAL_STREAM": "junk"})
        assert not detect_journal(ours.fileno(), {})
        fd = ours.fileno()
    assert not detect_journal(fd, {"JOURNAL_STREAM": name})  # closed


# --- JSON ---------------------------------------------------------------------------------------------------


def test_an_entry_in_json_is_one_line_with_everything(make):
    log, entries = make(format="json", source="worker", slot=2)
    log.error(
        Code.INTERNAL,
        'a "b"\n\x1b\u2028c',
        path="/x\ny",
        count=3,
        ratio=0.5,
        nan=float("nan"),
        ok=True,
        no=None,
        odd={1},
    )
    (entry,) = entries
    assert entry.count("\n") == 1
    assert entry.isascii()
    assert json.loads(entry) == {
        "ts": HEAD,
        "level": "error",
        "source": "worker",
        "slot": 2,
        "pid": os.getpid(),
        "code": "MW2901",
        "message": 'a "b"\n\x1b\u2028c',
        "fields": {
            "path": "/x\ny",
            "count": 3,
            "ratio": 0.5,
            "nan": "nan",
            "ok": True,
            "no": None,
            "odd": "{1}",
        },
    }


def test_json_of_the_master_has_no_slot_and_no_empty_fields(make):
    log, entries = make(format="json")
    log.info("m")
    assert set(json.loads(entries[0])) == {"ts", "level", "source", "pid", "message"}


# --- levels -------------------------------------------------------------------------------------------------


def test_levels_filter_and_count(make):
    log, entries = make(level="warning")
    log.debug("d")
    log.info("i")
    log.warning(Code.INTERNAL, "w")
    log.limited_info("k", "i")
    log.error(Code.INTERNAL, "e")
    assert [entry.split()[1] for entry in entries] == ["warning", "error"]
    assert log.counts == {"debug": 0, "info": 0, "warning": 1, "error": 1}
    log.level = "debug"
    log.debug("d")
    assert log.level == "debug"
    assert len(entries) == 3


def test_unknown_levels_and_formats_are_named(make):
    with pytest.raises(ValueError, match=r"'loud'.*debug, info, warning, error"):
        make(level="loud")
    with pytest.raises(ValueError, match=r"'xml'.*text, json"):
        make(format="xml")
    log, _ = make()
    with pytest.raises(ValueError, match="'warn'"):
        log.level = "warn"
    assert log.level == "info"


# --- limits -------------------------------------------------------------------------------------------------


def messages(entries):
    return [entry.split(maxsplit=3)[3].rstrip("\n") for entry in entries]


def test_a_noisy_class_is_cut_to_five_and_one_line_for_the_rest(make):
    clock = Clock()
    log, entries = make(clock=clock)
    for number in range(128):
        log.limited("malformed", "warning", Code.REFUSED_400, "malformed request", number=number)
    assert messages(entries) == [f"MW4400 malformed request number={number}" for number in range(5)]
    clock.now += 9.9
    log.info("other")
    assert messages(entries)[5:] == ["other"]
    clock.now += 0.2
    log.info("later")
    assert messages(entries)[6:] == ["MW4400 …and 123 more: malformed request", "later"]
    assert entries[6].split()[1] == "warning"
    log.limited("malformed", "warning", Code.REFUSED_400, "malformed request", number=128)
    assert messages(entries)[8:] == ["MW4400 malformed request number=128"]
    assert log.counts["warning"] == 129


def test_the_rest_is_told_by_flush_and_by_sweep_and_only_once(make):
    clock = Clock()
    log, entries = make(clock=clock)
    for _ in range(7):
        log.limited_info("k", "m")
    log.sweep()
    assert len(entries) == 5
    clock.now += 10.1
    log.sweep()
    log.sweep()
    assert messages(entries)[5:] == ["…and 2 more: m"]
    for _ in range(6):
        log.limited_info("k", "m")
    log.flush(0)
    log.flush(0)
    assert messages(entries)[11:] == ["…and 1 more: m"]


def test_classes_are_limited_each_for_itself(make):
    log, entries = make()
    for _ in range(8):
        log.limited_info("a", "a")
        log.limited_info("b", "b")
    assert messages(entries) == ["a", "b"] * 5


def test_however_many_classes_the_memory_is_bounded(make):
    clock = Clock()
    log, entries = make(clock=clock)
    for number in range(1000):
        log.limited_info(f"client {number}", "m")
    assert len(log._bursts) <= 257
    assert len(entries) < 270
    clock.now += 10.1
    log.sweep()
    assert not log._bursts


# --- as a whole ---------------------------------------------------------------------------------------------


def test_the_time_is_utc_to_the_millisecond():
    assert iso_timestamp(0.0) == "1970-01-01T00:00:00.000Z"
    assert iso_timestamp(NOW) == HEAD
    assert iso_timestamp(NOW + 0.9) == "2026-11-20T08:32:37.023Z"


def test_lost_lines_are_told_in_the_logs_own_format():
    reading, writing = os.pipe()
    log = ErrorLog(format="json", writer=Writer(writing, ring=private_ring(8192)))
    for number in range(3000):
        log.info("x" * 100, number=number)
    assert log.writer.lost
    received = []

    def read():
        while data := os.read(reading, 65536):
            received.append(data)

    thread = threading.Thread(target=read)
    thread.start()
    assert log.flush(20)
    assert log.writer.close(20)
    os.close(writing)
    thread.join()
    os.close(reading)
    entries = [json.loads(line) for line in b"".join(received).splitlines()]
    notices = [entry for entry in entries if "fields" not in entry]
    assert len(notices) >= 1
    told = sum(int(re.match(r"(\d+) log lines? w\w+ lost: nobody read them$", n["message"])[1]) for n in notices)
    assert told == log.writer.lost
    assert len(entries) - len(notices) + told == 3000
    assert {n["level"] for n in notices} == {"warning"}


def test_a_child_that_inherits_a_log_counts_from_zero_and_logs(tmp_path):
    log = ErrorLog(format="json", writer=Writer(str(tmp_path / "log")))
    log.error(Code.INTERNAL, "parent")
    assert log.flush(20)
    held, done = threading.Event(), threading.Event()

    def hold():
        with log._lock:
            held.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    pid = os.fork()
    if pid == 0:
        clean = log.counts["error"] == 0
        log.limited("k", "error", Code.INTERNAL, "child")
        os._exit(0 if clean and log.flush(20) else 1)
    try:
        wait_for(lambda: os.waitpid(pid, os.WNOHANG) != (0, 0), "the child's end")
    finally:
        done.set()
        holder.join()
    entries = [json.loads(line) for line in (tmp_path / "log").read_bytes().splitlines()]
    assert [(entry["message"], entry["pid"]) for entry in entries] == [("parent", os.getpid()), ("child", pid)]
    log.writer.close(20)


def test_by_default_it_writes_to_standard_error():
    assert ErrorLog().writer.fd == 2
