"""docs/quickstart.md, typed from top to bottom on a new machine: every file is written, every command run.

Two things are not typed as they stand. The package lies in ./dist already, and what pip would download is copied from
the tests' own environment: a lab has no network.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import lab
from tests.support.programs import needs
from tests.system import deb
from tests.system.debian import PACKAGE, PYTHON, Debian

PAGE = (Path(__file__).parents[2] / "docs" / "quickstart.md").read_text("utf-8")
BLOCK = re.compile(r"(?:^`(/[^`\n]+)`:\n\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXPECTED = re.compile(r"# → (.+)$", re.MULTILINE)
PIP = re.compile(r"^(/\S+)/bin/pip install (\w+)$", re.MULTILINE)
ROOTS_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MISSING = deb.missing() or lab.missing()

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=MISSING),
    pytest.mark.timeout(deb.BUILD_SECONDS + 600),
]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Debian]:
    """A new machine, with the package in ./dist."""
    with Debian(tmp_path, deb.built()) as fresh:
        fresh.do("install", "-D", PACKAGE, "/root/dist/miniwsgi_1_all.deb")
        fresh.do("rm", "-f", "/etc/nginx/conf.d/shop.conf")
        yield fresh


def test_it_tells_what_to_expect_of_what_it_has_one_type() -> None:
    assert len(EXPECTED.findall(PAGE)) >= 12
    assert [path for path, _, _ in BLOCK.findall(PAGE) if path] == [
        "/srv/shop/releases/1/shop.py",
        "/etc/miniwsgi/shop.toml",
        "/etc/nginx/conf.d/shop.conf",
        "/usr/local/bin/deploy-shop",
    ]


@needs("nginx")
@needs("curl")
def test_every_command_does_what_the_page_says(machine: Debian) -> None:
    minor = machine.do(PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    if minor != f"{sys.version_info[0]}.{sys.version_info[1]}":
        pytest.skip(f"the frameworks at hand are for Python {sys.version_info[0]}.{sys.version_info[1]}, not {minor}")
    for path, language, text in BLOCK.findall(PAGE):
        if path:
            machine.put(path, text)
            continue
        assert language == "sh", text
        for environment, package in PIP.findall(text):
            machine.environment(environment, package)
        typed(machine, PIP.sub("true", text).replace("python3 -m venv", f"{PYTHON} -m venv --without-pip"))


def typed(machine: Debian, commands: str) -> None:
    """All of them in one shell: each must succeed, and say in this order what the page expects."""
    done = machine.run("bash", "-euo", "pipefail", "-c", f"cd /root; PATH={ROOTS_PATH}; {commands}")
    assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
    at = 0
    for expected in EXPECTED.findall(commands):
        found = done.stdout.find(expected.strip(), at)
        assert found >= 0, f"{commands}\ndoes not say {expected!r}:\n{done.stdout}\n{done.stderr}"
        at = found
