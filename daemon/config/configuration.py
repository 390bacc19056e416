"""The configuration: a TOML file, environment variables and flags, as one validated, immutable `Config`.

Later sources win: default, platform (PORT …), file, environment (MINIWSGI_SERVER_WORKERS …), flag. Every mistake in
every source is found before anything is raised. Relative paths start at the file's directory, or for flags and
variables where the daemon was started. It reads files and accounts: call it off the event loop.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from miniwsgi.codes import Code

from .declaration import Key, Surroundings
from .endpoints import Endpoint
from .environment import about_dropped, dropped_variables, parse_environment
from .file import parse_file, read_file
from .keys import KEYS, SECTIONS
from .kinds import MismatchError, Variables, Wrong
from .machine import working_directory
from .managing_keys import ControlSection, LogSection, MetricsSection
from .near import near_miss, near_variable
from .platform import PLATFORM_VARIABLES, VARIABLE_OF, about_arguments
from .problems import ConfigError, Mistake, Note, Problem
from .proxy_keys import FORWARDED, ProxySection, proxy_notes
from .serving_keys import AppSection, LimitsSection, RecycleSection, ServerSection, TimeoutsSection
from .static_files import STATIC, StaticEntry

DEFAULT_PATH = "/etc/miniwsgi/miniwsgi.toml"
TOKEN_CHARS = 1000
GIVEN = "(as given)"  # the file's name where there is none
NOWHERE = Endpoint()  # metrics.bind = "off"
# What a pool gives no meaning to, and the value that holds then. Single has neither master nor workers: one
# foreground process without reload, control socket or metrics.
UNUSED: Mapping[str, Mapping[str, Any]] = {
    "epoll": {},
    "prefork": {"server.threads": 1},
    "fork": {},
    "single": {
        "limits.in_flight": 0,
        "server.workers": 1,
        "server.threads": 1,
        "server.reload_on_change": False,
        "server.pid_file": "",
        "app.python": sys.executable,
        "control.socket": "",
        "control.required": False,
        "metrics.bind": NOWHERE,
        "metrics.token_file": "",
        "metrics.allow": (),
        "metrics.ready_min": 1,
        "metrics.fine_buckets": False,
    },
}
NEEDS_RESTART = ("server.user", "server.group", "control.", "metrics.bind")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All of it, nested as in the file. `origins` tells where each value came from."""

    app: AppSection
    server: ServerSection
    limits: LimitsSection
    timeouts: TimeoutsSection
    recycle: RecycleSection
    proxy: ProxySection
    log: LogSection
    control: ControlSection
    metrics: MetricsSection
    static: tuple[StaticEntry, ...]

    path: str = ""  # the file, absolute; "" without one
    origins: Mapping[str, str] = field(default_factory=dict)  # "default" | "platform" | "file" | …
    file_variables: Mapping[str, str] = field(default_factory=dict)  # what app.env_files held at this load
    metrics_token: str = field(default="", repr=False)  # what metrics.token_file held at this load
    dropped: tuple[str, ...] = ()  # see dropped_variables
    notes: tuple[Note, ...] = ()

    def __getitem__(self, path: str) -> Any:
        """The value of a key path such as "server.workers". Raises KeyError."""
        key = KEYS[path]
        section = getattr(self, key.section)
        return getattr(section, key.name) if key.name else section


class ReadConfig(Protocol):
    """How the daemon reads its configuration anew: with the flags and environment that it was started with."""

    def __call__(self, text: str | None = None) -> Config:
        """`text` is taken in place of what the file holds. Raises ConfigError."""


def load(
    path: str | None,
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    text: str | None = None,
    *,
    directory: str | None = None,
    home: str | None = None,
    uid: int | None = None,
) -> Config:
    """Read, merge and validate.

    `text` is taken in place of what the file at `path` holds.

    `flags` maps key paths to texts as given on the command line, to lists of them, or (app.env) to a dict;
    other TOML values are taken as they are. `directory` and `uid` are where and as whom the daemon was started, `home`
    is the directory of the project that is served, if that is another one. Pass the same at each reload: by then a
    link may lead elsewhere, and the daemon is `server.user`. Raises ConfigError.
    """
    directory = directory or working_directory(environ)
    loader = _Loader(environ, directory, home or directory, os.geteuid() if uid is None else uid)
    if path is not None:
        path = os.path.join(loader.directory, path)
    if path is not None or text is not None:
        loader.read_file(path or os.path.join(loader.directory, GIVEN), text)
    loader.read_environment()
    loader.read_flags(flags)
    loader.read_platform()
    return loader.finish(path or "")


class _Loader:
    """One load: the values so far, where they are from, and the mistakes."""

    def __init__(self, environ: Mapping[str, str], directory: str, home: str, uid: int) -> None:
        self.environ = environ
        self.directory = directory
        self.home = home
        self.uid = uid
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = dict.fromkeys(KEYS, "default")
        self.problems: list[Problem] = []
        self.notes: list[Note] = []
        self.path = ""
        self.file_unreadable = False

    # --- the sources, weakest first but for the platform, which is asked only for what is left ---
    def read_file(self, path: str, text: str | None = None) -> None:
        self.path = path
        tables, problem = read_file(path) if text is None else parse_file(path, text.encode("utf-8", "replace"))
        if problem:
            self.problems.append(problem)
            self.file_unreadable = True
            return
        base = os.path.dirname(path)
        given: dict[str, object] = {}
        for section, table in tables.items():
            if section in KEYS:  # static
                given[section] = table
            elif section not in SECTIONS:
                self.unknown(section, path, Mistake.UNKNOWN_SECTION if isinstance(table, dict) else Mistake.UNKNOWN_KEY)
            elif not isinstance(table, dict):
                self.wrong(section, table, f"a section: [{section}]", path)
            else:
                given.update({f"{section}.{name}": value for name, value in table.items()})
        for key_path, value in given.items():
            if key_path in KEYS:
                self.set(KEYS[key_path], value, "file", path, base)
            else:
                self.unknown(key_path, path)

    def read_environment(self) -> None:
        variables = {key.variable: key for key in KEYS.values() if key.variable}
        for name, text in self.environ.items():
            if key := variables.get(name):
                self.set(key, key.kind.from_text(text), "environment", name, self.directory)
            elif name.startswith("MINIWSGI_") and (near := near_variable(name)):
                told = f"the environment variable {name} is not used: did you mean {near}?"
                self.notes.append(Note(Code.VARIABLE_UNKNOWN, told))

    def read_flags(self, flags: Mapping[str, object]) -> None:
        for key_path, value in flags.items():
            key = KEYS.get(key_path)
            if key is None:
                self.unknown(key_path, "command line")
                continue
            given = key.kind.from_text(value) if isinstance(value, str) else value
            self.set(key, given, "flag", key.flag or "command line", self.directory)

    def read_platform(self) -> None:
        for variable in PLATFORM_VARIABLES:
            key, text = KEYS[variable.path], self.environ.get(variable.name, "").strip()
            if not text or self.origins[key.path] != "default":
                continue
            try:
                value = variable.value(text)
            except MismatchError as error:
                self.wrong(key.path, text, error.expected, f"environment variable {variable.name}")
            else:
                self.set(key, value, "platform", f"environment variable {variable.name}", self.directory)
        if about := about_arguments(self.environ):
            self.notes.append(Note(Code.ARGUMENTS_IGNORED, about))

    def set(self, key: Key, value: object, origin: str, source: str, base: str) -> None:
        """Check one value and let it win over those before it."""
        try:
            parsed = key.kind.parse(value, base)
        except MismatchError as error:
            for part in error.items or (Wrong(value, error.expected),):
                if part.unknown:
                    unknown = Problem(f"{key.path}{part.where}", None, part.expected, source, Mistake.UNKNOWN_KEY)
                    self.problems.append(unknown)
                else:
                    self.wrong(f"{key.path}{part.where}", None if key.secret else part.value, part.expected, source)
            return
        if isinstance(key.kind, Variables):
            parsed = {**self.values.get(key.path, {}), **parsed}
        if key.path in ("app.module", "app.factory"):
            other = "app.factory" if key.path == "app.module" else "app.module"
            if parsed and self.origins[other] != origin:
                self.values.pop(other, None)
                self.origins[other] = "default"
        self.values[key.path] = parsed
        self.origins[key.path] = origin

    # --- mistakes ---
    def wrong(self, key_path: str, value: object, expected: str, source: str, mistake: Mistake = Mistake.VALUE) -> None:
        self.problems.append(Problem(key_path, value, expected, source, mistake))

    def unknown(self, key_path: str, source: str, mistake: Mistake = Mistake.UNKNOWN_KEY) -> None:
        self.problems.append(Problem(key_path, None, near_miss(key_path, mistake), source, mistake))

    # --- the end ---
    def finish(self, path: str) -> Config:
        for key in KEYS.values():
            if key.path not in self.values:
                around = Surroundings(self.environ, self.directory, self.home, self.uid, self.values)
                self.values[key.path] = key.compute(around) if key.compute else key.default
        file_variables = self.read_variables()
        metrics_token = self.read_token()
        python: str = self.values["app.python"]
        given = file_variables.keys() | self.values["app.env"].keys()
        if dropped := dropped_variables(python, self.environ.keys() - given):
            self.notes.append(Note(Code.VARIABLES_DROPPED, about_dropped(python, dropped)))
        self.cross_check()
        if self.problems:
            raise ConfigError(self.problems)
        sections = {
            section: kind(**{key.name: self.values[key.path] for key in KEYS.values() if key.section == section})
            for section, kind in SECTIONS.items()
        }
        return Config(
            **sections,
            static=self.values[STATIC.path],
            path=path,
            origins=self.origins,
            file_variables=file_variables,
            metrics_token=metrics_token,
            dropped=dropped,
            notes=tuple(self.notes),
        )

    def read_variables(self) -> dict[str, str]:
        variables: dict[str, str] = {}
        for path in self.values["app.env_files"]:
            try:
                with open(path, encoding="utf-8") as file:
                    found, mistakes = parse_environment(file.read())
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                self.wrong("app.env_files", path, f"a file that can be read: {why}", self.source("app.env_files"))
                continue
            variables.update(found)
            for line, expected in mistakes:
                self.wrong("app.env_files", path, expected, f"{path}, line {line}")
        return variables

    def read_token(self) -> str:
        path = self.values["metrics.token_file"]
        if not path:
            return ""
        try:
            with open(path, encoding="ascii") as file:
                token = file.read(TOKEN_CHARS + 3).strip()
        except (OSError, UnicodeDecodeError):
            token = ""
        if not re.fullmatch(rf"[\x21-\x7e]{{1,{TOKEN_CHARS}}}", token):
            expected = f"a file with a token: one line of 1 to {TOKEN_CHARS} ASCII characters without blanks"
            self.wrong("metrics.token_file", path, expected, self.source("metrics.token_file"))
        return token

    def cross_check(self) -> None:
        """What only shows when all values are known."""
        values = self.values
        failed = {problem.key for problem in self.problems}
        named = failed & {"app", "app.module", "app.factory"} or self.file_unreadable
        if not values["app.module"] and not values["app.factory"] and not named:
            self.wrong("app.module", None, KEYS["app.module"].kind.expected, "nothing names the application")
        if values["app.module"] and values["app.factory"]:
            self.wrong_value("app.factory", "either app.factory or app.module, not both")
        sizes_are_known = not failed & {"limits.fields_size", "limits.field_size"}
        if sizes_are_known and values["limits.fields_size"] < values["limits.field_size"]:
            size = KEYS["limits.field_size"].kind.show(values["limits.field_size"])
            self.wrong_value("limits.fields_size", f"at least limits.field_size, {size}")
        if values["control.required"] and not values["control.socket"]:
            self.wrong_value("control.required", "a path in control.socket, or false")
        bind = values["metrics.bind"].address
        if bind in {entry.address for entry in values["server.bind"]} and not bind.endswith(":0"):
            self.wrong_value("metrics.bind", "an address of its own: server.bind has this one")
        self.check_binds()
        pool, workers = values["server.pool"], values["server.workers"]
        alone = pool in {"prefork", "fork"} or (pool == "epoll" and values["server.threads"] == 1)
        if alone and values["limits.in_flight"] and not failed & {"server.pool", "server.threads"}:
            remedy = "off, or server.pool epoll with server.threads of 2 or more"
            self.wrong_value("limits.in_flight", f"{remedy}: while a request runs, nobody else could answer 503")
        counts_are_known = not failed & {"server.workers", "metrics.ready_min"}
        if counts_are_known and pool != "single" and values["metrics.ready_min"] > workers:
            self.wrong_value("metrics.ready_min", f"at most server.workers, {workers}")
        if values["proxy.host_field"].title() == FORWARDED and values["proxy.fields"] != FORWARDED.lower():
            self.wrong_value("proxy.host_field", 'proxy.fields = "forwarded", or the name of another field')
        self.notes += [Note(Code.ANYBODY_TRUSTED, told) for told in proxy_notes(values)]
        for key_path, value in UNUSED[pool].items():
            if self.origins[key_path] != "default" and values[key_path] != value:
                told = f"{key_path} ({self.source(key_path)}) is not used by pool {pool}"
                self.notes.append(Note(Code.KEY_UNUSED, told))
            values[key_path] = value

    def check_binds(self) -> None:
        """What options of server.bind need elsewhere."""
        for number, bind in enumerate(self.values["server.bind"]):
            if bind.proxy_protocol and not self.values["proxy.trusted"]:
                expected = "the proxies that send the header in proxy.trusted, or false: no other peer is served there"
                key = f"server.bind[{number}].proxy_protocol"
                self.wrong(key, True, expected, self.source("server.bind"), Mistake.CONTRADICTION)
            nobody = not set(self.values["proxy.trusted"]) - {"unix"}
            if bind.protocol == "uwsgi" and nobody and not bind.address.startswith(("unix:", "systemd:", "fd:")):
                expected = "the proxies that speak it in proxy.trusted, or a Unix socket: no other peer is served there"
                key = f"server.bind[{number}].protocol"
                self.wrong(key, "uwsgi", expected, self.source("server.bind"), Mistake.CONTRADICTION)

    def wrong_value(self, key_path: str, expected: str) -> None:
        """A value that is well-formed but does not go with the others."""
        value = self.values[key_path]
        shown = value if isinstance(value, (str, bool)) else KEYS[key_path].kind.show(value).strip('"')
        self.wrong(key_path, shown, expected, self.source(key_path), Mistake.CONTRADICTION)

    def source(self, key_path: str) -> str:
        key = KEYS[key_path]
        named = {
            "platform": VARIABLE_OF.get(key_path, ""),
            "file": self.path,
            "environment": key.variable,
            "flag": key.flag or "command line",
        }
        return named.get(self.origins[key_path], "default")


def differences(old: Config, new: Config) -> list[str]:
    """The paths of the keys whose values differ, in the order of the reference."""
    return [path for path in KEYS if old[path] != new[path]]


def reload_problems(old: Config, new: Config) -> list[Problem]:
    """What has changed that a reload cannot change."""
    problems = []
    for path in differences(old, new):
        single = path == "server.pool" and "single" in (old[path], new[path])
        if single or path.startswith(NEEDS_RESTART):
            show = KEYS[path].kind.show
            now, wanted = show(old[path]), show(new[path]).strip('"')
            problems.append(Problem(path, wanted, now, new.origins[path], Mistake.RESTART))
    return problems
