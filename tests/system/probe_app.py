"""An application for tests: says who answers, holds requests, takes memory, and tries what it is sent as code.

`VERSION` is replaced by tests. Where it cannot be imported on order: /srv/shop/broken, /srv/shop/held-imports.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
import urllib.parse

VERSION = "v1"
HERE = os.path.dirname(os.path.abspath(__file__))


def application(environ, start_response):
    query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"]))
    answer = ACTIONS.get(environ["PATH_INFO"], who)(environ, query)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]


def who(environ, query):
    return f"{VERSION} {os.getpid()} {query.get('token', '')}\n".encode()


def hold(environ, query):
    """Lasts until the test removes the file `held`."""
    with open(os.path.join(os.environ["STATE_DIRECTORY"], "begun"), "a") as begun:
        begun.write(".")
    while os.path.exists(os.path.join(HERE, "held")):
        time.sleep(0.01)
    return who(environ, query)


def eat(environ, query):
    """Takes memory until the kernel says no."""
    eaten = []
    while True:
        eaten.append(bytearray(b"x" * (8 << 20)))


def attempt(environ, query):
    """Runs the body as code; the value of its `result`, or the error's name."""
    scope = {}
    try:
        exec(environ["wsgi.input"].read(), scope)
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__} {getattr(error, 'errno', '')}".strip().encode()
    return str(scope.get("result")).encode()


def say(environ, query):
    print(query["text"], file=sys.stderr, flush=True)
    return who(environ, query)


def fail(environ, query):
    raise ValueError("as was asked for")


ACTIONS = {"/hold": hold, "/eat": eat, "/attempt": attempt, "/fail": fail, "/say": say}

while os.path.exists(os.path.join(HERE, "held-imports")):
    time.sleep(0.01)
if os.path.exists(os.path.join(HERE, "broken")):
    raise RuntimeError("the shop is out of order")
