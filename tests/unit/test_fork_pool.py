"""Orders of events in the fork pool that no client can bring about at will."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from types import SimpleNamespace

from miniwsgi.daemon.engine.choice import choose
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.settings import Listener, Settings
from miniwsgi.daemon.worker import children
from miniwsgi.daemon.worker.context import Context
from miniwsgi.daemon.worker.pools import lingering
from miniwsgi.daemon.worker.pools.fork import ForkPool
from miniwsgi.metrics.board import Board


def test_a_new_child_that_gets_the_number_of_a_closed_socket_is_not_taken_for_ended(monkeypatch):
    """A child ends, its socket lingers in the place of the oldest, and a client comes: all in one turn."""
    board = Board.create()
    board.claim(0)
    processes: list[subprocess.Popen[bytes]] = []

    def fork() -> int:
        processes.append(subprocess.Popen(["sleep", "20"]))  # who takes it for ended waits for its end
        return processes[-1].pid

    monkeypatch.setattr(children, "fork", fork)
    monkeypatch.setattr(lingering, "MAX_LINGERING", 1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        settings = Settings(
            generation=1, listeners=(Listener(os.dup(listening.fileno()), "x", False, "127.0.0.1", "80"),), threads=2,
            scoreboard_fd=board.fd, module="x", directory="/", pool="fork",
        )  # fmt: skip
        log = ErrorLog("info", "text", False, "worker", slot=0)
        orders = SimpleNamespace(fds=list, deaf=False, reopened=0, read=lambda: None, tell=lambda *_, **__: None)
        pool = ForkPool(Context(settings, board, 0, log, None, None, choose("auto")), orders)
        (queue,) = pool._listening
        clients = [socket.create_connection(listening.getsockname()) for _ in range(2)]
        oldest, its_client = socket.socketpair()
        stale = oldest.fileno()
        holes = []
        while not holes or holes[-1] < stale:  # each number below is in use: the next to be freed is the next
            holes.append(os.dup(0))
        # poll(2) tells in the order of registration: the child, then the listener, then what lingers.
        pool._take(queue)
        (ended,) = pool._children
        assert ended > stale
        pool._listening.want(True)
        pool._poller.register(stale, select.POLLIN)
        pool._lingering.add(oldest, 1)
        its_client.send(b"x")
        processes[0].send_signal(signal.SIGTERM)
        assert select.select([ended], [], [], 60)[0]
        assert [fd for fd, _mask in pool._poller.poll(0)] == [ended, queue, stale]
        pool._turn()
        assert [child.pid for child in pool._children.values()] == [processes[1].pid]
        assert list(pool._children) == [stale]
        assert processes[1].poll() is None
        os.close(stale)  # the new child's pidfd
        for process in processes:
            process.kill()
            process.wait() if process.returncode is None else None
        for each in (*clients, its_client):
            each.close()
        for fd in holes:
            os.close(fd)
