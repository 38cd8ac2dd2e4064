"""What a plugin says first is held to the host that the connection is for."""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING

import pytest

from aperio_cli.host.egress.decisions import Denied, Reason
from aperio_cli.host.egress.hello import read_hello
from aperio_cli.host.egress.opening import Opening
from aperio_cli.host.egress.requests import Body
from aperio_cli.host.egress.targets import Target
from tests.rows import each_row, for_rows

if TYPE_CHECKING:
    from collections.abc import Callable

BOX = Target("api.box.com", 443)
ADDRESS = Target("10.1.2.3", 443, is_address=True)
WEB = Target("api.box.com", 80)


def refuse(denied: Denied) -> None:
    raise denied


def hello(name: str | None = "api.box.com", *, tls12: bool = False) -> bytes:
    """Return what OpenSSL says first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if tls12:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    sent = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name).do_handshake()
    return sent.read()


HELLO = hello()
OTHER = hello("evil.io")


def in_records(message: bytes, size: int) -> bytes:
    """Return a handshake message in records of so many bytes."""
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(each).to_bytes(2) + each for each in pieces)


def edited(change: Callable[[list[tuple[int, bytes]]], None]) -> bytes:
    """Return the hello with other extensions."""
    message = HELLO[5:]
    at = 4 + 2 + 32
    for width in (1, 2, 1):
        at += width + int.from_bytes(message[at : at + width])
    listed, rest = [], message[at + 2 :]
    while rest:
        end = 4 + int.from_bytes(rest[2:4])
        listed.append((int.from_bytes(rest[:2]), rest[4:end]))
        rest = rest[end:]
    change(listed)
    body = b"".join(kind.to_bytes(2) + len(each).to_bytes(2) + each for kind, each in listed)
    inner = message[4:at] + len(body).to_bytes(2) + body
    return in_records(b"\x01" + len(inner).to_bytes(3) + inner, 2**14)


def server_name(*names: bytes, kind: int = 0) -> tuple[int, bytes]:
    listed = b"".join(bytes((kind,)) + len(each).to_bytes(2) + each for each in names)
    return 0, len(listed).to_bytes(2) + listed


def through(*pieces: bytes, target: Target = BOX) -> bytes:
    opening = Opening(target, refuse)
    return b"".join(opening.feed(each) for each in pieces)


def denied(*pieces: bytes, target: Target = BOX) -> Reason:
    opening = Opening(target, refuse)
    for each in pieces:
        try:
            assert not opening.feed(each), "something was passed on before"
        except Denied as caught:
            return caught.reason
    raise AssertionError("it was not refused")


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────

DATA = b"\x17\x03\x03\x00\x05early"


@each_row("size", [1, 2, 3, 7, 100, 2**14])
@each_row("step", [1, 5, 64, 100_000])
def test_a_hello_in_pieces_passes_unchanged(size: int, step: int) -> None:
    sent = in_records(HELLO[5:], size) + DATA
    assert through(*(sent[at : at + step] for at in range(0, len(sent), step))) == sent


@each_row("size", [1, 100, 2**14])
def test_a_hello_in_pieces_for_another_host_is_refused(size: int) -> None:
    sent = in_records(OTHER[5:], size)
    assert denied(*(sent[at : at + 9] for at in range(0, len(sent), 9))) is Reason.SNI_DIFFERS


@pytest.mark.parametrize("tls12", [False, True])
def test_what_openssl_says_passes(tls12: bool) -> None:  # noqa: FBT001 - a row of the table
    sent = hello("API.box.com", tls12=tls12)
    assert through(sent) == sent


def test_an_address_is_asked_for_without_a_name() -> None:
    assert through(hello(None), target=ADDRESS)
    assert denied(HELLO, target=ADDRESS) is Reason.SNI_DIFFERS


def with_ech(listed: list[tuple[int, bytes]]) -> None:
    listed.append((0xFE0D, b"\x00" * 9))


def without_name(listed: list[tuple[int, bytes]]) -> None:
    listed[:] = [each for each in listed if each[0] != 0]


def replaced(*names: tuple[int, bytes]) -> Callable[[list[tuple[int, bytes]]], None]:
    def change(listed: list[tuple[int, bytes]]) -> None:
        without_name(listed)
        listed.extend(names)

    return change


def test_the_editing_changes_nothing_by_itself() -> None:
    assert edited(lambda _: None) == HELLO
    assert through(edited(replaced(server_name(b"api.box.com"))))


@for_rows(
    [
        (with_ech, Reason.SNI_ENCRYPTED),
        (without_name, Reason.SNI_MISSING),
        (replaced(server_name(b"evil.io")), Reason.SNI_DIFFERS),
        (replaced(server_name(b"api.box.com.")), Reason.SNI_DIFFERS),
        (replaced(server_name(b"api.box.com\x00.evil.io")), Reason.SNI_DIFFERS),
        (replaced(server_name(b"api.box.com", b"evil.io")), Reason.SNI_DIFFERS),
        (replaced(server_name(b"evil.io", b"api.box.com")), Reason.SNI_DIFFERS),
        (replaced(server_name(b"")), Reason.SNI_DIFFERS),
        (replaced(server_name()), Reason.SNI_MISSING),
        (replaced(server_name(b"api.box.com", kind=1)), Reason.MALFORMED),
        (replaced(server_name(b"api.box.com"), server_name(b"evil.io")), Reason.MALFORMED),
        (replaced((0, server_name(b"api.box.com")[1] + b"x")), Reason.MALFORMED),
        (replaced((0, b"")), Reason.MALFORMED),
    ]
)
def test_a_hello_that_does_not_plainly_ask_for_the_host_is_refused(
    change: Callable[[list[tuple[int, bytes]]], None], reason: Reason
) -> None:
    assert denied(edited(change)) is reason


CHANGE = b"\x14\x03\x03\x00\x01\x01"


@each_row("between", [b"", CHANGE])
@each_row("size", [3, 2**14])
def test_a_second_hello_is_looked_at_too(between: bytes, size: int) -> None:
    """The server can ask for one (RFC 8446, 4.1.4), and could answer for its other host then."""
    assert through(HELLO, between, HELLO, DATA) == HELLO + between + HELLO + DATA
    opening = Opening(BOX, refuse)
    assert opening.feed(HELLO + between) == HELLO + between
    with pytest.raises(Denied) as caught:
        opening.feed(in_records(OTHER[5:], size))
    assert caught.value.reason is Reason.SNI_DIFFERS


@each_row(
    "rest",
    [
        b"\x16\x03\x03\x00\x28\x01" + bytes(39),  # an encrypted Finished, whatever it looks like
        b"\x16\x03\x03\x00\x28\x01\x00\x00\x10" + b"\xaa" * 36,
        b"\x16\x03\x03\x00\x28" + b"\xff" * 40,
    ],
)
def test_a_resumed_session_of_tls_1_2_passes(rest: bytes) -> None:
    assert through(HELLO, CHANGE + rest, DATA) == HELLO + CHANGE + rest + DATA


def test_the_keys_of_tls_1_2_pass() -> None:
    keys = in_records(b"\x10\x00\x00\x21" + bytes(33), 2**14)
    assert through(HELLO, keys, OTHER) == HELLO + keys + OTHER


@each_row(
    ("sent", "reason"),
    [
        (b"\x16\x02\x00\x00\x05hello", Reason.MALFORMED),
        (b"\x16\x03\x01\x00\x00" + HELLO, Reason.MALFORMED),
        (b"\x16\x03\x01\x40\x01" + bytes(2**14 + 1), Reason.MALFORMED),
        (in_records(b"\x02\x00\x00\x02\x03\x03", 99), Reason.MALFORMED),
        (in_records(b"\x01\x01\x00\x01" + bytes(99), 99), Reason.TOO_LONG),
        (in_records(b"\x01\x00\x00\x09" + bytes(9), 99), Reason.MALFORMED),
        (in_records(HELLO[5:99], 99) + CHANGE, Reason.MALFORMED),
        (in_records(HELLO[5:99], 99) + DATA, Reason.MALFORMED),
        (b"\x80\x2e\x01\x03\x01" + bytes(41), Reason.UNKNOWN_PROTOCOL),  # a hello of SSL 2
    ],
)
def test_no_hello_is_refused(sent: bytes, reason: Reason) -> None:
    assert denied(sent) is reason


def test_every_beginning_of_a_hello_waits_or_is_refused_and_never_breaks() -> None:
    for end in range(len(HELLO)):
        assert through(HELLO[:end]) == b""
        try:
            found: object = read_hello(HELLO[9:end])
        except Denied as denial:
            found = denial.reason
        # It may end where extensions, which can be missing, would begin.
        assert found is Reason.MALFORMED or found == ([], False)


# ── plain HTTP ────────────────────────────────────────────────────────────────────────────────────


def request(*headers: str, first: str = "GET /a HTTP/1.1", body: str = "") -> bytes:
    return "\r\n".join([first, *headers, "", body]).encode("latin-1")


SENT = b"GET /a HTTP/1.1\r\nHost: api.box.com\r\nConnection: close\r\nAccept: */*\r\n\r\n"


@each_row("step", [1, 3, 1000])
@each_row("host", ["api.box.com", "API.BOX.com:80", "api.box.com."])
def test_a_request_for_the_host_passes(host: str, step: int) -> None:
    sent = request(f"Host: {host}", "Accept: */*", "Connection: keep-alive, X-Hop", "X-Hop: 1")
    pieces = [sent[at : at + step] for at in range(0, len(sent), step)]
    assert through(*pieces, target=WEB) == SENT


@for_rows(
    [
        (request("Host: evil.io"), Reason.HOST_DIFFERS),
        (request("Host: api.box.com:81"), Reason.HOST_DIFFERS),
        (request("Host: api.box.com", "Host: evil.io"), Reason.MALFORMED),
        (request("Host: api.box.com", "hOST: api.box.com"), Reason.MALFORMED),
        (request(), Reason.MALFORMED),
        (request("Host : api.box.com"), Reason.MALFORMED),
        (request("Host:", " api.box.com"), Reason.MALFORMED),
        (request("Host: api.box.com", " evil.io"), Reason.MALFORMED),
        (request("Host: api.box.com\nHost: evil.io"), Reason.MALFORMED),
        (request("Host: api.box.com", "a\x00b: 1"), Reason.MALFORMED),
        (request("Host: api.box.com", first="GET http://evil.io/ HTTP/1.1"), Reason.MALFORMED),
        (request("Host: api.box.com", first="CONNECT evil.io:80 HTTP/1.1"), Reason.MALFORMED),
        (request("Host: api.box.com", first="GET /a HTTP/2.0"), Reason.MALFORMED),
        (request("Host: api.box.com", first="GET  /a HTTP/1.1"), Reason.MALFORMED),
        (request("Host: api.box.com", first="GET /a\tb HTTP/1.1"), Reason.MALFORMED),
        (request("Host: api.box.com", first="GET /a"), Reason.MALFORMED),
        (request("Host: api.box.com", f"X: {'a' * 16384}"), Reason.TOO_LONG),
        (b"GET /" + b"a" * 17_000, Reason.TOO_LONG),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Reason.UNKNOWN_PROTOCOL),
        (b"\r\nGET / HTTP/1.1\r\nHost: evil.io\r\n\r\n", Reason.UNKNOWN_PROTOCOL),
        (b" GET / HTTP/1.1\r\nHost: evil.io\r\n\r\n", Reason.UNKNOWN_PROTOCOL),
        (b"SSH-2.0-x\r\n", Reason.UNKNOWN_PROTOCOL),
        (b"A" * 40, Reason.UNKNOWN_PROTOCOL),
        (b"\x00\x01", Reason.UNKNOWN_PROTOCOL),
    ]
)
def test_any_other_request_is_refused(sent: bytes, reason: Reason) -> None:
    assert denied(sent, target=WEB) is reason


FRAMED = "Host: api.box.com"


@each_row(
    "headers",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: 5", "Content-Length: 5"),
        ("Content-Length: 5, 5",),
        ("Content-Length: +5",),
        ("Content-Length: 0x5",),
        ("Content-Length:",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: xchunked",),
    ],
)
def test_a_body_that_ends_in_two_ways_is_refused(headers: tuple[str, ...]) -> None:
    assert denied(request(FRAMED, *headers), target=WEB) is Reason.MALFORMED


SECOND = request("Host: evil.io")


@each_row("step", [1, 2, 5, 1000])
@each_row(
    ("headers", "body"),
    [
        ((), ""),
        (("Content-Length: 0",), ""),
        (("Content-Length: 5",), "hello"),
        (("Transfer-Encoding: chunked",), "0\r\n\r\n"),
        (("Transfer-Encoding: Chunked",), "5\r\nhello\r\n00a;x=y\r\n0123456789\r\n0\r\n\r\n"),
        (("Transfer-Encoding: chunked",), "1\r\na\r\n0\r\nA: b\r\nC: d\r\n\r\n"),
        (("Connection: Content-Length", "Content-Length: 5"), "hello"),
    ],
)
def test_nothing_passes_behind_the_end_of_a_body(
    headers: tuple[str, ...], body: str, step: int
) -> None:
    sent = request(FRAMED, *headers, first="POST /a HTTP/1.1", body=body) + SECOND
    passed = through(*(sent[at : at + step] for at in range(0, len(sent), step)), target=WEB)
    assert passed.partition(b"\r\n\r\n")[2] == body.encode()
    assert b"evil" not in passed


@each_row(
    "body",
    [
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\nhello\r\n",
        "-1\r\n",
        "g\r\n",
        "\r\n",
        "5 x\r\n",
        f"{'0' * 5000}",
        "0\r\n bad\r\n\r\n",
        "0\r\n" + "A: b\r\n" * 5000,
    ],
)
def test_a_chunk_that_cannot_be_read_is_refused(body: str) -> None:
    opening = Opening(WEB, refuse)
    opening.feed(request(FRAMED, "Transfer-Encoding: chunked", first="POST / HTTP/1.1"))
    with pytest.raises(Denied):
        opening.feed(body.encode())


def test_a_body_of_very_short_chunks_costs_no_more_for_its_length() -> None:
    """A plugin would else hold up the host, and every other plugin, with what it sends at once."""

    def cost_s(count: int) -> float:
        body = Body(is_chunked=True)
        sent = b"1\r\na\r\n" * count
        began_s = time.process_time()
        assert body.feed(sent) == sent
        return time.process_time() - began_s

    least_s = min(cost_s(1_000) for _ in range(3))
    assert cost_s(43_000) < 172 * least_s  # 43 times as many; 800 times where each copies all


# ── a plugin that is learned from ─────────────────────────────────────────────────────────────────


@each_row(
    ("sent", "target", "reason"),
    [
        (OTHER, BOX, Reason.SNI_DIFFERS),
        (hello(None), BOX, Reason.SNI_MISSING),
        (edited(with_ech), BOX, Reason.SNI_ENCRYPTED),
        (b"\x00\x01", BOX, Reason.UNKNOWN_PROTOCOL),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", WEB, Reason.UNKNOWN_PROTOCOL),
    ],
)
def test_what_would_be_refused_is_told_and_passes(
    sent: bytes, target: Target, reason: Reason
) -> None:
    told: list[Denied] = []
    opening = Opening(target, told.append)
    assert opening.feed(sent) == sent
    assert [each.reason for each in told] == [reason]


def test_a_request_for_another_host_is_told_and_keeps_its_host() -> None:
    told: list[Denied] = []
    opening = Opening(WEB, told.append)
    assert b"\r\nHost: evil.io\r\n" in opening.feed(SECOND + SECOND)
    assert [each.reason for each in told] == [Reason.HOST_DIFFERS]
