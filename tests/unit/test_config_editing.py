"""Changing config.toml: only the wanted lines change, and what a person wrote stays."""

from __future__ import annotations

import difflib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli import clock
from aperio_cli.config import (
    Config,
    DomainRule,
    add_domain,
    add_exception,
    add_publisher_rule,
    load_config,
    remove_exceptions,
    require_level,
)
from aperio_cli.errors.files import FolderNotPrivate
from aperio_cli.errors.usage import ConfigurationInvalid
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.models.policy import PolicyException
from aperio_cli.paths import Paths
from tests.builders import rule, unchanged
from tests.unit.test_config import BUILD, LOCAL

if TYPE_CHECKING:
    from collections.abc import Callable

SOON = (clock.now() + timedelta(days=30)).date().isoformat()
LATER = (clock.now() + timedelta(days=60)).date().isoformat()
BOX = PluginId("acme", "box")
GRANTED = PolicyException(BOX, "", "unverified", SOON, "audit pending")

# Tables of one name in several places, comments above, beside and below everything.
COMMENTED = f"""\
# The plugins of the security team.   Ask ada@acme.example before you change it.

[[publishers]]  # the connectors
namespace = "acme"     # ours
domain    = 'public'
identity  = "release@acme.example"  # see the wiki
issuer    = "https://accounts.acme.example"

# ── this machine ──
[python]
interpreters = [
  "/opt/python3.11/bin/python3",  # the one with security fixes
]

# what the auditors asked for
[policy]   # (2026)
require = "signed"     # verified from March on
# require_provenance = true

# Globex signs with a person's account.
[[publishers]]
namespace = "globex"
domain = "public"
identity = "grace@globex.example"
issuer = "https://accounts.globex.example"

# until their audit is through
[[exceptions]]
plugin = "acme/box"
rule = "unverified"
until = {SOON}    # ask again then
reason = "audit pending"   # ticket 4711

# this one stays
[[exceptions]]
plugin = "acme/hat"
rule = "limit:memory"
until = {SOON}
reason = "small machine"
# the end
"""


def load(path: Path) -> Config:
    return load_config(Paths(path.parent, path, path.parent), site_file=path.parent / "none")


def differences(path: Path, change: Callable[[Path], object], before: str = COMMENTED) -> list[str]:
    """The lines that a change took out and put in, and that the file can be read afterwards."""
    path.write_text(before)
    assert change(path)
    load(path)
    after = path.read_text()
    lines = difflib.ndiff(before.splitlines(keepends=True), after.splitlines(keepends=True))
    return [line.rstrip("\n") for line in lines if line[0] in "+-"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


# ── only the wanted lines ─────────────────────────────────────────────────────────────────────────


def test_adding_a_rule_changes_only_its_lines(path: Path) -> None:
    assert differences(path, lambda file: add_publisher_rule(file, rule())) == [
        "+ ",
        "+ [[publishers]]",
        '+ namespace = "*"',
        '+ domain = "local"',
        '+ identity = "alice@local"',
        '+ issuer = "https://oidc.local.aperio.invalid"',
    ]


def test_requiring_changes_only_the_value(path: Path) -> None:
    assert differences(path, lambda file: require_level(file, "verified")) == [
        '- require = "signed"     # verified from March on',
        '+ require = "verified"     # verified from March on',
    ]


def test_requiring_for_an_organization_changes_only_its_lines(path: Path) -> None:
    assert differences(path, lambda file: require_level(file, "verified", "acme-prod")) == [
        "+ ",
        "+ [policy.organizations]",
        '+ acme-prod = "verified"',
    ]


def test_requiring_for_another_organization_changes_only_its_line(path: Path) -> None:
    text = COMMENTED + '\n[policy.organizations]  # one by one\nacme-prod = "verified"  # live\n'
    changed = differences(path, lambda file: require_level(file, "signed", "a test"), text)
    assert changed == ['+ "a test" = "signed"']


def test_requiring_less_for_an_organization_changes_only_its_value(path: Path) -> None:
    text = COMMENTED + '\n[policy.organizations]  # one by one\nacme-prod = "verified"  # live\n'
    changed = differences(path, lambda file: require_level(file, "signed", "acme-prod"), text)
    assert changed == ['- acme-prod = "verified"  # live', '+ acme-prod = "signed"  # live']


def test_requiring_for_an_organization_finds_them_within_the_policy(path: Path) -> None:
    text = '[policy]\norganizations = { a = "signed" }  # few\n'
    changed = differences(path, lambda file: require_level(file, "verified", "b"), text)
    assert changed[0] == '- organizations = { a = "signed" }  # few'
    assert load(path).policy.required("b") == "verified"
    assert load(path).policy.required("a") == "signed"


def test_requiring_makes_the_table_where_there_is_none(path: Path) -> None:
    changed = differences(path, lambda file: require_level(file, "verified"), LOCAL)
    assert changed == ["+ ", "+ [policy]", '+ require = "verified"']


def test_requiring_makes_the_table_above_that_of_the_organizations(path: Path) -> None:
    text = '[policy.organizations]\na = "verified"\n'
    assert differences(path, lambda file: require_level(file, "verified"), text)
    assert load(path).policy.require == "verified"


def test_adding_an_exception_changes_only_its_lines(path: Path) -> None:
    granted = replace(GRANTED, version="1.2.3", reason='it\'s "urgent" \N{SNOWMAN} \U0001f389')
    assert differences(path, lambda file: add_exception(file, granted)) == [
        "+ ",
        "+ [[exceptions]]",
        '+ plugin = "acme/box@1.2.3"',
        '+ rule = "unverified"',
        f"+ until = {SOON}",
        '+ reason = "it\'s \\"urgent\\" \N{SNOWMAN} \U0001f389"',
    ]


def test_renewing_an_exception_changes_only_its_date_and_reason(path: Path) -> None:
    granted = replace(GRANTED, until=LATER, reason="audit was put off")
    assert differences(path, lambda file: add_exception(file, granted)) == [
        f"- until = {SOON}    # ask again then",
        f"+ until = {LATER}    # ask again then",
        '- reason = "audit pending"   # ticket 4711',
        '+ reason = "audit was put off"   # ticket 4711',
    ]


def test_removing_an_exception_changes_only_its_lines(path: Path) -> None:
    reference = PluginRef.parse("acme/box")
    assert differences(path, lambda file: remove_exceptions(file, reference, "unverified")) == [
        "- [[exceptions]]",
        '- plugin = "acme/box"',
        '- rule = "unverified"',
        f"- until = {SOON}    # ask again then",
        '- reason = "audit pending"   # ticket 4711',
    ]


def test_removing_the_last_exception_keeps_the_comment_at_the_end(path: Path) -> None:
    reference = PluginRef.parse("acme/hat")
    changed = differences(path, lambda file: remove_exceptions(file, reference, "limit:memory"))
    assert len(changed) == 5
    assert path.read_text().endswith("# this one stays\n# the end\n")


def test_removing_takes_no_other_rule_plugin_or_version(path: Path) -> None:
    path.write_text(COMMENTED)
    with unchanged(path.parent):
        for plugin, lifted in (
            ("acme/box", "unsigned"),
            ("acme/box@1.0.0", "unverified"),
            ("acme/hat", "unverified"),
        ):
            assert remove_exceptions(path, PluginRef.parse(plugin), lifted) == 0


def test_adding_a_domain_changes_only_its_lines(path: Path) -> None:
    domain = DomainRule("acme-internal", Path("/etc/acme.json"), "", None, "")
    assert differences(path, lambda file: add_domain(file, domain)) == [
        "+ ",
        "+ [[domains]]",
        '+ name = "acme-internal"',
        '+ file = "/etc/acme.json"',
    ]


def test_adding_a_domain_over_tuf_gives_back_the_same_domain(path: Path) -> None:
    domain = DomainRule("x", None, "https://tuf.acme.example/", Path("/etc/root.json"), str(path))
    assert add_domain(path, domain)
    assert load(path).domains == (domain,)


def test_changes_keep_line_ends_of_another_system(path: Path) -> None:
    path.write_bytes(COMMENTED.replace("\n", "\r\n").encode())
    assert require_level(path, "verified")
    assert remove_exceptions(path, PluginRef.parse("acme/box"), "unverified") == 1
    lines = path.read_bytes().split(b"\n")
    assert b'require = "verified"     # verified from March on\r' in lines
    assert b"# until their audit is through\r" in lines


def test_a_comment_that_looks_like_a_table_moves_nothing(path: Path) -> None:
    text = COMMENTED.replace("# the end", "# the end\u2028[[exceptions]]\n# [policy]")
    changed = differences(path, lambda file: require_level(file, "verified"), text)
    assert len(changed) == 2


# ── nothing to do ─────────────────────────────────────────────────────────────────────────────────


def test_what_is_there_already_is_not_written_again(path: Path) -> None:
    path.write_text(COMMENTED + LOCAL)
    with unchanged(path.parent):
        assert not add_publisher_rule(path, rule())
        assert not add_exception(path, GRANTED)
        assert not require_level(path, "signed")


def test_a_domain_that_is_there_is_not_written_again(path: Path) -> None:
    domain = DomainRule("acme-internal", Path("/etc/acme.json"), "", None, "")
    add_domain(path, domain)
    with unchanged(path.parent):
        assert not add_domain(path, domain)


# ── what cannot be changed stays as it is ─────────────────────────────────────────────────────────

CHANGES: dict[str, Callable[[Path], object]] = {
    "publisher": lambda path: add_publisher_rule(path, rule()),
    "exception": lambda path: add_exception(path, GRANTED),
    "removal": lambda path: remove_exceptions(path, PluginRef(BOX), "unverified"),
    "requirement": lambda path: require_level(path, "verified"),
    "organization": lambda path: require_level(path, "verified", "acme"),
    "domain": lambda path: add_domain(path, DomainRule("x", Path("/x"), "", None, "")),
}
every_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


@every_change
def test_change_refuses_a_damaged_file_and_keeps_it(
    path: Path, change: Callable[[Path], object]
) -> None:
    path.write_text("not toml")
    with unchanged(path.parent), pytest.raises(ConfigurationInvalid):
        change(path)


@every_change
def test_change_refuses_a_file_with_an_unknown_key(
    path: Path, change: Callable[[Path], object]
) -> None:
    path.write_text(COMMENTED + "\n[polyci]\n")
    with unchanged(path.parent), pytest.raises(ConfigurationInvalid, match="not accepted"):
        change(path)


INLINE = (
    f'exceptions = [{{plugin = "acme/box", rule = "unverified", until = {LATER}, reason = "x"}}]\n'
    'policy = {require = "signed", organizations = {}}\npublishers = []\ndomains = []\n'
)


@every_change
def test_change_refuses_tables_of_another_form(
    path: Path, change: Callable[[Path], object]
) -> None:
    path.write_text(INLINE)
    with unchanged(path.parent), pytest.raises(ConfigurationInvalid, match="left as it is"):
        change(path)


@every_change
def test_change_refuses_a_folder_in_its_place(path: Path, change: Callable[[Path], object]) -> None:
    path.mkdir()
    with unchanged(path.parent), pytest.raises(ConfigurationInvalid):
        change(path)


def test_refusal_shows_what_was_to_be_added(path: Path) -> None:
    path.write_text(INLINE)
    with pytest.raises(ConfigurationInvalid) as caught:
        add_publisher_rule(path, rule())
    assert 'identity = "alice@local"' in caught.value.why


def test_adding_refuses_a_domain_of_another_root_under_the_same_name(path: Path) -> None:
    add_domain(path, DomainRule("x", Path("/one.json"), "", None, ""))
    with unchanged(path.parent), pytest.raises(ConfigurationInvalid) as caught:
        add_domain(path, DomainRule("x", Path("/two.json"), "", None, ""))
    assert "another domain of that name" in caught.value.why


@pytest.mark.parametrize(
    "reason",
    ['x"\n[policy]\nrequire = "signed', "x\x00", "x\x1b[2J", " ", "x" * 501],
)
def test_adding_refuses_a_reason_that_could_not_be_read_back(path: Path, reason: str) -> None:
    path.write_text(COMMENTED)
    with unchanged(path.parent), pytest.raises(ConfigurationInvalid):
        add_exception(path, replace(GRANTED, version="1.0.0", reason=reason))


def test_adding_a_rule_writes_text_that_cannot_end_its_string(path: Path) -> None:
    hostile = 'a"\n[[publishers]]\nnamespace = "*\\'
    add_publisher_rule(path, rule(identity='a"b\\'))
    assert load(path).policy.publishers[0].identity == 'a"b\\'
    assert rule(identity=hostile).to_toml().count("\n[[") == 0
    with unchanged(path.parent), pytest.raises(ConfigurationInvalid):
        add_publisher_rule(path, rule(identity=hostile))


def test_organization_of_any_name_is_one_key(path: Path) -> None:
    name = 'a"]\n[policy]\nrequire="signed'
    with pytest.raises(ConfigurationInvalid):
        require_level(path, "verified", name)
    assert require_level(path, "verified", 'acme "prod".x')
    assert load(path).policy.organizations == (('acme "prod".x', "verified"),)


# ── the file itself ───────────────────────────────────────────────────────────────────────────────


def test_adding_a_rule_makes_a_private_file_that_loads(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "config.toml"
    assert add_publisher_rule(path, rule())
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.to_json() for each in load(path).policy.publishers] == [rule().to_json()]


def test_adding_a_build_gives_back_the_same_rule(path: Path) -> None:
    path.write_text(BUILD)
    [build] = load(path).policy.publishers
    path.unlink()
    add_publisher_rule(path, build)
    assert load(path).policy.publishers == (build,)


def test_adding_a_rule_ends_a_last_line_without_line_end(path: Path) -> None:
    path.write_text(LOCAL + '[python]  # here\ninterpreters = ["x"]')
    assert add_publisher_rule(path, rule(namespace="acme"))
    assert [each.namespace for each in load(path).policy.publishers] == ["*", "acme"]


def test_changes_write_through_a_link(tmp_path: Path, path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    path.symlink_to(tmp_path / "dotfiles" / "aperio.toml")
    add_publisher_rule(path, rule())
    require_level(path, "verified")
    assert path.is_symlink()
    assert "alice@local" in (tmp_path / "dotfiles" / "aperio.toml").read_text()


def test_adding_refuses_a_parent_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "home").symlink_to(tmp_path / "nowhere")
    with unchanged(tmp_path), pytest.raises((FolderNotPrivate, OSError)):
        add_publisher_rule(tmp_path / "home" / "config.toml", rule())
