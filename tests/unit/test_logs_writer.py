"""The log writer: nobody waits for a reader, nothing is lost unsaid, lines stay whole."""

import os
import signal
import sys
import threading
import time

import pytest
from miniwsgi.daemon.log import outlet
from miniwsgi.daemon.log import writer as log_writer
from miniwsgi.daemon.log.error_log import Writer

from tests.support.waiting import PATIENCE_SECONDS, wait_for

from .log_pipe import Reader, in_a_child, small, threads


def test_lines_arrive_in_order(log_pipe):
    reading, writing = log_pipe
    writer = Writer(writing)
    reader = Reader(reading)
    lines = [b"line %d\n" % number for number in range(3000)]
    for line in lines:
        writer.put(line)
    assert writer.flush(PATIENCE_SECONDS)
    assert reader.until(lambda data: data.count(b"\n") == 3000) == lines
    assert writer.lost == 0


@pytest.mark.parametrize("at_once", [False, True])
def test_a_stalled_reader_holds_nobody_up_and_is_told_of_the_loss(log_pipe, at_once):
    reading, writing = log_pipe
    writer = Writer(writing, ring=small(6080), at_once=at_once)
    for number in range(5000):
        writer.put(b"line %04d %s\n" % (number, b"x" * 49))
    assert writer.flush(0.05) is False
    lost = writer.lost
    assert 5000 - 64 - 95 - 64 <= lost <= 5000 - 95  # the ring, what was taken from it, and a page of pipe survive
    reader = Reader(reading)
    assert writer.flush(PATIENCE_SECONDS)
    notice = b"%d log lines were lost: nobody read them\n" % lost
    lines = reader.until(lambda data: data.count(b"\n") > 5000 - lost)
    assert lines.count(notice) == 1
    assert len(lines) - 1 + lost == 5000
    writer.put(b"afterwards\n")
    assert reader.until(lambda data: b"afterwards\n" in data)[-1] == b"afterwards\n"
    assert writer.lost == lost


def test_the_loss_is_told_where_the_lines_are_missing(log_pipe):
    reading, writing = log_pipe
    writer = Writer(writing, ring=small(4096 + 20 * 8))
    block = b"b" * 4095 + b"\n"
    writer.put(block)
    assert writer.flush(PATIENCE_SECONDS)
    writer.put(block)
    for number in range(30):
        writer.put(b"%07d\n" % number)
    assert writer.lost == 10
    reader = Reader(reading)
    assert writer.flush(PATIENCE_SECONDS)
    writer.put(b"new\n")
    lines = reader.until(lambda data: data.endswith(b"new\n"))
    kept = [b"%07d\n" % number for number in range(20)]
    assert lines == [block, block, *kept, b"10 log lines were lost: nobody read them\n", b"new\n"]


def test_one_lost_line_is_told_in_the_singular():
    assert log_writer.plain_notice(1, "nobody read them") == b"1 log line was lost: nobody read them\n"


def test_a_line_larger_than_the_ring_is_written_at_once_or_lost(log_pipe, tmp_path):
    _, writing = log_pipe
    line = b"y" * 100_000 + b"\n"
    stalled = Writer(writing, ring=small(4096))
    stalled.put(line)
    assert stalled.lost == 1
    writer = Writer(str(tmp_path / "log"), ring=small(4096))
    writer.put(line)
    assert writer.close(PATIENCE_SECONDS)
    assert (tmp_path / "log").read_bytes() == line


def test_nothing_exists_before_the_first_line(tmp_path):
    before = len(threads())
    writer = Writer(str(tmp_path / "log"))
    assert len(threads()) == before
    writer.put(b"a\n")
    assert len(threads()) == before + 1
    assert writer.stop(PATIENCE_SECONDS)
    assert len(threads()) == before
    writer.put(b"b\n")
    assert writer.close(PATIENCE_SECONDS)
    assert (tmp_path / "log").read_bytes() == b"a\nb\n"


def test_flush_waits_for_what_was_put_and_stop_ends_the_thread_of_a_lingering_writer(tmp_path):
    writer = Writer(str(tmp_path / "log"), linger_seconds=3600)
    for _ in range(10):
        writer.put(b"a\n")
        assert writer.flush(PATIENCE_SECONDS)
    writer.put(b"b\n")
    assert writer.stop(PATIENCE_SECONDS)
    assert (tmp_path / "log").read_bytes() == b"a\n" * 10 + b"b\n"


def test_a_writer_that_was_stopped_in_its_sleep_starts_again(tmp_path):
    writer = Writer(str(tmp_path / "log"))
    for _ in range(3):
        writer.put(b"line\n")
        wait_for(lambda: writer._idle)
        assert writer.stop(PATIENCE_SECONDS)
    assert (tmp_path / "log").read_bytes() == b"line\n" * 3


def test_flush_and_stop_of_an_unused_writer_are_done_at_once(tmp_path):
    writer = Writer(str(tmp_path / "log"))
    assert writer.flush(0)
    assert writer.stop(0)
    assert writer.close(0)


def test_stop_gives_up_on_a_stalled_reader(log_pipe):
    reading, writing = log_pipe
    writer = Writer(writing)
    for _ in range(100):
        writer.put(b"z" * 100 + b"\n")
    assert writer.stop(0.05) is False
    Reader(reading)
    assert writer.stop(PATIENCE_SECONDS)


def test_a_lingering_writer_writes_in_batches(tmp_path, monkeypatch):
    writes = []
    real = os.write
    monkeypatch.setattr(outlet.os, "write", lambda fd, data: writes.append(1) or real(fd, data))
    writer = Writer(str(tmp_path / "log"), linger_seconds=1.0)
    for _ in range(50):
        writer.put(b"line\n")
        time.sleep(0.0005)  # lets the thread run
    assert writer.flush(PATIENCE_SECONDS)
    assert len(writes) < 25
    assert (tmp_path / "log").read_bytes() == b"line\n" * 50
    writer.close(PATIENCE_SECONDS)


def test_a_lingering_writer_does_not_wait_for_its_queue_to_overflow(tmp_path):
    writer = Writer(str(tmp_path / "log"), ring=small(400), linger_seconds=3600)
    for _ in range(40):  # beyond the quarter and the look after it, wherever the thread's first look came
        writer.put(b"line\n")
    # What came while it wrote may linger again.
    wait_for((tmp_path / "log").read_bytes)
    assert writer.close(PATIENCE_SECONDS)
    assert (tmp_path / "log").read_bytes() == b"line\n" * 40


def test_threads_lose_nothing_and_keep_their_order(tmp_path):
    writer = Writer(str(tmp_path / "log"), ring=small(200_000))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [
            threading.Thread(target=lambda me=me: [writer.put(b"%d %d\n" % (me, n)) for n in range(2000)])
            for me in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert writer.close(PATIENCE_SECONDS)
    lines = [tuple(map(int, line.split())) for line in (tmp_path / "log").read_bytes().splitlines()]
    assert len(lines) == 8000
    for me in range(4):
        assert [n for who, n in lines if who == me] == list(range(2000))


def test_a_signal_handler_may_log_in_the_midst_of_a_line(tmp_path):
    writer = Writer(str(tmp_path / "log"), ring=small(64 << 20))
    fired = []

    def handler(*_):
        fired.append(1)
        writer.put(b"signal\n")

    def busy():
        signal.signal(signal.SIGVTALRM, handler)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0002, 0.0002)
        while len(fired) < 50:
            writer.put(b"line\n")
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        return writer.flush(PATIENCE_SECONDS)

    assert in_a_child(busy) == 0
    assert (tmp_path / "log").read_bytes().count(b"signal\n") >= 50


# --- forks --------------------------------------------------------------------------------------------------


def test_a_child_writes_its_own_lines_and_not_its_parents(log_pipe):
    reading, writing = log_pipe
    writer = Writer(writing)
    for number in range(500):
        writer.put(b"parent %d %s\n" % (number, b"p" * 40))
    assert writer.flush(0.05) is False  # queued, and the thread in the midst of a write
    pid = os.fork()
    if pid == 0:
        writer.put(b"child\n")
        os._exit(0 if writer.flush(PATIENCE_SECONDS) and writer.lost == 0 else 1)
    reader = Reader(reading)
    assert os.waitpid(pid, 0)[1] == 0
    assert writer.flush(PATIENCE_SECONDS)
    lines = reader.until(lambda data: data.count(b"\n") >= 501)
    assert lines.count(b"child\n") == 1
    assert [line for line in lines if line != b"child\n"] == [
        b"parent %d %s\n" % (number, b"p" * 40) for number in range(500)
    ]


def test_a_child_counts_its_own_losses():
    writer = Writer("/dev/full")
    writer.put(b"parent\n")
    assert writer.flush(PATIENCE_SECONDS)
    assert writer.lost == 1
    assert in_a_child(lambda: writer.lost == 0) == 0
    assert in_a_child(lambda: writer.put(b"child\n") or (writer.flush(PATIENCE_SECONDS) and writer.lost == 1)) == 0
    writer.close(PATIENCE_SECONDS)


def test_a_lock_held_at_the_fork_does_not_stay_locked_in_the_child(tmp_path):
    writer = Writer(str(tmp_path / "log"))
    held, done = threading.Event(), threading.Event()

    def hold():
        with writer._lock:
            held.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    try:
        assert in_a_child(lambda: writer.put(b"child\n") or writer.flush(PATIENCE_SECONDS)) == 0
    finally:
        done.set()
        holder.join()
    assert (tmp_path / "log").read_bytes() == b"child\n"


def test_lines_of_several_processes_do_not_mix(log_pipe):
    reading, writing = log_pipe
    reader = Reader(reading)
    children = []
    for letter in b"abcd":
        pid = os.fork()
        if pid == 0:
            writer = Writer(writing)
            for number in range(300):
                writer.put(bytes([letter]) * (1 + number * 7) + b"\n")
            os._exit(0 if writer.flush(PATIENCE_SECONDS) else 1)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    lines = reader.until(lambda data: data.count(b"\n") >= 1200)
    assert len(lines) == 1200
    assert all(len(set(line.rstrip(b"\n"))) == 1 for line in lines)


def test_an_entry_beyond_pipe_buf_is_split_between_its_lines(log_pipe, monkeypatch):
    reading, writing = log_pipe
    pieces = []
    real = os.write
    monkeypatch.setattr(outlet.os, "write", lambda fd, data: pieces.append(bytes(data)) or real(fd, data))
    Reader(reading)
    writer = Writer(writing)
    writer.put(b"".join(b"frame %d\n" % number for number in range(2000)))
    assert writer.flush(PATIENCE_SECONDS)
    assert len(pieces) > 2
    assert all(piece.endswith(b"\n") and len(piece) <= 4096 for piece in pieces)
