"""The effective configuration as people and programs read it, secrets masked.

The TOML is complete and, but for what is masked, can be loaded again; each value's origin stands beside it.
The data is JSON-ready: sizes in bytes, durations in seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .environment import masked
from .keys import KEYS, SECTIONS
from .platform import VARIABLE_OF
from .static_files import STATIC, shown_options

if TYPE_CHECKING:
    from .configuration import Config

COMMENT_COLUMN = 44


def shown_values(config: Config) -> dict[str, Any]:
    """Every key path with its value, secrets masked."""
    values = {path: config[path] for path in KEYS}
    values["app.env"] = {name: masked(name, text) for name, text in config.app.env.items()}
    return values


def as_toml(config: Config) -> str:
    """The configuration as a file, with the origin of each value as a comment."""
    values = shown_values(config)
    lines = [f"# {config.path}" if config.path else "# no configuration file"]
    for section in SECTIONS:
        lines += ["", f"[{section}]"]
        for key in KEYS.values():
            if key.section == section:
                assignment = f"{key.name} = {key.kind.show(values[key.path])}"
                lines.append(f"{assignment:<{COMMENT_COLUMN - 1}} # {_origin(config, key.path)}")
    for entry in config.static:
        lines += ["", f"[[{STATIC.path}]]".ljust(COMMENT_COLUMN) + f"# {_origin(config, STATIC.path)}"]
        lines += [f"{name} = {text}" for name, text in shown_options(entry)]
    if config.file_variables:
        lines += ["", "# from app.env_files: " + ", ".join(config.file_variables)]
    lines += [f"# note: {note}" for note in config.notes]
    return "\n".join(lines) + "\n"


def _origin(config: Config, path: str) -> str:
    key, origin = KEYS[path], config.origins[path]
    if origin == "default" and key.computed:
        return f"default: {key.computed}"
    if origin == "flag" and key.flag:
        return f"flag {key.flag}"
    if origin == "platform":
        return f"platform {VARIABLE_OF[path]}"
    return f"environment {key.variable}" if origin == "environment" else origin


def as_data(config: Config) -> dict[str, Any]:
    """The configuration for programs: {"file", "values": {section: {name: value}}, "origins", "notes", …}."""
    values = shown_values(config)
    nested: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for key in KEYS.values():
        if key.name:
            nested[key.section][key.name] = key.kind.as_json(values[key.path])
    return {
        "file": config.path or None,
        "values": {**nested, STATIC.path: STATIC.kind.as_json(config.static)},
        "origins": dict(config.origins),
        "file_variables": sorted(config.file_variables),
        "notes": list(map(str, config.notes)),
    }
