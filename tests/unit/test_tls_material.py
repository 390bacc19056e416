"""Certificates in shared memory: read whole or not at all, the latest, by nobody changed but the master."""

import ast
import os
import threading
from pathlib import Path

import miniwsgi.daemon.tls.material as material_module
import pytest
from miniwsgi.daemon.settings import Listener, Settings, Tls
from miniwsgi.daemon.tls import material
from miniwsgi.daemon.tls.material import Material, MaterialError, MaterialMemory, Pair

SHORT = Material((Pair("chain", "key", ("shop.example",)),))
BIG = Pair("chain" * 2000, "KEY" * 1000, ("shop.example", "*.shop.example"))
LONG = Material((BIG, Pair("c", "k", ("192.0.2.1",))), "authority")


@pytest.fixture
def memory():
    memory = MaterialMemory(SHORT)
    yield memory
    memory.close()


def test_what_is_read_is_the_latest_with_a_number_of_its_own(memory):
    first, found = material.read(memory.fd)
    assert (found, material.sequence(memory.fd)) == (SHORT, first)
    memory.replace(LONG)
    second, found = material.read(memory.fd)
    assert (found, material.sequence(memory.fd)) == (LONG, second)
    assert second != first


def test_of_an_old_key_nothing_is_left_in_memory(memory):
    memory.replace(LONG)
    memory.replace(SHORT)
    assert b"KEY" not in os.pread(memory.fd, 1 << 20, 0)


def test_a_half_written_document_is_waited_for(memory, monkeypatch):
    head = memory._memory[:20]
    memory.replace(LONG)
    memory._memory[:20] = head  # an old head over a new document
    pauses = []

    def finish(seconds):
        pauses.append(seconds)
        memory.replace(LONG)

    monkeypatch.setattr(material_module.time, "sleep", finish)
    assert material.read(memory.fd)[1] == LONG
    assert len(pauses) == 1


def test_a_document_that_is_never_whole_is_an_error(memory, monkeypatch):
    memory._memory[30:34] = b"\0\0\0\0"
    monkeypatch.setattr(material_module.time, "sleep", lambda _seconds: None)
    with pytest.raises(MaterialError, match="never whole"):
        material.read(memory.fd)


def test_readers_take_no_half_while_it_is_written_over_and_over(memory):
    done = threading.Event()

    def write():
        while not done.is_set():
            memory.replace(LONG)
            memory.replace(SHORT)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(200):
            assert material.read(memory.fd)[1] in {LONG, SHORT}
    finally:
        done.set()
        writer.join()


def test_nobody_writes_through_the_descriptor(memory):
    with pytest.raises(PermissionError):
        os.pwrite(memory.fd, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(memory.fd, 0)


def test_what_is_too_large_is_refused_and_changes_nothing(memory):
    with pytest.raises(MaterialError, match="more than"):
        memory.replace(Material((Pair("x" * material.CAPACITY_BYTES, "", ()),)))
    assert material.read(memory.fd)[1] == SHORT


def test_a_pair_is_one_file_for_as_long_as_it_is_needed():
    with material.as_file(LONG.pairs[0]) as path:
        assert Path(path).read_text(encoding="ascii") == f"{LONG.pairs[0].key}\n{LONG.pairs[0].chain}"
    assert not os.path.exists(path)


def test_settings_of_tls_cross_to_the_launcher():
    plain = Listener(5, ":80", False, "x", "80", redirect=443)
    secure = Listener(6, ":443", False, "x", "443", tls=Tls(9, client="required", hsts="max-age=60"))
    settings = Settings(1, (plain, secure), 7, "shop:app", "/")
    assert Settings.from_message(settings.to_message()) == settings
    assert sorted(settings.descriptors) == [5, 6, 7, 9]


def test_material_is_read_without_ssl():
    tree = ast.parse(Path(material_module.__file__).read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert "ssl" not in names
