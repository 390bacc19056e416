"""What may be served with: each mistake that operators make with certificates, and what they are told."""

import re
import ssl
import time

import pytest
from miniwsgi.daemon.tls import x509
from miniwsgi.daemon.tls.verification import Sources, UnusableError, verify

from tests.support import certificates as made

SHOP, OTHER = made.issued("shop.example"), made.issued("other.example")
CHAIN, KEY = made.chain_of(SHOP), made.key_of(SHOP)
AUTHORITY = made.authority().cert_pem.bytes()
WEAK_CHAIN, WEAK_KEY = made.self_signed("weak.example", bits=1024)


def verified(chain=CHAIN, key=KEY, client_ca=None):
    sources = Sources((("c.pem", "" if key is None else "k.pem"),), "" if client_ca is None else "ca.pem")
    return verify(sources, {"c.pem": chain, "k.pem": key or b"", "ca.pem": client_ca or b""})


# --- what is refused: the files, and words of the line that says so ---
REFUSED = {
    "another's key": ((CHAIN, made.key_of(OTHER)), "key k.pem: it is not the key of certificate c.pem"),
    "a key of another kind": ((CHAIN, made.key_of(made.issued("x", rsa=True))), "it is not the key of"),
    "an encrypted key": ((CHAIN, made.encrypted_key(SHOP)), "key k.pem: it is encrypted.*openssl pkey -in k.pem"),
    "an encrypted key of old": ((CHAIN, made.encrypted_key(SHOP, traditional=True)), "key k.pem: it is encrypted"),
    "a key of OpenSSH": ((CHAIN, made.openssh_key(SHOP)), "ssh-keygen -p -m PEM -f k.pem"),
    "no key": ((CHAIN, None), "certificate c.pem: its private key is not there, too: name its file in key"),
    "a certificate for a key": ((CHAIN, CHAIN), "key k.pem: there is no private key in it; what is there is CERTIFI"),
    "a key for a certificate": ((KEY, KEY), "certificate c.pem: there is no certificate in it; what is .* PRIVATE"),
    "an empty file": ((b"", KEY), "certificate c.pem: .*; the file is empty"),
    "an empty key": ((CHAIN, b"\n"), "key k.pem: .*; the file is empty"),
    "DER": ((made.der_of(CHAIN), KEY), "it is not PEM but DER .*openssl x509 -inform der -in c.pem"),
    "a text": ((b"hello", KEY), "it is no PEM file"),
    "a signing request": ((made.request_for(SHOP), KEY), r"it is a signing request \(CSR\)"),
    "a damaged certificate": ((made.damaged(CHAIN), KEY), "the certificate at place 1 in it is damaged"),
    "a damaged chain": ((CHAIN + made.damaged(AUTHORITY), KEY), "the certificate at place 2 in it is damaged"),
    "a chain that begins elsewhere": ((AUTHORITY + CHAIN, KEY), "the key is that of the certificate at place 2"),
    "a certificate in one line": ((CHAIN.replace(b"\n", b" "), KEY), "c.pem: it has lost its line breaks"),
    "a key with breaks as text": ((CHAIN, KEY.replace(b"\n", rb"\n")), "key k.pem: it has lost its line breaks"),
    "an authority that is none": ((CHAIN, KEY, KEY), "client_ca ca.pem: there is no certificate in it"),
}


@pytest.mark.parametrize(("files", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_served_is_refused_with_what_to_do(files, said):
    with pytest.raises(UnusableError, match=said) as caught:
        verified(*files)
    assert len(caught.value.flaws) == 1


def test_each_flaw_is_told():
    files = {"a": made.key_of(SHOP), "b": CHAIN, "c": made.key_of(OTHER), "d": b""}
    with pytest.raises(UnusableError) as caught:
        verify(Sources((("a", "a"), ("b", "c")), "d"), files)
    assert [flaw.split(":")[0] for flaw in caught.value.flaws] == ["certificate a", "key c", "client_ca d"]


# --- what is served all the same ---
DOUBTS = {
    "no subjectAltName": (made.self_signed("shop.example"), "it has no subjectAltName"),
    "out of order": ((CHAIN + made.authority("Other").cert_pem.bytes(), KEY), "its chain is out of order: at place 2"),
}


@pytest.mark.parametrize(("files", "said"), DOUBTS.values(), ids=DOUBTS)
def test_what_clients_may_mind_is_a_warning(files, said):
    (warning,) = verified(*files).warnings
    assert warning.startswith("certificate c.pem: ")
    assert said in warning


def test_a_weak_key_is_refused_or_warned_of_as_openssl_has_it():
    try:
        said = verified(WEAK_CHAIN, WEAK_KEY).warnings
    except UnusableError as error:
        said = error.flaws
    assert any("weak: RSA of 1024 bits" in line or "too small" in line for line in said)


def test_a_certificate_without_its_chain_beside_the_one_with_it(tmp_path):
    (tmp_path / "fullchain.pem").touch()
    path = str(tmp_path / "cert.pem")
    (warning,) = verify(Sources(((path, "k"),)), {path: CHAIN, "k": KEY}).warnings
    assert warning.endswith(f"which are in {tmp_path}/fullchain.pem: name that one")


GOOD = {
    "EC": (CHAIN, KEY),
    "RSA": (made.chain_of(made.issued("x", rsa=True)), made.key_of(made.issued("x", rsa=True))),
    "combined": (made.combined(SHOP), None),
    "key last": (CHAIN + KEY, None),
    "with its authority": (CHAIN + AUTHORITY, KEY),
    "lines of Windows": (CHAIN.replace(b"\n", b"\r\n"), KEY.replace(b"\n", b"\r\n")),
    "with words between": (b"subject=/CN=shop\n" + CHAIN + "\nBäh\n".encode(), b"Bag Attributes\n" + KEY),
    "authorities of clients": (CHAIN, KEY, AUTHORITY + made.authority("Other").cert_pem.bytes()),
}


@pytest.mark.parametrize("files", GOOD.values(), ids=GOOD)
def test_what_is_right_is_served(files):
    found = verified(*files)
    assert not found.warnings
    assert found.untimely(time.time()) == []
    assert bool(found.material.client_ca) == (len(files) == 3)


@pytest.mark.parametrize(
    ("leaf", "said"),
    [
        (made.issued("shop.example", from_days=-9, to_days=-3), r"certificate c.pem: it expired on .* \(3 days ago\)"),
        (made.issued("shop.example", from_days=2), "certificate c.pem: it is not valid before .*: is the clock right?"),
    ],
)
def test_what_is_out_of_its_time_is_told_apart(leaf, said):
    (line,) = verified(made.chain_of(leaf), made.key_of(leaf)).untimely(time.time())
    assert re.match(said, line)


# --- what is read of a certificate ---
def test_names_and_times_are_read():
    leaf = made.issued("Shop.example", "*.shop.example", "192.0.2.1", "2001:db8::1", to_days=30)
    (found,) = verified(made.chain_of(leaf), made.key_of(leaf)).served
    assert found.names == ("shop.example", "*.shop.example", "192.0.2.1", "2001:db8::1")
    assert abs(found.not_after - time.time() - 30 * 86400) < 60
    assert found.issuer == "Test"


def test_openssl_reads_the_same(tmp_path):
    path = tmp_path / "c.pem"
    path.write_bytes(CHAIN)
    theirs = ssl._ssl._test_decode_cert(str(path))
    ours = x509.parse(ssl.PEM_cert_to_DER_cert(CHAIN.decode()))
    assert ours.not_after == ssl.cert_time_to_seconds(theirs["notAfter"])
    assert ours.not_before == ssl.cert_time_to_seconds(theirs["notBefore"])
    assert ours.names == tuple(name for _kind, name in theirs["subjectAltName"])


def test_bytes_that_are_cut_off_anywhere_are_no_certificate():
    der = made.der_of(CHAIN)
    for length in range(0, len(der), 7):
        with pytest.raises(x509.NotACertificate):
            x509.parse(der[:length])


def test_a_common_name_serves_where_there_is_no_other_name():
    chain, key = made.self_signed("shop.example")
    assert verified(chain, key).served[0].names == ("shop.example",)
