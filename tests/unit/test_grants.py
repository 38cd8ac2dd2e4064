"""What an operator grants: of what is asked, and beyond; from one version to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.models.grant import Grant, OwnRule, additions, covers_rule, is_asked, successor
from aperio_cli.models.limits import LEAST, Limits, format_size
from tests.builders import manifest
from tests.rows import each_row, for_each

if TYPE_CHECKING:
    from aperio_cli.models.manifest import Manifest

FROM_CONFIG = [{"field": "domain", "suffix": ".okta.com", "port": "443"}]


def asking(*egress: str, **more: Any) -> Manifest:
    from_config = more.pop("from_config", [])
    permissions = {"egress": list(egress), "egress_from_config": from_config}
    return manifest(**{"permissions": permissions, "scopes": [], "limits": {}} | more)


@each_row(
    ("wide", "narrow", "covers"),
    [
        ("api.box.com:443", "api.box.com:443", True),
        ("*.box.com:443", "api.box.com:443", True),
        ("*.box.com:443", "*.box.com:443", True),
        ("*.box.com:443", "*.eu.box.com:443", True),
        ("*.box.com:443", "api.box.com:80", False),
        ("*.box.com:443", "box.com:443", False),
        ("api.box.com:443", "*.api.box.com:443", False),
        ("api.box.com:443", "*.box.com:443", False),
        ("*.eu.box.com:443", "*.box.com:443", False),
        ("*.box.com:443", "evilbox.com:443", False),
    ],
)
def test_a_rule_covers_what_it_opens_all_of(wide: str, narrow: str, covers: bool) -> None:  # noqa: FBT001 - a row
    assert covers_rule(wide, narrow) is covers


def test_a_host_below_a_settings_suffix_is_asked_for() -> None:
    asked = asking(from_config=FROM_CONFIG)
    assert is_asked(asked, "acme.okta.com:443")
    assert not is_asked(asked, "acme.okta.com:80")
    assert not is_asked(asked, "*.okta.com:443")
    assert not is_asked(asked, "okta.com:443")


@each_row(
    "text", ["siem.corp.example:8088", "*.corp.example:443", "10.0.0.7:8088", "SIEM.corp.example:1"]
)
def test_a_rule_of_the_operators_is_read(text: str) -> None:
    assert OwnRule.parse(text).rule == text.lower()


@for_each([
        "", "siem", "siem:8088", "siem.corp.example", "siem.corp.example:0", "10.0.0:80", "10.1:80",
        "0x7f.0.0.1:80", "010.0.0.1:80", "256.0.0.1:80", "*.10.0.0.1:80", "[::1]:80",
        "a@b.example:80", "https://siem.corp.example:8088", "*:443", "*.*.corp.example:443",
        "siem.corp.example:8088 ",
    ])  # fmt: skip
def test_anything_else_is_no_rule(text: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)expected|octet|permitted"):
        OwnRule.parse(text)


def test_a_first_version_is_asked_about_as_a_whole() -> None:
    after = asking("api.box.com:443", from_config=FROM_CONFIG, scopes=["a"], state="true")
    assert additions(None, after) == [
        "egress  api.box.com:443",
        "egress  *.okta.com:443, as the setting `domain` says",
        "scope   a",
        "state   keeps values from one run to the next",
    ]
    more = asking(limits={"memory": "512MiB"})
    assert additions(None, more) == ["limit   memory 512MiB, up from 256MiB"]
    assert additions(None, asking()) == []


BEFORE = asking("api.box.com:443", "*.boxcloud.com:443", from_config=FROM_CONFIG, scopes=["a"])


@each_row(
    ("after", "added"),
    [
        (BEFORE, []),
        (asking("api.box.com:443"), []),
        (asking("eu.boxcloud.com:443"), []),
        (asking("api.box.com:443", "evil.io:443"), ["egress  evil.io:443"]),
        (asking("*.box.com:443"), ["egress  *.box.com:443"]),
        (asking("api.box.com:80"), ["egress  api.box.com:80"]),
        (asking(scopes=["a", "b"]), ["scope   b"]),
        (asking(state="true"), ["state   keeps values from one run to the next"]),
        (asking(limits={"cpu": "2"}), ["limit   cpu 2.0, up from 0.5"]),
        (asking(limits={"cpu": "0.1"}), []),
    ],
)
def test_a_newer_version_is_asked_about_where_it_wants_more(
    after: Manifest, added: list[str]
) -> None:
    assert additions(Grant(BEFORE), successor(Grant(BEFORE), BEFORE, after).granted) == added


def test_what_was_taken_stays_taken_and_what_was_set_stays_set() -> None:
    from dataclasses import replace

    narrowed = replace(
        BEFORE,
        egress=("eu.boxcloud.com:443",),
        egress_from_config=(),
        limits=Limits(memory_bytes=1024**3),
    )
    before = Grant(narrowed, (OwnRule("siem.corp.example:8088"),))
    after = asking(
        "api.box.com:443", "*.boxcloud.com:443", "new.box.com:443",
        from_config=FROM_CONFIG, scopes=["a"], limits={"memory": "512MiB", "cpu": "1"},
    )  # fmt: skip
    granted = successor(before, BEFORE, after)
    assert granted.granted.egress == ("new.box.com:443", "eu.boxcloud.com:443")
    assert granted.granted.egress_from_config == ()
    assert granted.granted.limits == Limits(memory_bytes=1024**3, cpu=1.0)
    assert granted.own == before.own
    assert additions(before, granted.granted) == [
        "egress  new.box.com:443",
        "limit   cpu 1.0, up from 0.5",
    ]


def test_a_rule_that_was_narrowed_goes_when_nothing_asks_for_it_any_more() -> None:
    from dataclasses import replace

    before = Grant(replace(BEFORE, egress=("eu.boxcloud.com:443",)))
    assert successor(before, BEFORE, asking("api.box.com:443")).granted.egress == ()


def test_limits_below_the_least_are_named() -> None:
    assert Limits(processes=31, cpu=0.01).names_below(LEAST["python"]) == ["cpu", "processes"]
    assert Limits().names_below(LEAST["go"]) == []


@each_row(
    ("size_bytes", "text"),
    [
        (0, "0KiB"),
        (1, "1B"),
        (1024, "1KiB"),
        (1536 * 1024, "1536KiB"),
        (2**20, "1MiB"),
        (2**30, "1GiB"),
    ],
)
def test_a_size_is_told_in_the_largest_unit_that_divides_it(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text
