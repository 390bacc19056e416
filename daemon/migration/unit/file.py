"""Reading NGINX Unit's configuration, as `GET /config` of its control socket gives it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from ..asked import Asked
from ..conversions import address
from ..draft import Draft, Heading
from ..setting import Given, Place
from ..trouble import ImportTrouble
from .table import SETTINGS

HTTP_DEFAULTS = {  # Unit's, where ours differ much
    "settings.http.max_body_size": 8 << 20,
}


def draft(text: str, name: str, asked: Asked, which: str = "") -> Draft:
    """The draft of one of its Python applications. Raises ImportTrouble."""
    config = _parsed(text, name)
    chosen, application = _application(config, name, which)
    made = Draft("NGINX Unit", f"{name}, {chosen}", Place(asked.directory))
    _what_it_is(made, application)
    _processes(made, application)
    listeners = list(_listeners(made, config, chosen))
    _proxies(made, listeners)
    _http(made, config)
    _access_log(made, config)
    _rest(made, config, application)
    _differences(made, config)
    return made


def _object(value: Any, where: str) -> dict[str, Any]:
    """What has to be an object, or is not there. Raises ImportTrouble."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ImportTrouble(f"{where}: expected an object")
    return value


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ImportTrouble(f"{name}: it is not JSON: {error}") from None
    if isinstance(data, dict) and isinstance(data.get("config"), dict):
        data = data["config"]  # of GET /
    if not isinstance(data, dict) or not isinstance(data.get("applications"), dict) or not data["applications"]:
        raise ImportTrouble(f'{name} has no "applications": expected the configuration of NGINX Unit')
    return data


def _application(config: dict[str, Any], name: str, which: str) -> tuple[str, dict[str, Any]]:
    every = {one: found for one, found in config["applications"].items() if isinstance(found, dict)}
    ours = {one: found for one, found in every.items() if str(found.get("type", "")).startswith("python")}
    if which:
        if which not in every:
            raise ImportTrouble(f"{name} has no application {which!r}: it has {', '.join(every)}")
        if which not in ours:
            raise ImportTrouble(
                f"the application {which!r} is of type {every[which].get('type')}: miniwsgi serves Python"
            )
        return which, ours[which]
    if not ours:
        raise ImportTrouble(f"{name} has no application of type python")
    if len(ours) > 1:
        raise ImportTrouble(f"{name} has several applications: name one of {', '.join(ours)} with --select")
    return next(iter(ours.items()))


def _what_it_is(made: Draft, application: dict[str, Any]) -> None:
    paths = application.get("path", [])
    paths = [made.place.path(str(path)) for path in (paths if isinstance(paths, list) else [paths])]
    working = application.get("working_directory")
    directory = made.place.path(str(working)) if working else paths[0] if paths else made.place.directory
    said = "working_directory" if working else "path" if paths else ""
    made.set("app.directory", directory, Given(said, directory) if said else None)
    made.place = Place(directory)
    if others := [path for path in paths if path != directory]:
        made.variable("PYTHONPATH", ":".join(others))
    for name, value in _object(application.get("environment"), "environment").items():
        made.variable(str(name), str(value))
    targets = _object(application.get("targets"), "targets")
    target = application if "module" in application else _object(next(iter(targets.values()), {}), "targets")
    if len(targets) > 1:
        made.remark(Heading.TODO, "targets", f"{', '.join(targets)}: {SETTINGS['applications.targets'].says}")
        made.warn("it has several targets: the first one is taken")
    if "module" not in target:
        raise ImportTrouble('the application has no "module"')
    whole = f"{target['module']}:{target.get('callable', 'application')}"
    made.set("app.factory" if target.get("factory") else "app.module", whole)
    if prefix := str(target.get("prefix", "")).rstrip("/"):
        made.set("server.script_name", prefix, Given("prefix", prefix))
    if application.get("home"):
        made.carry(Given("applications.home", application["home"], said="home"), SETTINGS)
    if application.get("protocol") == "asgi":
        made.remark(Heading.NOTHING, "protocol", SETTINGS["applications.protocol"].says)
        made.warn("the application is ASGI: miniwsgi serves WSGI")


def _processes(made: Draft, application: dict[str, Any]) -> None:
    processes = application.get("processes", 1)
    if isinstance(processes, dict):
        made.carry(Given("applications.processes.max", processes.get("max", 1), said="processes.max"), SETTINGS)
        for name in ("spare", "idle_timeout"):
            if name in processes:
                made.carry(Given(f"applications.processes.{name}", processes[name], said=f"processes.{name}"), SETTINGS)
    else:
        made.carry(Given("applications.processes", processes, said="processes"), SETTINGS)
        if "processes" not in application:
            made.lines["server.workers"].note = "Unit's default."
    made.carry(Given("applications.threads", application.get("threads", 1), said="threads"), SETTINGS)
    if "threads" not in application:
        made.lines["server.threads"].note = "Unit's default. If the application is thread-safe, remove this: ours is 8."


def _listeners(made: Draft, config: dict[str, Any], chosen: str) -> Iterator[dict[str, Any]]:
    """Those that lead to the application, by themselves or by routes."""
    binds: list[str] = []
    for where, given in _object(config.get("listeners"), "listeners").items():
        listener = _object(given, f"listeners, {where}")
        target = [unquote(part) for part in str(listener.get("pass", "")).split("/")]
        if target[0] == "applications" and target[1:2] != [chosen]:
            continue
        if target[0] == "routes" and not _leads_to(config, target[1:], chosen, set()):
            continue
        if target[0] not in ("applications", "routes"):
            made.remark(Heading.TODO, f"listeners {where}", f"pass {listener.get('pass')}: left to the proxy in front")
            continue
        binds.append(address(where, made.place))
        yield listener
        if "backlog" in listener:
            made.carry(Given("listeners.backlog", listener["backlog"], said="backlog"), SETTINGS)
        if "tls" in listener:
            bundles = _object(listener["tls"], f"listeners, {where}, tls").get("certificate", [])
            names = ", ".join(map(str, bundles)) if isinstance(bundles, list) else str(bundles)
            made.remark(Heading.TODO, f"tls of {where}, certificate {names}", SETTINGS["listeners.tls"].says)
            made.warn(f"the listener {where} has TLS, whose certificate is in Unit's state alone: name a file of it")
    if binds:
        made.set("server.bind", binds, Given("listeners", binds))
    else:
        made.warn(f"no listener leads to the application {chosen}: set server.bind")


def _leads_to(config: dict[str, Any], route: list[str], chosen: str, seen: set[str]) -> bool:
    """Whether some step of a route, or of those that it passes on to, leads to the application."""
    routes = config.get("routes")
    steps = routes.get(route[0]) if route and isinstance(routes, dict) else routes
    if not isinstance(steps, list):
        return True  # not known: its address is kept
    actions = [step.get("action") for step in steps if isinstance(step, dict)]
    while actions:
        action = actions.pop()
        if not isinstance(action, dict):
            continue
        actions.append(action.get("fallback"))
        passed = str(action.get("pass", ""))
        target = [unquote(part) for part in passed.split("/")]
        if target[0] == "applications" and target[1:2] == [chosen]:
            return True
        if target[0] == "routes" and passed not in seen:
            seen.add(passed)
            if _leads_to(config, target[1:], chosen, seen):
                return True
        if "$" in passed:  # a variable, which may be anything
            return True
    return False


def _proxies(made: Draft, listeners: list[dict[str, Any]]) -> None:
    trusted: list[str] = []
    for listener in listeners:
        forwarded = _object(listener.get("forwarded") or listener.get("client_ip") or {}, "forwarded")
        source = forwarded.get("source") or []
        for item in source if isinstance(source, list) else [source]:
            text = str(item)
            if text.startswith("!") or "-" in text or (":" in text and text.count(":") == 1):
                made.remark(Heading.TODO, "forwarded.source", f"{text}: as an address or a network in proxy.trusted")
            elif text not in trusted:
                trusted += ["unix"] if text.startswith("unix") else [text]
        for name in ("client_ip", "protocol", "header"):
            if name in forwarded:
                row = "listeners.forwarded." + ("client_ip" if name == "header" else name)
                made.carry(Given(row, str(forwarded[name]), said=f"forwarded.{name}"), SETTINGS)
        if forwarded.get("recursive"):
            said = "the last address that is none of a trusted proxy's is the client's"
            made.remark(Heading.BUILT_IN, "forwarded.recursive", said)
        elif source:
            made.set("proxy.hops", 1, note="Unit takes the last address, unless recursive is true.")
    if trusted:
        made.set("proxy.trusted", list(dict.fromkeys(trusted)), Given("forwarded.source", trusted))


def _http(made: Draft, config: dict[str, Any]) -> None:
    settings = _object(config.get("settings"), "settings")
    for name in settings.keys() - {"http"}:
        made.carry(Given(f"settings.{name}", settings[name], said=f"settings.{name}"), SETTINGS)
    http = _object(settings.get("http"), "settings.http")
    for name, value in http.items():
        full = f"settings.http.{name}"
        if name == "server_version":
            if value is False:
                made.set("server.server_header", "off", Given(name, value))
        elif full in SETTINGS:
            made.carry(Given(full, value, said=full), SETTINGS)
        else:
            made.remark(Heading.UNKNOWN, full, "no setting of Unit's that is known here")
    for full, value in HTTP_DEFAULTS.items():
        if full.rpartition(".")[2] not in http:
            made.carry(Given(full, value, said="Unit's default"), SETTINGS)


def _access_log(made: Draft, config: dict[str, Any]) -> None:
    log = config.get("access_log")
    if isinstance(log, str):
        made.carry(Given("access_log.path", log, said="access_log"), SETTINGS)
    elif isinstance(log, dict):
        for name in log.keys() & {"path", "format", "if"}:
            made.carry(Given(f"access_log.{name}", log[name], said=f"access_log.{name}"), SETTINGS)


def _rest(made: Draft, config: dict[str, Any], application: dict[str, Any]) -> None:
    """What is by itself, and remarks on what is left out."""
    for name in ("user", "group", "stdout", "stderr", "thread_stack_size", "isolation"):
        if name in application:
            made.carry(Given(f"applications.{name}", application[name], said=name), SETTINGS)
    for name, value in _object(application.get("limits"), "limits").items():
        made.carry(Given(f"applications.limits.{name}", value, said=f"limits.{name}"), SETTINGS)
    for name in application:
        if f"applications.{name}" not in SETTINGS and name not in ("limits", "name"):
            made.remark(Heading.UNKNOWN, name, "no setting of an application of Unit's that is known here")
    for name in config.keys() - {"listeners", "applications", "settings", "access_log", "routes", "upstreams"}:
        made.remark(Heading.UNKNOWN, name, "no part of Unit's configuration that is known here")
    for name in sorted(_actions(config.get("routes"))):
        if f"routes.{name}" in SETTINGS:
            made.carry(Given(f"routes.{name}", True, said=f"routes: {name.removeprefix('action.')}"), SETTINGS)
    if config.get("upstreams"):
        made.carry(Given("upstreams", True), SETTINGS)


def _actions(routes: Any) -> set[str]:
    """Which kinds of steps there are in any of the routes."""
    found = set[str]()
    lists = list(routes.values()) if isinstance(routes, Mapping) else [routes or []]
    if not all(isinstance(steps, list) for steps in lists):
        raise ImportTrouble("routes: expected a list of steps, or an object of such lists")
    for step in (step for steps in lists for step in steps if isinstance(step, dict)):
        found |= {"match"} if step.get("match") else set()
        action = _object(step.get("action"), "routes, action")
        found |= {f"action.{name}" for name in action if name != "pass"}
    return found


def _differences(made: Draft, config: dict[str, Any]) -> None:
    made.differ(
        "preload",
        "the application is imported once, before workers are forked, unless that leaves threads or connections "
        "behind; Unit does so in a prototype process, too.",
    )
    made.differ("body limit", "as in Unit, limits.body_max; a body is received whole before the application is called.")
    made.differ("request timeout", "with timeouts.request the client gets 504, and the worker is replaced.")
    made.differ("forwarded addresses", "as in Unit, REMOTE_ADDR is what a proxy in proxy.trusted says.")
    made.differ(
        "configuration",
        "a file, and a reload that takes it; there is no PUT. What can be changed while it runs: miniwsgictl.",
    )
    if config.get("routes"):
        made.differ("routes", "all paths lead to the application.")
    made.differ("metrics", "127.0.0.1:9464 has metrics and health (metrics.bind).")
