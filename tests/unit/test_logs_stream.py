"""wsgi.errors and a worker's sys.stderr: what programs write becomes entries of the error log."""

import contextlib
import faulthandler
import io
import logging
import os
import signal
import subprocess
import sys
import threading
import traceback

import pytest
from miniwsgi.daemon.log.error_stream import ErrorStream


class Log:
    def __init__(self):
        self.entries = []
        self.levels = []

    def said(self, level, message):
        self.entries.append(message)
        self.levels.append(level)

    def passed_on(self, priority, message):
        self.said(priority, message)


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def stream(log):
    return ErrorStream(log)


def test_lines_become_entries_and_the_rest_waits_for_its_newline(log, stream):
    assert stream.write("one\ntwo\nthr") == 11
    assert log.entries == ["one", "two"]
    stream.write("ee\r\n")
    assert log.entries == ["one", "two", "three"]
    stream.write("four")
    stream.flush()
    stream.flush()
    assert log.entries == ["one", "two", "three", "four"]


def test_empty_lines_are_no_entries(log, stream):
    stream.write("\n\n  \na\n\n")
    assert log.entries == ["a"]


def test_writelines_and_print(log, stream):
    stream.writelines(["a\n", "b", "c\n"])
    print("x", 1, file=stream)
    print("y", end="", file=stream, flush=True)
    assert log.entries == ["a", "bc", "x 1", "y"]


def test_only_text_is_taken(stream):
    with pytest.raises(TypeError, match="not bytes"):
        stream.write(b"bytes")


def test_an_endless_line_is_logged_in_pieces(log, stream):
    for _ in range(200):
        stream.write("x" * 1000)
    stream.flush()
    assert sum(map(len, log.entries)) == 200_000
    assert max(map(len, log.entries)) <= 66_000


def test_it_is_a_text_stream_that_programs_expect(stream):
    assert isinstance(stream, io.TextIOBase)
    assert stream.writable()
    assert not stream.readable()
    assert not stream.seekable()
    assert not stream.isatty()
    assert not stream.closed
    assert (stream.encoding, stream.errors) == ("utf-8", "backslashreplace")
    stream.reconfigure(line_buffering=True)


def test_closing_logs_what_waits_and_leaves_it_usable(log, stream):
    stream.write("partial")
    stream.close()
    assert log.entries == ["partial"]
    stream.write("more\n")
    assert log.entries == ["partial", "more"]


def test_logging_writes_through_it(log, stream):
    handler = logging.StreamHandler(stream)
    record = logging.LogRecord("app", logging.ERROR, "x.py", 1, "it %s", ("failed",), None)
    handler.handle(record)
    assert log.entries == ["it failed"]


def test_as_standard_error_it_takes_tracebacks_and_prints(log, stream):
    with contextlib.redirect_stderr(stream):
        try:
            raise KeyError("gone")
        except KeyError:
            traceback.print_exc()
        print("end", file=sys.stderr)
    assert log.entries[0] == "Traceback (most recent call last):"
    assert "KeyError: 'gone'" in log.entries
    assert log.entries[-1] == "end"


def fail():
    try:
        raise KeyError("a\nb")
    except KeyError as error:
        raise ValueError("gone") from error


def test_it_is_of_the_configured_level_unless_it_is_a_traceback(log, stream):
    logger = logging.Logger("app")
    logger.addHandler(logging.StreamHandler(stream))
    logger.warning("INFO:root:all is well")
    assert log.levels == ["info"]
    try:
        fail()
    except ValueError:
        logger.exception("it failed")  # one write: all of it is about the failure
        assert set(log.levels[1:]) == {"error"}
        assert log.entries[1] == "it failed"
        log.levels.clear()
        traceback.print_exc(file=stream)  # line by line
        assert set(log.levels) == {"error"}
    print("all is well again", file=stream)
    assert log.levels[-1] == "info"
    assert ErrorStream(log, "warning").write("x\n")
    assert log.levels[-1] == "warning"


def test_a_traceback_of_a_group_ends_where_it_is_indented_no_more(log, stream):
    try:
        raise ExceptionGroup("some", [ValueError("one"), KeyError("two")])
    except ExceptionGroup:
        traceback.print_exc(file=stream)
    assert set(log.levels) == {"error"}
    stream.write("well\n")
    assert log.levels[-1] == "info"


def test_threads_have_tracebacks_of_their_own(log, stream):
    stream.write("Traceback (most recent call last):\n")
    thread = threading.Thread(target=lambda: stream.write("of another\n"))
    thread.start()
    thread.join()
    stream.write("  File x\nKeyError: 1\n")
    stream.write("well\n")
    assert log.levels == ["error", "info", "error", "error", "info"]


def test_a_line_may_say_its_priority(log, stream):
    stream.write("<3>bad\n<7>detail\n<8>no priority\n<5> note\n")
    assert list(zip(log.levels, log.entries, strict=True)) == [
        (3, "bad"), (7, "detail"), ("info", "<8>no priority"), (5, " note"),
    ]  # fmt: skip


def test_bytes_are_taken_by_its_buffer(log, stream):
    assert stream.buffer.write("grün\n".encode()) == 6
    stream.buffer.write(b"\xff")
    stream.buffer.flush()
    assert log.entries == ["grün", "\\xff"]


def test_without_a_descriptor_it_says_so(stream):
    with pytest.raises(io.UnsupportedOperation):
        stream.fileno()


def test_with_a_descriptor_faulthandler_and_subprocesses_write_to_it(log, tmp_path):
    with open(tmp_path / "stderr", "w+b") as file:
        stream = ErrorStream(log, fileno=file.fileno())
        faulthandler.register(signal.SIGUSR2, file=stream)
        try:
            os.kill(os.getpid(), signal.SIGUSR2)
        finally:
            faulthandler.unregister(signal.SIGUSR2)
        subprocess.run([sys.executable, "-c", "import sys; sys.exit('child')"], stderr=stream, check=False)
        file.seek(0)
        text = file.read()
    assert b"most recent call first" in text
    assert b"child\n" in text
    assert log.entries == []


def test_unfinished_lines_of_threads_do_not_mix(log, stream):
    barrier = threading.Barrier(4)

    def work(me):
        for number in range(200):
            barrier.wait()
            print(me, number, me, file=stream)  # print writes piece by piece

    threads = [threading.Thread(target=work, args=(f"t{me}",)) for me in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert sorted(log.entries) == sorted(f"t{me} {n} t{me}" for me in range(4) for n in range(200))


def test_a_flush_leaves_other_threads_lines_alone_and_close_takes_them_all(log, stream):
    stream.write("main ")
    thread = threading.Thread(target=lambda: (stream.write("other"), stream.flush(), stream.write("rest")))
    thread.start()
    thread.join()
    assert log.entries == ["other"]
    stream.close()
    assert sorted(log.entries) == ["main ", "other", "rest"]


def test_a_child_does_not_repeat_its_parents_unfinished_line(log, stream):
    stream.write("parent")
    pid = os.fork()
    if pid == 0:
        stream.write("child\n")
        os._exit(0 if log.entries == ["child"] else 1)
    assert os.waitpid(pid, 0)[1] == 0
    stream.flush()
    assert log.entries == ["parent"]
