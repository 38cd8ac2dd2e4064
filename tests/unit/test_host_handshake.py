"""The handshake line: as tolerant as a Go host, except about the address."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aperio_cli.errors.installing import ProtocolIncompatible
from aperio_cli.errors.running import HandshakeAddressRefused, HandshakeMalformed, HandshakeTooLong
from aperio_cli.host.wire.handshake import MAX_BYTES, Handshake, parse
from tests.rows import each_row, for_each, for_rows

if TYPE_CHECKING:
    from aperio_cli.errors import AperioError

FOLDER = "/run/user/1000/aperio-x/plugin"


def read(line: bytes) -> Handshake:
    return parse(line, folder=FOLDER, subject="`acme/box` 1.2.0")


@each_row(
    "line",
    [
        b"1|1|unix|%s/plugin3369226784|grpc|\n",  # as a Go plugin prints it
        b"1|1|unix|%s/plugin3369226784|grpc",
        b"  1|1|unix|%s/plugin3369226784|grpc|\r\n",
        b"1|1|unix|%s/plugin3369226784|grpc||false\n",
        b"1|1|unix|%s/plugin3369226784|grpc|short|true|of|the|future\n",
        b"+1|01|unix|%s/plugin3369226784|grpc|\n",
    ],
)
def test_what_a_go_host_accepts_is_accepted(line: bytes) -> None:
    assert read(line % FOLDER.encode()) == Handshake(1, "plugin3369226784")


@for_rows(
    [
        (b"", HandshakeMalformed, "(empty)"),
        (b"hello world", HandshakeMalformed, "Unrecognized remote plugin message: hello world"),
        (b"1|1|unix", HandshakeMalformed, "not compiled for this architecture"),
        (b"x|1|unix|/a|grpc", HandshakeMalformed, "error parsing core protocol version: 'x'"),
        (b"1||unix|/a|grpc", HandshakeMalformed, "error parsing protocol version: ''"),
        ("1|\u0661|unix|/a|grpc".encode(), HandshakeMalformed, "error parsing protocol version"),
        (b"2|1|unix|/a|grpc", ProtocolIncompatible, "Plugin version: 2, Core version: 1"),
        (b"1|2|unix|/a|grpc", ProtocolIncompatible, "Plugin version: 2, Client versions: [1]"),
        (b"1|1|unix|/a", HandshakeMalformed, 'unsupported plugin protocol "netrpc"'),
        (b"1|1|unix|/a|netrpc", HandshakeMalformed, "Supported: [grpc]"),
        (b"1|1|unix|/a|grpc|" + b"A" * 800, HandshakeMalformed, "TLS"),
        (b"\xff\x00\x1b[2J", HandshakeMalformed, "Unrecognized remote plugin message"),
    ]
)
def test_anything_else_is_refused_in_go_plugins_words(
    line: bytes, error: type[AperioError], evidence: str
) -> None:
    with pytest.raises(error) as caught:
        read(line)

    assert evidence in caught.value.why
    assert "\x1b" not in caught.value.why
    assert caught.value.what.startswith("`acme/box` 1.2.0")


@for_each(
    [
        "",
        "/",
        FOLDER,
        f"{FOLDER}/",
        f"{FOLDER}/.",
        f"{FOLDER}/..",
        f"{FOLDER}/../x",
        f"{FOLDER}//x",
        f"{FOLDER}/a/x",
        f"{FOLDER}-other/x",
        "/run/user/1000/aperio-x/x",
        "/var/run/docker.sock",
        "x",
        "@x",
        f"{FOLDER}/a\0b",
        f"{FOLDER}/%41",
        f"{FOLDER}/x?y",
        f"{FOLDER}/-x",
        f"{FOLDER}/" + "x" * 108,
    ]
)
def test_an_address_that_is_not_one_name_in_its_own_folder_is_refused(address: str) -> None:
    with pytest.raises(HandshakeAddressRefused) as caught:
        read(f"1|1|unix|{address}|grpc|\n".encode())

    assert FOLDER in caught.value.why


@each_row("network", ["tcp", "", "UNIX", "unixgram", "vsock"])
def test_any_other_network_is_refused(network: str) -> None:
    with pytest.raises(HandshakeAddressRefused):
        read(f"1|1|{network}|{FOLDER}/x|grpc|\n".encode())


def test_a_line_of_64_kib_is_read_and_a_longer_one_refused() -> None:
    start = f"1|1|unix|{FOLDER}/x|grpc|".encode()

    assert read(start + b"|" * (MAX_BYTES - len(start))).socket_name == "x"
    with pytest.raises(HandshakeTooLong):
        read(start + b"|" * (MAX_BYTES - len(start) + 1))
