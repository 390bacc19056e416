"""wsgi.file_wrapper: which files the kernel may send, from where and how far; everything else is read."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tempfile

import pytest
from miniwsgi.daemon.engine.call import Phase
from miniwsgi.daemon.engine.file_wrapper import FileWrapper

from tests.unit.call_world import Wire, World, app, length

CONTENT = b"0123456789" * 1000


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def file(path):
    with open(path, "rb") as file:
        yield file


class Counting(io.BytesIO):
    closed_times = 0

    def close(self):
        self.closed_times += 1
        super().close()


class Delegating:
    """As Django's File: it hands on what it has."""

    def __init__(self, file):
        self.file = file

    @property
    def read(self):
        return self.file.read

    def fileno(self):
        return self.file.fileno()


class Shouting(Delegating):
    """It has a descriptor, and changes what it reads."""

    def read(self, size=-1):
        return self.file.read(size).replace(b"0", b"!")


class Part:
    """A range of a file."""

    def __init__(self, file, count):
        self.file, self.count = file, count

    def fileno(self):
        return self.file.fileno()

    def tell(self):
        return self.file.tell()

    def read(self, size=-1):
        data = self.file.read(min(size, self.count))
        self.count -= len(data)
        return data


# --- what is sent by its descriptor ---


@pytest.mark.parametrize(("offset", "read"), [(0, 0), (0, 3), (10, 0), (10, 5), (9995, 0), (10000, 0), (20000, 0)])
@pytest.mark.parametrize("buffering", [-1, 0])
def test_a_file_is_sent_from_its_current_offset(path, offset, read, buffering):
    with open(path, "rb", buffering=buffering) as file:
        file.seek(offset)
        file.read(read)
        begin = min(offset + read, len(CONTENT))
        world = World().run(app(FileWrapper(file)))
        assert world.outcome == ("200", CONTENT[begin:], True, True)
        assert world.fields["Content-Length"] == str(len(CONTENT) - begin)
        assert world.wire.files == [(offset + read, len(CONTENT) - begin)]
        assert world.call.sent == len(CONTENT) - begin
        assert file.closed
        assert world.site.mistakes == []


@pytest.mark.parametrize(
    "make", [Delegating, lambda file: file, lambda file: open(file.fileno(), "r+b", closefd=False)]
)
def test_whoever_hands_it_on_unchanged_is_looked_through(path, make):
    with open(path, "r+b") as file:
        world = World().run(app(FileWrapper(make(file))))
        assert world.wire.files == [(0, len(CONTENT))]
        assert world.body == CONTENT


@pytest.mark.parametrize("make", [tempfile.TemporaryFile, tempfile.NamedTemporaryFile])
def test_temporary_files(make):
    with make() as file:
        file.write(CONTENT)
        file.seek(5)
        world = World().run(app(FileWrapper(file)))
        assert world.wire.files == [(5, len(CONTENT) - 5)]
        assert world.body == CONTENT[5:]


@pytest.mark.parametrize(
    ("size", "offset", "body", "mistake"),
    [(10000, 0, CONTENT, None), (15, 0, CONTENT[:15], "more"), (5, 7, b"78901", "more"), (0, 0, b"", "more"),
     (10005, 0, CONTENT, "fewer"), (10000, 9990, CONTENT[9990:], "fewer"), (10, 10000, b"", "fewer")],
)  # fmt: skip
def test_never_past_content_length(file, size, offset, body, mistake):
    file.seek(offset)
    world = World().run(app(FileWrapper(file), headers=length(size)))
    assert world.body == body
    assert world.call.sent == len(body)
    assert world.wire.files == [(offset, len(body))]
    assert world.call.persistent is (mistake != "fewer")
    assert world.call.aborted is (mistake == "fewer")
    assert [mistake in said for said in world.site.mistakes] == ([True] if mistake else [])


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No"), ("GET", "304 Not Modified")])
def test_no_body_where_there_is_none(file, method, status):
    world = World(method).run(app(FileWrapper(file), status))
    assert world.outcome == (status[:3], b"", True, True)
    assert world.wire.files == []
    assert world.fields.get("Content-Length") == ("10000" if method == "HEAD" else None)
    assert file.closed


@pytest.mark.parametrize("http11", [True, False])
def test_http10_has_a_length_too(file, http11):
    world = World(http11=http11).run(app(FileWrapper(file)))
    assert world.outcome == ("200", CONTENT, True, True)


@pytest.mark.parametrize(("headers", "files"), [([], []), (length(10006), [(0, 10000)])])
@pytest.mark.parametrize("http11", [True, False])
def test_behind_write(file, headers, files, http11):
    def application(environ, start_response):
        start_response("200 OK", headers)(b"before")
        return FileWrapper(file)

    world = World(http11=http11).run(application)
    assert world.body == b"before" + CONTENT
    assert world.complete
    assert world.wire.files == files
    assert not world.site.mistakes
    assert file.closed


@pytest.mark.parametrize("breaks_at", [1, 2])
def test_a_client_that_leaves(file, breaks_at):
    world = World(wire=Wire(breaks_at=breaks_at)).run(app(FileWrapper(file)))
    assert world.call.aborted
    assert not world.call.persistent
    assert world.site.errors == []
    assert file.closed


@pytest.mark.parametrize(("at", "files"), [(1, []), (2, [(0, len(CONTENT))])])
def test_expired_while_it_is_sent(file, at, files):
    wire = Wire()
    world = World(wire=wire)
    wire.meanwhile = lambda: world.call.expire() if len(wire.sends) == at else None
    world.run(app(FileWrapper(file)))
    assert world.call.phase is Phase.EXPIRED
    assert world.call.aborted
    assert not world.call.persistent
    assert wire.files == files
    assert file.closed


def test_start_response_was_never_called(file):
    world = World().run(lambda environ, start_response: FileWrapper(file))
    assert world.status[:3] == "500"
    assert file.closed


# --- what has to be read ---


@pytest.mark.parametrize("make", [gzip.open, bz2.open, lzma.open])
def test_compressed_files_are_decompressed(tmp_path, make):
    """Their fileno() is that of the compressed file."""
    with make(tmp_path / "file", "wb") as file:
        file.write(CONTENT)
    with make(tmp_path / "file", "rb") as file:
        assert file.fileno()
        world = World().run(app(FileWrapper(file)))
        assert world.body == CONTENT
        assert world.wire.files == []


@pytest.mark.parametrize(
    ("make", "body"),
    [
        (Shouting, CONTENT.replace(b"0", b"!")),
        (lambda file: Part(file, 12), CONTENT[:12]),
        (lambda file: io.BufferedReader(io.BytesIO(b"abc")), b"abc"),
        (lambda file: io.BytesIO(b"abc"), b"abc"),
        (lambda file: type("ReadOnly", (), {"read": io.BytesIO(b"abc").read})(), b"abc"),
    ],
)
def test_other_objects_are_read(file, make, body):
    world = World().run(app(FileWrapper(make(file))))
    assert world.outcome == ("200", body, True, True)
    assert world.wire.files == []


def test_a_replaced_read_is_the_one_that_counts():
    class Loud(io.FileIO):
        def read(self, size=-1):
            return super().read(size).upper()

    with tempfile.NamedTemporaryFile() as file:
        file.write(b"abc")
        file.flush()
        for raw in (Loud(file.name), io.BufferedReader(Loud(file.name))):
            world = World().run(app(FileWrapper(raw)))
            assert world.wire.files == []
        assert World().run(app(FileWrapper(Loud(file.name)))).body == b"ABC"


def test_pipes_are_read():
    reading, writing = os.pipe()
    os.write(writing, b"piped")
    os.close(writing)
    with open(reading, "rb") as file:
        world = World().run(app(FileWrapper(file)))
    assert world.outcome == ("200", b"piped", True, True)
    assert world.wire.files == []


def test_files_without_a_size_of_their_own_are_read():
    with open("/proc/self/status", "rb") as file:
        assert World().run(app(FileWrapper(file))).body.startswith(b"Name:")


def test_an_empty_file(tmp_path):
    (tmp_path / "empty").touch()
    with open(tmp_path / "empty", "rb") as file:
        assert World().run(app(FileWrapper(file))).outcome == ("200", b"", True, True)


def test_text_is_an_error(path):
    with open(path) as file:
        world = World().run(app(FileWrapper(file)))
    assert world.status[:3] == "500"
    assert isinstance(world.site.errors[0], TypeError)
    assert file.closed


def test_a_closed_file_is_an_error(file):
    file.close()
    assert FileWrapper(file).extent() is None
    assert World().run(app(FileWrapper(file))).status[:3] == "500"


def test_a_detached_file_has_no_extent(path):
    file = open(path, "rb")
    raw = file.detach()
    assert FileWrapper(file).extent() is None
    raw.close()


# --- as an iterable ---


@pytest.mark.parametrize(
    ("size", "blocks"), [(4, [b"0123", b"4567", b"89"]), (10, [b"0123456789"]), (99, [b"0123456789"])]
)
def test_blocks(size, blocks):
    wrapper = FileWrapper(io.BytesIO(CONTENT[:10]), size)
    assert iter(wrapper) is wrapper
    assert list(wrapper) == blocks


def test_close_is_the_files():
    file = Counting(b"abc")
    world = World().run(app(FileWrapper(file)))
    assert world.body == b"abc"
    assert file.closed_times == 1
    assert not hasattr(FileWrapper(type("Reader", (), {"read": lambda size: b""})), "close")


def test_pauses(file):
    world = World(wire=Wire(full=True)).run(app(FileWrapper(io.BytesIO(CONTENT), 1000)))
    assert world.body == CONTENT
    assert world.pauses == 10
