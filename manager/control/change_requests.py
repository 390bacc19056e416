"""Changes as operations: from a request's body to a change, from the operation to an answer.

A change is answered 202 with the operation's Location at once, 200 if it has ended. With `?wait=N` the answer comes
when it has ended, whatever its verdict, or after N seconds with what there is then.
"""

from __future__ import annotations

from msgspec.structs import replace

from .. import messages as ms
from ..changes import Change, Scale, SetLogLevel
from ..http.exchange import Answer, HttpRefusal, encoded
from .auth import Principal
from .managed import ChangeRefused, Managed


class Conflict(HttpRefusal):
    """409: the daemon's state does not allow the change."""

    def __init__(self, detail: str, operation: int | None) -> None:
        super().__init__(409, detail)
        self.operation = operation


async def carry_out(managed: Managed, change: Change, principal: Principal, wait: float) -> ms.Operation:
    """Ask for a change in the principal's name, wait for its end, up to so long. Raises HttpRefusal (409, 422)."""
    try:
        asked = await managed.ask(replace(change, who=principal.who, uid=principal.uid, pid=principal.pid))
    except ChangeRefused as refused:
        if refused.conflict:
            raise Conflict(refused.reason, refused.operation) from None
        raise HttpRefusal(422, refused.reason) from None
    if asked.ended or not wait:
        return asked
    await managed.wait(asked.id, wait)
    return replace(managed.operation(asked.id) or asked, joined=asked.joined)


def answer(operation: ms.Operation) -> Answer:
    """The answer to a change: ended or not."""
    location = (("Location", f"{ms.API}/operations/{operation.id}"),)
    return Answer(200 if operation.ended else 202, encoded(operation), ms.JSON_TYPE, location)


def scale(body: ms.ScaleRequest) -> Scale:
    """Raises HttpRefusal (422)."""
    if body.reset:
        if body.workers is not None or body.persist:
            raise HttpRefusal(422, "reset stands alone: it drops what scale has set, here and in the state directory")
        return Scale()
    match body.workers:
        case None:
            raise HttpRefusal(422, 'either "workers" or "reset" is needed')
        case int(count):
            return Scale(to=count, persist=body.persist)
        case str(text):
            return Scale(by=int(text), persist=body.persist)


def log_level(body: ms.LogLevelRequest) -> SetLogLevel:
    """Raises HttpRefusal (422)."""
    if body.reset is (body.level is not None):
        raise HttpRefusal(422, 'either "level" or "reset" is needed, and not both')
    return SetLogLevel(body.level)
