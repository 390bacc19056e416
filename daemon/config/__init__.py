"""Configuration: TOML, environment and flags become one validated, immutable `Config`, or all that is wrong."""

from .configuration import (
    DEFAULT_PATH,
    Config,
    ReadConfig,
    differences,
    load,
    reload_problems,
)
from .environment import daemons_environment
from .launching import application_environment, worker_settings
from .problems import ConfigError, Problem

__all__ = [
    "DEFAULT_PATH",
    "Config",
    "ConfigError",
    "Problem",
    "ReadConfig",
    "application_environment",
    "daemons_environment",
    "differences",
    "load",
    "reload_problems",
    "worker_settings",
]
