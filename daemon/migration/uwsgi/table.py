"""uWSGI's usual options by name, and the other names that they have."""

from __future__ import annotations

from collections.abc import Mapping

from ..setting import Setting, table
from . import running, serving

SETTINGS = table(
    ("Application", serving.APPLICATION),
    ("Workers", serving.WORKERS),
    ("Sockets and requests", serving.SOCKETS),
    ("Process", running.PROCESS),
    ("Logs and statistics", running.LOGS),
    ("Beside serving", running.BESIDE),
)
NAMES: Mapping[str, str] = {
    name: setting.name for setting in SETTINGS.values() for name in (setting.name, *setting.flags)
}

# What is not followed by a value on a command line.
_SWITCHES = (
    "abstract-socket auto-procname catch-exceptions cheap chmod chmod-socket close-on-exec close-on-exec2 "
    "die-on-idle die-on-term disable-logging disable-sendfile disable-write-exception emperor-tyrant "
    "enable-metrics enable-threads exit-on-reload gevent-early-monkey-patch gevent-monkey-patch greenlet "
    "harakiri-verbose honour-stdin http-auto-chunked http-auto-gzip http-chunked-input http-keepalive "
    "http-raw-body http-websockets https-export-cert ignore-sigpipe ignore-write-errors lazy lazy-apps log-4xx "
    "log-5xx log-date log-master log-master-stream log-micros log-prefix log-reopen log-syslog log-truncate "
    "log-x-forwarded-for log-zero logdate logformat-strftime manage-script-name master memory-report mule "
    "need-app no-orphans py-call-osafterfork py-call-uwsgi-fork-hooks reuse-port show-config single-interpreter "
    "so-keepalive so-send-timeout ssl-enable3 static-gzip-all stats-http stats-minified stats-no-cores strict "
    "tcp-nodelay threaded-logger thunder-lock ugreen vacuum vhost vhost-host -M -T -i -L -m "
)
SWITCHES = frozenset(_SWITCHES.split())


def found(name: str) -> Setting | None:
    """The row of an option, by whichever of its names, with - or _, as on a command line or not."""
    bare = name if len(name) == 2 and name.startswith("-") else name.lstrip("-").replace("_", "-")
    return SETTINGS.get(NAMES.get(bare, ""))
