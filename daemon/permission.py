"""Why a path cannot be had: who may not, and which directory on the way is closed. Standard library only.

A path below a closed directory looks like one that is not there: what cannot be known is not claimed.
"""

from __future__ import annotations

import errno
import pwd
import stat

from .unpatched import os

HIDDEN_BY_SYSTEMD = ("/home", "/root", "/run/user")  # systemd.exec(5), ProtectHome=yes: there, and closed to everybody
OPEN_IT = "let it in (chmod, chgrp), or run as somebody who may: server.user, or User= of the unit"
SHOW_IT = "ProtectHome= of the unit hides it; ProtectHome=read-only in a drop-in shows it, or put it below /srv or /opt"


def why_not(path: str, error: OSError) -> str:
    """Why `path` could not be entered or read, one phrase: whose permission is missing, or as the error has it."""
    return closed(path) or error.strerror or str(error)


def why_not_executed(path: str, error: OSError) -> str:
    """Why the program `path` could not be executed; as `why_not`. The interpreter of a venv is a link to another."""
    return why_not(os.path.realpath(path), error)


def why_not_written(path: str, error: OSError) -> str:
    """Why the file `path` could not be opened to write, or made; as `why_not`."""
    directory = os.path.dirname(path) or "/"
    if error.errno == errno.EROFS:
        return f"{error.strerror}: ReadWritePaths={directory} lets a unit with ProtectSystem= write there"
    if error.errno == errno.ENOENT and os.path.isdir(os.path.dirname(directory)):
        return f"there is no directory {directory}"
    if why := _barred(directory):
        return why
    if os.path.lexists(path):
        return (error.strerror or str(error)) if _may(path, os.W_OK) else _told("write to", path)
    return (error.strerror or str(error)) if _may(directory, os.W_OK) else _told("make files in", directory)


def closed(path: str) -> str:
    """Who may not enter or read what on the way to `path`, itself included, and the remedy; "" if it is not that."""
    if os.path.isdir(path):
        return _barred(path) or ("" if _may(path, os.R_OK) else _told("read", path))
    return _barred(os.path.dirname(path)) or ("" if _may(path, os.R_OK) else _told("read", path))


def _barred(directory: str) -> str:
    """Which directory, the last included, cannot be passed."""
    steps = directory.strip("/").split("/")
    for length in range(len(steps) + 1):
        above = "/" + "/".join(steps[:length])
        if not _may(above, os.X_OK):
            return _told("enter", above)
    return ""


def user() -> str:
    """Who this process is, by name."""
    uid = os.geteuid()
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def _may(path: str, mode: int) -> bool:
    """False only if it is there and may not be."""
    return not os.path.lexists(path) or os.access(path, mode, effective_ids=True) or not os.path.exists(path)


def _told(verb: str, path: str) -> str:
    found = os.stat(path)
    try:
        owner = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        owner = f"uid {found.st_uid}"
    mode = stat.S_IMODE(found.st_mode)
    remedy = SHOW_IT if not mode and path in HIDDEN_BY_SYSTEMD else OPEN_IT
    return f"{user()} may not {verb} {path}, which is {owner}'s, mode {mode:04o}: {remedy}"
