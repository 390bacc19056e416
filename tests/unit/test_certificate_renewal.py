"""Certificates that are renewed while they are served, however that is done; and the files they are read from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from miniwsgi.daemon.config.binds import Bind
from miniwsgi.daemon.master.certificates.files import CertificateFiles
from miniwsgi.daemon.master.certificates.installed import Certificates
from miniwsgi.daemon.master.certificates.renewal import SETTLE_SECONDS, Outcome, Renewals
from miniwsgi.daemon.tls import material
from miniwsgi.daemon.tls.verification import UnusableError

from tests.support import certificates as made

OLD, NEW = made.issued("shop.example", number=1), made.issued("shop.example", number=2)


class Shop:
    """An address with a certificate and its key in two files, and the clock of whoever looks."""

    def __init__(self, directory: Path) -> None:
        self.chain, self.key = directory / "shop.pem", directory / "shop.key"
        self.bind = Bind(address=":443", certificate=(str(self.chain),), key=(str(self.key),))
        files = CertificateFiles({})
        self.certificates = Certificates.load([self.bind], files)
        self._renewals = Renewals(files)
        self._now = 0.0

    def look(self, seconds: float = 1.0) -> list[Outcome]:
        self._now += seconds
        outcomes = self._renewals.look(self.certificates, self._now)
        for outcome in outcomes:
            if outcome.loaded is not None:
                outcome.installed.replace(outcome.loaded)
        return outcomes

    @property
    def served(self) -> trustme.LeafCert:
        """What workers read."""
        tls = self.certificates.tls(self.bind)
        assert tls is not None
        ((pair,), _ca) = material.read(tls.fd)[1]
        return next(leaf for leaf in (OLD, NEW) if made.chain_of(leaf).decode().strip() == pair.chain.strip())


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made.write(tmp_path, OLD)
    return Shop(tmp_path)


def in_place(shop: Shop) -> None:
    shop.chain.write_bytes(made.chain_of(NEW))
    shop.key.write_bytes(made.key_of(NEW))


def moved_over(shop: Shop) -> None:
    for path, content in ((shop.chain, made.chain_of(NEW)), (shop.key, made.key_of(NEW))):
        path.with_suffix(".new").write_bytes(content)
        path.with_suffix(".new").rename(path)


@pytest.mark.parametrize("renew", [in_place, moved_over])
def test_renewed_files_are_taken_up(shop: Shop, renew: Callable[[Shop], None]) -> None:
    assert (shop.look(), shop.served) == ([], OLD)
    renew(shop)
    assert shop.look() == [], "it may be written on"
    (outcome,) = shop.look()
    assert (outcome.error, shop.served) == ("", NEW)
    assert shop.look() == []


def test_links_of_certbot_are_followed(tmp_path: Path) -> None:
    for number, leaf in ((1, OLD), (2, NEW)):
        (tmp_path / f"archive{number}").mkdir()
        made.write(tmp_path / f"archive{number}", leaf)
    for name in ("shop.pem", "shop.key"):
        (tmp_path / name).symlink_to(f"archive1/{name}")
    shop = Shop(tmp_path)
    for name in ("shop.pem", "shop.key"):
        (tmp_path / f"{name}.new").symlink_to(f"archive2/{name}")
        (tmp_path / f"{name}.new").rename(tmp_path / name)
    shop.look()
    assert ([outcome.error for outcome in shop.look()], shop.served) == ([""], NEW)


def test_the_switched_directory_of_kubernetes_is_followed(tmp_path: Path) -> None:
    for number, leaf in ((1, OLD), (2, NEW)):
        (tmp_path / f"..{number}").mkdir()
        made.write(tmp_path / f"..{number}", leaf)
    (tmp_path / "..data").symlink_to("..1")
    for name in ("shop.pem", "shop.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    shop = Shop(tmp_path)
    (tmp_path / "..tmp").symlink_to("..2")
    (tmp_path / "..tmp").rename(tmp_path / "..data")
    shop.look()
    assert ([outcome.error for outcome in shop.look()], shop.served) == ([""], NEW)


def test_a_key_that_follows_later_is_waited_for(shop: Shop) -> None:
    shop.chain.write_bytes(made.chain_of(NEW))
    assert [shop.look() for _ in range(3)] == [[], [], []], "it does not match yet, and nobody is told"
    shop.key.write_bytes(made.key_of(NEW))
    assert shop.look() == []
    assert ([outcome.error for outcome in shop.look()], shop.served) == ([""], NEW)


EXPIRED, EARLY = made.issued("x", from_days=-9, to_days=-1), made.issued("x", from_days=2)
NO_GOOD = {
    "another's key": (made.chain_of(NEW), made.key_of(made.issued("x")), "it is not the key of"),
    "half a file": (made.chain_of(NEW)[:200], made.key_of(NEW), "there is no certificate in it"),
    "expired": (made.chain_of(EXPIRED), made.key_of(EXPIRED), "it expired on"),
    "not valid yet": (made.chain_of(EARLY), made.key_of(EARLY), "it is not valid before"),
}


@pytest.mark.parametrize(("chain", "key", "said"), NO_GOOD.values(), ids=NO_GOOD)
def test_files_that_are_no_good_leave_the_old_ones_and_are_told_once(
    shop: Shop, chain: bytes, key: bytes, said: str
) -> None:
    shop.chain.write_bytes(chain)
    shop.key.write_bytes(key)
    assert [shop.look(), shop.look()] == [[], []]
    (outcome,) = shop.look(SETTLE_SECONDS)
    assert said in outcome.error
    assert outcome.loaded is None
    assert ([shop.look(), shop.look(SETTLE_SECONDS)], shop.served) == ([[], []], OLD)
    moved_over(shop)
    shop.look()
    assert ([outcome.error for outcome in shop.look()], shop.served) == ([""], NEW)


def test_a_file_that_is_gone_is_told_and_its_return_is_none(shop: Shop) -> None:
    away = shop.key.rename(shop.key.with_suffix(".away"))
    shop.look()
    (outcome,) = shop.look(SETTLE_SECONDS)
    assert outcome.error == f"key {shop.key}: there is no such file"
    away.rename(shop.key)
    assert [shop.look(), shop.look()][0] == []
    assert shop.served == OLD


def test_files_that_are_written_again_as_they_were_change_nothing(shop: Shop) -> None:
    before = shop.served
    made.write(shop.chain.parent, OLD)
    shop.look()
    (outcome,) = shop.look()
    assert outcome.loaded is not None
    assert outcome.loaded.verified.material == outcome.installed.loaded.verified.material
    assert shop.served == before


# --- files ---
def test_a_credential_of_systemd_is_a_file_of_its_directory(tmp_path: Path) -> None:
    (tmp_path / "shop").write_bytes(made.combined(OLD))
    bind = Bind(address=":443", certificate=("credential:shop",))
    (served,) = CertificateFiles({"CREDENTIALS_DIRECTORY": str(tmp_path)}).load(bind).verified.served
    assert served.file == "credential:shop"
    assert flaws(bind, {"CREDENTIALS_DIRECTORY": str(tmp_path / "x")}) == [
        "certificate credential:shop: there is no such credential: LoadCredential=shop:PATH of the unit makes it"
    ]
    assert flaws(bind, {}) == [
        "certificate credential:shop: there is no $CREDENTIALS_DIRECTORY: LoadCredential= of the unit makes it"
    ]


def test_each_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(bytes((1 << 20) + 1))
    names = [str(tmp_path / name) for name in ("fifo", "large", "none", ".")]
    bind = Bind(address=":443", certificate=tuple(names), key=tuple(names), client_ca=str(tmp_path / "ca"))
    assert flaws(bind, {}) == [
        f"certificate {names[0]}: it is no file",
        f"certificate {names[1]}: it has more than 1 MiB",
        f"certificate {names[2]}: there is no such file",
        f"certificate {names[3]}: it is no file",
        f"client_ca {tmp_path}/ca: there is no such file",
    ]


def flaws(bind: Bind, environ: dict[str, str]) -> list[str]:
    with pytest.raises(UnusableError) as caught:
        CertificateFiles(environ).load(bind)
    return caught.value.flaws
