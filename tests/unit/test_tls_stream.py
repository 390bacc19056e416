"""TLS as a socket: every byte arrives once, in order, whatever the kernel takes at a time, and no wake-up is lost."""

from __future__ import annotations

import select
import socket
import ssl

import pytest
from miniwsgi.daemon.tls.stream import PORTION_BYTES, SEND_BYTES, TLSStream

from .tls_world import pair


@pytest.fixture(params=["TLSv1_2", "TLSv1_3"])
def both(request):
    stream, peer = pair(version=ssl.TLSVersion[request.param])
    yield stream, peer
    peer.close()
    stream.close()


def fill(stream: TLSStream) -> None:
    """Until the kernel takes no more."""
    try:
        while True:
            stream.send(bytes(SEND_BYTES))
    except BlockingIOError:
        pass


def test_what_comes_is_read_to_the_last_whole_record(both):
    stream, peer = both
    peer.write(b"one", b"two", b"three")
    assert stream.recv(65536) == b"onetwothree"
    with pytest.raises(BlockingIOError):
        stream.recv(65536)


def test_nothing_stays_inside_however_little_is_taken_from_the_kernel(both):
    stream, peer = both
    sent = bytes(range(256)) * 300
    peer.write(sent)
    got = b""
    while select.select([stream], [], [], 0)[0]:  # as a loop is told
        try:
            got += stream.recv(1000)
        except BlockingIOError:
            pass
    assert got == sent


def test_half_a_record_is_waited_for(both):
    stream, peer = both
    record = peer.encrypt(b"x" * 100)
    peer.sock.send(record[:50])
    with pytest.raises(BlockingIOError):
        stream.recv(65536)
    peer.sock.send(record[50:])
    assert stream.recv(65536) == b"x" * 100


def test_what_came_with_the_end_of_the_handshake_is_read_though_the_descriptor_has_nothing():
    stream, _peer = pair(early=b"GET")
    assert not select.select([stream], [], [], 0)[0]
    assert stream.recv(65536) == b"GET"


@pytest.mark.parametrize("size", [1, 16384, PORTION_BYTES, PORTION_BYTES + 1, SEND_BYTES + 77])
def test_whatever_the_kernel_takes_arrives_once_and_in_order(both, size):
    stream, peer = both
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    data = bytes(number % 251 for number in range(size)) if size < 99999 else bytes(range(251)) * (size // 251 + 1)
    left, got = memoryview(data), b""
    while left:
        try:
            left = left[stream.send(left) :]
        except BlockingIOError:
            got += peer.read()
    got += peer.read()
    assert got == data


def test_a_full_socket_counts_nothing_as_sent_that_is_not_with_the_kernel(both):
    stream, _peer = both
    fill(stream)
    with pytest.raises(BlockingIOError):
        stream.send(bytes(10))
    assert stream.unsent


def test_the_rest_of_a_portion_may_be_told_in_smaller_blocks(both):
    """As `outgoing` does, which joins small blocks and goes on with what comes next."""
    stream, peer = both
    data = bytes(range(256)) * 4096 * 4
    sent = 0
    try:
        while True:
            sent += stream.send(data[sent:])
    except BlockingIOError:
        pass
    got = peer.read()
    while sent < len(data):
        try:
            sent += stream.send(data[sent : sent + 1000])
        except BlockingIOError:
            got += peer.read()
    assert got + peer.read() == data


@pytest.mark.parametrize("sizes", [(3, 5, 2), (100, PORTION_BYTES, 2), (10, 0, PORTION_BYTES * 3, 1)])
def test_several_parts_are_one_after_the_other(both, sizes):
    stream, peer = both
    parts = tuple(bytes([65 + at]) * size for at, size in enumerate(sizes))
    sent, whole = 0, b"".join(parts)
    sent = stream.sendmsg(parts)
    got = peer.read()
    while sent < len(whole):
        try:
            sent += stream.send(whole[sent:])
        except BlockingIOError:
            got += peer.read()
    assert got + peer.read() == whole


def test_a_file_is_sent_as_it_is(both, tmp_path):
    stream, peer = both
    content = bytes(range(256)) * 8192
    (tmp_path / "file").write_bytes(content)
    got, at = b"", 100
    with (tmp_path / "file").open("rb") as file:
        while at < len(content):
            try:
                at += stream.send_extent(file.fileno(), at, len(content) - at)
            except BlockingIOError:
                got += peer.read()
        assert got + peer.read() == content[100:]
        assert stream.send_extent(file.fileno(), at, 10) == 0, "it has no more"


def test_the_end_is_said_before_the_socket_is_shut(both):
    stream, peer = both
    stream.send(b"last")
    stream.shutdown(socket.SHUT_WR)
    assert peer.read() == b"last"
    assert peer.ended


def test_closing_says_the_end_too(both):
    stream, peer = both
    stream.close()
    peer.read()
    assert peer.ended


def test_no_end_is_said_behind_part_of_a_record(both):
    stream, peer = both
    fill(stream)
    stream.shutdown(socket.SHUT_WR)
    stream.close()
    with pytest.raises(ssl.SSLEOFError):
        peer.read_to_end()


@pytest.mark.parametrize("polite", [True, False], ids=["with its word", "ragged"])
def test_the_clients_end_comes_behind_what_it_has_sent(both, polite):
    stream, peer = both
    peer.write(b"request")
    if polite:
        peer.end()
    peer.sock.shutdown(socket.SHUT_WR)
    assert stream.recv(65536) == b"request"
    assert stream.recv(65536) == b""
    stream.send(b"answer")
    assert peer.read() == b"answer"


def test_an_end_that_comes_with_the_last_bytes_is_seen_though_the_client_keeps_its_socket_open(both):
    stream, peer = both
    peer.tls.write(b"request")
    peer.end()  # in one packet
    assert stream.recv(65536) == b"request"
    assert select.select([stream], [], [], 0)[0], "as a loop is told"
    assert stream.recv(65536) == b""
    stream.send(b"answer")
    assert peer.read() == b"answer"


def test_what_follows_our_end_is_thrown_away_undecrypted(both):
    stream, peer = both
    stream.shutdown(socket.SHUT_WR)
    peer.sock.send(b"garbage")
    assert stream.recv(65536) == b"garbage"


def test_a_record_that_is_not_the_clients_ends_it(both):
    stream, peer = both
    record = bytearray(peer.encrypt(b"request"))
    record[-1] ^= 1
    peer.sock.send(record)
    with pytest.raises(ssl.SSLError, match="DECRYPTION_FAILED_OR_BAD_RECORD_MAC"):
        stream.recv(65536)
    with pytest.raises(BrokenPipeError):
        stream.send(b"answer")


def test_a_record_of_no_length_ends_it(both):
    stream, peer = both
    peer.sock.send(b"\x17\x03\x03\x00\x00")
    with pytest.raises(ssl.SSLError):
        stream.recv(65536)


def test_a_look_ahead_touches_no_secret(both):
    stream, peer = both
    peer.write(b"x")
    assert stream.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    assert stream.recv(65536) == b"x"
    with pytest.raises(BlockingIOError):
        stream.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
