"""Real applications of Flask and Django, in a directory where a test can change and break them."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.daemon import Daemon

APPS = Path(__file__).resolve().parent / "apps"


@dataclass(frozen=True, slots=True)
class Shop:
    """An application to serve."""

    name: str
    folder: str
    module: str
    boot_check: str = ""


FLASK = Shop("Flask", "flask_app", "flaskshop:app")
# Django imports its views with the first request: without a boot check, broken ones would count as booted.
DJANGO = Shop("Django", "django_app", "shop.wsgi:application", "/")
SHOPS = (FLASK, DJANGO)


class Site:
    """A copy of a shop that can be changed, with its configuration file; `often` is how many releases it has."""

    def __init__(self, shop: Shop, directory: Path, often: int = 10) -> None:
        self.shop = shop
        self.often = often
        self.directory = directory
        self.code = directory / "code"
        self.configuration = directory / "miniwsgi.toml"
        self._clock = itertools.count(int(time.time()) - 100_000, 10)
        shutil.copytree(APPS / shop.folder, self.code, ignore=shutil.ignore_patterns("__pycache__"))
        self.configure()

    def configure(self, server: str = "workers = 2", rest: str = "") -> None:
        """Write the configuration: lines for [server], and further tables."""
        app = f'[app]\nmodule = "{self.shop.module}"\ndirectory = "{self.code}"\n'
        if self.shop.boot_check:
            app += f'boot_check = "{self.shop.boot_check}"\n'
        _replace(self.configuration, f"{app}\n[server]\n{server}\n\n{rest}\n")

    def release(self, version: str) -> None:
        """Put another version of the code on disk."""
        self._write(f'VERSION = "{version}"\n')

    def break_code(self) -> None:
        """Put code on disk that Python cannot compile."""
        self._write('VERSION = "broken\n')

    def daemon(self) -> Daemon:
        """A daemon that serves it, not yet started."""
        return _Complete(self.directory, "-c", str(self.configuration))

    def _write(self, text: str) -> None:
        path = self.code / "version.py"
        _replace(path, text)
        when = next(self._clock)  # compiled files are told apart by whole seconds and size
        os.utime(path, (when, when))


class _Complete(Daemon):
    """A daemon all of whose processes are known from the start."""

    def __enter__(self) -> Daemon:
        super().__enter__()
        try:
            self.wait_for_log("start: done")
        except BaseException:
            self.kill()
            raise
        self.processes()
        return self


def _replace(path: Path, text: str) -> None:
    scratch = path.with_name(path.name + ".new")
    scratch.write_text(text, "utf-8")
    scratch.replace(path)
