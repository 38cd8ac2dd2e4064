"""Where the host of an address leads, and what of an address is shown."""

from __future__ import annotations

from aperio_cli.models.address import (
    Place,
    beside_file,
    file_name,
    has_user,
    is_loopback,
    is_public,
    place_of,
    shown,
)
from tests.rows import each_row, for_each


@each_row(
    "host", ["localhost", "LOCALHOST", "127.0.0.1", "127.255.255.254", "::1", "0:0:0:0:0:0:0:1"]
)
def test_this_machine_is_known_by_every_plain_name(host: str) -> None:
    assert place_of(host) is Place.HERE
    assert is_loopback(host)


@for_each(
    [
        # numbers that inet_aton reads: decimal, octal, hexadecimal, fewer than four
        "2130706433",
        "017700000001",
        "0x7f000001",
        "0X7F.1",
        "127.1",
        "127.0.1",
        "0177.0.0.1",
        "0x7f.0x0.0x0.0x1",
        "127.0.0.0x1",
        "127.0.0.1.",
        "0x",
        # numbers in IPv6
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
        "::127.0.0.1",
        "::ffff:192.0.2.1",
        "::1%lo",
        "::1%25lo",
        "fe80::1%eth0",
        # unspecified: connecting there reaches this machine
        "0",
        "0.0.0.0",  # noqa: S104 - nothing is bound
        "0.1.2.3",
        "::",
        # names
        "localhost.",
        "LocalHost..",
        "x.localhost",
        "x.localhost.",
        "localhost.localdomain",
        "ip6-localhost",
        # escapes and look-alikes that a resolver may fold
        "%6cocalhost",
        "127.0.0.1%00.example.org",
        "１２７.0.0.1",  # noqa: RUF001 - full-width
        "127。0。0。1",
        "ⓛocalhost",
        "",
        ".",
        " localhost",
        "localhost\\",
    ]
)
def test_host_that_some_readers_take_for_this_machine_counts_as_nothing(host: str) -> None:
    assert place_of(host) is Place.UNCLEAR
    assert not is_loopback(host)


@for_each(
    [
        "registry.example.org",
        "registry.example.org.",
        "127.0.0.1.example.org",
        "localhost.example.org",
        "mylocalhost",
        "registry",
        "1.example",
        "x1",
        "192.0.2.1",
        "128.0.0.1",
        "2001:db8::1",
        "bücher.example",
        "xn--bcher-kva.example",
        "under_score.example",
    ]
)
def test_other_machine_is_elsewhere(host: str) -> None:
    assert place_of(host) is Place.ELSEWHERE


@each_row(
    ("address", "text"),
    [
        ("https://registry.example/a/b.tar.gz", "https://registry.example/a/b.tar.gz"),
        ("https://registry.example/@acme/box", "https://registry.example/@acme/box"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("https://user:hunter2@registry.example/a?k=hunter2#hunter2", "https://registry.example/a"),
        ("https://hunter2@registry.example", "https://registry.example"),
        ("https://a@hunter2@registry.example:8443/a", "https://registry.example:8443/a"),
        ("https://user:hunter2/x@registry.example/a", "https://…"),
        ("https://user:hunter2?x@registry.example/a", "https://…"),
        ("https://registry.example?hunter2", "https://registry.example"),
        ("/srv/registry@2?x", "/srv/registry@2?x"),
        (
            "https://registry.example/\x1b[2J",
            "https://registry.example/\N{REPLACEMENT CHARACTER}[2J",
        ),
    ],
)
def test_shown_address_has_no_user_query_or_fragment(address: str, text: str) -> None:
    assert shown(address) == text


@each_row(
    ("address", "name", "beside"),
    [
        ("https://a.example/x/b.tar.gz", "b.tar.gz", "https://a.example/x/b.tar.gz.sig"),
        ("https://a.example/b?k=/c#/d", "b", "https://a.example/b.sig?k=/c#/d"),
        ("https://a.example/b#d?c", "b", "https://a.example/b.sig#d?c"),
        ("https://a.example/b%2fc", "b%2fc", "https://a.example/b%2fc.sig"),
        ("https://b.tar.gz", "", "https://b.tar.gz.sig"),
        ("https://b?/c", "", "https://b.sig?/c"),
    ],
)
def test_file_of_an_address_is_the_last_part_of_its_path(
    address: str, name: str, beside: str
) -> None:
    assert (file_name(address), beside_file(address, ".sig")) == (name, beside)


@each_row(
    ("address", "expected"),
    [
        ("https://user@a.example/", True),
        ("https://user:password@a.example", True),
        ("https://@a.example/", True),
        ("https://a.example/@b", False),
        ("https://a.example?@b", False),
        ("https://a.example#@b", False),
    ],
)
def test_address_with_a_user_is_known(address: str, *, expected: bool) -> None:
    assert has_user(address) is expected


@each_row(
    "host",
    [
        "registry.example.org",
        "93.184.216.34",
        "2606:2800:220:1::1",
        "b\u00fccher.example",
        "registry.example.org.",
        "xn--bcher-kva.example",
        "64:ff9b::5db8:d822",
        "2002:5db8:d822::",
    ],
)
def test_host_that_everybody_reaches_is_public(host: str) -> None:
    assert is_public(host)


@for_each([
        "localhost", "127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1",  # noqa: S104 - a text
        "169.254.169.254", "100.64.0.1", "fe80::1", "fd00::1", "::ffff:10.0.0.1", "intranet",
        "nas.local", "build.internal", "printer.home.arpa", "NAS.LOCAL.", "nas\u3002local", "",
        "fec0::1", "ff02::1", "224.0.0.1", "64:ff9b::a00:7", "64:ff9b:1::1",
        "2002:a00:7::", "::8.8.8.8",
        "localhost.", "a.localhost.", "127.0.0.1.", "xn--localhost-", "intranet.",
    ])  # fmt: skip
def test_host_of_a_private_network_is_not_public(host: str) -> None:
    assert not is_public(host)
