"""The configuration: what is in force, and what another one would be worth."""

from __future__ import annotations

from typing import Any, Literal

from .base import RequestBody, ResponseBody

Origin = Literal["default", "platform", "file", "environment", "flag", "runtime"]


class ConfigValue(ResponseBody):
    """One key of the configuration."""

    key: str  # "server.workers"
    value: Any  # secrets are masked
    text: str  # as a configuration file has it
    origin: Origin
    configured: Any = None  # where origin is "runtime": the value that `reset` goes back to


class ConfigView(ResponseBody):
    """GET /v1/config: what is in force, and where each value comes from."""

    path: str | None
    values: list[ConfigValue]
    file_variables: list[str]  # names of environment variables from app.env_files
    notes: list[str]


class ConfigProblem(ResponseBody):
    """One mistake in a configuration."""

    key: str
    value: str  # as it was found; "" if there was none, or it may be a secret
    expected: str
    source: str  # "file /etc/…", "flag --workers"
    message: str  # all of it in one line
    code: str = ""  # of its kind, such as "MW1002": see docs/errors.md


class ConfigChange(ResponseBody):
    """A key whose value would be another one."""

    key: str
    old: str  # as a configuration file has it
    new: str


class ConfigCheckRequest(RequestBody):
    """POST /v1/config/check."""

    toml: str | None = None  # a whole configuration file; null: the one on disk


class ConfigReport(ResponseBody):
    """What a configuration is worth: validated, compared with the one in force, and nothing of it executed."""

    valid: bool
    problems: list[ConfigProblem]
    changes: list[ConfigChange]  # that a reload would bring into force
    restart: list[ConfigChange]  # that only a restart would: a reload refuses them
    notes: list[str]
