"""gunicorn's settings that mean something only together, and what its defaults meant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..conversions import EVERYONE, address, listed, peers, python_path, speaking_uwsgi, switch, whole
from ..draft import Draft, Heading, address_of
from ..setting import Fate, Given
from .conf_file import Object
from .hooks import BY_NAME
from .table import SETTINGS

GREEN = re.compile(r"gevent|eventlet|tornado|geventwebsocket|meinheld", re.IGNORECASE)
ASGI = re.compile(r"uvicorn|asgi|hypercorn|aiohttp", re.IGNORECASE)
GREEN_THREADS = 32
MOST_THREADS = 256
ENGINES = {"auto": "auto", "fast": "compiled", "python": "plain"}
NONE_SAYS = frozenset(("accesslog",))  # for all others None is "not set"
DEFAULT_PEERS = "127.0.0.1,::1"
DEFAULT_BIND = "127.0.0.1:8000"


def fill(draft: Draft, given: Mapping[str, Given]) -> None:
    """The draft from what is set: settings by themselves, together, and what of them differs."""
    found = {name: one for name, one in given.items() if one.value is not None or name in NONE_SAYS}
    if "chdir" in found:
        draft.place = type(draft.place)(draft.place.path(str(found["chdir"].value)))
    _application(draft, found)
    _workers(draft, found)
    _sockets(draft, found)
    _trust(draft, found)
    _hooks(draft, found)
    for name, one in found.items():
        if name not in TOGETHER and name not in BY_NAME and _worth_telling(one):
            draft.carry(one, SETTINGS)
    _without_a_line(draft, given)
    _differences(draft, found)


VERIFY_MODES = {"0": "none", "1": "optional", "2": "required"}  # ssl.VerifyMode
TOGETHER = {
    "bind",
    "ca_certs",
    "cert_reqs",
    "certfile",
    "chdir",
    "ciphers",
    "control_socket_disable",
    "forwarded_allow_ips",
    "http_parser",
    "keyfile",
    "preload_app",
    "protocol",
    "proxy_allow_ips",
    "proxy_protocol",
    "pythonpath",
    "raw_env",
    "secure_scheme_headers",
    "threads",
    "uwsgi_allow_ips",
    "worker_class",
    "worker_connections",
    "workers",
    "wsgi_app",
}


def _worth_telling(given: Given) -> bool:
    """Not what is off, as by default, and would only be said to be off."""
    setting = SETTINGS[given.name]
    return setting.convert is not None or setting.fate is Fate.BUILT_IN or given.value not in (False, "", [], {})


def _without_a_line(draft: Draft, given: Mapping[str, Given]) -> None:
    """Nobody has to wonder where a setting has gone that was set to what holds here anyway."""
    names = [name for name in given if name not in draft.told and name not in BY_NAME]
    if names:
        said = ", ".join(f"{name} = {given[name].value!r}" for name in names)
        draft.remark(Heading.BUILT_IN, "As here without a line", said)


def _application(draft: Draft, found: Mapping[str, Given]) -> None:
    draft.set("app.directory", draft.place.directory, found.get("chdir"))
    if "chdir" not in found:
        draft.lines["app.directory"].note = "gunicorn's was the directory that it was started in."
    if given := found.get("wsgi_app"):
        application(draft, str(given.value), given)
    elif "paste" not in found:
        draft.remark(
            Heading.TODO, "app.module", 'the application, which gunicorn was told elsewhere: module = "shop.wsgi"'
        )
        draft.warn("the application is not named here: set app.module")
    if given := found.get("pythonpath"):
        draft.told.add("pythonpath")
        draft.variable("PYTHONPATH", python_path(given.value, draft.place), given.was)
    if given := found.get("raw_env"):
        items = given.value if isinstance(given.value, list) else listed(given.value or "")
        parts = given.parts if len(given.parts) == len(items) else [given.was] * len(items)
        draft.told |= {"raw_env"} if items else set()
        for item, was in zip(items, parts, strict=True):
            name, equals, value = str(item).partition("=")
            if name == "SCRIPT_NAME":
                draft.set("server.script_name", value.rstrip("/"), given)
            elif equals:
                draft.variable(name.strip(), value, was)
            else:
                draft.remark(Heading.TODO, "raw_env", f"{item!r}: expected NAME=VALUE")
    if given := found.get("preload_app"):
        draft.set("app.preload", "true" if switch(given.value) else "false", given)


def application(draft: Draft, target: str, given: Given | None = None) -> None:
    """module:attribute; or, with parentheses, a factory."""
    call = re.fullmatch(r"([^()]+)\((.*)\)", target.strip(), re.DOTALL)
    if call is None:
        draft.set("app.module", target.strip(), given)
    else:
        draft.set("app.factory", f"{call[1]}({call[2]})" if call[2].strip() else call[1], given)


def _workers(draft: Draft, found: Mapping[str, Given]) -> None:
    given = found.get("worker_class")
    name = given.value.name if given and isinstance(given.value, Object) else str(given.value) if given else "sync"
    threads = found.get("threads")
    count = (draft.converted(threads, whole) if threads else None) or 1
    connections = found.get("worker_connections")
    if (workers := found.get("workers")) and (number := draft.converted(workers, whole)) is not None:
        draft.set("server.workers", number, workers, platform_note("WEB_CONCURRENCY", workers))
    if ASGI.search(name):
        draft.remark(
            Heading.NOTHING, "worker_class", f"{name} serves ASGI; miniwsgi serves WSGI, and cannot take it over"
        )
        draft.warn(f"worker_class = {name!r} is for ASGI applications: miniwsgi serves WSGI")
    elif GREEN.search(name):
        note = (
            f"{name}: real threads instead of greenlets, as many as may wait at the same time. Nothing has to be "
            "patched; an application that patches itself is served, too."
        )
        draft.set("server.threads", GREEN_THREADS, given, note)
        draft.remark(
            Heading.TODO,
            "worker_class",
            "WebSockets, for which eventlet and gevent are often chosen, are served with Flask-SocketIO(async_mode="
            '"threading") and flask-sock, by a thread each beside server.threads (docs/websockets.md).',
        )
    elif count > 1 or name.endswith(("gthread", "ThreadWorker")):
        draft.set("server.threads", min(count, MOST_THREADS), threads or given)
        if count == 1:
            draft.lines["server.threads"].note = "gthread with one thread, gunicorn's default."
    else:
        note = (
            "sync workers run one request at a time. If the application is thread-safe, remove this: the default is 8."
        )
        draft.set("server.threads", 1, given or threads, note)
    if given is not None and given.name not in draft.told:
        draft.remark(Heading.BUILT_IN, given.name, f"{name}: server.threads says it all; there is no class to choose")
    if threads is not None and threads.name not in draft.told and (GREEN.search(name) or ASGI.search(name)):
        draft.remark(Heading.BUILT_IN, threads.name, f"{threads.value}: {name} did not use it")
    if connections is not None:
        if GREEN.search(name) or count > 1 or "gthread" in name:
            draft.carry(connections, SETTINGS)
        else:
            draft.remark(
                Heading.BUILT_IN, "worker_connections", "sync workers did not use it; limits.connections is 10000"
            )
    if parser := found.get("http_parser"):
        draft.set("server.engine", ENGINES.get(str(parser.value), "auto"), parser)


def _sockets(draft: Draft, found: Mapping[str, Given]) -> None:
    given, uwsgi, header = found.get("bind"), _speaks_uwsgi(found), _proxy_header(found)
    if given or uwsgi or header:
        values = [address(str(item), draft.place) for item in _flat(given.value if given else DEFAULT_BIND)]
        values = [speaking_uwsgi(value) if uwsgi else value for value in values]
        draft.told |= {"protocol"} if uwsgi else {"proxy_protocol"} if header else set()
    else:
        values = [DEFAULT_BIND]
    options: dict[str, Any] = {"proxy_protocol": True} if header else {}
    options |= {} if uwsgi else _tls(draft, found)
    if source := given or header or found.get("protocol" if uwsgi else "certfile"):
        binds: list[Any] = list(dict.fromkeys(values))
        if options:
            binds = [{"address": bind, **options} for bind in binds]
        draft.set("server.bind", binds, source, platform_note("PORT", source))
    if (given := found.get("control_socket_disable")) and switch(given.value):
        draft.set("control.socket", "off", given)


def _tls(draft: Draft, found: Mapping[str, Given]) -> dict[str, str]:
    """The options of each entry of server.bind. gunicorn speaks TLS on all of its addresses, or on none."""
    names = [name for name in ("certfile", "keyfile", "ca_certs", "cert_reqs", "ciphers") if name in found]
    if "certfile" not in found:
        for name in names:
            draft.remark(Heading.BUILT_IN, name, "without a certfile gunicorn speaks no TLS")
        return {}
    draft.told |= set(names)
    files = {"certificate": "certfile", "key": "keyfile"}
    tls = {ours: draft.place.path(str(found[theirs].value)) for ours, theirs in files.items() if theirs in found}
    mode = str(found["cert_reqs"].value) if "cert_reqs" in found else "0"
    client = VERIFY_MODES.get(mode, mode.lower().rpartition("cert_")[2])
    if client in ("optional", "required") and "ca_certs" in found:
        tls |= {"client_ca": draft.place.path(str(found["ca_certs"].value)), "client": client}
    elif client != "none":
        draft.remark(Heading.TODO, "cert_reqs", f"{client}: client_ca has to name the authorities of clients, too")
        draft.warn("clients are not asked for certificates, as ca_certs is not set: see cert_reqs in what is written")
    elif "ca_certs" in found:
        draft.remark(Heading.BUILT_IN, "ca_certs", "gunicorn asked nobody for a certificate (cert_reqs)")
    if "ciphers" in found:
        tls["ciphers"] = str(found["ciphers"].value)
    return tls


def _speaks_uwsgi(found: Mapping[str, Given]) -> bool:
    return "protocol" in found and str(found["protocol"].value).lower() == "uwsgi"


def _proxy_header(found: Mapping[str, Given]) -> Given | None:
    """What turns the PROXY protocol on; in uwsgi there is none of it."""
    given = found.get("proxy_protocol")
    off = given is None or str(given.value).lower() in {"off", "false", "none", ""}
    return None if off or _speaks_uwsgi(found) else given


def platform_note(variable: str, given: Given) -> str:
    """A value out of a variable that we read ourselves is fixed by being written down."""
    return f"Without this line ${variable} decides, as platforms set it." if variable in given.was else ""


def _flat(value: Any) -> list[str]:
    return [part for item in (value if isinstance(value, list) else [value]) for part in listed(item)]


def _trust(draft: Draft, found: Mapping[str, Given]) -> None:
    uwsgi = _speaks_uwsgi(found)
    setting = "uwsgi_allow_ips" if uwsgi else "forwarded_allow_ips"  # uwsgi says itself who the client is
    given = found.get(setting)
    trusted = peers(given.value if given else DEFAULT_PEERS)
    if _proxy_header(found):
        senders = found.get("proxy_allow_ips")
        draft.told |= {"proxy_allow_ips"} if senders else set()
        both = [*trusted, *peers(senders.value if senders else DEFAULT_PEERS)]
        trusted = [EVERYONE] if EVERYONE in both else list(dict.fromkeys(both))
        draft.differ(
            "PROXY protocol",
            "the header is required, and then the client whom it names is whom X-Forwarded-For is believed of or not; "
            "gunicorn served connections without one, and looked at the proxy for that (docs/proxies.md).",
        )
    binds = draft.lines["server.bind"].value if "server.bind" in draft.lines else []
    if any(address_of(bind).startswith("unix:") for bind in binds) and not {"unix", EVERYONE} & set(trusted):
        trusted.append("unix")
    note = "" if given or uwsgi else "Without this line $FORWARDED_ALLOW_IPS decides, as platforms set it."
    note = note if given else f"gunicorn's default. {note}".strip()
    if EVERYONE in trusted:
        note = "Everyone is trusted: safe only where nobody but the proxy can connect."
        draft.warn(f"{setting} = '*': anyone who can connect may say who the client is")
    draft.set("proxy.trusted", trusted, given, note)
    if (scheme := found.get("secure_scheme_headers")) is not None and isinstance(scheme.value, dict):
        _scheme(draft, scheme)


def _scheme(draft: Draft, given: Given) -> None:
    """The one field that says it, if its values are such as ours may have."""
    names = {str(name).upper().replace("_", "-"): str(value).lower() for name, value in given.value.items()}
    if "X-FORWARDED-PROTO" in names:
        names = {name: value for name, value in names.items() if name == "X-FORWARDED-PROTO"}
    field, value = next(iter(names.items()), ("", ""))
    if len(names) != 1 or value not in ("https", "on"):
        said = ", ".join(f"{name}: {value}" for name, value in names.items())
        draft.remark(Heading.TODO, "secure_scheme_headers", f"{said}. {SETTINGS['secure_scheme_headers'].says}")
    elif field != "X-FORWARDED-PROTO":
        draft.set("proxy.scheme_field", field.title(), given)
    else:
        others = ", ".join(str(name) for name in given.value if str(name).upper().replace("_", "-") != field)
        said = "X-Forwarded-Proto is proxy.scheme_field's default"
        draft.remark(Heading.BUILT_IN, given.name, f"{said}; {others}: one field is enough" if others else said)


def _hooks(draft: Draft, found: Mapping[str, Given]) -> None:
    functions: list[str] = []
    for name, hook in BY_NAME.items():
        if (given := found.get(name)) is None or given.value is None:
            continue
        became = f" → {hook.became}" if hook.became else ""
        draft.remark(Heading.HOOKS, f"{name} ({given.where}){became}", hook.says)
        if hook.became and hook.became not in functions:
            functions.append(hook.became)
    if functions:
        module = "\n".join(f"def {function}: ..." for function in functions)
        draft.remark(Heading.HOOKS, "The module, to be named by app.hooks", f"\n{module}")
        draft.warn("it has hooks: what to write instead stands at the end of what is written")


def _differences(draft: Draft, found: Mapping[str, Given]) -> None:
    if "workers" not in found and "workers" not in draft.told:
        draft.differ(
            "workers",
            "as many as CPUs, unless $WEB_CONCURRENCY says how many; gunicorn's default was 1. What is kept in the "
            "memory of one process, such as a cache or sessions, needs server.workers = 1.",
        )
    if "preload_app" not in found:
        draft.differ(
            "preload",
            "the application is imported once, before workers are forked, unless that leaves threads or connections "
            'behind. As in gunicorn, in each worker: app.preload = "false".',
        )
    draft.differ(
        "body limit",
        "a request's body may have 100 MiB (limits.body_max), and is received whole before the application is called; "
        "gunicorn has no limit.",
    )
    if "timeout" not in found:
        draft.differ(
            "request timeout",
            "none, unless timeouts.request is set; gunicorn killed a sync worker after 30 s with one request.",
        )
    elif "timeouts.request" in draft.lines and draft.lines["timeouts.request"].value != "off":
        draft.differ(
            "request timeout", "the client gets 504, and the worker's other requests are finished before it goes."
        )
    draft.differ(
        "forwarded addresses",
        "REMOTE_ADDR is the client's address as a proxy in proxy.trusted says it, not the proxy's. With ProxyFix or "
        "such in the application, take it out, or empty proxy.trusted.",
    )
    draft.differ("metrics", "127.0.0.1:9464 has metrics and health (metrics.bind).")
    if "max_requests" in found and "max_requests_jitter" not in found:
        draft.differ("max_requests", "a tenth of it is added at random (recycle.max_requests_jitter).")
