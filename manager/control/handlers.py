"""What each path of the control API does: from a call that is in order to its answer."""

from __future__ import annotations

import msgspec
from miniwsgi.codes import Code
from miniwsgi.metrics.history import Span

from .. import messages as ms
from ..changes import Change, Drain, Reload, Restart, Stop, Undrain
from ..http.exchange import Answer, HttpRefusal, Stream, encoded
from . import change_requests as ops
from .auth import Access
from .endpoint import ApiCall
from .managed import Managed, NotInspected, NoWorker
from .metric_families import as_message, find

STACKS_ROLE: ms.Role = "operate"  # as of GET /v1/workers/{slot}/stack


class Handlers:
    """A method for each path. Raise HttpRefusal."""

    def __init__(self, managed: Managed, access: Access) -> None:
        self._managed = managed
        self._access = access

    # --- what there is to know ---

    async def status(self, call: ApiCall) -> Answer:
        return _json(self._managed.status(call.principal.role))

    async def workers(self, _call: ApiCall) -> Answer:
        return _json(ms.WorkerList(workers=await self._managed.workers()))

    async def worker(self, call: ApiCall) -> Answer:
        slot = call.numbers["slot"]
        for worker in await self._managed.workers():
            if worker.slot == slot:
                return _json(worker)
        raise _no_slot(slot)

    async def stack(self, call: ApiCall) -> Answer:
        slot = call.numbers["slot"]
        stack = await self._managed.stack(slot)
        if stack is None:
            raise _no_slot(slot)
        return _json(stack)

    async def why(self, call: ApiCall) -> Answer:
        try:
            return _json(await self._managed.why(call.query.get("seconds", ms.LOOK_SECONDS)))
        except TimeoutError:
            raise HttpRefusal(503, "the host's files of /proc could not be read in time") from None

    async def doctor(self, _call: ApiCall) -> Answer:
        try:
            return _json(await self._managed.doctor())
        except TimeoutError:
            raise HttpRefusal(503, "the host could not be examined in time: a disk may not answer") from None

    async def profile(self, call: ApiCall) -> Stream:
        try:
            lines = self._managed.profile(call.body)
        except NoWorker as error:
            raise _no_slot(error.slot) from None
        return Stream(lambda: lines, ms.EVENTS_TYPE)

    async def memory(self, call: ApiCall) -> Answer:
        try:
            return _json(await self._managed.memory(call.numbers["slot"], call.body))
        except NoWorker as error:
            raise _no_slot(error.slot) from None
        except NotInspected as error:
            raise HttpRefusal(409, str(error), code=str(Code.NOT_INSPECTED)) from None
        except TimeoutError as error:
            raise HttpRefusal(504, str(error)) from None

    async def operations(self, _call: ApiCall) -> Answer:
        return _json(ms.OperationList(operations=self._managed.operations()))

    async def operation(self, call: ApiCall) -> Answer:
        number = call.numbers["id"]
        operation = self._managed.operation(number)
        if operation is None:
            raise HttpRefusal(404, f"there is no operation {number}, or it has been forgotten")
        wait = call.query.get("wait", 0)
        if wait and not operation.ended:
            await self._managed.wait(number, wait)
            operation = self._managed.operation(number) or operation
        return _json(operation)

    async def events(self, call: ApiCall) -> Answer | Stream:
        query, event_log = call.query, self._managed.event_log
        if query.get("follow"):
            since, limit = query.get("since"), query.get("limit", 0)
            return Stream(lambda: event_log.follow(since, limit), ms.EVENTS_TYPE)
        return _json(event_log.since(query.get("since", 0), query.get("limit", ms.MAX_EVENTS)))

    async def slow(self, call: ApiCall) -> Answer:
        found = self._managed.slow(call.query.get("limit", ms.MAX_INCIDENTS))
        if not call.principal.may(STACKS_ROLE):
            found.requests = [_without_stacks(request) for request in found.requests]
        return _json(found)

    async def crashes(self, call: ApiCall) -> Answer:
        found = self._managed.crashes(call.query.get("limit", ms.MAX_INCIDENTS))
        if not call.principal.may(STACKS_ROLE):
            found.crashes = [
                msgspec.structs.replace(crash, stacks="", requests=[_without_stacks(one) for one in crash.requests])
                for crash in found.crashes
            ]
        return _json(found)

    async def metrics(self, call: ApiCall) -> Answer:
        families = find(self._managed.metrics(), call.query.get("name", ""))
        return _json(ms.MetricList(families=[as_message(family) for family in families]))

    async def history(self, call: ApiCall) -> Answer:
        return _json(self._managed.history(call.query.get("span", Span.QUARTER)))

    async def routes(self, _call: ApiCall) -> Answer:
        return _json(self._managed.routes())

    async def config(self, _call: ApiCall) -> Answer:
        return _json(self._managed.config())

    async def log_level(self, _call: ApiCall) -> Answer:
        return _json(self._managed.log_level())

    # --- changes ---

    async def scale(self, call: ApiCall) -> Answer:
        return await self._change(call, ops.scale(call.body))

    async def reload(self, call: ApiCall) -> Answer:
        return await self._change(call, Reload())

    async def restart(self, call: ApiCall) -> Answer:
        return await self._change(call, Restart())

    async def restart_one(self, call: ApiCall) -> Answer:
        slot = call.numbers["slot"]
        if all(worker.slot != slot for worker in await self._managed.workers()):
            raise _no_slot(slot)
        return await self._change(call, Restart(slot, now=call.body.mode == "now"))

    async def drain(self, call: ApiCall) -> Answer:
        return await self._change(call, Drain())

    async def undrain(self, call: ApiCall) -> Answer:
        return await self._change(call, Undrain())

    async def stop(self, call: ApiCall) -> Answer:
        return await self._change(call, Stop(now=call.body.mode == "now"))

    async def set_log_level(self, call: ApiCall) -> Answer:
        principal = await self._access.named(call.principal)
        operation = await ops.carry_out(self._managed, ops.log_level(call.body), principal, 0)
        return _json(msgspec.structs.replace(self._managed.log_level(), operation=operation.id))

    async def check_config(self, call: ApiCall) -> Answer:
        toml = call.body.toml
        if toml is not None and not call.principal.may("admin"):
            raise HttpRefusal(403, f"a configuration in the body takes the role admin, yours is {call.principal.role}")
        try:
            return _json(await self._managed.check_config(toml))
        except TimeoutError:
            raise HttpRefusal(503, "the configuration could not be read in time; see what it names") from None

    async def _change(self, call: ApiCall, change: Change) -> Answer:
        principal = await self._access.named(call.principal)
        return ops.answer(await ops.carry_out(self._managed, change, principal, call.query.get("wait", 0)))


def _json(body: ms.ResponseBody) -> Answer:
    return Answer(200, encoded(body), ms.JSON_TYPE)


def _without_stacks(request: ms.Incident) -> ms.Incident:
    return msgspec.structs.replace(request, stack=[], looks=[])


def _no_slot(slot: int) -> HttpRefusal:
    return HttpRefusal(404, f"slot {slot} has no worker")
