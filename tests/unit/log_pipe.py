"""What tests of the log's writer write to: a pipe that is soon full, its reader, children."""

import contextlib
import fcntl
import os
import signal
import threading

import pytest
from miniwsgi.daemon.log import fork_reset
from miniwsgi.daemon.log import writer as log_writer
from miniwsgi.daemon.log.error_log import Writer
from miniwsgi.daemon.log.ring import HEADER_BYTES, private_ring

from tests.support.waiting import PATIENCE_SECONDS, wait_for


@pytest.fixture
def log_pipe():
    """A pipe of one page, so that it is full soon: its read end and its write end."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    yield reading, writing
    # What a writer still holds fails now, instead of ending up in another test's descriptor.
    with contextlib.suppress(OSError):
        os.close(reading)
    for writer in list(fork_reset._objects):
        if isinstance(writer, Writer) and writer.fd == writing:
            assert writer.stop(PATIENCE_SECONDS)
    os.close(writing)


class Reader:
    """Reads a descriptor to its end in a thread; `until` waits for what it is to have read."""

    def __init__(self, fd):
        self.file = open(os.dup(fd), "rb", buffering=0)
        self.data = b""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        with self.file:
            while data := self.file.read(65536):
                self.data += data

    def until(self, condition):
        wait_for(lambda: condition(self.data))
        return self.data.splitlines(keepends=True)


def in_a_child(action):
    """Run `action` in a forked child and return its exit status: 0 if it returned true, killed if it hangs."""
    pid = os.fork()
    if pid == 0:
        status = 2
        try:
            signal.alarm(int(PATIENCE_SECONDS))
            status = 0 if action() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def small(size):
    """A ring of so many bytes."""
    return private_ring(HEADER_BYTES + size)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == log_writer.THREAD_NAME]
