"""Builds of the compiled engine: what fits is loaded, what does not is told and left alone."""

from __future__ import annotations

import _ctypes
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from miniwsgi.daemon import engine_build
from miniwsgi.daemon.engine import builds
from miniwsgi.daemon.engine.builds import Found, NoBuild

HERE = builds.interpreter()


class Machine:
    """Directories in which builds are looked for, and no other; what is loaded is told, not executed."""

    def __init__(self, directory: Path) -> None:
        self.sources = directory / "compiled"
        self.packaged, self.built, self.own = (
            directory / name / "miniwsgi/engines" for name in ("usr", "local", "own")
        )
        self.sources.mkdir()
        (self.sources / "_engine.pyx").write_text("cdef int one\n")
        self.loaded: list[Path] = []

    def build(self, directory: Path, of: str = "") -> Path:
        """A file as the compiler leaves it, made from these sources or others."""
        place = directory if directory == self.sources else directory / builds.key()
        path = place / builds.FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        before = b"\x7fELF".ljust(builds.READ_BYTES - 9)  # so that two reads have a part each
        path.write_bytes(before + builds.mark(of or builds.key()) + b" ...")
        for made in (path, *path.parents[:3]):
            made.chmod(0o755)
        return path

    def load(self, path: str) -> ModuleType:
        self.loaded.append(Path(path))
        return ModuleType("_engine")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setattr(builds, "FOLDER", str(made.sources))
    monkeypatch.setattr(builds, "PACKAGED", str(made.packaged))
    monkeypatch.setattr(builds, "BUILT", str(made.built))
    monkeypatch.setattr(builds, "execute", made.load)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    monkeypatch.delitem(sys.modules, builds.MODULE, raising=False)
    return made


def test_the_one_beside_the_sources_comes_first_then_those_of_packages_of_root_and_of_the_user(
    machine: Machine,
) -> None:
    places = (machine.sources, machine.packaged, machine.built, machine.own)
    made = [machine.build(place) for place in places]
    for path in made:
        builds.load()
        assert machine.loaded.pop() == path
        path.unlink()
    with pytest.raises(NoBuild):
        builds.load()


def test_none_is_told_with_the_interpreter_and_the_remedy(machine: Machine) -> None:
    with pytest.raises(NoBuild) as caught:
        builds.load()
    assert str(caught.value) == f"no build for {HERE}"
    assert caught.value.remedy == f"make one: miniwsgi engine build --python {sys.executable}"


def test_another_interpreters_is_not_seen(machine: Machine) -> None:
    path = machine.build(machine.built)
    path.rename(path.with_name("_engine.cpython-399-x86_64-linux-gnu.so"))
    with pytest.raises(NoBuild, match=f"^no build for {HERE}$"):
        builds.load()


def test_one_of_other_sources_is_told_and_not_loaded(machine: Machine) -> None:
    path = machine.build(machine.sources, of="0.0.9-12345678")
    with pytest.raises(NoBuild) as caught:
        builds.load()
    assert str(caught.value) == f"no build for {HERE}; {path} was made from other sources"
    machine.build(machine.built)
    builds.load()
    assert len(machine.loaded) == 1


def test_one_of_another_release_is_told_if_there_is_none(machine: Machine) -> None:
    path = machine.build(machine.built)
    former = path.parent.with_name("0.0.9-12345678")
    path.parent.rename(former)
    with pytest.raises(NoBuild) as caught:
        builds.load()
    assert str(caught.value) == f"no build for {HERE}; {former / builds.FILE} was made from other sources"
    machine.build(machine.own)
    builds.load()
    assert len(machine.loaded) == 1


def test_sources_that_change_need_a_build_of_their_own(machine: Machine) -> None:
    path = machine.build(machine.sources)
    assert list(builds.look()) == [Found(str(path), "")]
    for name, text in (("_engine.pyx", "cdef int two\n"), ("answer.pxi", "\n"), ("scan.h", "\n")):
        before = builds.key()
        (machine.sources / name).write_text(text)
        assert builds.key() != before
        assert list(builds.look()) == [Found(str(path), f"{path} was made from other sources")]
        machine.build(machine.sources)
    (machine.sources / "_engine.c").write_text("what Cython makes of them")
    assert list(builds.look()) == [Found(str(path), "")]


@pytest.mark.parametrize(
    ("put", "why"),
    [
        (os.mkfifo, "{} is no regular file"),
        (lambda path: path.mkdir(), "{} is no regular file"),
        (lambda path: path.symlink_to("/dev/null"), "/dev/null can be written by others than its owner"),
    ],
    ids=["pipe", "directory", "device"],
)
def test_what_is_no_file_is_told_and_not_opened(machine: Machine, put: Callable[[Path], None], why: str) -> None:
    path = machine.build(machine.built)
    path.unlink()
    put(path)
    if not path.is_symlink():
        path.chmod(0o755)
    assert list(builds.look()) == [Found(str(path), why.format(path))]
    assert builds.why_unfit(str(path)) == f"{path} is no regular file"
    assert [found.unfit for found in engine_build.existing()] == [f"{path} is no regular file"]
    with pytest.raises(NoBuild, match=f"^no build for {HERE}; "):
        builds.load()


def test_one_that_was_cut_off_is_listed_as_that(machine: Machine) -> None:
    path = machine.build(machine.built)
    segments = builds.ELF_HEADER.pack(
        builds.ELF_HERE, 3, 62, 1, 0, 100_000, 0, 0, builds.ELF_HEADER.size, builds.ELF_SEGMENT_BYTES, 1, 0, 0, 0
    )
    path.write_bytes(segments + path.read_bytes()[len(segments) :])
    told = Found(str(path), f"{path} does not load: its end is missing")
    assert list(builds.look()) == list(engine_build.existing()) == [told]


OTHERS = "can be written by others than its owner"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.chmod(0o757), OTHERS),
        (lambda path: path.parent.chmod(0o777), OTHERS),
        (lambda path: path.parents[1].chmod(0o777), OTHERS),
    ],
    ids=["the file", "its directory", "a directory above"],
)
def test_what_everybody_could_have_written_is_told_and_not_loaded(
    machine: Machine, spoil: Callable[[Path], None], why: str
) -> None:
    path = machine.build(machine.built)
    spoil(path)
    with pytest.raises(NoBuild, match=f"^no build for {HERE}; .*{why}$"):
        builds.load()
    assert not machine.loaded


def test_what_another_user_owns_is_not_loaded(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    path = machine.build(machine.built)
    if os.geteuid():
        monkeypatch.setattr(builds.os, "geteuid", lambda: os.geteuid() + 1)
    else:
        os.chown(path, 12345, 0)
    assert builds.why_not_trusted(str(path)) == f"{path} belongs to neither root nor this user"


def test_what_a_group_could_have_written_is_loaded_only_if_it_is_this_users(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = machine.build(machine.built)
    path.chmod(0o775)
    assert builds.why_not_trusted(str(path)) == ""
    if os.geteuid():
        monkeypatch.setattr(builds.os, "getegid", lambda: os.getegid() + 1)
    else:
        os.chown(path, 0, 12345)
    assert builds.why_not_trusted(str(path)).endswith(OTHERS)


def test_a_link_is_as_good_as_what_it_leads_to(machine: Machine, tmp_path: Path) -> None:
    path = machine.build(machine.built)
    elsewhere = tmp_path / "anybody"
    elsewhere.mkdir()
    elsewhere.chmod(0o777)
    (elsewhere / "build.so").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(elsewhere / "build.so")
    assert builds.why_not_trusted(str(path)) == f"{elsewhere} {OTHERS}"


@pytest.mark.parametrize(
    ("name", "abiflags", "why"),
    [
        ("pypy", "", "is not CPython"),
        ("cpython", "t", "is made to run without the global interpreter lock"),
    ],
)
def test_interpreters_that_run_plain_whatever_is_built(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str, abiflags: str, why: str
) -> None:
    machine.build(machine.sources)
    stood_in = SimpleNamespace(
        implementation=SimpleNamespace(name=name), abiflags=abiflags, version_info=sys.version_info, modules=sys.modules
    )
    monkeypatch.setattr(builds, "sys", stood_in)
    with pytest.raises(NoBuild, match=f"{why}$") as caught:
        builds.load()
    assert (caught.value.remedy, machine.loaded) == ("", [])


def test_one_that_is_broken_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / builds.FILE
    path.write_bytes(b"no library")
    monkeypatch.setitem(sys.modules, builds.MODULE, ModuleType("_engine"))  # puts back what was there
    with pytest.raises(NoBuild, match=f"^{path} does not load: "):
        builds.execute(str(path))
    assert builds.MODULE not in sys.modules


def test_one_that_was_cut_off_is_told_and_not_touched(tmp_path: Path) -> None:
    """The interpreter would be killed by SIGBUS: one segment of 1000 bytes, in files of any length."""
    word = struct.calcsize("P")
    segment = bytearray(7 * word)
    struct.pack_into("P", segment, word, 100)  # p_offset
    struct.pack_into("P", segment, 4 * word, 900)  # p_filesz
    fields = (
        builds.ELF_HERE,
        3,
        62,
        1,
        0,
        builds.ELF_HEADER.size,
        0,
        0,
        builds.ELF_HEADER.size,
        len(segment),
        1,
        0,
        0,
        0,
    )
    whole = (builds.ELF_HEADER.pack(*fields) + segment).ljust(1000)
    path = tmp_path / builds.FILE
    for size in (builds.ELF_HEADER.size, builds.ELF_HEADER.size + 10, 500, 999):
        path.write_bytes(whole[:size])
        with pytest.raises(NoBuild, match=f"^{path} does not load: its end is missing$"):
            builds.execute(str(path))
    path.write_bytes(whole)
    assert builds.is_whole(str(path))
    assert builds.is_whole(_ctypes.__file__)


def test_where_one_is_broken_another_is_taken(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, good = machine.build(machine.sources), machine.build(machine.built)

    def execute(path: str) -> ModuleType:
        if path == str(broken):
            raise NoBuild(f"{path} does not load: its end is missing")
        return machine.load(path)

    monkeypatch.setattr(builds, "execute", execute)
    builds.load()
    assert machine.loaded == [good]
    good.unlink()
    with pytest.raises(NoBuild, match=f"^{broken} does not load: its end is missing$") as caught:
        builds.load()
    assert caught.value.remedy.startswith("make one")


def test_it_is_loaded_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = ModuleType("_engine")
    monkeypatch.setitem(sys.modules, builds.MODULE, loaded)
    assert builds.load() is loaded
