"""Files that root opens for another: only where no one else can have put what is opened."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from miniwsgi.daemon.master.certificates.files import CertificateFiles
from miniwsgi.daemon.master.system.keeper import LogFiles, start
from miniwsgi.daemon.master.system.roots_own import open_roots_own_file

from tests.support.users import as_root

SOMEBODY = 60001
pytestmark = as_root


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that root alone decides about; pytest's own is below /tmp."""
    made = Path(tempfile.mkdtemp(dir="/var/lib", prefix="miniwsgi-test-"))
    yield made
    shutil.rmtree(made)


def read(path: Path) -> str:
    with open(open_roots_own_file(str(path)), encoding="utf-8") as file:
        return file.read()


def test_links_of_certbot_lead_to_the_file(place: Path) -> None:
    for name in ("live/shop", "archive/shop"):
        (place / name).mkdir(parents=True, mode=0o700)
    (place / "archive/shop/privkey1.pem").write_text("key")
    (place / "live/shop/privkey.pem").symlink_to("../../archive/shop/privkey1.pem")
    (place / "absolute").symlink_to(place / "live/shop/privkey.pem")
    (place / "directory").symlink_to("live/shop")
    for name in ("live/shop/privkey.pem", "absolute", "directory/privkey.pem"):
        assert read(place / name) == "key", name


def test_where_somebody_else_may_write_nothing_is_opened(place: Path) -> None:
    (place / "secret").write_text("root's")
    for name, mode, owner in (
        ("theirs", 0o755, SOMEBODY),
        ("open", 0o777, 0),
        ("sticky", 0o1777, 0),
        ("group", 0o775, 0),
    ):
        directory = place / name
        directory.mkdir()
        (directory / "key").symlink_to(place / "secret")
        (place / f"link-{name}").symlink_to(directory / "key")
        directory.chmod(mode)
        os.chown(directory, owner, 0)
        for path in (directory / "key", place / f"link-{name}"):
            with pytest.raises(PermissionError, match="others than root may write in"):
                read(path)


def test_what_is_no_file_is_refused(place: Path) -> None:
    (place / "circle").symlink_to("circle")
    (place / "up").symlink_to("..")
    for name in ("circle", "up", "nothing"):
        with pytest.raises(OSError, match=r"levels|directory"):
            read(place / name)


def test_the_keeper_opens_what_was_named_at_the_start_and_nothing_else(place: Path) -> None:
    for name in ("named", "other"):
        (place / name).write_text(name)
        (place / name).chmod(0o600)
    keeper = start(LogFiles([], SOMEBODY, SOMEBODY, ()), [], {str(place / "named")})
    try:
        with open(keeper.open_certificate(str(place / "named")), encoding="utf-8") as file:
            assert file.read() == "named"
        (place / "new").write_text("renewed")
        (place / "new").rename(place / "named")
        with open(keeper.open_certificate(str(place / "named")), encoding="utf-8") as file:
            assert file.read() == "renewed"
        with pytest.raises(PermissionError, match="it was not named at the start: restart the daemon"):
            keeper.open_certificate(str(place / "other"))
    finally:
        keeper.end([])


def test_who_may_not_read_asks_the_keeper(place: Path) -> None:
    files, asked = CertificateFiles({}), []

    class Keeper:
        def open_certificate(self, path: str) -> int:
            asked.append(path)
            return os.open(path, os.O_RDONLY)

    (place / "key").write_text("key")
    (place / "key").chmod(0o600)
    place.chmod(0o755)
    files.opener = Keeper()
    os.seteuid(SOMEBODY)
    try:
        # The fake one cannot either: what counts is that it is asked.
        assert files.stamps({str(place / "key"): None}) == {str(place / "key"): None}
    finally:
        os.seteuid(0)
    assert asked == [str(place / "key")]
