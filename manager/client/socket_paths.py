"""Where daemons listen for `miniwsgictl`: control.sock in a runtime directory, one directory deeper for an instance.

/run/miniwsgi/control.sock   /run/miniwsgi/shop/control.sock   $XDG_RUNTIME_DIR/miniwsgi/…
Under systemd miniwsgi.service is the instance "miniwsgi", and a socket of systemd's is /run/miniwsgi/shop.control.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping

NAME = "control.sock"
SYSTEMD_SUFFIX = ".control"  # of a socket unit's, which lies beside the runtime directory
SYSTEM_DIRECTORY = "/run/miniwsgi"
MAIN_INSTANCE = "miniwsgi"  # that of miniwsgi.service: meant where no name is given
INSTANCE = re.compile(r"[A-Za-z0-9:_.\\@-]+")  # systemd.unit(5): what a unit's name may consist of


def directories(environ: Mapping[str, str], uid: int) -> list[str]:
    """Runtime directories, the likeliest first: the unit's own, that of root or of the user, the other one."""
    given = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]  # systemd.exec(5): ":" joins several
    own = environ.get("XDG_RUNTIME_DIR", "")
    users = [f"{own}/miniwsgi"] if own.startswith("/") else []
    units = [given] if given.startswith("/") else []
    found = [*units, SYSTEM_DIRECTORY, *users] if uid == 0 else [*units, *users, SYSTEM_DIRECTORY]
    return list(dict.fromkeys(found))


def find(environ: Mapping[str, str], uid: int, instance: str | None = None) -> str:
    """The socket of an instance, or of the one daemon that has no name: the first that is there."""
    names = [f"/{instance}"] if instance else ["", f"/{MAIN_INSTANCE}"]
    places = [f"{directory}{name}" for directory in directories(environ, uid) for name in names]
    candidates = [path for place in places for path in (f"{place}/{NAME}", f"{place}{SYSTEMD_SUFFIX}")]
    return next((path for path in candidates if os.path.exists(path)), candidates[0])


def all_sockets(environ: Mapping[str, str], uid: int) -> list[tuple[str, str]]:
    """Every control socket there is, as (name of the instance or "", path)."""
    found: dict[str, str] = {}
    for directory in directories(environ, uid):
        for path in (f"{directory}/{NAME}", *sorted(glob.glob(f"{glob.escape(directory)}/*/{NAME}"))):
            if os.path.exists(path):
                name = os.path.basename(os.path.dirname(path)) if os.path.dirname(path) != directory else ""
                found.setdefault(path, name)
        for path in sorted(glob.glob(f"{glob.escape(directory)}/*{SYSTEMD_SUFFIX}")):
            found.setdefault(path, os.path.basename(path).removesuffix(SYSTEMD_SUFFIX))
    return [(name, path) for path, name in found.items()]
