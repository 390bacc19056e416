"""uWSGI's options that mean something only together, and what its defaults meant."""

from __future__ import annotations

from collections.abc import Sequence

from ..conversions import address, is_everywhere, speaking_uwsgi, switch
from ..draft import Draft, Heading, Line
from ..setting import Given
from . import values
from .table import SETTINGS

TOGETHER = {
    "callable",
    "chdir",
    "chown-socket",
    "daemonize",
    "disable-logging",
    "env",
    "http",
    "http-socket",
    "http-to-https",
    "https",
    "lazy-apps",
    "log-4xx",
    "logger",
    "logto",
    "module",
    "mount",
    "protocol",
    "pythonpath",
    "req-logger",
    "socket",
    "virtualenv",
    "wsgi-file",
}
GREEN_THREADS = 32
LOOPBACK = ("127.", "localhost:", "[::1]:")


def fill(draft: Draft, options: Sequence[Given]) -> None:
    """The draft from a section's options, in their order."""
    by_name: dict[str, list[Given]] = {}
    for option in options:
        by_name.setdefault(option.name, []).append(option)
    last = {name: given[-1] for name, given in by_name.items()}
    if "chdir" in last:
        draft.place = type(draft.place)(draft.place.path(last["chdir"].value))
    draft.set("app.directory", draft.place.directory, last.get("chdir"))
    if "chdir" not in last:
        draft.lines["app.directory"].note = "uWSGI's was the directory that it was started in."
    _application(draft, by_name, last)
    _environment(draft, by_name, last)
    _sockets(draft, by_name, last.get("protocol"))
    _logs(draft, last)
    _workers(draft, last)
    for option in options:
        setting = SETTINGS[option.name]
        off = setting.convert is None and str(option.value).lower() in ("false", "0", "off", "no")
        if option.name not in TOGETHER and not off:
            draft.carry(option, SETTINGS)
    _differences(draft, last)


def _application(draft: Draft, by_name: dict[str, list[Given]], last: dict[str, Given]) -> None:
    name = str(last["callable"].value) if "callable" in last else ""
    if module := last.get("module"):
        _target(draft, str(module.value), name, module)
    elif file := last.get("wsgi-file"):
        _file(draft, str(file.value), name, file)
    elif emperor := last.get("emperor"):
        draft.remark(Heading.TODO, "app.module", "in the files of the vassals")
        draft.warn(f"emperor = {emperor.value}: this file starts others; import each of those, into a file of its own")
    elif "mount" not in last:
        draft.remark(Heading.TODO, "app.module", 'the application is not named here: module = "shop.wsgi"')
        draft.warn("the application is not named here: set app.module")
    for given in by_name.get("mount", ())[:1]:
        prefix, _, target = str(given.value).rpartition("=")
        if target and "module" not in last and "wsgi-file" not in last:
            if target.endswith(".py") or "/" in target:
                _file(draft, target, name, given)
            else:
                _target(draft, target, name, given)
        if prefix.rstrip("/"):
            draft.set("server.script_name", prefix.rstrip("/"), given)
    for given in by_name.get("mount", ())[1:]:
        draft.remark(Heading.TODO, "mount", f"{given.value}: {SETTINGS['mount'].says}")
        draft.warn(f"mount = {given.value} is left out: one daemon serves one application")


def _target(draft: Draft, text: str, name: str, given: Given) -> None:
    module, _, attribute = text.partition(":")
    attribute = attribute or name
    if attribute.endswith("()"):
        draft.set("app.factory", f"{module}:{attribute[:-2]}", given)
    else:
        draft.set("app.module", f"{module}:{attribute}" if attribute else module, given)


def _file(draft: Draft, text: str, name: str, given: Given) -> None:
    path = draft.place.path(text)
    draft.set("app.module", f"{path}:{name}" if name else path, given)


def _environment(draft: Draft, by_name: dict[str, list[Given]], last: dict[str, Given]) -> None:
    for given in by_name.get("env", ()):
        name, equals, value = str(given.value).partition("=")
        if equals:
            draft.variable(name.strip(), value, given.was)
        else:
            draft.remark(Heading.TODO, "env", f"{given.value!r} ({given.where}): expected NAME=VALUE")
    paths = [draft.place.path(str(given.value)) for given in by_name.get("pythonpath", ())]
    paths = [path for path in paths if path != draft.place.directory]
    if paths:
        before = [draft.env["PYTHONPATH"].value] if "PYTHONPATH" in draft.env else []
        draft.variable("PYTHONPATH", ":".join(dict.fromkeys([*before, *paths])))
    if home := last.get("virtualenv"):
        draft.carry(home, SETTINGS)


def _sockets(draft: Draft, by_name: dict[str, list[Given]], protocol: Given | None) -> None:
    """`protocol = http` makes of a socket what http-socket is."""
    said = "uwsgi" if protocol is None else str(protocol.value)
    if said.startswith("http"):
        draft.remark(Heading.BUILT_IN, "protocol", "HTTP is what server.bind speaks")
    elif protocol is not None and said != "uwsgi":
        draft.carry(protocol, SETTINGS)
        draft.warn(f"protocol = {said} is not spoken here: server.bind speaks uwsgi, and nginx has to (uwsgi_pass)")
    binds: list[str] = []
    proxies: list[str] = []  # of those that speak uwsgi over TCP
    for name in ("http", "http-socket", "socket"):
        for given in by_name.get(name, ()):
            if str(given.value).startswith("="):
                draft.remark(
                    Heading.TODO, name, f"{given.value} (a shared socket): its address belongs into server.bind"
                )
                continue
            where = address(str(given.value), draft.place)
            if name == "socket" and not said.startswith("http"):
                proxies += _proxies(draft, where)
                where = speaking_uwsgi(where)
            binds.append(where)
            draft.add("server.bind", [where], given)
    for given in by_name.get("https", ()):
        binds.append(_secured(draft, given))
    for given in by_name.get("http-to-https", ()):
        where = address(str(given.value), draft.place)
        binds.append(where)
        draft.add("server.bind", [{"address": where, "redirect": "https"}], given)
    if not binds and not any("$PORT" in text for _, text in draft.remarks.get(Heading.BUILT_IN, ())):
        draft.warn("no address is named here: server.bind is 127.0.0.1:8000, until it is set")
    trusted = [*(["unix"] if any(bind.startswith("unix:") for bind in binds) else []), *dict.fromkeys(proxies)]
    if trusted:
        draft.set("proxy.trusted", trusted, note="The proxy in front: it says who the client is.")
    for given in by_name.get("chown-socket", ()):
        user, _, group = str(given.value).partition(":")
        draft.set("server.socket_owner", user, given)
        if group:
            draft.set("server.socket_group", group, given)


def _secured(draft: Draft, given: Given) -> str:
    """ADDRESS,CERTIFICATE,KEY,CIPHERS,AUTHORITIES; these begin with ! if each client needs a certificate."""
    where, certificate, key, ciphers, client_ca, *_ = [*map(str.strip, str(given.value).split(",")), *[""] * 4]
    entry = {"address": address(where, draft.place)}
    files = {"certificate": certificate, "key": key, "client_ca": client_ca.removeprefix("!")}
    entry |= {name: draft.place.path(file) for name, file in files.items() if file}
    if client_ca:
        entry["client"] = "required" if client_ca.startswith("!") else "optional"
    if ciphers:
        entry["ciphers"] = ciphers
    draft.add("server.bind", [entry], given)
    return entry["address"]


def _proxies(draft: Draft, where: str) -> list[str]:
    """Who speaks uwsgi there: on a TCP address nobody else may."""
    if where.startswith(("unix:", "fd:")):
        return []
    if not where.startswith(LOOPBACK):
        place = "on every address" if is_everywhere(where) else f"on {where}"
        draft.warn(
            f"uwsgi is spoken {place}, but only to proxies on this machine: name the others in proxy.trusted "
            "(uWSGI believed everybody)"
        )
    return ["127.0.0.1", "::1"]


def _logs(draft: Draft, last: dict[str, Given]) -> None:
    """uWSGI writes both logs to one place, and the access log by default."""
    for name in ("daemonize", "logto", "logger"):
        if name in last and last[name].value:
            file = draft.converted(last[name], values.log_file)
            if file is not None:
                draft.set("log.file", file, last[name])
    if "daemonize" in last:
        draft.remark(Heading.LEFT_OUT, "daemonize", SETTINGS["daemonize"].says)
    if request_log := last.get("req-logger"):
        draft.carry(request_log, SETTINGS)
    if "log.access_log" in draft.lines:
        return
    if (off := last.get("disable-logging")) and switch(off.value or "true"):
        if problems := last.get("log-4xx") or last.get("log-slow"):
            draft.set("log.access_log", "-")
            draft.set("log.access_lines", "problems", problems)
            draft.told.add(off.name)
        else:
            draft.set("log.access_log", "off", off)
        return
    draft.set("log.access_log", "-", note='uWSGI logs requests by default. "off" is ours.')


def _workers(draft: Draft, last: dict[str, Given]) -> None:
    if (lazy := last.get("lazy-apps")) and switch(lazy.value or "true"):
        draft.set("app.preload", "false", lazy)
    if "threads" not in last:
        green = last.get("gevent") or last.get("asyncio")
        if green is not None:
            draft.set(
                "server.threads", GREEN_THREADS, green, "real threads instead of greenlets, without monkey-patching"
            )
        else:
            draft.set(
                "server.threads",
                1,
                note="uWSGI's default. If the application is thread-safe, remove this: the default is 8.",
            )
    if "processes" not in last:
        draft.set("server.workers", 1, note="uWSGI's default; ours are the CPUs this process may use.")


def _differences(draft: Draft, last: dict[str, Given]) -> None:
    if "lazy-apps" not in last:
        draft.differ(
            "preload",
            "as in uWSGI the application is imported once, before workers are forked, but not if that leaves threads "
            "or connections behind.",
        )
    if "limit-post" not in last:
        draft.differ("body limit", "a request's body may have 100 MiB (limits.body_max); uWSGI has no limit.")
    if draft.lines.get("timeouts.request", Line("off")).value == "off":
        draft.differ("request timeout", "none here as there, unless timeouts.request is set.")
    else:
        draft.differ(
            "request timeout", "the client gets 504, and the worker's other requests are finished before it goes."
        )
    if any(str(bind).startswith("uwsgi:") for bind in draft.lines.get("server.bind", Line([])).value):
        draft.differ(
            "who the client is",
            "as there, nginx says it (uwsgi_params). On a TCP address only the proxies in proxy.trusted may, and "
            "X-Forwarded-Proto makes no scheme: uwsgi_param UWSGI_SCHEME does.",
        )
    else:
        draft.differ(
            "forwarded addresses",
            "a proxy tells the client's address and scheme by X-Forwarded-For and X-Forwarded-Proto, which count from "
            "peers in proxy.trusted alone.",
        )
    draft.differ("metrics", "127.0.0.1:9464 has metrics and health (metrics.bind).")
    draft.differ("uwsgi module", "import uwsgi fails: its API (decorators, cache, spooler, signals) is not there.")
