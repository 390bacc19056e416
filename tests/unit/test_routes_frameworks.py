"""The routes of requests as real frameworks have them: each as it is installed, nothing of the application changed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

from tests.support.waiting import PATIENCE_SECONDS

# [what was asked, status, the route, the route that another thread saw while the view ran]
FOUND = {
    "flask": [
        ["GET /orders/3", "200", "/orders/<int:number>", "/orders/<int:number>"],
        ["GET /fails", "500", "/fails", None],
        ["GET /streams", "200", "/streams", None],
        ["GET /nowhere", "404", "", None],
        ["POST /orders/3", "405", "/orders/<int:number>", None],
        ["OPTIONS /orders/3", "200", "/orders/<int:number>", None],
        ["GET /static/none", "404", "/static/<path:filename>", None],
        ["GET /eu|/orders/3", "200", "/eu/orders/<int:number>", "/eu/orders/<int:number>"],
        ["GET /m/orders/3", "200", "/m/orders/<int:number>", "/m/orders/<int:number>"],
        ["POST /m/orders/3", "405", "/m/orders/<int:number>", None],
        ["GET /orders/4", "200", "/orders/<int:number>", "/orders/<int:number>"],  # within a generator
        ["GET /orders/5", "200", "", "/orders/<int:number>"],  # behind one that keeps answers, which is learnt from
        ["GET /orders/6", "200", "/orders/<int:number>", "/orders/<int:number>"],
        ["POST /orders/6", "405", "/orders/<int:number>", None],
        ["GET /nowhere", "404", "", None],
        ["GET /fails", "raised", "/fails", None],
        ["GET /m/orders/3", "200", "/m/orders/<int:number>", "/m/orders/<int:number>"],  # it copies, from here
        ["POST /m/orders/3", "405", "/m/orders/<int:number>", None],
        ["GET /nowhere", "404", "", None],
        ["GET /fails", "raised", "/fails", None],
    ],
    "django": [
        ["GET /orders/3/", "200", "/orders/<int:number>/", "/orders/<int:number>/"],
        ["GET /orders/3", "301", "", None],  # it is redirected since no route fits
        ["GET /fails", "500", "/fails", None],
        ["GET /years/2024/7.html", "200", "/years/<year>/<…>.html", "/years/<year>/<…>.html"],
        ["GET /api/users/", "200", "/api/users/", None],
        ["GET /api/users/7/", "200", "/api/users/<pk>/", "/api/users/<pk>/"],
        ["DELETE /api/users/7/", "405", "/api/users/<pk>/", None],
        ["GET /streams", "200", "/streams", None],
        ["GET /file", "200", "/file", None],
        ["GET /nowhere", "404", "", None],
        ["GET /post", "405", "/post", None],
        ["GET /", "200", "/", "/"],
        ["GET /eu|/orders/3/", "200", "/eu/orders/<int:number>/", "/eu/orders/<int:number>/"],
        ["GET /orders/3/", "200", "/orders/<int:number>/", "/orders/<int:number>/"],  # behind a middleware
    ],
    "pyramid": [
        ["GET /orders/3", "200", "/orders/{number:\\d+}", "/orders/{number:\\d+}"],
        ["GET /fails", "raised", "/fails", None],
        ["GET /nowhere", "404", "", None],
        ["POST /orders/3", "404", "/orders/{number:\\d+}", None],
        ["GET /eu|/orders/3", "200", "/eu/orders/{number:\\d+}", "/eu/orders/{number:\\d+}"],
        ["GET /orders/3", "200", "/orders/{number:\\d+}", "/orders/{number:\\d+}"],
        ["GET /orders/3", "200", "/orders/{number:\\d+}", "/orders/{number:\\d+}"],  # it copies, from here
        ["GET /fails", "raised", "/fails", None],
    ],
    "bottle": [
        ["GET /orders/3", "200", "/orders/<number:int>", "/orders/<number:int>"],
        ["GET /fails", "500", "/fails", None],
        ["GET /m/items/a", "200", "/m/items/<name>", None],
        ["GET /nowhere", "404", "", None],
        ["POST /orders/3", "405", "", None],  # Bottle does not say what would have fitted
        ["GET /eu|/orders/3", "200", "/eu/orders/<number:int>", "/eu/orders/<number:int>"],
        ["GET /m/items/a", "200", "/m/items/<name>", None],  # it copies, from here
        ["GET /fails", "500", "/fails", None],
    ],
    "falcon": [
        ["GET /orders/3", "200", "/orders/{number:int}", "/orders/{number:int}"],
        ["GET /fails", "500", "/fails", None],
        ["GET /nowhere", "404", "", None],
        ["POST /orders/3", "405", "/orders/{number:int}", None],
        ["GET /eu|/orders/3", "200", "/eu/orders/{number:int}", "/eu/orders/{number:int}"],
        ["GET /orders/3", "200", "/orders/{number:int}", "/orders/{number:int}"],  # behind a middleware
        ["GET /orders/3", "200", "/orders/{number:int}", "/orders/{number:int}"],  # … that is a function,
        ["GET /orders/3", "200", "/orders/{number:int}", "/orders/{number:int}"],  # … one in another,
        ["GET /orders/3", "200", "/orders/{number:int}", "/orders/{number:int}"],  # … or has a method of it
        ["GET /orders/3", "200", "/orders/{number:int}", "/orders/{number:int}"],  # it copies, from here
        ["POST /orders/3", "405", "/orders/{number:int}", None],
    ],
    "cherrypy": [
        ["GET /", "200", "/", None],
        ["GET /orders/", "200", "/orders", None],
        ["GET /orders/show/3", "200", "/orders/show/*", "/orders/show/*"],
        ["GET /orders/fails", "500", "/orders/fails", None],
        ["GET /nowhere", "404", "/*", None],  # `index` was found, and does not take it
        ["GET /blog/orders/show/3", "200", "/blog/orders/show/*", "/blog/orders/show/*"],
    ],
}


IN_EVERY_RUN = ("flask", "django")  # each is a process that imports a framework


@pytest.mark.parametrize(
    "framework", [pytest.param(name, marks=() if name in IN_EVERY_RUN else pytest.mark.full) for name in FOUND]
)
def test_a_request_has_the_route_that_its_framework_has_found(framework: str) -> None:
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed: see make test-frameworks")
    command = [sys.executable, "-m", "tests.support.routed_frameworks", framework]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert [json.loads(line) for line in done.stdout.splitlines()] == FOUND[framework], done.stderr[-3000:]
