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
from .file import configuration_of, is_project_file
from .launching import application_environment, worker_settings
from .problems import ConfigError, Note, Problem

__all__ = [
    "DEFAULT_PATH",
    "Config",
    "ConfigError",
    "Note",
    "Problem",
    "ReadConfig",
    "application_environment",
    "configuration_of",
    "daemons_environment",
    "differences",
    "is_project_file",
    "load",
    "reload_problems",
    "worker_settings",
]
