"""Which certificate, which versions and ciphers, whose certificates: what a listener's handshakes come to."""

from __future__ import annotations

import ssl

import pytest
from miniwsgi.daemon.tls.contexts import CIPHERS, ServerContext, server_context
from miniwsgi.daemon.tls.material import ClientCertificates, Pair
from miniwsgi.daemon.tls.stream import HandshakeFailed
from miniwsgi.daemon.tls.variables import distinguished_name, tls_variables

from .tls_world import Peer, client_context, context, issued, material, pair

SHOP, WILD, OTHER = issued("shop.example"), issued("*.shop.example"), issued("other.example", "*.sub.other.example")


def shown(peer: Peer) -> str:
    """The first name of the certificate that the server has shown."""
    return peer.tls.getpeercert()["subjectAltName"][0][1]


def unchecked(name: str | None = None, **options: object) -> ssl.SSLContext:
    made = client_context(**options)
    made.check_hostname = False
    return made


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("shop.example", "shop.example"),
        ("SHOP.Example", "shop.example"),
        ("www.shop.example", "*.shop.example"),
        ("a.b.shop.example", "shop.example"),  # a wildcard is one label
        ("other.example", "other.example"),
        ("x.sub.other.example", "other.example"),
        ("x.other.example", "shop.example"),
        ("unknown.example", "shop.example"),
        ("example", "shop.example"),
        (None, "shop.example"),
    ],
)
def test_the_certificate_is_that_of_the_name_or_the_first(asked, expected):
    server = context(SHOP, WILD, OTHER)
    _stream, peer = pair(server=server, name=asked, options=unchecked())
    assert shown(peer) == expected


def test_a_name_of_two_certificates_is_the_first_ones():
    first, second = issued("same.example", "first.example"), issued("same.example", "second.example")
    _stream, peer = pair(server=ServerContext(material(SHOP, first, second)), name="same.example")
    assert ("DNS", "first.example") in peer.tls.getpeercert()["subjectAltName"]


# --- the profile ---


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1], ids=lambda version: version.name)
def test_what_is_older_than_tls_1_2_is_refused(version):
    old = unchecked()
    old.minimum_version, old.maximum_version = version, version
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(HandshakeFailed, match="unsupported protocol"):
        pair(server=context(SHOP), options=old)


def test_tls_1_2_may_be_refused_too():
    with pytest.raises(HandshakeFailed, match="unsupported protocol"):
        pair(server=ServerContext(material(SHOP), minimum="1.3"), options=unchecked(version=ssl.TLSVersion.TLSv1_2))
    stream, _peer = pair(server=ServerContext(material(SHOP), minimum="1.3"), options=unchecked())
    assert stream.session.version() == "TLSv1.3"


def test_ciphers_are_mozillas_intermediate_ones():
    tls12 = [cipher["name"] for cipher in context(SHOP).context.get_ciphers() if cipher["protocol"] == "TLSv1.2"]
    tls13 = {cipher["name"] for cipher in context(SHOP).context.get_ciphers() if cipher["protocol"] == "TLSv1.3"}
    assert tls12 == CIPHERS.split(":")
    assert tls13 == {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}


def test_the_client_chooses_among_them():
    for name in ("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"):
        mine = unchecked(version=ssl.TLSVersion.TLSv1_2)
        mine.set_ciphers(f"{name}:{CIPHERS}")
        stream, _peer = pair(server=context(SHOP), options=mine)
        assert stream.session.cipher()[0] == name


@pytest.mark.parametrize("ciphers", ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "DHE-RSA-AES128-GCM-SHA256", "NULL-SHA"])
def test_others_are_refused(ciphers):
    weak = unchecked(version=ssl.TLSVersion.TLSv1_2)
    weak.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    with pytest.raises(HandshakeFailed, match="no shared cipher"):
        pair(server=context(SHOP), options=weak)


def test_there_is_no_compression_and_http_1_1_alone():
    mine = unchecked()
    mine.set_alpn_protocols(["h2", "http/1.1"])
    stream, _peer = pair(server=context(SHOP), options=mine)
    assert stream.session.compression() is None
    assert stream.session.selected_alpn_protocol() == "http/1.1"


def test_unknown_ciphers_and_certificates_that_are_none_are_told():
    with pytest.raises(ssl.SSLError):
        server_context(material(SHOP), ciphers="none of these")
    with pytest.raises(ssl.SSLError):
        server_context(material(Pair("nothing", "nothing", ("x",))))
    with pytest.raises(ssl.SSLError):
        server_context(material(Pair(SHOP.chain, OTHER.key, SHOP.names)))


# --- clients' certificates ---


def test_a_client_without_a_certificate_comes_in_where_it_is_optional():
    stream, _peer = pair(server=context(SHOP, client="optional", client_ca="clients"), options=unchecked())
    assert tls_variables(stream.session)["SSL_CLIENT_VERIFY"] == "NONE"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
@pytest.mark.parametrize("client", ["optional", "required"])
def test_a_clients_certificate_is_told(client, version):
    mine = issued("ann@example", by="clients", common_name="Ann, a client", organization_name="Shop")
    server = context(SHOP, client=client, client_ca="clients")
    stream, _peer = pair(server=server, options=unchecked(certificate=mine, version=version))
    told = tls_variables(stream.session)
    assert told["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert "CN=Ann\\, a client" in told["SSL_CLIENT_S_DN"]
    assert told["SSL_CLIENT_S_DN_CN"] == "Ann, a client"
    assert "O=clients" in told["SSL_CLIENT_I_DN"]
    assert ssl.PEM_cert_to_DER_cert(told["SSL_CLIENT_CERT"]) == ssl.PEM_cert_to_DER_cert(mine.chain)
    assert told["SSL_CLIENT_V_END"].endswith("GMT")
    assert int(told["SSL_CLIENT_M_SERIAL"], 16)
    assert all(type(value) is str for value in told.values())


@pytest.mark.parametrize("client", ["optional", "required"])
def test_a_certificate_of_another_authority_ends_the_handshake(client):
    stranger = issued("eve@example", by="others")
    with pytest.raises(HandshakeFailed, match="certificate verify failed"):
        pair(server=context(SHOP, client=client, client_ca="clients"), options=unchecked(certificate=stranger))


def test_no_certificate_ends_it_where_one_is_required():
    with pytest.raises(HandshakeFailed, match="peer did not return a certificate"):
        pair(server=context(SHOP, client="required", client_ca="clients"), options=unchecked())


def test_names_are_written_as_rfc_4514_says():
    name = ((("countryName", "DE"),), (("organizationName", "A+B"), ("userId", "7")), (("commonName", "#ä "),))
    assert distinguished_name(name) == "CN=\\#ä\\ ".encode().decode("latin-1") + ",O=A\\+B+UID=7,C=DE"


def test_the_variables_of_a_connection():
    stream, _peer = pair(server=context(SHOP), name="shop.example")
    assert tls_variables(stream.session) == {
        "wsgi.url_scheme": "https",
        "HTTPS": "on",
        "SSL_PROTOCOL": "TLSv1.3",
        "SSL_CIPHER": "TLS_AES_256_GCM_SHA384",
        "SSL_CIPHER_USEKEYSIZE": "256",
        "SSL_CLIENT_VERIFY": "NONE",
        "SSL_SESSION_RESUMED": "Initial",
        "SSL_TLS_SNI": "shop.example",
    }


# --- session tickets and renewal ---


def resumes(server: ServerContext, mine: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[bool, Peer]:
    stream, peer = pair(server=server, options=mine, session=session, name="shop.example")
    stream.send(b"x")
    peer.read()  # tickets come first
    assert stream.session.session_reused == peer.tls.session_reused
    return bool(peer.tls.session_reused), peer


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def test_a_session_goes_on_also_behind_a_renewal(version):
    server, mine = ServerContext(material(OTHER, SHOP)), client_context(version)
    first, peer = resumes(server, mine, None)
    assert not first
    again, peer = resumes(server, mine, peer.tls.session)
    assert again
    server.renew(material(issued("shop.example", common_name="renewed")))
    renewed, peer = resumes(server, mine, peer.tls.session)
    assert renewed


def test_no_session_outlives_the_authority_of_its_client():
    mine = client_context(certificate=issued("ann@example", by="clients"))
    server = ServerContext(material(SHOP, client_ca="clients"), ClientCertificates.REQUIRED)
    _first, peer = resumes(server, mine, None)
    again, peer = resumes(server, mine, peer.tls.session)
    assert again
    server.renew(material(SHOP, client_ca="others"))
    with pytest.raises(HandshakeFailed, match="certificate verify failed"):
        resumes(server, mine, peer.tls.session)


def test_a_renewal_is_for_handshakes_that_follow():
    server = ServerContext(material(SHOP))
    stream, peer = pair(server=server, name="shop.example")
    before = peer.tls.getpeercert(True)
    renewed = issued("shop.example", common_name="renewed")
    server.renew(material(renewed))
    stream.send(b"goes on")
    assert peer.read() == b"goes on"
    _stream, other = pair(server=server, name="shop.example")
    assert before != other.tls.getpeercert(True) == ssl.PEM_cert_to_DER_cert(renewed.chain)


def test_a_renewal_that_fails_leaves_all_as_it_was():
    server = ServerContext(material(SHOP))
    with pytest.raises(ssl.SSLError):
        server.renew(material(OTHER, Pair(SHOP.chain, OTHER.key, SHOP.names), client_ca="others"))
    _stream, peer = pair(server=server, name="shop.example")
    assert shown(peer) == "shop.example"


def test_a_renewal_works_where_the_application_has_replaced_the_class(monkeypatch):
    """As gevent does, after which Python's own properties of SSLContext call themselves for ever."""
    server = ServerContext(material(SHOP))
    monkeypatch.setattr(ssl, "SSLContext", type("SSLContext", (ssl.SSLContext,), {}))
    server.renew(material(OTHER))
    monkeypatch.undo()
    _stream, peer = pair(server=server, name="other.example")
    assert shown(peer) == "other.example"
