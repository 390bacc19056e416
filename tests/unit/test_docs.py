"""The documentation names only what there is: configuration keys, files, messages, links."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from miniwsgi.codes.explanations import explanations
from miniwsgi.daemon import __version__
from miniwsgi.daemon.config.keys import KEYS, SECTIONS
from miniwsgi.daemon.master.supervising.events import Plan
from miniwsgi.daemon.settings import Settings

from tests.conformance.compare_peers import DELIBERATE

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
ROOMS = [
    ROOT / room / "README.md"
    for room in ("daemon", "daemon/engine", "daemon/master", "manager", "metrics", "tests", "bench")
]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def spans(page: Path) -> list[str]:
    """What stands in backticks, outside of blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_configuration_keys_exist(page: Path) -> None:
    named = {span.split(" ")[0] for span in spans(page)}
    keys = {name for name in named if name.partition(".")[0] in SECTIONS and re.fullmatch(r"\w+\.(?!sock$)\w+", name)}
    assert {key for key in keys if key not in KEYS and not (ROOT / "daemon" / key).exists()} == set()


@pytest.mark.parametrize("page", [*PAGES, *ROOMS], ids=name)
def test_files_exist(page: Path) -> None:
    named = {
        span
        for span in spans(page)
        if re.fullmatch(r"[\w./-]+(\.py|/)", span) and "shop" not in span and span[0] != "/"
    }
    places = [page.parent, ROOT, ROOT / "daemon", ROOT / "daemon" / "master", ROOT / "daemon" / "worker"]
    below = {path.name for path in page.parent.rglob("*")} if page in ROOMS else set()  # a room's page names its own
    missing = {name for name in named if not any((place / name).exists() for place in places)}
    assert {name for name in missing if name.rstrip("/") not in below} == set()


@pytest.mark.parametrize("page", ROOMS, ids=name)
def test_a_room_is_told_on_a_page(page: Path) -> None:
    assert len(page.read_text("utf-8").splitlines()) <= 60


def test_each_principle_says_what_checks_it() -> None:
    """A contract of import-linter or a test, which there is."""
    contracts = [one["name"] for one in PROJECT["tool"]["importlinter"]["contracts"]]
    rules = re.split(r"^\d+\. ", (ROOT / "docs" / "principles.md").read_text("utf-8"), flags=re.MULTILINE)[1:]
    for rule in rules:
        named = re.findall(r"`(tests/[\w/]+\.py)`", rule)
        quoted = re.findall(r'"([^"]+)"', " ".join(rule.partition("Contract")[2].split()))
        assert named or quoted, rule
        assert [test for test in named if not (ROOT / test).exists()] == []
        assert [contract for contract in quoted if contract not in contracts] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def said_by_the_code() -> str:
    """Every string in the sources, with its fields left out."""
    texts = []
    verdict = ROOT / "metrics" / "verdict.py"
    for path in (*sorted((ROOT / "daemon").rglob("*.py")), verdict):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                texts += ["".join(p.value if isinstance(p, ast.Constant) else "\0" for p in node.values)]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_messages_name_settings_as_the_configuration_does() -> None:
    """Not as the code that says it: "timeouts.boot", not "boot_timeout"."""
    fields = {*Settings._fields} | set(Plan.__struct_fields__)
    own = {name for name in fields if name not in KEYS and "_" in name}
    said = re.sub(r"^[a-z_]+$", "", said_by_the_master_and_workers(), flags=re.MULTILINE)  # a name alone is no sentence
    assert sorted(name for name in own if re.search(rf"(?<![\w.`]){name}(?![\w`])", said)) == []


def said_by_the_master_and_workers() -> str:
    """Every string there that is no docstring."""
    texts: list[str] = []
    for folder in ("master", "worker"):
        for path in sorted((ROOT / "daemon" / folder).rglob("*.py")):
            tree = ast.parse(path.read_text("utf-8"))
            about = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            texts += [
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in about
            ]
    return "\n".join(texts)


def test_messages_for_troubleshooting_are_said_by_the_code() -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8").partition("## Troubleshooting")[2]
    messages = re.findall(r"^\| `([^`]+)` \|", page, flags=re.MULTILINE)
    assert len(messages) > 20
    messages += [message for entry in explanations().values() for message in entry.messages]
    messages = [re.sub(r"^MW\d{4} | \(MW\d{4}\)$", "", message) for message in messages]
    said = " ".join(said_by_the_code().split())
    assert {message for message in messages if familiar(message, said) < 0.5} == set()


def familiar(message: str, said: str) -> float:
    """How many of the pairs of neighbouring words the code says like this; names and numbers vary."""
    words = re.sub(r"…|'[^']*'|\bshop\b|\b\d+\b", " \0 ", message).split()
    pairs = [f"{first} {second}" for first, second in itertools.pairwise(words)]
    literal = [pair for pair in pairs if "\0" not in pair]
    if len(literal) < 2:
        return float(all(word in said for word in words if word != "\0"))
    return sum(pair in said for pair in literal) / len(literal)


def test_the_conformance_page_says_what_is_refused_on_purpose() -> None:
    assert "\n".join(DELIBERATE) in (ROOT / "docs" / "conformance.md").read_text("utf-8")


# Made from the sources as they lie there: containers.md begins with a checkout.
NOT_IN_THE_PACKAGE = {"packaging/docker", "packaging/kubernetes", "packaging/prometheus/tests"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_the_pages_name_of_packaging_is_in_the_debian_package(page: Path) -> None:
    debian = ROOT / "packaging" / "debian"
    shipped = [*(debian / "miniwsgi.examples").read_text().split(), "packaging/systemd"]
    named = set(re.findall(r"packaging/[a-z]+", page.read_text("utf-8")))
    assert named - NOT_IN_THE_PACKAGE <= set(shipped)


def test_versions_agree() -> None:
    project = PROJECT["project"]
    control, changelog = ((ROOT / "packaging" / "debian" / name).read_text() for name in ("control", "changelog"))
    least = project["requires-python"].removeprefix(">=")
    assert f"python3 (>= {least})" in control
    for page in (ROOT / "README.md", ROOT / "docs" / "install.md"):
        text = page.read_text("utf-8").partition("## Performance")[0]
        assert set(re.findall(r"Python (3\.\d+)", text)) == {least}, page
    assert changelog.startswith(f"miniwsgi ({__version__}) ")
    told = re.findall(r"it runs ([\d.]+)", (ROOT / "docs" / "install.md").read_text("utf-8"))
    assert set(told) == {__version__}
    for example in (ROOT / "packaging" / "examples").iterdir():
        assert set(re.findall(r"\b\d+\.\d+\.\d+\b(?!\.)", example.read_text("utf-8"))) <= {__version__}, example


def test_make_deb_says_all_that_is_missing() -> None:
    tools = "DEB_TOOLS=dpkg-nonesuch:dpkg-dev dh-nonesuch:debhelper"
    done = subprocess.run(["make", "deb", tools], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode
    assert "apt-get install dpkg-dev debhelper" in done.stderr
