"""Where a plugin may be connected to: names in every notation, addresses, rules."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import pytest

from aperio_cli.host.egress.addresses import Reach, reach_of
from aperio_cli.host.egress.decisions import Denied, Reason
from aperio_cli.host.egress.plan import MOST_LISTENERS, MOST_NAMES, plan_door
from aperio_cli.host.egress.rules import Policy, Rule, check_addresses, rules_of
from aperio_cli.host.egress.targets import Target, parse_authority, parse_url
from tests.builders import manifest
from tests.rows import each_row, for_each, for_rows

if TYPE_CHECKING:
    from aperio_cli.host.egress.addresses import Address

# ── names ─────────────────────────────────────────────────────────────────────────────────────────


@each_row(
    ("text", "host", "port"),
    [
        ("api.box.com:443", "api.box.com", 443),
        ("API.Box.COM:443", "api.box.com", 443),
        ("api.box.com.:443", "api.box.com", 443),
        ("xn--bcher-kva.example.com:8443", "xn--bcher-kva.example.com", 8443),
        ("a-1.b2.co:1", "a-1.b2.co", 1),
        ("7.box.com:65535", "7.box.com", 65535),
        ("0x7f.box.com:443", "0x7f.box.com", 443),
    ],
)
def test_name_and_port_are_read(text: str, host: str, port: int) -> None:
    assert parse_authority(text) == Target(host, port)


@pytest.mark.parametrize("text", ["93.184.216.34:443", "127.0.0.1:80"])
def test_four_decimals_are_an_address(text: str) -> None:
    assert parse_authority(text).is_address


NO_HOSTS = [
    "", ":", ":443", "api.box.com", "api.box.com:", "api.box.com:0", "api.box.com:65536",
    "api.box.com:0443", "api.box.com:443:443", "api.box.com:+443", "api.box.com: 443",
    "api.box.com:\uff14\uff14\uff13", "box:443", "api..box.com:443",
    ".box.com:443", "api.box.com..:443", "-a.box.com:443", "a-.box.com:443", "a_b.box.com:443",
    "*.box.com:443", "ada@api.box.com:443", "api.box.com@127.0.0.1:443",
    "api.box.com%00.evil.io:443", "api.box.com\x00.evil.io:443", "api.box.com\t:443",
    "api.box.com/:443", "api.box.com\\@x.io:443", "api.box.com#x:443", "bücher.example.com:443",
    "api\u3002box\u3002com:443", "api.box\uff0ecom:443", f"{'a' * 64}.box.com:443",
    f"{'a.' * 127}com:443",
    # addresses in every other notation
    "127.1:443", "127.0.1:443", "2130706433:443", "0x7f000001:443", "0x7f.1:443",
    "0x7f.0.0.1:443", "017700000001:443", "0177.0.0.1:443", "127.0.0.01:443", "127.0.0.0x1:443",
    "127.0.0.1.:4\uff143", "256.1.1.1:443", "1.2.3.4.5:443", "api.box.1:443", "api.box.0x:443",
    "[::1]:443", "[::ffff:127.0.0.1]:443", "::1:443", "[fe80::1%25eth0]:443", "[v1.x]:443",
    "\u2460\u2461\u2466.0.0.1:443",
]  # fmt: skip


@for_each(NO_HOSTS)
def test_every_other_notation_is_refused(text: str) -> None:
    with pytest.raises(Denied) as caught:
        parse_authority(text)
    assert caught.value.reason is Reason.NOT_A_HOST


@each_row(
    ("text", "target", "path"),
    [
        ("http://api.box.com/a?b", "api.box.com:80", "/a?b"),
        ("HTTP://api.box.com:8080", "api.box.com:8080", "/"),
        ("http://api.box.com?q=/@", "api.box.com:80", "/?q=/@"),
    ],
)
def test_an_address_for_a_proxy_is_read(text: str, target: str, path: str) -> None:
    assert (str(parse_url(text)[0]), parse_url(text)[1]) == (target, path)


@for_each([
        "https://api.box.com/", "ftp://api.box.com/", "//api.box.com/", "/a", "*",
        "http:/api.box.com", "http:///a", "http://ada@api.box.com/", "http://api.box.com:443@evil.io/",
        "http://api.box.com\\@evil.io/", "http://evil.io#@api.box.com/", "http://api.box.com/#a",
        "http://[::1]/", "http://0x7f.1/",
    ])  # fmt: skip
def test_no_other_address_is_read(text: str) -> None:
    with pytest.raises(Denied):
        parse_url(text)


# ── addresses ─────────────────────────────────────────────────────────────────────────────────────


@for_rows(
    [
        ("93.184.216.34", Reach.PUBLIC),
        ("1.1.1.1", Reach.PUBLIC),
        ("192.88.98.1", Reach.PUBLIC),
        ("168.63.129.17", Reach.PUBLIC),
        ("2606:2800:220:1::1", Reach.PUBLIC),
        ("2a00:1450:4001::1", Reach.PUBLIC),
        ("64:ff9b::5db8:d822", Reach.PUBLIC),  # 93.184.216.34, by NAT64
        ("10.0.0.1", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("127.0.0.1", Reach.PRIVATE),
        ("127.255.255.254", Reach.PRIVATE),
        ("172.31.255.255", Reach.PRIVATE),
        ("192.168.1.1", Reach.PRIVATE),
        ("198.18.0.1", Reach.PRIVATE),
        ("::1", Reach.PRIVATE),
        ("fd00::1", Reach.PRIVATE),
        ("0.0.0.0", Reach.NEVER),  # noqa: S104 - nothing is bound
        ("0.1.2.3", Reach.NEVER),
        ("169.254.169.254", Reach.NEVER),
        ("100.100.100.200", Reach.NEVER),
        ("168.63.129.16", Reach.NEVER),
        ("192.0.0.192", Reach.NEVER),
        ("192.0.2.1", Reach.NEVER),
        ("198.51.100.1", Reach.NEVER),
        ("203.0.113.1", Reach.NEVER),
        ("224.0.0.1", Reach.NEVER),
        ("240.0.0.1", Reach.NEVER),
        ("255.255.255.255", Reach.NEVER),
        ("::", Reach.NEVER),
        ("::ffff:127.0.0.1", Reach.NEVER),
        ("::ffff:93.184.216.34", Reach.NEVER),
        ("::127.0.0.1", Reach.NEVER),
        ("64:ff9b::7f00:1", Reach.NEVER),
        ("64:ff9b::a9fe:a9fe", Reach.NEVER),
        ("64:ff9b::a00:1", Reach.NEVER),
        ("64:ff9b:1::1", Reach.NEVER),
        ("2001::1", Reach.NEVER),
        ("2002:7f00:1::", Reach.NEVER),
        ("2001:db8::1", Reach.NEVER),
        ("3fff::1", Reach.NEVER),
        ("4000::1", Reach.NEVER),
        ("5f00::1", Reach.NEVER),
        ("fd00:ec2::254", Reach.NEVER),
        ("fe80::1", Reach.NEVER),
        ("fe80::1%eth0", Reach.NEVER),
        ("2606:2800:220:1::1%1", Reach.NEVER),
        ("fec0::1", Reach.NEVER),
        ("ff02::1", Reach.NEVER),
    ]
)
def test_reach_of_an_address(text: str, reach: Reach) -> None:
    assert reach_of(ipaddress.ip_address(text)) is reach


PUBLIC, OWN, HOME, METADATA = (
    ipaddress.ip_address(text)
    for text in ("93.184.216.34", "93.184.216.35", "127.0.0.1", "169.254.169.254")
)
NAMED = Rule("api.box.com", 443, "manifest")
PRIVATE = Rule("siem.corp.example", 8088, "operator", may_be_private=True)


@each_row(
    ("addresses", "rule"),
    [
        ([PUBLIC], NAMED),
        ([PUBLIC, PUBLIC], None),
        ([HOME], PRIVATE),
        ([OWN], PRIVATE),
        ([PUBLIC, HOME], PRIVATE),
    ],
)
def test_addresses_that_the_rule_may_lead_to_pass(
    addresses: list[Address], rule: Rule | None
) -> None:
    check_addresses(addresses, rule, lambda address: address == OWN)


@each_row(
    ("addresses", "rule", "reason"),
    [
        ([], NAMED, Reason.UNRESOLVED),
        ([HOME], NAMED, Reason.ADDRESS_NOT_PUBLIC),
        ([HOME], None, Reason.ADDRESS_NOT_PUBLIC),
        ([OWN], NAMED, Reason.ADDRESS_NOT_PUBLIC),
        ([PUBLIC, HOME], NAMED, Reason.ADDRESS_NOT_PUBLIC),
        ([PUBLIC, METADATA], NAMED, Reason.ADDRESS_NOT_PUBLIC),
        ([METADATA], PRIVATE, Reason.ADDRESS_NOT_PUBLIC),
    ],
)
def test_one_address_of_another_kind_refuses_all(
    addresses: list[Address], rule: Rule | None, reason: Reason
) -> None:
    with pytest.raises(Denied) as caught:
        check_addresses(addresses, rule, lambda address: address == OWN)
    assert caught.value.reason is reason


# ── rules ─────────────────────────────────────────────────────────────────────────────────────────

POLICY = Policy(
    (
        NAMED,
        Rule("*.boxcloud.com", 8443, "manifest"),
        Rule("93.184.216.34", 443, "manifest"),
        Rule("93.184.216.34", 8080, "operator", may_be_private=True),
    )
)


@each_row(
    "text",
    ["api.box.com:443", "eu.boxcloud.com:8443", "a.b.boxcloud.com:8443", "93.184.216.34:8080"],
)
def test_a_rule_covers(text: str) -> None:
    target = parse_authority(text)
    assert POLICY.rule_for(target).port == target.port


@each_row(
    ("text", "reason"),
    [
        ("api.box.com:80", Reason.NOT_GRANTED),
        ("box.com:443", Reason.NOT_GRANTED),
        ("a.api.box.com:443", Reason.NOT_GRANTED),
        ("api.box.com.evil.io:443", Reason.NOT_GRANTED),
        ("evilapi.box.com:443", Reason.NOT_GRANTED),
        ("boxcloud.com:8443", Reason.NOT_GRANTED),
        ("evilboxcloud.com:8443", Reason.NOT_GRANTED),
        ("eu.boxcloud.com:443", Reason.NOT_GRANTED),
        ("93.184.216.34:443", Reason.ADDRESS_AS_HOST),
    ],
)
def test_nothing_else_is_covered(text: str, reason: Reason) -> None:
    with pytest.raises(Denied) as caught:
        POLICY.rule_for(parse_authority(text))
    assert caught.value.reason is reason


@for_rows(
    [
        ("acme.okta.com", ["acme.okta.com"]),
        ("ACME.okta.com", ["acme.okta.com"]),
        ("acme.okta.com.evil.io", []),
        ("okta.com", []),
        (".okta.com", []),
        ("*.okta.com", []),
        ("127.0.0.1", []),
        ("https://acme.okta.com", []),
        ("acme.okta.com:443", []),
        ("acme.okta.com.", []),
        ("evil.io/.okta.com", []),
        ("", []),
        (None, []),
        (7, []),
    ]
)
def test_a_host_from_the_settings_is_held_to_its_suffix(value: object, hosts: list[str]) -> None:
    asked = {"egress_from_config": [{"field": "domain", "suffix": ".okta.com", "port": "443"}]}
    rules = rules_of(manifest(permissions=asked), {"domain": value})
    assert [rule.host for rule in rules] == hosts
    assert all(rule.stated_by == "setting domain" for rule in rules)


# ── what the plugin finds ─────────────────────────────────────────────────────────────────────────


def test_every_name_has_an_address_and_every_port_a_listener() -> None:
    asked = ["api.box.com:443", "api.box.com:80", "*.boxcloud.com:443", "b.box.com:443"]
    plan = plan_door(
        [*rules_of(manifest(permissions={"egress": asked}), {}), Rule("10.0.0.1", 80, "operator")]
    )
    assert [(each.address, each.port, str(each.target)) for each in plan.listeners] == [
        ("127.0.0.1", 3128, "None"),
        ("127.10.0.1", 443, "api.box.com:443"),
        ("127.10.0.1", 80, "api.box.com:80"),
        ("127.10.0.2", 443, "b.box.com:443"),
    ]
    assert plan.addresses == {"api.box.com": "127.10.0.1", "b.box.com": "127.10.0.2"}
    assert plan.environment["HTTPS_PROXY"] == "http://127.0.0.1:3128"
    assert plan.environment["NO_PROXY"] == ""


def test_more_names_than_addresses_are_left_to_the_proxy() -> None:
    plan = plan_door(Rule(f"h{n}.box.com", 443, "operator") for n in range(MOST_NAMES + 9))
    assert len(plan.addresses) == MOST_NAMES
    assert len(plan.listeners) == MOST_LISTENERS


def test_without_rules_there_is_the_proxy_alone_to_say_so() -> None:
    assert [each.target for each in plan_door(()).listeners] == [None]
