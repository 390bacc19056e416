"""Real frameworks behind `daemon.routes`: what is found of a few requests, each as a line of JSON.

    python -m tests.support.routed_frameworks flask

A process for each: what is imported settles who is asked. The lines are [what was asked, status, the route that was
counted, the route that another thread saw while the view ran].
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from functools import partial
from threading import Thread
from typing import Any
from wsgiref.util import setup_testing_defaults

from miniwsgi.daemon.routes.choice import route_of_running, routed
from miniwsgi.daemon.routes.variables import ROUTE

Application = Callable[..., Any]
given: list[dict[str, Any]] = []  # the environ of the request, as the server has it
seen: list[str | None] = []


def look() -> None:
    """Called by a view: what another thread finds of its request."""
    frame = sys._getframe(1)
    thread = Thread(target=lambda: seen.append(route_of_running(given[-1], frame)))
    thread.start()
    thread.join()


def ask(application: Application, request: str) -> None:
    """`request` is a method and a path; "/prefix|/path" comes under a SCRIPT_NAME."""
    method, target = request.split()
    script, _, path = target.rpartition("|")
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    environ["SCRIPT_NAME"] = script
    given[:] = [environ]
    statuses: list[str] = []

    def start_response(status: str, _headers: Any, _exc_info: Any = None) -> Callable[[bytes], None]:
        statuses.append(status[:3])
        return lambda _data: None

    try:
        result = application(environ, start_response)
        b"".join(result)
        getattr(result, "close", lambda: None)()
    except ZeroDivisionError:
        statuses.append("raised")
    print(json.dumps([request, statuses[-1], environ[ROUTE], seen.pop() if seen else None]))


def copying(application: Application) -> Application:
    """Behind a middleware that hands on a copy of the environ."""
    return lambda environ, start_response: application(dict(environ), start_response)


def keeping(application: Application) -> Application:
    """Behind a middleware that begins the response when the application is done."""

    def call(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        begun: list[Any] = []

        def keep(*answer: Any) -> Callable[[bytes], None]:
            begun[:] = answer
            return lambda _data: None

        result = application(environ, keep)
        body = b"".join(result)
        result.close()
        start_response(*begun)
        return [body]

    return call


def ask_all(application: Application, *requests: str) -> None:
    """Each in its turn."""
    found = routed(application)
    for request in requests:
        ask(found, request)


def flask() -> None:
    from flask import Flask
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    app = Flask("shop")

    @app.get("/orders/<int:number>")
    def order(number: int) -> str:
        look()
        return str(number)

    @app.get("/fails")
    def fails() -> float:
        return 1 / 0

    @app.get("/streams")
    def streams() -> Iterable[str]:
        return (part for part in "abc")

    def pulled(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        yield from app(environ, start_response)

    ask_all(
        app, "GET /orders/3", "GET /fails", "GET /streams", "GET /nowhere", "POST /orders/3", "OPTIONS /orders/3",
        "GET /static/none", "GET /eu|/orders/3",
    )  # fmt: skip
    ask_all(DispatcherMiddleware(app, {"/m": app}), "GET /m/orders/3", "POST /m/orders/3")
    ask_all(pulled, "GET /orders/4")
    ask_all(keeping(app), "GET /orders/5", "GET /orders/6", "POST /orders/6", "GET /nowhere")
    app.config["PROPAGATE_EXCEPTIONS"] = True
    ask_all(app, "GET /fails")
    ask_all(
        copying(DispatcherMiddleware(app, {"/m": app})),
        "GET /m/orders/3",
        "POST /m/orders/3",
        "GET /nowhere",
        "GET /fails",
    )


def django() -> None:
    import django
    from django.conf import settings

    settings.configure(
        ROOT_URLCONF="urls", ALLOWED_HOSTS=["*"], SECRET_KEY="x", LOGGING_CONFIG=None,
        INSTALLED_APPS=["rest_framework"], MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        REST_FRAMEWORK={
            "DEFAULT_AUTHENTICATION_CLASSES": [], "DEFAULT_PERMISSION_CLASSES": [], "UNAUTHENTICATED_USER": None,
        },
    )  # fmt: skip
    django.setup()
    from types import ModuleType

    from django.core.wsgi import get_wsgi_application
    from django.http import FileResponse, HttpResponse, StreamingHttpResponse
    from django.urls import include, path, re_path
    from django.views.decorators.http import require_POST
    from rest_framework import routers, viewsets
    from rest_framework.response import Response

    class Users(viewsets.ViewSet):
        def list(self, _request: Any) -> Any:
            return Response([])

        def retrieve(self, request: Any, pk: str) -> Any:
            look()
            return Response({"pk": pk})

    def view(request: Any, **_found: Any) -> Any:
        look()
        return HttpResponse("x")

    def fails(_request: Any) -> Any:
        raise ZeroDivisionError

    def file(_request: Any) -> Any:
        return FileResponse(open(__file__, "rb"))

    router = routers.DefaultRouter()
    router.register("users", Users, basename="users")
    urls = ModuleType("urls")
    urls.urlpatterns = [  # type: ignore[attr-defined]
        path("orders/<int:number>/", view),
        path("fails", fails),
        re_path(r"^years/(?P<year>[0-9]{4})/(\d+)\.html$", view),
        path("api/", include(router.urls)),
        path("streams", lambda _request: StreamingHttpResponse(iter([b"a"]))),
        path("file", file),
        path("post", require_POST(view)),
        path("", view),
    ]
    sys.modules["urls"] = urls
    application = get_wsgi_application()

    def middleware(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        def start(*said: Any) -> Any:
            return start_response(*said)

        return list(application(environ, start))

    ask_all(
        application, "GET /orders/3/", "GET /orders/3", "GET /fails", "GET /years/2024/7.html", "GET /api/users/",
        "GET /api/users/7/", "DELETE /api/users/7/", "GET /streams", "GET /file", "GET /nowhere", "GET /post", "GET /",
        "GET /eu|/orders/3/",
    )  # fmt: skip
    ask_all(middleware, "GET /orders/3/")


def pyramid() -> None:
    from pyramid.config import Configurator
    from pyramid.response import Response

    def view(request: Any) -> Any:
        look()
        return Response("x")

    def fails(_request: Any) -> Any:
        raise ZeroDivisionError

    with Configurator() as config:
        config.add_route("order", "/orders/{number:\\d+}")
        config.add_route("fails", "fails")
        config.add_view(view, route_name="order", request_method="GET")
        config.add_view(fails, route_name="fails")
        application = config.make_wsgi_app()
    ask_all(application, "GET /orders/3", "GET /fails", "GET /nowhere", "POST /orders/3", "GET /eu|/orders/3")

    def middleware(*call: Any) -> Any:
        return application(*call)

    ask_all(middleware, "GET /orders/3")
    ask_all(copying(application), "GET /orders/3", "GET /fails")


def bottle() -> None:
    from bottle import Bottle

    app, mounted = Bottle(), Bottle()

    @app.get("/orders/<number:int>")
    def order(number: int) -> str:
        look()
        return str(number)

    @app.get("/fails")
    def fails() -> float:
        return 1 / 0

    @mounted.get("/items/<name>")
    def item(name: str) -> str:
        return name

    app.mount("/m/", mounted)
    ask_all(app, "GET /orders/3", "GET /fails", "GET /m/items/a", "GET /nowhere", "POST /orders/3", "GET /eu|/orders/3")
    ask_all(copying(app), "GET /m/items/a", "GET /fails")


def falcon() -> None:
    from falcon import App

    class Orders:
        def on_get(self, req: Any, resp: Any, number: int) -> None:
            look()
            resp.text = str(number)

    class Fails:
        def on_get(self, _req: Any, _resp: Any) -> None:
            raise ZeroDivisionError

    class Middleware:
        def __init__(self, app: Application) -> None:
            self.app = app

        def __call__(self, environ: Any, start_response: Any) -> Any:
            return self.app(environ, start_response)

    app = App()
    app.add_route("/orders/{number:int}", Orders())
    app.add_route("/fails", Fails())
    ask_all(app, "GET /orders/3", "GET /fails", "GET /nowhere", "POST /orders/3", "GET /eu|/orders/3")
    ask_all(Middleware(app), "GET /orders/3")

    def made() -> App:
        found = App()
        found.add_route("/orders/{number:int}", Orders())
        return found

    def closes_over(app: Application) -> Application:
        class Odd:
            def __call__(self) -> None: ...

            def __getattribute__(self, name: str) -> Any:
                raise RuntimeError(name)

        odd = Odd()

        def call(environ: Any, start_response: Any) -> Any:
            return app(environ, start_response) if odd is not None else None

        return call

    ask_all(closes_over(made()), "GET /orders/3")
    ask_all(partial(closes_over(closes_over(made()))), "GET /orders/3")
    ask_all(closes_over(made().__call__), "GET /orders/3")
    ask_all(copying(made()), "GET /orders/3", "POST /orders/3")


def cherrypy() -> None:
    import cherrypy

    cherrypy.config.update({"environment": "embedded", "log.screen": False})

    class Orders:
        @cherrypy.expose
        def index(self) -> str:
            return "all"

        @cherrypy.expose
        def show(self, number: str) -> str:
            look()
            return number

        @cherrypy.expose
        def fails(self) -> float:
            return 1 / 0

    class Root:
        orders = Orders()

        @cherrypy.expose
        def index(self) -> str:
            return "root"

    cherrypy.tree.mount(Root(), "/blog")
    ask_all(
        cherrypy.Application(Root(), ""), "GET /", "GET /orders/", "GET /orders/show/3", "GET /orders/fails",
        "GET /nowhere",
    )  # fmt: skip
    ask_all(cherrypy.tree, "GET /blog/orders/show/3")


FRAMEWORKS = {made.__name__: made for made in (flask, django, pyramid, bottle, falcon, cherrypy)}

if __name__ == "__main__":
    FRAMEWORKS[sys.argv[1]]()
