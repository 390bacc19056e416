"""What to say to somebody who gives another server's flag or setting to `miniwsgi serve`."""

from __future__ import annotations

from ..config.keys import KEYS
from .gunicorn.table import SETTINGS as GUNICORN
from .setting import Fate, Setting

SHORT = {flag: setting for setting in GUNICORN.values() for flag in setting.flags}


def for_flag(flag: str) -> str:
    """A sentence about gunicorn's flag; "" for one that it does not have."""
    setting = SHORT.get(flag)
    return _hint(setting, "gunicorn") if setting else ""


def for_key(name: str) -> str:
    """The same about a setting's name, as it was given for one of our keys."""
    setting = GUNICORN.get(name)
    return _hint(setting, "gunicorn") if setting else ""


def _hint(setting: Setting, server: str) -> str:
    key = KEYS.get(setting.key)
    if key is not None and setting.fate in (Fate.SAME, Fate.EQUIVALENT):
        how = key.flag if key.flag.startswith("-") else f"--set {key.path}=…"
        return f"that is {server}'s; here: {key.path} ({how}). {setting.says}".strip()
    return f"that is {server}'s, and here {setting.fate.value}. {setting.says}"
