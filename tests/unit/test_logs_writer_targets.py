"""The log writer: targets that fail, files that are opened again."""

import errno
import os
import stat

import pytest
from miniwsgi.daemon.log import outlet
from miniwsgi.daemon.log import writer as log_writer
from miniwsgi.daemon.log.error_log import Writer

from tests.support.waiting import PATIENCE_SECONDS

from .log_pipe import Reader

# --- targets that fail --------------------------------------------------------------------------------------


def test_a_reader_that_is_gone_costs_lines_and_nothing_else(log_pipe):
    reading, writing = log_pipe
    writer = Writer(writing)  # it has a descriptor of its own: not by the number of the one that is closed
    os.close(reading)
    for _ in range(10):
        writer.put(b"nobody\n")
    assert writer.flush(PATIENCE_SECONDS)
    assert writer.lost == 10


def test_a_closed_descriptor_costs_lines_and_nothing_else():
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    writer = Writer(writing)
    writer.put(b"nowhere\n")
    assert writer.flush(PATIENCE_SECONDS)
    assert writer.lost == 1


def test_a_full_disk_is_not_retried_in_a_loop(monkeypatch):
    writes = []
    real = os.write
    monkeypatch.setattr(outlet.os, "write", lambda fd, data: writes.append(1) or real(fd, data))
    writer = Writer("/dev/full")
    for _ in range(20):
        writer.put(b"line\n")
        assert writer.flush(PATIENCE_SECONDS)
    assert writer.lost == 20
    assert len(writes) == 20
    writer.close(PATIENCE_SECONDS)


def test_after_a_full_disk_the_torn_line_is_ended_and_the_reason_is_told(tmp_path, monkeypatch):
    real = os.write
    space = [14]  # bytes until the disk is full: two and a half lines

    def write(fd, data):
        if not space[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = real(fd, data[: space[0]])
        space[0] -= count
        return count

    monkeypatch.setattr(outlet.os, "write", write)
    writer = Writer(str(tmp_path / "log"), linger_seconds=0.05)
    for number in range(5):
        writer.put(b"full%d\n" % number)
    assert writer.flush(PATIENCE_SECONDS)
    assert writer.lost == 3
    space[0] = 10_000
    writer.put(b"again\n")
    assert writer.flush(PATIENCE_SECONDS)
    assert (tmp_path / "log").read_text() == (
        "full0\nfull1\nfu\nagain\n3 log lines were lost: No space left on device\n"
    )
    writer.close(PATIENCE_SECONDS)


def test_a_pipe_that_others_made_non_blocking_loses_nothing(log_pipe):
    reading, writing = log_pipe
    os.set_blocking(writing, False)
    writer = Writer(writing)
    for number in range(1000):
        writer.put(b"%04d %s\n" % (number, b"n" * 60))
    assert writer.flush(0.05) is False
    reader = Reader(reading)
    assert writer.flush(PATIENCE_SECONDS)
    lines = reader.until(lambda data: data.count(b"\n") == 1000)
    assert [int(line[:4]) for line in lines] == list(range(1000))
    assert writer.lost == 0


def test_a_thread_that_cannot_start_is_tried_again_with_the_next_line(tmp_path, monkeypatch):
    writer = Writer(str(tmp_path / "log"))

    def refuse(*_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(log_writer, "start_thread", refuse)
        writer.put(b"a\n")
        assert writer.flush(0) is False
    writer.put(b"b\n")
    assert writer.close(PATIENCE_SECONDS)
    assert (tmp_path / "log").read_bytes() == b"a\nb\n"


# --- files --------------------------------------------------------------------------------------------------


def test_a_file_is_appended_to_and_is_not_for_others(tmp_path):
    path = tmp_path / "log"
    umask = os.umask(0)
    try:
        writer = Writer(str(path))
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert not os.get_inheritable(writer.fd)
    path.write_bytes(b"by another\n")
    writer.put(b"ours\n")
    assert writer.close(PATIENCE_SECONDS)
    assert path.read_bytes() == b"by another\nours\n"


def test_reopen_goes_on_in_a_new_file(tmp_path):
    path = tmp_path / "log"
    writer = Writer(str(path))
    writer.put(b"old\n")
    assert writer.flush(PATIENCE_SECONDS)
    path.rename(tmp_path / "log.1")
    fd = writer.fd
    writer.reopen()
    assert writer.fd == fd
    assert not os.get_inheritable(fd)
    writer.put(b"new\n")
    assert writer.close(PATIENCE_SECONDS)
    assert (tmp_path / "log.1").read_bytes() == b"old\n"
    assert path.read_bytes() == b"new\n"


def test_reopen_means_the_same_file_in_another_directory(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    writer = Writer("log")
    monkeypatch.chdir(tmp_path / "b")
    writer.reopen()
    writer.put(b"line\n")
    assert writer.close(PATIENCE_SECONDS)
    assert (tmp_path / "a" / "log").read_bytes() == b"line\n"


def test_reopen_of_a_descriptor_changes_nothing(log_pipe):
    _, writing = log_pipe
    writer = Writer(writing)
    writer.reopen()
    assert writer.fd == writing


def test_a_reopen_that_fails_says_so_and_keeps_the_old_file(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    writer = Writer(str(folder / "log"))
    folder.rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError, match="logs/log"):
        writer.reopen()
    writer.put(b"still\n")
    assert writer.close(PATIENCE_SECONDS)
    assert (tmp_path / "moved" / "log").read_bytes() == b"still\n"


def test_a_path_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        Writer(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="nowhere/log"):
        Writer(str(tmp_path / "nowhere" / "log"))


def test_a_fifo_without_a_reader_is_an_error_and_not_a_hang(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(OSError, match="fifo") as caught:
        Writer(str(path))
    assert caught.value.errno == errno.ENXIO
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        writer = Writer(str(path))
        assert os.get_blocking(writer.fd)
        writer.put(b"line\n")
        assert writer.close(PATIENCE_SECONDS)
        assert os.read(reading, 100) == b"line\n"
    finally:
        os.close(reading)


def test_its_repr_tells_an_operator_how_it_is(log_pipe):
    _, writing = log_pipe
    assert repr(Writer(writing)) == f"<Writer fd {writing} absent waiting=0 lost=0>"
