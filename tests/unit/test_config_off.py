"""Every key against the values that people write to turn something off, and what then is really off."""

from __future__ import annotations

import time
from typing import Any

import pytest
from miniwsgi.daemon.config import load, worker_settings
from miniwsgi.daemon.config.configuration import NOWHERE
from miniwsgi.daemon.config.keys import KEYS
from miniwsgi.daemon.config.kinds import MismatchError
from miniwsgi.daemon.engine.choice import choose
from miniwsgi.daemon.engine.progress import Progress
from miniwsgi.daemon.http.connection import Connection
from miniwsgi.daemon.http.errors import ProtocolError
from miniwsgi.daemon.http.response import ServerFields, refusal
from miniwsgi.daemon.log.error_log import ErrorLog
from miniwsgi.daemon.master.running.watch import Watch
from miniwsgi.daemon.worker.context import Context, Duty
from miniwsgi.daemon.worker.recycling import Recycling
from miniwsgi.metrics.board import Board
from miniwsgi.metrics.scoreboard import HEARTBEAT

from tests.conformance.case import chunked, get

SAID = ("off", "OFF", " off ", False, "false", 0, "0", "")

# What can be off, and the value that the program then sees.
OFF: dict[str, Any] = {
    "app.boot_check": "",
    "app.hooks": "",
    "app.revision": "",
    "server.pid_file": "",
    "server.server_header": "",
    "server.request_id_header": "",
    "server.spool_directory": "",
    "proxy.hops": 0,
    "proxy.client_field": "",
    "proxy.scheme_field": "",
    "proxy.host_field": "",
    "proxy.port_field": "",
    "proxy.prefix_field": "",
    "limits.body_max": 0,
    "limits.in_flight": 0,
    "limits.sockets": 0,
    "timeouts.minimum_rate": 0,
    "timeouts.keep_alive": 0,
    "timeouts.request": 0,
    "timeouts.wedge": 0,
    "recycle.max_requests": 0,
    "recycle.max_lifetime": 0,
    "recycle.max_rss": 0,
    "log.access_log": "",
    "log.slow_request": 0,
    "log.access_slow": 0,
    "control.socket": "",
    "control.state_directory": "",
    "metrics.bind": NOWHERE,
    "metrics.token_file": "",
    "metrics.routes": (),
}
# What cannot, but has a meaning for 0, for "" or for false. All other values are refused.
NUMBERS = {"server.surge", "server.stop_delay", "limits.body_memory", "timeouts.graceful", "timeouts.drain_idle",
           "timeouts.sockets", "recycle.max_requests_jitter"}  # fmt: skip
ACCOUNTS = {"server.user", "server.group", "server.socket_owner", "server.socket_group", "control.group"}
SWITCHES = {"server.reload_on_change", "server.script_name_stripped", "proxy.prefix_stripped", "control.required",
            "metrics.application", "metrics.fine_buckets"}  # fmt: skip
GRANTS = {"control.read", "control.operate", "control.admin"}  # 0 is root
MEANINGS: dict[str, dict[Any, Any]] = {
    **{path: {0: 0} for path in NUMBERS},
    **{path: {0: "0", "0": "0", "": ""} for path in ACCOUNTS},
    **{path: {False: False} for path in SWITCHES},
    **{path: {"0": ("0",), "false": ("false",)} for path in GRANTS},  # names, however odd
    "app.preload": {False: "false", "false": "false"},
    "server.umask": {"": None, "0": 0},
    "server.socket_mode": {"0": 0},
    "control.mode": {"0": 0},
    "server.script_name": {"": ""},
}
SIZES = {
    "limits.body_memory",
    "server.stop_delay",
    "timeouts.graceful",
    "timeouts.drain_idle",
    "timeouts.sockets",
}  # "0" is one
NAMES = {"app.module", "app.factory"}  # any text is one: importing it decides
FORMATS = {"log.access_log_format"}  # "false" is a text that can be written


@pytest.mark.parametrize("path", [path for path in KEYS if path not in NAMES])
def test_what_off_and_nothing_mean_to_each_key(path: str, tmp_path: Any) -> None:
    kind = KEYS[path].kind
    for said in SAID:
        meanings = [(key, value) for key, value in MEANINGS.get(path, {}).items() if key == said and
                    type(key) is type(said)]  # fmt: skip
        if path in SIZES and said == "0":
            meanings = [("0", 0)]
        if path in FORMATS and said in ("false", "0"):
            continue
        if path in OFF:
            assert kind.parse(said, str(tmp_path)) == OFF[path], said
        elif meanings:
            assert kind.parse(said, str(tmp_path)) == meanings[0][1], said
        else:
            with pytest.raises(MismatchError) as caught:
                kind.parse(said, str(tmp_path))
            assert caught.value.expected


def test_the_table_names_keys_that_there_are() -> None:
    assert (OFF.keys() | MEANINGS.keys() | NAMES | FORMATS) <= KEYS.keys()


@pytest.mark.parametrize(("path", "told"), [("log.file", "it cannot be off"), ("control.read", "for nobody"),
                                            ("log.access_log_format", "log.access_log")])  # fmt: skip
def test_what_would_be_a_file_or_a_name_called_off_is_refused_with_the_remedy(path: str, told: str) -> None:
    with pytest.raises(MismatchError) as caught:
        KEYS[path].kind.parse("off", "/")
    assert told in str([caught.value.expected, *caught.value.items])


@pytest.mark.parametrize("path", OFF)
def test_a_flag_and_a_variable_say_it_too(path: str) -> None:
    section, _, name = path.partition(".")
    for said in ("off", "0", "false", ""):
        flag = load(None, {"app.module": "x", path: said}, {})
        variable = load(None, {"app.module": "x"}, {f"MINIWSGI_{section}_{name}".upper(): said})
        assert getattr(getattr(flag, section), name) == getattr(getattr(variable, section), name) == OFF[path]


# --- what then is off ---


def context(**flags: str) -> Context:
    settings = worker_settings(
        load(None, {"app.module": "x", **{name.replace("__", "."): value for name, value in flags.items()}}, {}),
        generation=1,
        listeners=(),
        scoreboard_fd=-1,
    )
    return Context(settings, Board.create(), 0, ErrorLog(), None, lambda environ, start: [], choose("auto"))


def test_a_body_without_a_limit() -> None:
    limits = context(limits__body_max="off").site.limits
    for start in (get(b"/", b"Content-Length: " + b"9" * 18, method=b"POST"), chunked(b"ffffffffffff\r\n")):
        connection = Connection(limits)
        assert not connection.receive(start)
        with pytest.raises(ProtocolError, match="413"):
            Connection(context().site.limits).receive(start)


def test_a_rate_that_is_off_lets_a_client_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        try:
            while True:
                near.send(b"x" * 65536)
        except BlockingIOError:
            pass
        settings = context(timeouts__minimum_rate="0").settings._replace(send_timeout=0.001)
        Progress(near, settings).wait()  # it would raise NotRead


def test_keep_alive_that_is_off_closes_each_connection() -> None:
    assert context(timeouts__keep_alive="off").duty is Duty.CLOSING
    assert context().duty is Duty.SERVE


def test_a_worker_is_never_wedged() -> None:
    board = Board.create()
    watch = Watch(board)
    board.slot(0).cells[HEARTBEAT] = 1
    assert watch.round([0], 0.0, time.monotonic_ns()) == []
    assert watch.round([0], 1.0, time.monotonic_ns()) != []


def test_a_worker_is_never_recycled() -> None:
    off = context(recycle__max_requests="off", recycle__max_lifetime="off", recycle__max_rss="off")
    assert Recycling(off)._reason(1 << 62) == ""
    assert Recycling(context(recycle__max_rss="1 MiB"))._reason(0) == "rss"


def test_fields_that_are_off() -> None:
    answer = refusal(400, context(server__server_header="off", server__request_id_header="off").site.server_fields)
    assert b"Server" not in answer
    assert b"Server: miniwsgi" in refusal(400, ServerFields("miniwsgi"))
