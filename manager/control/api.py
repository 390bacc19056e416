"""The control API: what each path does. One table of routes, which openapi.json is made from, too.

It knows the daemon as a `Managed` and nothing else. A request is authorised before it is looked at; what is wrong with
it is an RFC 9457 problem. Who may not is told so, and logged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from .. import messages as ms
from ..changes import Change, Drain, Reload, Restart, Stop, Undrain
from ..http.exchange import Answer, Refusal, Request, Stream, encoded, reason
from ..http.routing import Router, check_accept, parse_query
from . import change_requests as ops
from .auth import Access, Principal
from .managed import Managed
from .metric_families import as_message, find
from .openapi import describe
from .routes import Call, Entry, Handler, routes

NO_ENDPOINT = "_OTHER"


class Api:
    """Serves `managed`. `on_denied` gets a line for the log."""

    def __init__(self, managed: Managed, access: Access, on_denied: Callable[[str], None]) -> None:
        self._managed = managed
        self._access = access
        self._on_denied = on_denied
        table = routes(self)
        self.router = Router[Handler](table)
        self.calls: Counter[tuple[str, str]] = Counter()  # by endpoint and status
        self._description = msgspec.json.encode(describe(table))

    def __repr__(self) -> str:
        return f"<Api routes={len(self.router.routes)}>"

    # --- the server's calls ---

    async def admit(self, request: Request) -> None:
        """Whether the request's body is worth receiving. Raises Refusal."""
        try:
            principal = await self._authorise(request)
            route, _ = self._find(request)
            await self._check_role(request, principal, route)
        except Refusal as refusal:
            self.calls[NO_ENDPOINT, str(refusal.status)] += 1
            raise

    async def respond(self, request: Request) -> Answer | Stream:
        """The answer to a request. Raises Refusal."""
        endpoint, status = NO_ENDPOINT, 500
        try:
            principal = await self._authorise(request)
            route, numbers = self._find(request)
            endpoint = route.path
            answer = await self._respond(request, principal, route, numbers)
            status = answer.status
            return answer
        except Refusal as refusal:
            status = refusal.status
            raise
        finally:
            self.calls[endpoint, str(status)] += 1

    async def _respond(
        self, request: Request, principal: Principal, route: Entry, numbers: dict[str, int]
    ) -> Answer | Stream:
        await self._check_role(request, principal, route)
        query = parse_query(request.query, route.query)
        check_accept(request.fields.get("HTTP_ACCEPT"), *filter(None, (route.produces, route.also_produces)))
        body = _decode(request, route.body) if route.body is not None else None
        return await route.handler(Call(principal, numbers, query, body))

    def _find(self, request: Request) -> tuple[Entry, dict[str, int]]:
        route, numbers = self.router.find(request.method, request.path)
        assert isinstance(route, Entry)
        return route, numbers

    async def _check_role(self, request: Request, principal: Principal, route: Entry) -> None:
        if not principal.may(route.role):
            who = (await self._access.named(principal)).who
            raise self._denied(who, _name(request), f"this takes the role {route.role}, yours is {principal.role}")

    def refuse(self, refusal: Refusal, path: str) -> Answer:
        """A problem document (RFC 9457)."""
        problem = ms.Problem(
            status=refusal.status,
            title=reason(refusal.status),
            detail=refusal.detail,
            instance=path,
            operation=refusal.operation if isinstance(refusal, ops.Conflict) else None,
        )
        return Answer(refusal.status, encoded(problem), ms.PROBLEM_TYPE, refusal.fields, close=refusal.status == 403)

    async def _authorise(self, request: Request) -> Principal:
        try:
            return await self._access.principal(request.peer)
        except Refusal as refusal:
            if refusal.status != 403:
                raise
            peer = request.peer
            name = await self._access.name(peer.uid) if peer is not None else ""
            who = f"{name or 'unknown user'} (uid {peer.uid}, pid {peer.pid})" if peer is not None else "somebody"
            raise self._denied(who, _name(request), refusal.detail) from None

    def _denied(self, who: str, what: str, why: str) -> Refusal:
        self._on_denied(f"denied {what} to {who}: {why}")
        return Refusal(403, why)

    # --- what there is to know ---

    async def status(self, call: Call) -> Answer:
        return _json(self._managed.status(call.principal.role))

    async def workers(self, _call: Call) -> Answer:
        return _json(ms.WorkerList(workers=await self._managed.workers()))

    async def worker(self, call: Call) -> Answer:
        slot = call.numbers["slot"]
        for worker in await self._managed.workers():
            if worker.slot == slot:
                return _json(worker)
        raise _no_slot(slot)

    async def stack(self, call: Call) -> Answer:
        slot = call.numbers["slot"]
        stack = await self._managed.stack(slot)
        if stack is None:
            raise _no_slot(slot)
        return _json(stack)

    async def operations(self, _call: Call) -> Answer:
        return _json(ms.OperationList(operations=self._managed.operations()))

    async def operation(self, call: Call) -> Answer:
        number = call.numbers["id"]
        operation = self._managed.operation(number)
        if operation is None:
            raise Refusal(404, f"there is no operation {number}, or it has been forgotten")
        wait = call.query.get("wait", 0)
        if wait and not operation.ended:
            await self._managed.wait(number, wait)
            operation = self._managed.operation(number) or operation
        return _json(operation)

    async def events(self, call: Call) -> Answer | Stream:
        query, event_log = call.query, self._managed.event_log
        if query.get("follow"):
            since, limit = query.get("since"), query.get("limit", 0)
            return Stream(lambda: event_log.follow(since, limit), ms.EVENTS_TYPE)
        return _json(event_log.since(query.get("since", 0), query.get("limit", ms.MAX_EVENTS)))

    async def metrics(self, call: Call) -> Answer:
        families = find(self._managed.metrics(), call.query.get("name", ""))
        return _json(ms.MetricList(families=[as_message(family) for family in families]))

    async def config(self, _call: Call) -> Answer:
        return _json(self._managed.config())

    async def log_level(self, _call: Call) -> Answer:
        return _json(self._managed.log_level())

    async def openapi(self, _call: Call) -> Answer:
        return Answer(200, self._description, ms.JSON_TYPE)

    # --- changes ---

    async def scale(self, call: Call) -> Answer:
        return await self._change(call, ops.scale(call.body))

    async def reload(self, call: Call) -> Answer:
        return await self._change(call, Reload())

    async def restart(self, call: Call) -> Answer:
        return await self._change(call, Restart())

    async def restart_one(self, call: Call) -> Answer:
        slot = call.numbers["slot"]
        if all(worker.slot != slot for worker in await self._managed.workers()):
            raise _no_slot(slot)
        return await self._change(call, Restart(slot))

    async def drain(self, call: Call) -> Answer:
        return await self._change(call, Drain())

    async def undrain(self, call: Call) -> Answer:
        return await self._change(call, Undrain())

    async def stop(self, call: Call) -> Answer:
        return await self._change(call, Stop(now=call.body.mode == "now"))

    async def set_log_level(self, call: Call) -> Answer:
        principal = await self._access.named(call.principal)
        operation = await ops.carry_out(self._managed, ops.log_level(call.body), principal, 0)
        return _json(msgspec.structs.replace(self._managed.log_level(), operation=operation.id))

    async def check_config(self, call: Call) -> Answer:
        toml = call.body.toml
        if toml is not None and not call.principal.may("admin"):
            who = (await self._access.named(call.principal)).who
            why = f"a configuration in the body takes the role admin, yours is {call.principal.role}"
            raise self._denied(who, f"POST {ms.API}/config/check", why)
        try:
            return _json(await self._managed.check_config(toml))
        except TimeoutError:
            raise Refusal(503, "the configuration could not be read in time; see what it names") from None

    async def _change(self, call: Call, change: Change) -> Answer:
        principal = await self._access.named(call.principal)
        return ops.answer(await ops.carry_out(self._managed, change, principal, call.query.get("wait", 0)))


def _json(body: ms.ResponseBody) -> Answer:
    return Answer(200, encoded(body), ms.JSON_TYPE)


def _name(request: Request) -> str:
    return f"{request.method} {request.path[:100]}"


def _no_slot(slot: int) -> Refusal:
    return Refusal(404, f"slot {slot} has no worker")


def _decode(request: Request, type_: type[ms.RequestBody]) -> ms.RequestBody:
    """The body of a request; none stands for one without any field. Raises Refusal (400, 415, 422)."""
    if not request.body:
        return type_()
    content_type = request.fields.get("CONTENT_TYPE", ms.JSON_TYPE).partition(";")[0].strip().lower()
    if content_type != ms.JSON_TYPE:
        raise Refusal(415, f"the body is {content_type[:60]}, {ms.JSON_TYPE} is expected (curl --json)")
    try:
        return msgspec.json.decode(request.body, type=type_)
    except msgspec.ValidationError as error:
        raise Refusal(422, f"the body is not as expected: {error}") from None
    except msgspec.DecodeError as error:
        raise Refusal(400, f"the body is no JSON: {error}") from None
