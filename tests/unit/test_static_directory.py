"""What a URL's path stands for below a directory, and what it never does; what is remembered is never old."""

from __future__ import annotations

import errno
import gc
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from miniwsgi.daemon.settings import StaticFiles
from miniwsgi.daemon.static import beneath, directory
from miniwsgi.daemon.static.directory import Directory, Found
from miniwsgi.daemon.static.media_types import TYPES, UNKNOWN, media_type
from miniwsgi.daemon.static.names import No, file_name

ABSENT, REFUSED = No.ABSENT, No.REFUSED


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory of files beside a secret."""
    (tmp_path / "secret").write_text("secret")
    top = tmp_path / "static"
    (top / "css").mkdir(parents=True)
    (top / "css" / "a.css").write_text("a {}")
    (top / ".env").write_text("secret")
    (top / ".git").mkdir()
    (top / ".git" / "config").write_text("secret")
    os.mkfifo(top / "fifo")
    (top / "inside.css").symlink_to("css/a.css")
    (top / "inside").symlink_to("css")
    (top / "back.css").symlink_to("css/../css/a.css")
    (top / "outside").symlink_to("../secret")
    (top / "absolute").symlink_to(tmp_path / "secret")
    (top / "absolute-inside").symlink_to(top / "css" / "a.css")
    (top / "around").symlink_to("../static/css/a.css")
    (top / "loop").symlink_to("loop")
    (top / "up").symlink_to("..")
    (top / "proc").symlink_to("/proc/self/root")
    return top


@pytest.fixture(params=["kernel", "walk"])
def opening(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to open."""
    if request.param == "walk":
        monkeypatch.setattr(directory, "open_beneath", beneath.walk)
    elif beneath.open_beneath is beneath.walk:
        pytest.skip("this kernel has no openat2(2)")


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has just been written may be remembered at once."""
    monkeypatch.setattr(directory, "SETTLED_NS", -1)
    monkeypatch.setattr(directory, "FRESH_NS", -1)


def content(found: Found | No) -> bytes | No:
    if isinstance(found, No):
        return found
    if found.content is not None:
        return found.content
    try:
        return os.pread(found.fd, found.representation.size, 0)
    finally:
        os.close(found.fd)


def opened(root: Path, **options: object) -> Directory:
    return Directory(StaticFiles("/static/", str(root), **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rest", "name"),
    [
        ("css/a.css", b"css/a.css"),
        ("", b""),
        ("css/", b"css/"),
        ("caf\xc3\xa9.css", b"caf\xc3\xa9.css"),
        ("a%2e", b"a%2e"),  # it is decoded once, before
        ("..", REFUSED), (".", REFUSED), ("../secret", REFUSED), ("css/../../secret", REFUSED), ("css/..", REFUSED),
        ("css/./a.css", REFUSED), ("./css/a.css", REFUSED), ("css/../", REFUSED),
        ("/etc/passwd", REFUSED), ("//etc/passwd", REFUSED), ("css//a.css", REFUSED), ("css//", REFUSED),
        ("..\\secret", REFUSED), ("css\\..\\..\\secret", REFUSED), ("a\0.css", REFUSED), ("css/a.css\0", REFUSED),
        ("a\n", REFUSED), ("a\x7f", REFUSED),
        (".env", ABSENT), ("css/.x", ABSENT), (".git/config", ABSENT), ("...", ABSENT), ("..;/secret", ABSENT),
        ("x" * 5000, ABSENT),
        ("\xc0\xae\xc0\xae/secret", b"\xc0\xae\xc0\xae/secret"),  # an overlong "..": to a file system a name like any
    ],
)  # fmt: skip
def test_names(rest: str, name: bytes | No) -> None:
    assert file_name(rest) == name


@pytest.mark.usefixtures("opening")
@pytest.mark.parametrize(
    ("rest", "plainly", "following"),
    [
        ("css/a.css", b"a {}", b"a {}"),
        ("css/a.css/", ABSENT, ABSENT),
        ("css/a.css/b", ABSENT, ABSENT),
        ("css/a.css.", ABSENT, ABSENT),
        ("css/A.CSS", ABSENT, ABSENT),
        ("css", ABSENT, ABSENT),
        ("css/", ABSENT, ABSENT),
        ("", ABSENT, ABSENT),
        ("fifo", ABSENT, ABSENT),
        ("\xc0\xae\xc0\xae/secret", ABSENT, ABSENT),
        ("%2e%2e/secret", ABSENT, ABSENT),
        ("x" * 300, ABSENT, ABSENT),
        ("inside.css", REFUSED, b"a {}"),
        ("inside/a.css", REFUSED, b"a {}"),
        ("back.css", REFUSED, b"a {}"),
        ("outside", REFUSED, REFUSED),
        ("absolute", REFUSED, REFUSED),
        ("absolute-inside", REFUSED, REFUSED),
        ("around", REFUSED, REFUSED),
        ("loop", REFUSED, REFUSED),
        ("up/secret", REFUSED, REFUSED),
        ("up/static/css/a.css", REFUSED, REFUSED),
        ("proc/etc/passwd", REFUSED, REFUSED),
        ("../secret", REFUSED, REFUSED),
        (".env", ABSENT, ABSENT),
    ],
)
def test_nothing_outside_is_ever_opened(root: Path, rest: str, plainly: bytes | No, following: bytes | No) -> None:
    assert content(opened(root).find(rest, None)) == plainly
    assert content(opened(root, symlinks=True).find(rest, None)) == following


@pytest.mark.usefixtures("opening")
@pytest.mark.parametrize("follow", [False, True])
def test_a_directory_that_becomes_a_link_meanwhile_leads_nowhere(root: Path, follow: bool) -> None:
    """A name on the way is exchanged for a link to the outside again and again while it is looked up."""
    (root.parent / "a.css").write_text("secret")
    (root / "swap").mkdir()
    (root / "swap" / "a.css").write_text("a {}")
    files, over = opened(root, symlinks=follow), threading.Event()

    def exchange() -> None:
        while not over.is_set():
            (root / "swap").rename(root / "real")
            (root / "swap").symlink_to("..")
            (root / "swap").unlink()
            (root / "real").rename(root / "swap")

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        seen = {content(files.find("swap/a.css", None)) for _ in range(2000)}
    finally:
        over.set()
        thread.join()
    assert seen <= {b"a {}", ABSENT, REFUSED}


def test_what_may_not_be_read_is_forbidden(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "x")

    monkeypatch.setattr(directory, "open_beneath", refuse)
    assert opened(root).find("css/a.css", None) is No.FORBIDDEN


def test_a_file_that_cannot_even_be_looked_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that is another machine's: its descriptor is closed, and the loop goes on."""
    gc.collect()  # or what other tests have left is closed meanwhile
    files, before = opened(root), len(os.listdir("/proc/self/fd"))

    def stale(_fd: int) -> os.stat_result:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with monkeypatch.context() as patch:
        patch.setattr(directory, "os", SimpleNamespace(fstat=stale, stat=os.stat, close=os.close))
        found = files.find("css/a.css", None)
    assert (found, len(os.listdir("/proc/self/fd"))) == (No.BROKEN, before)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EILSEQ])
def test_names_that_the_file_system_cannot_have(root: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(directory, "open_beneath", refuse)
    assert opened(root).find("a:b.css", None) is ABSENT


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_text("b {}"),  # in place, of the same size
        lambda file: file.write_text("longer {}"),
        lambda file: (file.with_name("new").write_text("b {}"), file.with_name("new").rename(file)),
        lambda file: (file.unlink(), file.write_text("b {}")),
        lambda file: (file.write_text("b {}"), os.utime(file, ns=(0, 0))),
    ],
)
def test_a_change_shows_at_once(root: Path, change: Callable[[Path], object]) -> None:
    file, files = root / "css" / "a.css", opened(root)
    os.utime(file, ns=(0, 0))
    first = files.find("css/a.css", None)
    assert isinstance(first, Found)
    again = files.find("css/a.css", None)
    assert isinstance(again, Found)
    assert again.representation is first.representation
    assert again.content is first.content
    tick = file.stat().st_ctime_ns
    while file.stat().st_ctime_ns == tick:  # the file system's clock
        change(file)
    second = files.find("css/a.css", None)
    assert isinstance(second, Found)
    assert second.content == file.read_bytes() != first.content
    assert second.representation.etag != first.representation.etag
    file.unlink()
    assert files.find("css/a.css", None) is ABSENT


def test_nothing_is_remembered_that_has_just_changed(root: Path) -> None:
    """A second change within the same tick would not show."""
    files = opened(root)
    assert content(files.find("css/a.css", None)) == b"a {}"
    assert "0 names, 0 bytes" in repr(files)


@pytest.mark.usefixtures("settled")
def test_compressed_siblings_come_and_go(root: Path) -> None:
    files, seen = opened(root), []

    def look(accepted: str | None) -> tuple[bytes | No, str, str, bool]:
        found = files.find("css/a.css", accepted)
        assert isinstance(found, Found)
        fields = dict(found.representation.own)
        seen.append(found.representation.etag)
        return content(found), fields["Content-Type"], fields.get("Content-Encoding", ""), "Vary" in fields

    css = "text/css; charset=utf-8"
    assert look("br, gzip") == (b"a {}", css, "", False)
    (root / "css" / "a.css.gz").write_bytes(b"gz")
    assert look("br, gzip") == (b"gz", css, "gzip", True)
    (root / "css" / "a.css.br").write_bytes(b"br")
    (root / "css" / "a.css.zst").mkdir()
    assert look("br, gzip, zstd") == (b"br", css, "br", True)
    assert look("gzip") == (b"gz", css, "gzip", True)
    assert look(None) == (b"a {}", css, "", True)
    (root / "css" / "a.css.br").unlink()
    assert look("br, gzip") == (b"gz", css, "gzip", True)
    assert len(set(seen)) == 3
    assert isinstance(opened(root, precompressed=False).find("css/a.css", "gzip"), Found)


@pytest.mark.usefixtures("settled")
def test_memory_is_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "KEPT_BYTES", 1000)
    monkeypatch.setattr(directory, "KEPT_NAMES", 20)
    files = opened(root)
    for number in range(50):
        (root / f"{number}.css").write_bytes(bytes(90))
    for number in range(50):
        assert content(files.find(f"{number}.css", None)) == bytes(90)
        assert content(files.find(f"{number}.css", None)) == bytes(90)
        names, kept = (int(number) for number in re.findall(r"(\d+) names, (\d+) bytes", repr(files))[0])
        assert names <= 20
        assert kept <= 1000


def test_large_files_are_opened_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "SMALL_BYTES", 3)
    found = opened(root).find("css/a.css", None)
    assert isinstance(found, Found)
    assert found.content is None
    assert content(found) == b"a {}"


def test_an_index(root: Path) -> None:
    (root / "css" / "index.html").write_text("index")
    files = opened(root, index_name="index.html")
    assert content(files.find("css/", None)) == b"index"
    assert files.find("css", None) is No.DIRECTORY
    assert files.find("", None) is ABSENT
    assert opened(root).find("css/", None) is ABSENT


def test_the_directory_stays_the_same_until_it_is_opened_again(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.css").write_text(name)
    current = tmp_path / "current"
    current.symlink_to("one")
    files = opened(current)
    current.unlink()
    current.symlink_to("two")
    assert content(files.find("a.css", None)) == b"one"
    assert content(opened(current).find("a.css", None)) == b"two"


def test_one_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        opened(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        opened(tmp_path / "file")


def test_cache_control_by_pattern_and_more_fields(root: Path) -> None:
    cache = (("*.css", "max-age=1"), ("css/*", "max-age=2"), ("*", "no-cache"))
    files = opened(root, cache=cache, headers=(("X-A", "b"),), types=((".CSS", "text/x"), ("foo", "text/foo")))
    said = {name: dict(files.fields_of(name)) for name in ("css/a.css", "css/b", "x/b.foo")}
    assert [fields["Cache-Control"] for fields in said.values()] == ["max-age=1", "max-age=2", "no-cache"]
    kinds = [fields["Content-Type"] for fields in said.values()]
    assert kinds == ["text/x", "application/octet-stream", "text/foo"]
    assert all(fields["X-A"] == "b" for fields in said.values())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.css", "text/css; charset=utf-8"), ("x/a.MIN.JS", "text/javascript; charset=utf-8"),
        ("a.json", "application/json"), ("a.woff2", "font/woff2"), ("a.svg", "image/svg+xml"),
        ("css", UNKNOWN), ("a.unknown", UNKNOWN), ("a.css/b", UNKNOWN), (".css/b", UNKNOWN),
    ],
)  # fmt: skip
def test_media_types(name: str, kind: str) -> None:
    assert media_type(name, {}) == kind


def test_texts_have_a_charset() -> None:
    assert all("charset" in kind for kind in TYPES.values() if kind.startswith("text/"))
