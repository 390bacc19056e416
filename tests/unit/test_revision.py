"""Which revision of the application's code a process says that it runs: where it is looked for, in which order."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from miniwsgi.daemon.settings import Settings
from miniwsgi.daemon.worker import git_commit
from miniwsgi.daemon.worker.revision import AUTO, Revision, Watched, revision_of

HASH = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40
SHORT = HASH[:10]


@pytest.fixture(autouse=True)
def no_caches() -> Iterator[None]:
    yield
    sys.path_importer_cache.clear()


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """app.directory, with a package `rev_shop` in it."""
    directory = tmp_path / "srv" / "shop"
    module(directory)
    return directory


def module(directory: Path) -> None:
    package = directory / "rev_shop"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "wsgi.py").touch()


def settings(directory: Path, revision: str = AUTO, name: str = "rev_shop.wsgi") -> Settings:
    return Settings(1, (), -1, module=name, directory=str(directory), revision=revision)


def found(directory: Path, name: str = "rev_shop.wsgi") -> str | None:
    told: list[str] = []
    known = revision_of(settings(directory, name=name), told.append)
    assert told == []
    return known.text if known is not None else None


def index_of(*names: str, version: int = 2) -> bytes:
    """As git writes an index (gitformat-index(5)), as far as names go."""
    entries = b""
    for name in names:
        raw = name.encode()
        entry = bytes(60) + len(raw).to_bytes(2, "big") + raw
        entries += entry + bytes(8 - len(entry) % 8)
    return b"DIRC" + version.to_bytes(4, "big") + len(names).to_bytes(4, "big") + entries


def repository(tree: Path, *names: str, head: bytes = HASH.encode() + b"\n") -> Path:
    git = tree / ".git"
    git.mkdir(parents=True)
    (git / "HEAD").write_bytes(head)
    (git / "index").write_bytes(index_of(*names))
    return git


def installed(site: Path, version: str = "1.4.2", record: str = "rev_shop/__init__.py,,\n") -> None:
    info = site / f"Rev_Shop-{version}.dist-info"
    info.mkdir()
    (info / "RECORD").write_text(record)


# --- the order ----------------------------------------------------------------------------------------------


def test_what_the_configuration_names_is_taken_and_may_be_nothing(app: Path) -> None:
    repository(app, "rev_shop/__init__.py")
    assert revision_of(settings(app, "2026.11")) == Revision("2026.11", "app.revision")
    assert revision_of(settings(app, "")) is None
    assert revision_of(settings(app)) == Revision(SHORT, f"git in {app}")


def test_each_place_stands_in_for_those_before_it(tmp_path: Path) -> None:
    release = tmp_path / "srv" / "releases" / "20261129"
    module(release)
    current = tmp_path / "srv" / "current"
    current.symlink_to("releases/20261129")
    installed(release)
    assert revision_of(settings(current)) == Revision("20261129", "the release directory")
    (release / "REVISION").write_text(f"{HASH}\n")
    assert revision_of(settings(current)) == Revision(SHORT, str(release / "REVISION"))
    repository(release, "rev_shop/wsgi.py", head=OTHER.encode())
    assert revision_of(settings(current)) == Revision(OTHER[:10], f"git in {release}")


def test_a_wheel_has_its_version(tmp_path: Path, app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "venv" / "site-packages"
    module(site)
    (site / "other-9.dist-info").mkdir()
    installed(site)
    monkeypatch.syspath_prepend(site)
    elsewhere = tmp_path / "etc"
    elsewhere.mkdir()
    repository(elsewhere, "config.toml")
    (elsewhere / "REVISION").write_text("of something else")
    assert found(elsewhere) == "1.4.2"
    assert found(app) is None  # the module that is served lies there


@pytest.mark.parametrize(
    "name", ["rev_shop", "rev_shop.wsgi:application", "{app}/rev_shop/wsgi.py:app", "nowhere.at.all"]
)
def test_however_the_module_is_named(app: Path, name: str) -> None:
    repository(app, "rev_shop/__init__.py")
    assert found(app, name.format(app=app)) == SHORT


# --- what is not of this code -------------------------------------------------------------------------------


def test_a_repository_around_the_application_counts_only_if_it_has_the_application(app: Path) -> None:
    git = repository(app.parent, ".bashrc", "old/shop/rev_shop/__init__.py", "shop/rev_shops/x.py")
    assert found(app) is None
    (git / "index").write_bytes(index_of(".bashrc", "shop/rev_shop/wsgi.py"))
    assert found(app) == SHORT
    (git / "index").write_bytes(index_of(version=4))  # names are shortened there
    assert found(app) == SHORT


def test_what_was_installed_into_a_working_tree_is_not_its_commit(app: Path) -> None:
    repository(app, "README.md")
    installed(app)
    assert found(app) == "1.4.2"


@pytest.mark.parametrize("link", ["srv/same -> data/same", "link -> data/x/srv"])
def test_a_link_that_is_no_release_is_none(tmp_path: Path, link: str) -> None:
    name, _, leads_to = link.partition(" -> ")
    module(tmp_path / leads_to / "app")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to(tmp_path / leads_to)
    expected = "srv" if "/x/" in leads_to else None  # beneath the link's own directory
    assert found(tmp_path / name / "app") == expected


# --- git ----------------------------------------------------------------------------------------------------


def packed(git: Path) -> None:
    (git / "packed-refs").write_text(f"# pack-refs with: peeled\n{OTHER} refs/heads/main2\n{HASH} refs/heads/main\n")


def loose(git: Path) -> None:
    packed(git)
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "refs" / "heads" / "main").write_text(f"{OTHER}\n")


def symbolic(git: Path) -> None:
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "refs" / "heads" / "main").write_text("ref: refs/heads/trunk\n")
    (git / "refs" / "heads" / "trunk").write_text(HASH)


@pytest.mark.parametrize(("refs", "commit"), [(packed, HASH), (loose, OTHER), (symbolic, HASH)])
def test_a_branch_is_found_wherever_git_keeps_it(app: Path, refs: Callable[[Path], None], commit: str) -> None:
    refs(repository(app, "rev_shop/wsgi.py", head=b"ref: refs/heads/main\n"))
    assert found(app) == commit[:10]


def test_a_branch_may_be_named_in_any_language(app: Path) -> None:
    git = repository(app, "rev_shop/wsgi.py", head="ref: refs/heads/höhe\n".encode())
    (git / "packed-refs").write_text(f"{HASH} refs/heads/höhe\n", "utf-8")
    assert found(app) == SHORT


def test_the_package_may_be_the_tree(app: Path) -> None:
    repository(app / "rev_shop", "__init__.py", "wsgi.py")
    assert found(app) == SHORT


def test_a_worktree_has_its_own_head_and_the_refs_of_all(tmp_path: Path, app: Path) -> None:
    common = repository(tmp_path / "main", head=OTHER.encode())
    packed(common)
    own = common / "worktrees" / "shop"
    own.mkdir(parents=True)
    (own / "HEAD").write_text("ref: refs/heads/main\n")
    (own / "commondir").write_text("../..\n")
    (own / "index").write_bytes(index_of("rev_shop/wsgi.py"))
    (app / ".git").write_text(f"gitdir: {os.path.relpath(own, app)}\n")
    assert found(app) == SHORT


def test_git_itself_agrees(tmp_path: Path) -> None:
    module(tmp_path / "tree" / "src")
    commands = [
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "x"],
        ["worktree", "add", "-q", str(tmp_path / "other")],
    ]
    for command in commands:
        subprocess.run(["git", *command], cwd=tmp_path / "tree", check=True, timeout=30)
    said = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path / "tree", capture_output=True, timeout=30)
    for tree in ("tree", "other"):
        assert found(tmp_path / tree / "src") == said.stdout.decode()[:10]


HOSTILE = {
    "empty": b"",
    "garbage": bytes(range(256)),
    "not a hash": b"g" * 40,
    "too long": b"ref: refs/heads/" + b"x" * 5000,
    "elsewhere": b"ref: ../../../../etc/passwd",
    "out of it": b"ref: refs/../../secret",
    "no such ref": b"ref: refs/heads/gone",
    "itself": b"ref: refs/loop",
    "control": b"\x1b[31m" + HASH.encode(),
}


@pytest.mark.parametrize("head", HOSTILE.values(), ids=HOSTILE)
def test_a_repository_that_is_broken_or_hostile_has_no_commit(app: Path, head: bytes) -> None:
    git = repository(app, "rev_shop/wsgi.py", head=head)
    (app / "secret").write_text(HASH)
    (git / "refs").mkdir()
    (git / "refs" / "loop").write_text("ref: refs/loop\n")
    assert found(app) is None


def test_what_would_hold_a_reader_is_not_read(tmp_path: Path, app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = repository(app, head=b"ref: refs/heads/main\n")
    (git / "refs" / "heads").mkdir(parents=True)
    os.mkfifo(git / "refs" / "heads" / "main")
    (git / "index").unlink()
    os.mkfifo(git / "index")
    (git / "packed-refs").symlink_to("/dev/zero")
    assert found(app) is None
    monkeypatch.setattr(git_commit, "MAX_TABLE_BYTES", 10)
    assert git_commit.read_bounded(str(git / "HEAD"), 10) == b""
    assert git_commit.read_bounded(str(tmp_path), 10) == b""


# --- REVISION -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "shown"),
    [
        (b"v1.2.3\n", "v1.2.3"),
        ("  1.0 – Größe \r\nmore\n".encode(), "1.0 – Größe"),
        (b"x" * 100, "x" * 64),
        (HASH.encode() + b"\n", SHORT),
    ],
)
def test_a_revision_file_has_it_in_its_first_line(app: Path, held: bytes, shown: str) -> None:
    (app / "REVISION").write_bytes(held)
    assert found(app) == shown


@pytest.mark.parametrize(
    "held", [b"", b"\n\n", b"\x00\x01", b"\xff\xfe", b"\x1b[31mred", "\u202e1.0".encode(), b"x" * 5000]
)
def test_a_revision_file_that_holds_something_else_is_told_and_not_used(app: Path, held: bytes) -> None:
    (app / "REVISION").write_bytes(held)
    told: list[str] = []
    assert revision_of(settings(app), told.append) is None
    assert told == [
        f"{app}/REVISION is not used: it must be a readable file of at most 4096 bytes, with the revision as text"
    ]


# --- around an import ---------------------------------------------------------------------------------------


def test_what_changes_during_the_import_is_unknown(app: Path) -> None:
    told: list[str] = []
    (app / "REVISION").write_text("one")
    watched = Watched(settings(app), told.append)
    assert watched.is_still()
    assert watched.known == Revision("one", f"{app}/REVISION")
    (app / "REVISION").write_text("two")
    assert not watched.is_still()
    assert watched.known is None
    assert told == [
        "the revision changed from one to two while the application was imported: which code runs is unknown; "
        "reload once it is in its place"
    ]
