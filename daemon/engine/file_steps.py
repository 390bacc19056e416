"""A conversation's answers to requests for static files, by the loop's owner, within `receive`.

So they do not wait for a thread of the pool. They are settled as all answers are: counted, under a route of their own,
logged, and sent on when the client reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..http.head import RequestLine
from ..http.response import Body, frame, identified
from ..traceparent import VARIABLE as TRACEPARENT
from ..unpatched import os, time
from .call import GATHERED_BYTES, Phase
from .contract import Outcome, Stage
from .environ import request_environ
from .https_policy import HSTS, REDIRECT, is_redirected, with_hsts
from .logs import Headers
from .request_ids import VARIABLE
from .transport import Disconnected
from .wire import Wire

if TYPE_CHECKING:
    from ..static.answers import Answer
    from ..static.routes import Route


class FileCall:
    """What `settle` asks of a call: the answer is whole, or its client is gone."""

    __slots__ = ("aborted", "headers", "method", "persistent", "sent", "status")

    by_application = False
    failed = False
    phase = Phase.DONE
    request_id = ""

    def __init__(self, method: str, status: str, headers: Headers, persistent: bool) -> None:
        self.method = method
        self.status = status
        self.headers = headers
        self.persistent = persistent
        self.sent = 0
        self.aborted = False

    def __repr__(self) -> str:
        return f"<FileCall {self.method} {self.status!r} sent={self.sent}>"

    def expire(self) -> None:
        """See call.CallSteps: there is nothing to wait for."""


class FileSteps(Wire):
    """A conversation's part; its state is its subclass's."""

    __slots__ = tuple[str, ...]()  # see ConnectionSteps

    def answer_file(self, now: int) -> Outcome | None:
        """Answer the request that is here whole, if it is for a static file, and settle it. None: it is not."""
        conversation: Any = self
        site, http = conversation.site, conversation._http
        line: RequestLine = http.line
        head = http.head
        fields = head.fields
        if REDIRECT in conversation.base and is_redirected(conversation.whole_environ()):
            return None
        found = site.static.answer(line, fields)
        if found is None:
            return None
        route, answer = found
        persistent = head.persistent and not site.closing and not (site.parts is not None and site.parts(self))
        server = site.server_fields
        head_bytes, body, _announced, persistent = frame(
            answer.encoded, line.method, line.http11, persistent, answer.count, server
        )
        environ = route.environ
        if site.account.access is not None or server.request_id_header is not None or TRACEPARENT in fields:
            environ = {**conversation.whole_environ(), **environ}
            ids = site.request_ids
            given = conversation._proxy is not None and ids.given(environ)
            environ[VARIABLE] = request_id = given or ids.new()
            head_bytes = identified(head_bytes, answer.headers, server, request_id)
        if hsts := conversation.base.get(HSTS):
            head_bytes = with_hsts(head_bytes, hsts)
        if answer.whole is not None and persistent:
            self.keep_file(route, answer, head_bytes)
        call = FileCall(line.method, answer.status, answer.headers, persistent)
        conversation.ready_ns = conversation.called_ns = now
        try:
            self._send_answer(head_bytes, answer, has_body=body is not Body.NONE)
            if body is not Body.NONE:
                call.sent = answer.count
        except (Disconnected, OSError):  # OSError: no descriptor is left, to keep the rest of a file by
            self.gone = True
            call.aborted, call.persistent = True, False
        finally:
            if answer.fd >= 0:
                os.close(answer.fd)
        return self._settle_call(call, environ)

    def keep_file(self, route: Route, answer: Answer, head: bytes) -> None:
        """Keep what a request on a connection that goes on is answered, for the next one like it: an engine may."""

    def settle_file(self, method: str, status: str, headers: Headers, sent: int, environ: dict[str, Any]) -> Outcome:
        """Settle what was answered as the last time: whole, or, if the client is `gone`, not at all."""
        call = FileCall(method, status, headers, not self.gone)
        call.sent = sent
        call.aborted = self.gone
        return self._settle_call(call, environ)

    def _settle_call(self, call: FileCall, environ: dict[str, Any]) -> Outcome:
        conversation: Any = self
        conversation._call = call
        conversation._complete = True
        conversation._environ = environ
        conversation.queued_ns = 0
        conversation.stage = Stage.ANSWERED
        conversation.ended_ns = time.monotonic_ns()
        outcome: Outcome = conversation.settle()
        return outcome

    def _send_answer(self, head: bytes, answer: Answer, *, has_body: bool) -> None:
        """Raises Disconnected."""
        content = answer.content
        if not has_body:
            self.send(head)
        elif content is None:
            self.send_before_file(head)
            self.send_file(answer.fd, answer.offset, answer.count)
        elif len(content) < GATHERED_BYTES:
            self.send(head + content)
        else:
            self.send_parts((head, content))

    def whole_environ(self) -> dict[str, Any]:
        """What is told of a request that does not reach the application, as environ."""
        conversation: Any = self
        return request_environ(conversation._http, conversation.site.mount, conversation._proxy)
