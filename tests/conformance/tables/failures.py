"""start_response, exc_info, exceptions, close() and results that are no bodies (PEP 3333)."""

from __future__ import annotations

from ..case import Case, get, get10, head, last, post, scripted, served
from ..client import Framing
from ..exchange import Answers, Arrived, Leave, Send

CLOSED = ("called", "closed")


def fails(name: str, target: bytes, **checks: object) -> Case:
    """500 in place of everything the application meant to send; the connection goes on."""
    return served(name, get(target), 500, **{"fields": {"X-Old": None}, **checks})


def cut_off(name: str, target: bytes, body: bytes, **checks: object) -> Case:
    """Something was sent before: the connection closes without a last chunk."""
    return last(name, get(target), body=body, complete=False, announced=False, **checks)


GROUPS = {
    "PEP 3333 The start_response() Callable": [
        # start_response
        fails("never called", b"/never-start"),
        fails("never called, streamed", b"/never-start-streamed"),
        fails("never called, empty result", b"/never-start-empty"),
        fails("never called: close() is", b"/never-start-streamed?t=@TOKEN@", events=CLOSED),
        fails("called twice", b"/double-start"),
        cut_off("called twice, after the head was sent", b"/double-start-sent?t=@TOKEN@", b"sent, ", events=CLOSED),
        served("called in the first block", get(b"/late-start"), 202, body=b"started late"),
    ],
    "PEP 3333 Error Handling": [
        # exc_info
        served("exc_info replaces status and fields", get(b"/exc-info/before"), 503, body=b"replaced",
               reason="Replaced",
               fields={"X-Old": None, "X-New": "yes", "Content-Length": "8"}),
        served("exc_info in the only call", get(b"/exc-info/first"), 503, body=b"the only head"),
        served("exc_info after an empty block", get(b"/exc-info/empty-block"), 503, body=b"replaced",
               fields={"X-Old": None}),
        cut_off("exc_info after the head is raised again", b"/exc-info/after?t=@TOKEN@", b"sent, ", events=CLOSED),
        last("exc_info after the head, HTTP/1.0", get10(b"/exc-info/after"), body=b"sent, ", framing=Framing.CLOSE),
        # exceptions
        fails("raised at once", b"/raise"),
        fails("raised after start_response", b"/raise-started"),
        fails("raised in the first block", b"/raise-first?t=@TOKEN@", events=CLOSED),
        served("raised at once, body unread", post(b"abc", target=b"/raise"), 500),
        served("raised on HEAD", head(b"/raise"), 500, body=b""),
        last("raised in HTTP/1.0", get10(b"/raise"), 500),
        last("raised with close", get(b"/raise", b"Connection: close"), 500),
        served("the traceback is not sent", get(b"/raise"), 500,
               body=lambda sent: b"Traceback" not in sent and b"start_response" not in sent and b".py" not in sent),
        cut_off("raised after the head", b"/raise-later", b"sent, "),
        cut_off("raised after the head, with a length", b"/raise-later-sized", b"sent, "),
        cut_off("raised after write()", b"/raise-written", b"sent, "),
        cut_off("raised after the head: close() is called", b"/raise-later?t=@TOKEN@", b"sent, ", events=CLOSED),
        cut_off("raised after the head, with a length: close() is called", b"/raise-later-sized?t=@TOKEN@", b"sent, ",
                events=CLOSED),
        last("raised after the head, nothing behind it is answered", get(b"/raise-later") + get(b"/2"), body=b"sent, ",
             complete=False, announced=False, abrupt=True),
        served("raised in close(): the answer stands", get(b"/raise-in-close?t=@TOKEN@"), body=b"fine", events=CLOSED),
    ],
    "PEP 3333 Specification Details": [
        # results that are no bodies
        fails("None", b"/result/none"),
        fails("a number", b"/result/number"),
        fails("a list of text", b"/result/str-list"),
        fails("a list of numbers", b"/result/number-list"),
        fails("a list of None", b"/result/none-list"),
        fails("text", b"/result/str"),
        fails("a list of bytes and text", b"/result/mixed-list"),
        fails("text to write()", b"/write-str"),
        cut_off("text behind bytes", b"/str-later?t=@TOKEN@", b"bytes, then ", events=CLOSED),
        # close()
        served("close() of an iterable", get(b"/closing?t=@TOKEN@"), body=b"to be closed", events=CLOSED),
        served("close() of a list", get(b"/closing-list?t=@TOKEN@"), body=b"sized and closed", events=CLOSED),
        served("close() of a result with 204", get(b"/status-closing/204?t=@TOKEN@"), 204, events=CLOSED),
        served("close() of a result with 304", get(b"/status-closing/304?t=@TOKEN@"), 304, events=CLOSED),
        last("close() in HTTP/1.0", get10(b"/closing?t=@TOKEN@"), body=b"to be closed", events=CLOSED),
        last("close() with close", get(b"/closing?t=@TOKEN@", b"Connection: close"), body=b"to be closed",
             events=CLOSED),
        served("close() of what is called by its first block", get(b"/late-start?t=@TOKEN@"), 202, events=CLOSED),
        served("called once each", get(b"/closing?t=@TOKEN@") + get(b"/closing?t=@TOKEN@"), 200, 200,
               events=(*CLOSED, *CLOSED)),
        scripted("close() when the client leaves", Send(get(b"/endless?t=@TOKEN@")), Arrived(1000), Leave(),
                 statuses=(200,), closed=True, complete=False, events=CLOSED),
        scripted("close() when the client resets", Send(get(b"/endless?t=@TOKEN@")), Arrived(1000), Leave(reset=True),
                 statuses=(200,), closed=True, complete=False, events=CLOSED),
        scripted("close() when the client left before the answer", Send(get(b"/closing?t=@TOKEN@")), Leave(),
                 statuses=(), closed=True, events=CLOSED, otherwise=(200,)),
        scripted("a client that leaves between requests", Send(get()), Answers(1), Leave(), statuses=(200,),
                 closed=True,
                 announced=False),
    ],
}  # fmt: skip
