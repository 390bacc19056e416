"""The control API against a daemon that is told what to do: statuses, bodies, roles, what is refused and how."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from miniwsgi.manager import changes as ch
from miniwsgi.manager import messages as ms
from miniwsgi.manager.control import managed as mg
from miniwsgi.manager.control.api import MAX_WAITING, Api
from miniwsgi.manager.control.auth import Access, Principal
from miniwsgi.manager.control.endpoint import Endpoint
from miniwsgi.manager.daemon_threads import DaemonThreads
from miniwsgi.manager.http.connection_table import ServerLimits
from miniwsgi.manager.http.exchange import Answer, HttpRefusal, PeerCredentials, Request, Stream
from msgspec.structs import replace

from tests.support.manager_world import Client, FakeDaemon, World, run, serving

ME = os.geteuid()


class Bare:
    """The API without a server: requests as objects."""

    def __init__(self, role: ms.Role = "admin") -> None:
        self.daemon = FakeDaemon()
        self.denied: list[str] = []
        self.api = Api(self.daemon, _Fixed(role), self.denied.append)

    async def ask(self, method: str, target: str, body: Any = b"", **fields: str) -> Answer:
        path, _, query = target.partition("?")
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        if data and "CONTENT_TYPE" not in fields:
            fields["CONTENT_TYPE"] = ms.JSON_TYPE
        request = Request(method, path, query, fields, data, PeerCredentials(7, 1000, 1000, ()))
        try:
            answer = await self.api.respond(request)
        except HttpRefusal as refusal:
            return self.api.refuse(refusal, path)
        if isinstance(answer, Stream):  # one that ends
            return Answer(answer.status, b"".join([chunk async for chunk in answer.chunks()]), answer.content_type)
        return answer


class _Fixed(Access):
    """Everybody has one role."""

    def __init__(self, role: ms.Role) -> None:
        super().__init__({}, DaemonThreads())
        self.fixed = role

    async def principal(self, peer: PeerCredentials | None) -> Principal:
        assert peer is not None
        return Principal(peer.uid, peer.pid, "", self.fixed)

    async def named(self, principal: Principal) -> Principal:
        return Principal(principal.uid, principal.pid, "alice", principal.role)


def scenario(function: Callable[[Bare], Awaitable[None]]) -> None:
    async def body() -> None:
        await function(Bare())

    asyncio.run(body())


def decode(answer: Answer, type_: Any) -> Any:
    return msgspec.json.decode(answer.body, type=type_)


# --- looking -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "type_"),
    [
        ("/v1/status", ms.Status),
        ("/v1/workers", ms.WorkerList),
        ("/v1/workers/2", ms.Worker),
        ("/v1/workers/0/stack", ms.Stack),
        ("/v1/operations", ms.OperationList),
        ("/v1/events", ms.EventList),
        ("/v1/history?span=1h", ms.History),
        ("/v1/slow", ms.SlowList),
        ("/v1/crashes", ms.CrashList),
        ("/v1/config", ms.ConfigView),
        ("/v1/log-level", ms.LogLevel),
        ("/v1/why", ms.Why),
        ("/v1/why?seconds=9", ms.Why),
        ("/v1/doctor", ms.Doctor),
    ],
)
def test_what_there_is_to_know_is_of_its_type(target: str, type_: Any) -> None:
    @scenario
    async def _(world: Bare) -> None:
        answer = await world.ask("GET", target)
        assert (answer.status, answer.content_type) == (200, ms.JSON_TYPE)
        assert answer.body.endswith(b"}\n")
        decode(answer, type_)


def test_incidents_are_for_all_who_may_look_and_their_stacks_for_those_who_may_take_some() -> None:
    async def body() -> None:
        for role, shown in (("read", False), ("operate", True)):
            world = Bare(role)  # type: ignore[arg-type]
            slow = decode(await world.ask("GET", "/v1/slow?limit=1"), ms.SlowList)
            (request,) = slow.requests
            assert (request.where, bool(request.stack), bool(request.looks)) == ("shop/db.py:38 in load", shown, shown)
            (crash,) = decode(await world.ask("GET", "/v1/crashes?limit=1"), ms.CrashList).crashes
            assert (crash.id, bool(crash.stacks), bool(crash.requests[0].stack)) == (2, shown, shown)

    asyncio.run(body())


@pytest.mark.parametrize("path", ["/v1/workers/1", "/v1/workers/1/stack", "/v1/operations/1", "/v1/nothing", "/"])
def test_what_is_not_there_is_404(path: str) -> None:
    @scenario
    async def _(world: Bare) -> None:
        answer = await world.ask("GET", path)
        problem = decode(answer, ms.Problem)
        assert (answer.status, answer.content_type) == (404, "application/problem+json")
        assert (problem.status, problem.title, problem.instance) == (404, "Not Found", path)
        assert (problem.code, bool(problem.detail)) == ("MW6006", True)


# --- looking inside ------------------------------------------------------------------------------------------------


def test_a_profile_is_a_stream_and_memory_a_document() -> None:
    @scenario
    async def _(world: Bare) -> None:
        lines = await world.ask("POST", "/v1/profile", {"seconds": 1, "slots": [2]})
        assert (lines.content_type, lines.body) == (ms.EVENTS_TYPE, b'{"kind":"profile","slots":[0,2]}\n')
        assert decode(await world.ask("POST", "/v1/workers/2/memory", {"diff": True}), ms.WorkerMemory).objects == 1500


@pytest.mark.parametrize(
    ("target", "body", "error", "status"),
    [
        ("/v1/profile", {"slots": [1]}, None, 404),
        ("/v1/profile", {"seconds": 0}, None, 422),
        ("/v1/profile", {"seconds": 3601}, None, 422),
        ("/v1/profile", {"rate": 0}, None, 422),
        ("/v1/profile", {"rate": 1001}, None, 422),
        ("/v1/profile", {"route": "/" * 1001}, None, 422),
        ("/v1/workers/1/memory", {}, None, 404),
        ("/v1/workers/0/memory", {"seconds": -1}, None, 422),
        ("/v1/workers/0/memory", {}, mg.NotInspected("another one is under way"), 409),
        ("/v1/workers/0/memory", {}, TimeoutError("it does not answer"), 504),
    ],
)
def test_what_cannot_be_looked_into_is_refused(target: str, body: Any, error: Exception | None, status: int) -> None:
    @scenario
    async def _(world: Bare) -> None:
        if error is not None:
            world.daemon.inside = error
        answer = await world.ask("POST", target, body)
        problem = decode(answer, ms.Problem)
        assert (answer.status, str(error or "") in problem.detail) == (status, True)
        assert problem.code == {404: "MW6006", 409: "MW6018", 422: "MW6005", 504: "MW3022"}[status]


def test_calls_that_wait_do_not_keep_out_those_that_do_not() -> None:
    @scenario
    async def _(world: Bare) -> None:
        held = asyncio.Event()

        async def why(_seconds: int) -> ms.Why:
            await held.wait()
            raise TimeoutError

        world.daemon.why = why  # type: ignore[method-assign]
        waiting = [asyncio.create_task(world.ask("GET", "/v1/why")) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        for method, target in (("GET", "/v1/doctor"), ("POST", "/v1/reload?wait=30"), ("GET", "/v1/workers/0/stack")):
            refused = await world.ask(method, target)
            assert (refused.status, decode(refused, ms.Problem).code) == (503, "MW6007")
        assert world.daemon.asked == []  # the reload
        for method, target in (("GET", "/v1/status"), ("GET", "/v1/workers"), ("POST", "/v1/reload")):
            assert (await world.ask(method, target)).status < 300
        held.set()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert (await world.ask("GET", "/v1/doctor")).status == 200


def test_streams_and_calls_that_wait_leave_places() -> None:
    limits = ServerLimits()
    assert limits.streams + MAX_WAITING < limits.connections


@pytest.mark.parametrize(
    ("code", "statuses"),
    [
        ("MW6003", [403]),
        ("MW6006", [404]),
        ("MW6005", [400, 405, 406, 408, 413, 414, 415, 422, 431]),
        ("MW2102", [409]),
        ("MW2901", [500]),
        ("MW6007", [503]),
        ("MW3022", [504]),
    ],
)
def test_a_refusal_has_the_code_of_its_cause(code: str, statuses: list[int]) -> None:
    refuse = Bare().api.refuse
    found = [decode(refuse(HttpRefusal(status), "/v1/x"), ms.Problem) for status in statuses]
    assert [(problem.status, problem.code) for problem in found] == [(status, code) for status in statuses]


def test_what_the_daemon_fails_in_is_not_said_to_be_the_requests_fault() -> None:
    api = Bare().api
    endpoints = [route for route in api.router.routes if isinstance(route, Endpoint)]
    statuses = {status for endpoint in endpoints for status in endpoint.refusals if status >= 500}
    assert 504 in statuses
    codes = {decode(api.refuse(HttpRefusal(status), ""), ms.Problem).code for status in statuses}
    assert "MW6005" not in codes


# --- changes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "body", "change"),
    [
        ("/v1/scale", {"workers": 8}, ch.Scale(to=8)),
        ("/v1/scale", {"workers": "+2"}, ch.Scale(by=2)),
        ("/v1/scale", {"workers": "-1", "persist": True}, ch.Scale(by=-1, persist=True)),
        ("/v1/scale", {"workers": 3, "persist": True}, ch.Scale(to=3, persist=True)),
        ("/v1/scale", {"reset": True}, ch.Scale()),
        ("/v1/reload", b"", ch.Reload()),
        ("/v1/reload", {}, ch.Reload()),
        ("/v1/restart", b"", ch.Restart()),
        ("/v1/workers/2/restart", b"", ch.Restart(2)),
        ("/v1/drain", b"", ch.Drain()),
        ("/v1/undrain", {}, ch.Undrain()),
        ("/v1/stop", b"", ch.Stop()),
        ("/v1/stop", {"mode": "graceful"}, ch.Stop()),
        ("/v1/stop", {"mode": "now"}, ch.Stop(now=True)),
    ],
)
def test_a_change_is_accepted_as_an_operation(target: str, body: Any, change: ch.Change) -> None:
    @scenario
    async def _(world: Bare) -> None:
        answer = await world.ask("POST", target, body)
        assert answer.status == 202
        assert answer.fields == (("Location", "/v1/operations/1"),)
        assert decode(answer, ms.Operation).state == "running"
        assert world.daemon.asked == [replace(change, who="alice (uid 1000, pid 7)", uid=1000, pid=7)]


@pytest.mark.parametrize(
    ("target", "body", "status"),
    [
        ("/v1/scale", b"", 422),
        ("/v1/scale", {}, 422),
        ("/v1/scale", {"workers": None}, 422),
        ("/v1/scale", {"workers": 0}, 422),
        ("/v1/scale", {"workers": -1}, 422),
        ("/v1/scale", {"workers": 513}, 422),
        ("/v1/scale", {"workers": 1.5}, 422),
        ("/v1/scale", {"workers": "2"}, 422),
        ("/v1/scale", {"workers": "+0"}, 422),
        ("/v1/scale", {"workers": "-00"}, 422),
        ("/v1/scale", {"workers": "+1000"}, 422),
        ("/v1/scale", {"workers": "+٢"}, 422),
        ("/v1/scale", {"workers": True}, 422),
        ("/v1/scale", {"workers": 2, "reset": True}, 422),
        ("/v1/scale", {"reset": True, "persist": True}, 422),
        ("/v1/scale", {"wrokers": 2}, 422),
        ("/v1/scale", [], 422),
        ("/v1/scale", b"{", 400),
        ("/v1/scale", b"\xff\xfe", 400),
        ("/v1/scale", b"[" * 100_000, 422),
        ("/v1/stop", {"mode": "later"}, 422),
        ("/v1/reload", {"force": True}, 422),
        ("/v1/workers/1/restart", b"", 404),
    ],
)
def test_a_wrong_body_changes_nothing(target: str, body: Any, status: int) -> None:
    @scenario
    async def _(world: Bare) -> None:
        answer = await world.ask("POST", target, body)
        assert answer.status == status, answer
        assert world.daemon.asked == []


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 202),
        ("Application/JSON; charset=utf-8", 202),
        ("application/x-www-form-urlencoded", 415),
        ("text/plain", 415),
        ("", 415),
    ],
)
def test_a_body_is_json_and_says_so(content_type: str, status: int) -> None:
    @scenario
    async def _(world: Bare) -> None:
        assert (await world.ask("POST", "/v1/scale", {"workers": 2}, CONTENT_TYPE=content_type)).status == status


def test_waiting_gives_the_verdict() -> None:
    @scenario
    async def _(world: Bare) -> None:
        asking = asyncio.create_task(world.ask("POST", "/v1/reload?wait=30"))
        while not world.daemon.table:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        assert not asking.done()
        world.daemon.end(1, "failed", "no module named shop")
        answer = await asking
        assert answer.status == 200
        found = decode(answer, ms.Operation)
        assert (found.state, found.error, found.ended) == ("failed", "no module named shop", True)


def test_waiting_ends_in_its_time() -> None:
    @scenario
    async def _(world: Bare) -> None:
        assert (await world.ask("POST", "/v1/reload?wait=1")).status == 202
        answer = await world.ask("GET", "/v1/operations/1?wait=1")
        assert (answer.status, decode(answer, ms.Operation).state) == (200, "running")


def test_what_has_ended_is_not_waited_for() -> None:
    @scenario
    async def _(world: Bare) -> None:
        world.daemon.ends_at_once = True
        async with asyncio.timeout(5):
            assert (await world.ask("POST", "/v1/reload?wait=300")).status == 200
            assert (await world.ask("GET", "/v1/operations/1?wait=300")).status == 200


def test_a_conflict_names_the_operation_in_the_way() -> None:
    @scenario
    async def _(world: Bare) -> None:
        why = "operation 7 (reload) is replacing workers"
        world.daemon.refusal = mg.ChangeRefused(why, 7)
        answer = await world.ask("POST", "/v1/restart")
        problem = decode(answer, ms.Problem)
        assert (answer.status, problem.operation, problem.detail, problem.code) == (409, 7, why, "MW2102")


def test_what_can_never_be_granted_is_no_conflict() -> None:
    @scenario
    async def _(world: Bare) -> None:
        world.daemon.refusal = mg.ChangeRefused("512 workers do not fit", conflict=False)
        assert (await world.ask("POST", "/v1/scale", {"workers": 512})).status == 422


@pytest.mark.parametrize(
    ("body", "change", "level"),
    [({"level": "debug"}, ch.SetLogLevel("debug"), "debug"), ({"reset": True}, ch.SetLogLevel(None), "info")],
)
def test_the_log_level_can_be_set_and_reset(body: Any, change: ch.Change, level: str) -> None:
    @scenario
    async def _(world: Bare) -> None:
        world.daemon.ends_at_once = True
        found = decode(await world.ask("PUT", "/v1/log-level", body), ms.LogLevel)
        assert (found.level, found.operation) == (level, 1)
        assert replace(world.daemon.asked[0], who="", uid=None, pid=None) == change


@pytest.mark.parametrize("body", [{}, {"level": "loud"}, {"level": "info", "reset": True}, {"level": None}])
def test_a_wrong_log_level_changes_nothing(body: Any) -> None:
    @scenario
    async def _(world: Bare) -> None:
        assert (await world.ask("PUT", "/v1/log-level", body)).status == 422
        assert world.daemon.asked == []


# --- roles ---------------------------------------------------------------------------------------------------------

OPERATE = [
    ("GET", "/v1/workers/0/stack", b""),
    ("GET", "/v1/why", b""),
    ("GET", "/v1/doctor", b""),
    ("GET", "/v1/config", b""),
    ("POST", "/v1/config/check", b""),
    ("POST", "/v1/profile", b""),
    ("POST", "/v1/workers/0/memory", b""),
    ("POST", "/v1/scale", {"workers": 2}),
    ("POST", "/v1/reload", b""),
    ("POST", "/v1/restart", b""),
    ("POST", "/v1/workers/0/restart", b""),
    ("POST", "/v1/drain", b""),
    ("POST", "/v1/undrain", b""),
]
ADMIN = [
    ("POST", "/v1/stop", b""),
    ("PUT", "/v1/log-level", {"level": "info"}),
    ("POST", "/v1/config/check", {"toml": "[server]"}),
]
READ = [
    ("GET", path, b"")
    for path in (
        "/v1/status", "/v1/workers", "/v1/workers/0", "/v1/operations", "/v1/events", "/v1/log-level",
        "/v1/history", "/v1/metrics", "/v1/routes", "/v1/slow", "/v1/crashes", "/v1/openapi.json",
    )
]  # fmt: skip


@pytest.mark.parametrize("role", ["read", "operate", "admin"])
def test_each_role_may_what_it_may_and_no_more(role: ms.Role) -> None:
    async def body() -> None:
        allowed = READ + (OPERATE if role != "read" else []) + (ADMIN if role == "admin" else [])
        for method, target, content in READ + OPERATE + ADMIN:
            world = Bare(role)
            answer = await world.ask(method, target, content)
            granted = (method, target, content) in allowed
            assert (answer.status in {200, 202}) is granted, (method, target, answer)
            if not granted:
                assert answer.status == 403
                assert answer.close
                assert world.daemon.asked == []
                assert world.daemon.checked == []
                assert world.denied[0].startswith(f"denied {method} {target} to alice (uid 1000, pid 7)")

    asyncio.run(body())


def test_every_route_has_its_role_in_these_tables() -> None:
    routes = {
        (route.method, route.path.replace("{slot}", "0").replace("{id}", "0")) for route in Bare().api.router.routes
    }
    listed = {(method, target) for method, target, _ in READ + OPERATE + ADMIN} | {("GET", "/v1/operations/0")}
    assert routes == listed


def test_strangers_learn_nothing_and_are_logged(tmp_path: Path) -> None:
    async def body() -> None:
        denied: list[str] = []
        access = Access({}, DaemonThreads())
        access._own_uid = -1
        api = Api(FakeDaemon(), access, denied.append)
        request = Request("GET", "/v1/nothing", "x=1", {}, b"", PeerCredentials(7, 64_999, 64_999, ()))
        with pytest.raises(HttpRefusal) as raised:
            await api.respond(request)
        assert raised.value.status == 403  # not 404, not 400
        assert denied == [f"denied GET /v1/nothing to unknown user (uid 64999, pid 7): {raised.value.detail}"]

    asyncio.run(body())


# --- events --------------------------------------------------------------------------------------------------------


def test_following_is_a_stream_of_lines() -> None:
    async def body() -> None:
        world = Bare()
        world.daemon.event_log.add("daemon.serving", "one")
        request = Request("GET", "/v1/events", "follow=1&since=0", {}, b"", PeerCredentials(7, ME, 0, ()))
        answer = await world.api.respond(request)
        assert isinstance(answer, Stream)
        assert answer.content_type == "application/x-ndjson"
        assert json.loads(await anext(answer.chunks()))["message"] == "one"

    asyncio.run(body())


def test_events_can_be_asked_for_in_part() -> None:
    @scenario
    async def _(world: Bare) -> None:
        for number in range(5):
            world.daemon.event_log.add("worker.ready", str(number))
        found = decode(await world.ask("GET", "/v1/events?since=1&limit=2"), ms.EventList)
        assert [event.id for event in found.events] == [4, 5]


def test_accept_may_exclude_what_there_is() -> None:
    @scenario
    async def _(world: Bare) -> None:
        assert (await world.ask("GET", "/v1/status", HTTP_ACCEPT="text/html")).status == 406
        assert (await world.ask("GET", "/v1/status", HTTP_ACCEPT="text/html, */*;q=0.1")).status == 200


# --- the description -----------------------------------------------------------------------------------------------


def test_openapi_describes_every_route_and_all_its_references_lead_somewhere() -> None:
    @scenario
    async def _(world: Bare) -> None:
        document = json.loads((await world.ask("GET", "/v1/openapi.json")).body)
        described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
        assert described == {(route.method, route.path) for route in world.api.router.routes}
        for reference in _references(document):
            found: Any = document
            for part in reference.removeprefix("#/").split("/"):
                found = found[part]
        names = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
        assert len(set(names)) == len(names)


def _references(node: Any) -> set[str]:
    if isinstance(node, list):
        return {found for item in node for found in _references(item)}
    if not isinstance(node, dict):
        return set()
    return {node["$ref"]} if "$ref" in node else {found for item in node.values() for found in _references(item)}


# --- through the server --------------------------------------------------------------------------------------------


def test_through_the_socket_it_is_http(tmp_path: Path) -> None:
    async def body() -> None:
        api = Api(FakeDaemon(), Access({}, DaemonThreads()), lambda _message: None)
        async with serving(api, tmp_path) as world:
            await _through(world)

    asyncio.run(body())


async def _through(world: World) -> None:
    client: Client = await world.client()
    answer = await run(client.get, "/v1/status")
    assert (answer.status, answer.json["role"]) == (200, "admin")
    answer = await run(client.get, "/v1/status", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    answer = await run(client.get, "/v1/stop")
    assert (answer.status, answer.fields["allow"], answer.json["status"]) == (405, "POST", 405)
    answer = await run(client.get, "/v1/scale", "Content-Type: application/json", method="POST", body=b'{"workers": 2}')
    assert (answer.status, answer.fields["location"]) == (202, "/v1/operations/1")
    await run(client.send, b"nonsense\r\n\r\n")
    answer = await run(client.response)
    assert (answer.status, answer.fields["content-type"], answer.json["title"]) == (
        400, "application/problem+json", "Bad Request",
    )  # fmt: skip
