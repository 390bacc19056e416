"""Where frameworks leave the route of a request: a finder for each.

A finder is asked while a response is begun, or while the request still runs. It is given the environ and a frame of the
request's thread, and says the route, None if there is none. It may raise anything: see `asking`. It keeps nothing.

Sources: Flask 2.2–3.1 (`Flask.wsgi_app`, `ctx.RequestContext`), Django 4.2–5.2 (`core.handlers.wsgi`,
`urls.resolvers.ResolverMatch`), Bottle 0.12–0.13 (`Bottle._handle`), CherryPy 18 (`_cpwsgi`, `_cpdispatch`).
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from .events import listen_to_flask

_MAX_FRAMES = 200  # of a stack: a handler that is deeper is not looked for


def flask(environ: dict[str, Any], frame: FrameType | None) -> str | None:
    """The rule, behind the prefix under which the application is mounted.

    Werkzeug leaves its request in the environ until Flask's context ends, which is after the response was begun.
    """
    request = environ.get("werkzeug.request", environ)
    if request is None:  # its context has ended, as the application has raised, or as middleware keeps its answer
        context = _variable(frame, "flask.app", "ctx")
        if context is None:
            listen_to_flask(_route_of)
            return None
        request = context.request
    elif request is environ:
        return None
    return _route_of(request, environ)


def _route_of(request: Any, environ: dict[str, Any]) -> str | None:
    rule = request.url_rule
    if rule is None:
        rule = _rule_for_other_methods(request)
        if rule is None:
            return None
    prefix = environ.get("SCRIPT_NAME")
    return f"{prefix}{rule.rule}" if prefix else rule.rule


def _rule_for_other_methods(request: Any) -> Any:
    """Of a request that was answered 405: the rule that its path has."""
    methods = getattr(request.routing_exception, "valid_methods", None)
    if not methods:
        return None
    adapter = sys.modules["flask"].globals.request_ctx.url_adapter  # none on another thread, which is an error
    return adapter.match(method=next(iter(methods)), return_rule=True)[0]


def bottle(environ: dict[str, Any], _frame: FrameType | None) -> str | None:
    """The rule; those of mounted Bottle applications have their prefix already."""
    route = environ.get("bottle.route")
    if route is None:
        return None
    prefix = environ.get("SCRIPT_NAME")
    return f"{prefix.rstrip('/')}{route.rule}" if prefix else route.rule


def django(environ: dict[str, Any], frame: FrameType | None) -> str | None:
    """The route of the URL resolver's match; also Django REST framework's, whose views are Django's.

    The request is a variable of the handler, which calls start_response and, further in, the view.
    """
    request = _variable(frame, "django.core.handlers.wsgi", "request")
    if request is None:
        return None
    match = request.resolver_match
    if match is None:
        return None
    return f"{environ.get('SCRIPT_NAME', '').rstrip('/')}/{_simplified(match.route)}"


_simple: dict[str, str] = {}  # by Django's route; as many as there are, in an application's own URLs
_KEPT_ROUTES = 2048


def _simplified(route: str) -> str:
    found = _simple.get(route)
    if found is None:
        found = simplified(route)
        if len(_simple) < _KEPT_ROUTES:
            _simple[route] = found
    return found


def simplified(route: str) -> str:
    """A route with regular expressions (`re_path`, routers) as people would write it.

    "^orders/(?P<pk>[^/.]+)/$" is "orders/<pk>/"; a group without a name is "<…>".
    """
    if "(" not in route and "^" not in route and "$" not in route:
        return route
    out: list[str] = []
    depth, at, in_class = 0, 0, False
    while at < len(route):
        char = route[at]
        at += 1
        if char == "\\" and at < len(route):
            following = route[at]
            at += 1
            if not depth and following not in "AZbBdDwWsS":
                out.append(following)
        elif in_class:
            in_class = char != "]"
        elif char == "[" and depth:
            in_class = True
            at += route.startswith(("]", "^]"), at) + route.startswith("^]", at)
        elif char == "(":
            if not depth:
                name = ""
                if route.startswith("?P<", at):
                    name = route[at + 3 : max(0, route.find(">", at))]
                if name or not route.startswith("?", at) or route.startswith("?:", at):
                    out.append(f"<{name or '…'}>")
            depth += 1
        elif char == ")":
            depth = max(0, depth - 1)
        elif not depth and char not in "^$?":
            out.append(char)
    return "".join(out)


def cherrypy(_environ: dict[str, Any], frame: FrameType | None) -> str | None:
    """The objects of the path as far as they are the tree's: there are no patterns. "/blog/entry/*"."""
    caller = _frame_in(frame, "cherrypy._cpwsgi")
    if caller is None:
        return None
    request = _variable(caller, "cherrypy._cpwsgi", "request")
    if request is None:  # it is about to be answered, on this thread
        request = sys.modules["cherrypy"].serving.request
    if request.handler is None or isinstance(request.handler, Exception):
        return None  # nobody has been looked for yet, or nobody was found (NotFound)
    node = request.app.root
    route = [request.script_name.rstrip("/")]
    for name in request.path_info.strip("/").split("/"):
        node = getattr(node, name.replace(".", "_"), None) if name else None
        if node is None:
            if name:
                route.append("*")
            break
        route.append(name)
    return "/".join(route) or "/"


def _frame_in(frame: FrameType | None, module: str) -> FrameType | None:
    """The innermost frame of a module's code, from `frame` outwards."""
    for _ in range(_MAX_FRAMES):
        if frame is None or frame.f_globals.get("__name__") == module:
            return frame
        frame = frame.f_back
    return None


def _variable(frame: FrameType | None, module: str, name: str) -> Any:
    """The variable of that name in the innermost frame of the module's code that has it; None without."""
    found = frame
    while found is not None:
        found = _frame_in(found, module)
        if found is None:
            return None
        if name in found.f_code.co_varnames and (value := found.f_locals.get(name)) is not None:
            return value
        found = found.f_back
    return None
