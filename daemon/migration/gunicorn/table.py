"""All of gunicorn's settings by name. A test takes the list from the installed gunicorn."""

from __future__ import annotations

from ..setting import table
from . import hooks, logs, process, requests, workers

VERSION = "27.0.1"  # the release whose list this is
SETTINGS = table(
    ("Application", workers.APPLICATION),
    ("Workers", workers.WORKERS),
    ("Where it listens", workers.SOCKETS),
    ("Process", process.PROCESS),
    ("Logs", logs.LOGS),
    ("Statistics", logs.STATISTICS),
    ("Limits", requests.LIMITS),
    ("Behind a proxy", requests.PROXIES),
    ("HTTP", requests.HTTP),
    ("TLS", requests.TLS),
    ("HTTP/2", requests.HTTP2),
    ("Hooks", hooks.SETTINGS),
    ("Control", process.CONTROL),
    ("Debugging", workers.DEBUGGING),
    ("Dirty arbiters", process.DIRTY),
)
