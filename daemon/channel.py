"""Messages between master, launcher and worker: one JSON object a packet, descriptors beside it.

A SOCK_SEQPACKET socket pair keeps message boundaries, reports the peer's death as end-of-file, and carries
descriptors (SCM_RIGHTS, unix(7)). Because only the master holds the other end of a launcher's or worker's
channel, end-of-file *is* the lifeline: the master is gone; finish what runs and exit. Standard library only.

    launcher -> master
        hello {version, layout} + [stack pipe]
                                first, always; once more when it gave up preloading
        revision {revision, source}                 of what is about to be imported; null: unknown. Once more, if the
                                import has shown it to be another
        imported {preload: bool, note: str}         ready to fork; note says why "auto" fell back
        failed {phase, error, traceback}            the application did not import; the launcher exits
        forked {slot, pid} + [pidfd, control channel, stack pipe]
        fork-failed {slot, error}
        exited {slot, pid, status}                  a wait status, see os.waitstatus_to_exitcode
        hook {name, runs: bool}                     a function of app.hooks begins, or has ended
        log {level, message}                        for the error log: a launcher has none of its own
    master -> launcher
        settings {…Settings}                        the answer to each hello
        fork {slot}
        retire {}                                   fork no more; exit with the last worker
        kill {pid}                                  a worker that the master could not take over
        certificates {}                             those of a listener's TLS are new: see tls.material
    worker -> master
        logs {} + [memory]      where its lines wait to be written, see log_ring: what is left there is the master's
        ready {engine, why, python, revision} + [channel]   which engine it runs, why that one, under which
                                interpreter, and which revision of the application (null: unknown); the
                                channel, if there are hooks of a leader, is for lead and what ends it
        leader {state, error, traceback}            the answer to lead: "started" | "failed" | "late" | "stopped"
        failed {phase, error, traceback}            did not boot; exits
        hook {name, runs: bool}                     a function of app.hooks begins, or has ended
        recycle {reason}                            "requests" | "lifetime" | "rss" | "signal": wants a successor
        only-jobs {}                                drains, and waits for threads of the application alone
        timeout {thread, seconds, request}          a request exceeded request_timeout; accepts no more
        slow {request_id, method, path, status, route, trace_id, seconds, queued, cpu, left_out}
                                a request has ended that took longer than log.slow_request, or may be slow for
                                its route; left_out: so many before
                                it were not told
        child-lost {pid, how, signal, timeout: bool, running}
                                the process of a connection, in pool fork: the stacks of its crash are in the worker's
                                pipe. running: the requests that it had in hand, as of scoreboard.Running
    master -> worker
        begin {after_crash: bool}                   it is held: it may write into its slot, and boots. after_crash:
                                the slot's last worker crashed, or was killed for want of memory
        serve {}                                    the answer to ready: accept from now on
        drain {deadline, reason, empty}             accept no more, finish, exit; deadline: seconds allowed.
                                empty: descriptors of listeners that go away; accept from these until none
                                waits in their queues. Usually there are none
        lead {}                                     be the service's leader (hooks.md); on the channel of its own, on
                                which the next message, or its end, ends the lead
        closing {}                                  stop_delay runs: go on, and answer with Connection: close
        finish {deadline, accept}                   stop: as drain, but first empty the queues of listeners
                                whose descriptors are in `accept` (those that are ours, not systemd's)
        reopen {}                                   log files
        log-level {level}
        certificates {}                             as for the launcher
        stacks {}                                   write the stacks of all threads to the stack pipe, and a NUL
        inspect {order} + [pipe]                    look into this worker; what is found goes into the pipe, which it
                                closes in the end (worker/inspecting)

A stack pipe is the read end of a non-blocking pipe, to which faulthandler writes all stacks on SIGUSR2.
"""

from __future__ import annotations

import array
import json
from typing import Any

from .unpatched import os, socket

Message = dict[str, Any]

MAX_MESSAGE_BYTES = 160 * 1024  # under the kernel's default socket buffer of 208 KiB
MAX_TEXT_CHARS = 24 * 1024  # one traceback: also four bytes a character stay under the limit
MAX_DESCRIPTORS = 8


class Channel:
    """One end of a message channel.

    Blocking by default; with `setblocking(False)` `receive` raises BlockingIOError when nothing is there.
    """

    __slots__ = ("socket",)

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(left), cls(right)

    @classmethod
    def from_fd(cls, fd: int) -> Channel:
        return cls(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fd))

    def __repr__(self) -> str:
        return f"<Channel fd={self.socket.fileno()}>"

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, kind: str, fds: tuple[int, ...] = (), /, **fields: Any) -> None:
        """Send one message. Raises OSError when the peer is gone, BlockingIOError when it does not read."""
        for name, value in fields.items():
            if isinstance(value, str) and len(value) > MAX_TEXT_CHARS:
                fields[name] = value[: MAX_TEXT_CHARS // 2] + "\n[…]\n" + value[-MAX_TEXT_CHARS // 2 :]
        data = json.dumps({"kind": kind, **fields}, ensure_ascii=False).encode("utf-8", "backslashreplace")
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)

    def receive(self) -> tuple[Message, list[int]] | None:
        """The next message and the descriptors that came with it (close-on-exec); None at end-of-file."""
        space = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
        try:
            received = self.socket.recvmsg(MAX_MESSAGE_BYTES, space, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            # The peer has left without reading everything. That is told once, and before what it has said itself.
            received = self.socket.recvmsg(MAX_MESSAGE_BYTES, space, socket.MSG_CMSG_CLOEXEC)
        data, ancillary, _flags, _address = received
        fds = array.array("i")
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        if not data:
            for fd in fds:
                os.close(fd)
            return None
        message: Message = json.loads(data)
        return message, list(fds)

    def next_kind(self) -> str:
        """Of the message that `receive` would return; "" at end-of-file. Raises what that does."""
        data = self.socket.recv(MAX_MESSAGE_BYTES, socket.MSG_PEEK)
        return str(json.loads(data)["kind"]) if data else ""

    def close(self) -> None:
        self.socket.close()
