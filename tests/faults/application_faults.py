"""What an application does to its server, and what that may cost: the table of faults from within."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from tests.support.effort import effort
from tests.support.waiting import PATIENCE_SECONDS

from .stage import THREADS, WORKERS, Do, Expected, Fault, Stage

NOISE_MIB = effort(20, 1024)
BODY = b"b" * 400_000  # more than body_memory: it lies in a file
STREAM_BYTES = 20 << 20
LEAKS = 4  # requests until a process is beyond max_rss
REQUEST_TIMEOUT = "request = 4"
MAX_RSS = "[recycle]\nmax_rss = '150 MiB'"


IN_WORKERS = ("epoll-1", "epoll", "prefork")  # pools whose workers run the application themselves


def asked(name: str, answer: int, body: bytes = b"") -> Do:
    """Ask for a harm once; `answer` is the status that must come, 0 when the connection ends without one."""

    def do(stage: Stage) -> None:
        status, text = stage.ask(f"/{name}", body)
        assert status == answer, f"/{name} was answered {status} {text}"

    return do


def kills(name: str, title: str, log: str, in_fork: str, *short: str) -> Fault:
    """The process ends at once: a worker, or in pool fork only that of a connection."""
    ended = rf"worker \d \(pid \d+\) {log} while it ran .*; the next one in"
    expected = Expected(kills=1, reason="crash", log=(ended,), status="502")
    there = Expected(log=(f"the process of a connection {in_fork}.*{name}",))
    return Fault(name, title, asked(name, 0), expected, {"fork": there}, short=short)


def raises(name: str, error: str, *short: str) -> Fault:
    """The request is answered 500, and that is all."""
    expected = Expected(log=(f"the application raised {error} before its response",), errors=1, status="500")
    return Fault(name, f"raises {error}", asked(name, 500), expected, short=short)


def times_out(name: str, title: str, *short: str) -> Fault:
    """The request exceeds request_timeout: 504, and its process is replaced."""
    log = ("runs for .* s \\(timeouts.request\\)", rf"in {name}")
    expected = Expected(kills=1, reason="timeout", log=log, status="504")
    there = Expected(log=("timeouts.request",), status="504")
    return Fault(name, title, asked(name, 504), expected, {"fork": there}, REQUEST_TIMEOUT, short)


def wedges(name: str, title: str, *short: str) -> Fault:
    """Nothing in the process can run: the loop stands still, and the master sees it."""
    log = ("is wedged: its loop has not turned", rf"in {name}")
    expected = Expected(kills=1, reason="wedge", log=log, status="504")
    return Fault(name, title, asked(name, 0), expected, short=short, pools=IN_WORKERS)


def outstays(name: str, title: str, *short: str) -> Fault:
    """The same in pool fork, where nobody else waits for that process: it is ended some time after request_timeout."""
    expected = Expected(log=(f"the process of a connection was ended by SIGKILL.*{name}",), status="502")
    return Fault(name, title, asked(name, 0), expected, {"fork": expected}, REQUEST_TIMEOUT, short, pools=("fork",))


def breaks(name: str, title: str, expected: Expected, *short: str, **instead: Expected) -> Fault:
    """What the server needs is taken from it while it answers; its own process ends, sooner or later."""

    def do(stage: Stage) -> None:
        stage.ask(f"/{name}")  # with or without an answer

    return Fault(name, title, do, expected, {"fork": Expected(), **instead}, short=short)


def harmless(name: str, title: str, *short: str, body: bytes = b"") -> Fault:
    return Fault(name, title, asked(name, 200, body), short=short)


# --- those that take more than one request ---------------------------------------------------------------------------


def leak(stage: Stage) -> None:
    """In one worker only, so that one is replaced."""
    if stage.pool == "fork":
        for _ in range(LEAKS):
            assert stage.ask("/leak")[0] == 200
        return
    victim = stage.workers()[0]
    stage.wait_for(lambda: stage.ask(f"/leak?pid={victim}")[0] == 200 and stage.exits()["rss"], "a replacement")


def deadlock_everybody(stage: Stage) -> None:
    """As many requests as there are threads."""
    threads = THREADS if stage.pool in {"epoll", "fork"} else 1
    with contextlib.ExitStack() as stack:
        request = b"GET /deadlock HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        clients = [stack.enter_context(stage.client(request)) for _ in range(threads * WORKERS)]
        answers = [read_to_the_end(client) for client in clients]
    assert any(answer.startswith(b"HTTP/1.1 504 ") for answer in answers), answers


def read_a_while(stage: Stage) -> None:
    """A client that reads a stream without an end, and has enough of it."""
    with stage.client(b"GET /yield_for_ever HTTP/1.1\r\nHost: x\r\n\r\n") as sock:
        left = STREAM_BYTES
        while left > 0:
            data = sock.recv(1 << 20)
            assert data, "the stream has ended"
            left -= len(data)


def read_for_ever(stage: Stage) -> None:
    """A client that reads until the server ends it."""
    with stage.client(b"GET /trickle_for_ever HTTP/1.1\r\nHost: x\r\n\r\n") as sock:
        assert not read_to_the_end(sock).endswith(b"0\r\n\r\n"), "cut off, and not for a whole response"


def outlive(stage: Stage) -> None:
    """A child that ends some time after its request; meanwhile everybody is served."""
    end = stage.directory / "end"
    status, text = stage.ask(f"/fork_and_outlive?until={end}")
    assert status == 200
    child = Path(f"/proc/{text.split()[2]}")
    stage.load.wait_for_more(20)
    assert child.exists()
    end.touch()
    stage.wait_for(lambda: not (child / "cwd").exists(), "the end of the child")  # perhaps a zombie: of the application


def stay(stage: Stage) -> None:
    """A child that does not end by itself."""
    assert stage.ask(f"/fork_and_outlive?until={stage.directory / 'never'}")[0] == 200


def one_answer(name: str) -> Do:
    """Whatever the child does, the client gets one answer, and it is the parent's."""

    def do(stage: Stage) -> None:
        with stage.client(f"GET /{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()) as sock:
            answer = read_to_the_end(sock)
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        assert answer.count(b"HTTP/1.1 ") == 1, answer
        assert b"child" not in answer, answer

    return do


def read_to_the_end(sock: socket.socket) -> bytes:
    sock.settimeout(PATIENCE_SECONDS)
    try:
        return b"".join(iter(lambda: sock.recv(65536), b""))
    except ConnectionResetError:
        return b""


# --- all of them -----------------------------------------------------------------------------------------------------

BAD_DESCRIPTOR = Expected(kills=1, reason="crash", log=("Bad file descriptor|non-socket|closed epoll",))
DEAF = Expected(kills=1, reason="crash", log=("the master's orders and runs on|the master cannot be heard",))
CAME_BACK = Expected(
    log=("a process that the application forked .*came back into the server: it is ended",), unreaped=1
)
UNREAPED = Expected(unreaped=1)

FAULTS = (
    kills("exit_at_once", "os._exit", "exited with status 7", "ended with status 7", "epoll"),
    kills("crash_in_c", "a null pointer in C", "was killed by SIGSEGV", "was ended by SIGSEGV", "fork"),
    kills("abort", "os.abort", "was killed by SIGABRT", "was ended by SIGABRT"),
    raises("sys_exit", "SystemExit", "epoll-1"),
    raises("raise_base_exception", "BaseException"),
    raises("raise_keyboard_interrupt", "KeyboardInterrupt"),
    raises("raise_generator_exit", "GeneratorExit"),
    times_out("deadlock", "waits for a lock that nobody releases", "prefork"),
    Fault(
        "deadlock_everybody",
        "all threads of all workers wait for that lock",
        deadlock_everybody,
        Expected(kills=WORKERS, reason="timeout", log=("timeouts.request",)),
        {"fork": Expected(log=("timeouts.request",))},
        REQUEST_TIMEOUT,
        short=(),
    ),
    times_out("spin", "while True: pass"),
    wedges("deadlock_in_c", "waits in C for a lock that nobody releases, with the interpreter's", "epoll"),
    wedges("regular_expression", "a regular expression that takes hours, in C"),
    wedges("power", "3 to the power of 10 thousand millions, in C"),
    outstays("regular_expression", "a regular expression that takes hours, in C"),
    Fault("yield_for_ever", "yields for ever; the client has enough after a while", read_a_while, short=("epoll-1",)),
    Fault(
        "trickle_for_ever",
        "yields for ever, slowly; the client takes it",
        read_for_ever,
        Expected(kills=1, reason="timeout", log=("timeouts.request",)),
        {"fork": Expected()},
        REQUEST_TIMEOUT,
        short=(),
    ),
    Fault(
        "leak",
        "leaks memory up to max_rss",
        leak,
        Expected(recycled=1, reason="rss", log=("it has reached recycle.max_rss",)),
        {"fork": Expected()},  # what a connection's process has leaked goes with the connection
        MAX_RSS,
        short=("epoll",),
    ),
    Fault(
        "stderr",
        f"writes {NOISE_MIB} MiB to sys.stderr",
        asked(f"stderr?mib={NOISE_MIB}", 200),
        short=("epoll-1",),
    ),
    Fault("stderr_raw", f"writes {NOISE_MIB} MiB to descriptor 2", asked(f"stderr_raw?mib={NOISE_MIB}", 200)),
    Fault("fork_and_outlive", "forks a child that goes on for a while", outlive, UNREAPED, short=("epoll",)),
    Fault("fork_and_stay", "forks a child that never ends", stay, Expected(children=1), short=("prefork",)),
    Fault(
        "fork_and_return",
        "forks; the child returns into the server",
        one_answer("fork_and_return"),
        CAME_BACK,
        short=("epoll",),
    ),
    Fault("fork_and_raise", "forks; the child raises", one_answer("fork_and_raise"), CAME_BACK),
    Fault(
        "fork_and_sys_exit",
        "forks; the child calls sys.exit",
        one_answer("fork_and_sys_exit"),
        UNREAPED,
        short=("epoll-1",),
    ),
    Fault("fork_in_a_stream", "forks between two parts of a body", one_answer("fork_in_a_stream"), CAME_BACK, short=()),
    harmless("fork_with_multiprocessing", "runs a process of multiprocessing"),
    breaks("close_everything", "closes descriptors 3 to 1023", BAD_DESCRIPTOR, "epoll"),
    breaks("close_listeners", "closes the listener", BAD_DESCRIPTOR, "prefork"),
    breaks("close_epoll", "closes the epoll", BAD_DESCRIPTOR, "epoll-1", prefork=Expected()),
    breaks("close_unix_sockets", "closes the master's channel", DEAF, "epoll"),
    breaks("close_scoreboard", "closes the scoreboard", Expected()),
    breaks("close_standard_streams", "closes descriptors 0, 1 and 2", Expected(), "prefork"),
    harmless("change_signals", "ignores signals and takes set_wakeup_fd", "prefork"),
    harmless("change_surroundings", "changes directory, umask, environ, sys.path", "epoll-1"),
    breaks("limit_recursion", "sets the recursion limit to what it needs itself", Expected(perhaps=1), "epoll"),
    harmless("replace_streams", "replaces sys.stdout and sys.stderr", "fork"),
    breaks("stop_the_clock", "replaces time.time, monotonic and monotonic_ns", Expected(perhaps=1), "prefork"),
    breaks("patch_sockets", "replaces socket.socket, so that no connection is accepted", Expected(perhaps=1), "epoll"),
    harmless("ignore_body", "never reads the body", "epoll", body=BODY),
    harmless("read_beyond", "reads beyond the body", "prefork", body=BODY),
)
