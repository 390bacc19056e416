"""Routes that show what the application sees of a request: the environ, the body, the records."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from .routes import RECORDS, Environ, Result, answer, argument, route, token_of


@route("/calls")
def calls(environ: Environ, start_response: Callable[..., Any]) -> Result:
    """`?t=TOKEN&take=N`: what was recorded, and forgotten with that once it is N events or more."""
    path = RECORDS / (token_of(environ) or "none")
    events = path.read_text().split() if path.exists() else []
    if len(events) >= int(environ["QUERY_STRING"].rpartition("take=")[2] or 0):
        path.unlink(missing_ok=True)
    return answer(start_response, json.dumps(events).encode())


def visible(environ: Environ) -> dict[str, Any]:
    """The environ as JSON data: plain values as they are, other objects by the name of their type."""
    shown: dict[str, Any] = {}
    for key, value in environ.items():
        plain = isinstance(value, str | int | bool | tuple) or value is None
        shown[str(key)] = value if plain else f"<{type(value).__name__}>"
    shown["(exactly a dict)"] = type(environ) is dict
    shown["(keys are str)"] = all(type(key) is str for key in environ)
    shown["(latin-1)"] = all(max(v, default="\0") <= "\xff" for v in environ.values() if isinstance(v, str))
    shown["(from os.environ)"] = sorted(key for key in environ if key in os.environ and environ[key] == os.environ[key])
    return shown


def show_environ(environ: Environ, start_response: Callable[..., Any]) -> Result:
    body = environ["wsgi.input"].read()
    shown = {"environ": visible(environ), "body": body.decode("latin-1")}
    return answer(start_response, json.dumps(shown).encode())


@route("/unread")
def unread(environ: Environ, start_response: Callable[..., Any]) -> Result:
    return answer(start_response, b"not read")


@route("/partly-read")
def partly_read(environ: Environ, start_response: Callable[..., Any]) -> Result:
    return answer(start_response, environ["wsgi.input"].read(3))


@route("/mutate")
def mutate(environ: Environ, start_response: Callable[..., Any]) -> Result:
    environ["pollution"] = environ["HTTP_POLLUTION"] = "left by another request"
    environ["wsgi.url_scheme"] = environ["SCRIPT_NAME"] = environ["SERVER_NAME"] = "polluted"
    return answer(start_response, b"mutated")


@route("/errors")
def errors(environ: Environ, start_response: Callable[..., Any]) -> Result:
    stream = environ["wsgi.errors"]
    stream.write("conformance: a line for the error log\n")
    stream.writelines(["conformance: ", "two parts\n"])
    stream.flush()
    return answer(start_response, b"logged")


@route("/input/")
def read_input(environ: Environ, start_response: Callable[..., Any]) -> Result:
    """`/input/CALL,CALL…`: each CALL is a method of wsgi.input with its numbers, as in `readline:4`."""
    stream = environ["wsgi.input"]
    seen: list[Any] = []
    for call in argument(environ).split(","):
        name, *numbers = call.split(":")
        if name == "iter":
            got: Any = list(stream)
        elif name == "next":
            got = next(iter(stream), b"")
        else:
            got = getattr(stream, name)(*[None if n == "none" else int(n) for n in numbers])
        seen.append([part.decode("latin-1") for part in got] if isinstance(got, list) else got.decode("latin-1"))
    return answer(start_response, json.dumps(seen).encode())
