"""What to say to somebody who gives another server's flag or setting to `miniwsgi serve`."""

from __future__ import annotations

from ..config.keys import KEYS
from .gunicorn.table import SETTINGS as GUNICORN
from .setting import Fate, Setting
from .uwsgi import table as uwsgi

FATES = {  # of what has no key of ours
    Fate.SAME: "here it needs no flag",
    Fate.EQUIVALENT: "here it needs no flag",
    Fate.BUILT_IN: "here it is built in",
    Fate.LEFT_OUT: "here it is left out by intention",
    Fate.NOTHING: "there is nothing like it here yet",
}
FLAGS = {flag: setting for setting in GUNICORN.values() for flag in setting.flags}
ELSEWHERE = {  # of `flask run`, uvicorn, waitress, granian and hypercorn
    "--host": "an address is one here: --bind HOST:PORT",
    "--port": "an address is one here: --bind :PORT, or the variable PORT",
}
OUR_NAMES = frozenset(key.name for key in KEYS.values())


def for_flag(flag: str) -> str:
    """A sentence about gunicorn's or uWSGI's flag; "" for one that neither has."""
    if said := ELSEWHERE.get(flag):
        return said
    if setting := FLAGS.get(flag) or GUNICORN.get(flag.removeprefix("--").replace("-", "_")):
        return _hint(setting, "gunicorn")
    setting = uwsgi.found(flag)
    return _hint(setting, "uWSGI") if setting else ""


def for_key(name: str, near: str = "") -> str:
    """The same about a setting's name that was given for one of our keys. `near` is what else was probably meant: it
    wins over uWSGI's, whose options have names such as "socket", and over what is a name of ours, too."""
    if name in GUNICORN and not (near and name in OUR_NAMES):
        return _hint(GUNICORN[name], "gunicorn")
    setting = None if near else uwsgi.found(name)
    return _hint(setting, "uWSGI") if setting else ""


def _hint(setting: Setting, server: str) -> str:
    key = KEYS.get(setting.key)
    if key is not None and setting.fate in (Fate.SAME, Fate.EQUIVALENT):
        how = key.flag if key.flag.startswith("-") else f"--set {key.path}=…"
        return f"that is {server}'s; here: {key.path} ({how}). {setting.says}".strip()
    return f"that is {server}'s; {FATES[setting.fate]}. {setting.says}"
