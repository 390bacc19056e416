"""The control API: a request of a client, authorised, checked, and given to the handler of its path.

It is authorised before it is looked at; what is wrong with it is an RFC 9457 problem. Who may not is told so, and
logged. One table has all that each path takes and gives; openapi.json is made from it, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec
from miniwsgi.codes import Code

from .. import messages as ms
from ..http.connection_table import ServerLimits
from ..http.exchange import Answer, HttpRefusal, Request, Stream, encoded, reason
from ..http.places import Places
from ..http.routing import Router, check_accept, parse_query
from .auth import Access, Principal
from .change_requests import Conflict
from .endpoint import ApiCall, Endpoint, Handler
from .handlers import Handlers
from .managed import Managed
from .openapi import describe
from .routes import endpoints

NO_ENDPOINT = "_OTHER"
LIMITS = ServerLimits()
# Calls that wait for something have a place each until their answer. Some are left for those that are answered at once,
# whatever streams there are: who is to find out what is wrong must not be kept out by those that look, too.
MAX_WAITING = LIMITS.connections - LIMITS.streams - 16

# By the status of a refusal that names no code; else the request itself is wrong.
_CODES = {
    403: Code.CONTROL_DENIED,
    404: Code.API_HAS_NONE,
    409: Code.CHANGE_REFUSED,
    500: Code.INTERNAL,
    503: Code.API_CANNOT_SAY,
    504: Code.SILENT,
}


class Api:
    """Serves `managed`. `on_denied` gets a line for the log."""

    def __init__(self, managed: Managed, access: Access, on_denied: Callable[[str], None]) -> None:
        self._access = access
        self._on_denied = on_denied
        table = endpoints(Handlers(managed, access), self._openapi)
        self.router = Router[Handler](table)
        self.calls: Counter[tuple[str, str]] = Counter()  # by endpoint and status
        self._waiting = Places(MAX_WAITING, "too many calls wait for their answers; try again")
        self._description = msgspec.json.encode(describe(table))

    def __repr__(self) -> str:
        return f"<Api routes={len(self.router.routes)}>"

    # --- the server's calls ---

    async def admit(self, request: Request) -> None:
        """Whether the request's body is worth receiving. Raises HttpRefusal."""
        principal = None
        try:
            principal = await self._access.principal(request.peer)
            endpoint, _ = self._find(request)
            _check_role(principal, endpoint)
        except HttpRefusal as refusal:
            self.calls[NO_ENDPOINT, str(refusal.status)] += 1
            await self._note_refusal(request, principal, refusal)
            raise

    async def respond(self, request: Request) -> Answer | Stream:
        """The answer to a request. Raises HttpRefusal."""
        path, status, principal = NO_ENDPOINT, 500, None
        try:
            principal = await self._access.principal(request.peer)
            endpoint, numbers = self._find(request)
            path = endpoint.path
            _check_role(principal, endpoint)
            answer = await self._carry_out(endpoint, _call(request, principal, endpoint, numbers))
            status = answer.status
            return answer
        except HttpRefusal as refusal:
            status = refusal.status
            await self._note_refusal(request, principal, refusal)
            raise
        finally:
            self.calls[path, str(status)] += 1

    def refuse(self, refusal: HttpRefusal, path: str) -> Answer:
        """A problem document (RFC 9457)."""
        problem = ms.Problem(
            status=refusal.status,
            title=reason(refusal.status),
            detail=refusal.detail,
            instance=path,
            operation=refusal.operation if isinstance(refusal, Conflict) else None,
            code=refusal.code or str(_CODES.get(refusal.status, Code.API_MISUSED)),
        )
        return Answer(refusal.status, encoded(problem), ms.PROBLEM_TYPE, refusal.fields, close=refusal.status == 403)

    # --- inside ---

    async def _carry_out(self, endpoint: Endpoint, call: ApiCall) -> Answer | Stream:
        """Raises HttpRefusal, of 503 before anything is done."""
        if not (endpoint.waits or call.query.get("wait")):
            return await endpoint.handler(call)
        with self._waiting:
            return await endpoint.handler(call)

    def _find(self, request: Request) -> tuple[Endpoint, dict[str, int]]:
        endpoint, numbers = self.router.find(request.method, request.path)
        assert isinstance(endpoint, Endpoint)
        return endpoint, numbers

    async def _note_refusal(self, request: Request, principal: Principal | None, refusal: HttpRefusal) -> None:
        """Log who was denied what."""
        if refusal.status != 403:
            return
        who, peer = "somebody", request.peer
        if principal is not None:
            who = (await self._access.named(principal)).who
        elif peer is not None:
            name = await self._access.name(peer.uid)
            who = f"{name or 'unknown user'} (uid {peer.uid}, pid {peer.pid})"
        self._on_denied(f"denied {request.method} {request.path[:100]} to {who}: {refusal.detail}")

    async def _openapi(self, _call: ApiCall) -> Answer:
        return Answer(200, self._description, ms.JSON_TYPE)


def _check_role(principal: Principal, endpoint: Endpoint) -> None:
    """Raises HttpRefusal (403)."""
    if not principal.may(endpoint.role):
        raise HttpRefusal(403, f"this takes the role {endpoint.role}, yours is {principal.role}")


def _call(request: Request, principal: Principal, endpoint: Endpoint, numbers: dict[str, int]) -> ApiCall:
    """What the handler is given. Raises HttpRefusal (400, 406, 415, 422)."""
    query = parse_query(request.query, endpoint.query)
    check_accept(request.fields.get("HTTP_ACCEPT"), *filter(None, (endpoint.produces, endpoint.also_produces)))
    body = _decode(request, endpoint.body) if endpoint.body is not None else None
    return ApiCall(principal, numbers, query, body)


def _decode(request: Request, type_: type[ms.RequestBody]) -> ms.RequestBody:
    """The body of a request; none stands for one without any field. Raises HttpRefusal (400, 415, 422)."""
    if not request.body:
        return type_()
    content_type = request.fields.get("CONTENT_TYPE", ms.JSON_TYPE).partition(";")[0].strip().lower()
    if content_type != ms.JSON_TYPE:
        raise HttpRefusal(415, f"the body is {content_type[:60]}, {ms.JSON_TYPE} is expected (curl --json)")
    try:
        return msgspec.json.decode(request.body, type=type_)
    except msgspec.ValidationError as error:
        raise HttpRefusal(422, f"the body is not as expected: {error}") from None
    except msgspec.DecodeError as error:
        raise HttpRefusal(400, f"the body is no JSON: {error}") from None
