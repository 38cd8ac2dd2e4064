"""managed.toml: what commands state in a file of their own, and what that means by config.toml."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli import clock
from aperio_cli.config import (
    REQUIRABLE,
    SANDBOX_MODES,
    Config,
    ConfigFile,
    DomainRule,
    PublisherFile,
    RegistryRule,
    changes,
    load_config,
    managed,
)
from aperio_cli.config.reading import parse_managed
from aperio_cli.errors.files import FolderNotPrivate, LockHeld, PathShared, RecordNewer
from aperio_cli.errors.usage import ConfigurationInvalid, StatedByHand
from aperio_cli.files.locking import FileLock
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.models.policy import REQUIREMENTS, PolicyException
from aperio_cli.models.publisher import ANY_NAMESPACE, TIERS, PublisherRule
from aperio_cli.paths import Paths
from tests.builders import build_rule, rule, unchanged
from tests.unit.test_config import BUILD, LOCAL
from tests.unit.test_config_floor import any_rule

if TYPE_CHECKING:
    from collections.abc import Callable

    Change = Callable[[Config], ConfigFile]

SOON = (clock.now() + timedelta(days=30)).date().isoformat()
LATER = (clock.now() + timedelta(days=60)).date().isoformat()
BOX = PluginId("acme", "box")
GRANTED = PolicyException(BOX, "", "unverified", SOON, "audit pending")
PERSON = rule(
    namespace="acme",
    domain="public",
    identity="release@acme.example",
    issuer="https://acme.example",
)
DOMAIN = DomainRule("acme-internal", Path("/etc/acme.json"), "", None, "")
HAND = f"""\
# The plugins of the security team.   Ask ada@acme.example before you change it.
[[publishers]]  # the connectors
namespace = "acme"     # ours
domain    = 'public'
identity  = "release@acme.example"  # see the wiki
issuer    = "https://accounts.acme.example"

[policy]   # (2026)
require = "verified"     # since March

[policy.organizations]
"a b" = "verified"
open = "signed"

# until their audit is through
[[exceptions]]
plugin = "acme/box"
rule = "unverified"
until = {SOON}    # ask again then
reason = "audit pending"   # ticket 4711

[[domains]]
name = "acme-internal"
file = "/etc/acme.json"
"""


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "home", tmp_path / "home" / "config.toml", tmp_path / "cache")


@pytest.fixture(autouse=True)
def no_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    site = tmp_path / "site.toml"
    monkeypatch.setattr("aperio_cli.config.places.site_config_file", lambda: site)
    return site


def by_hand(paths: Paths, text: str) -> None:
    paths.home.mkdir(mode=0o700, exist_ok=True)
    paths.config_file.write_text(text)


def by_command(paths: Paths, text: str) -> None:
    paths.home.mkdir(mode=0o700, exist_ok=True)
    paths.managed_file.write_text(text)


ADD = partial(changes.with_publisher, rule=PERSON)
GRANT = partial(changes.with_exception, exception=GRANTED)
REVOKE = partial(changes.without_exceptions, plugin=PluginRef(BOX), rule="unverified")
REQUIRE = partial(changes.with_level, level="verified")
REQUIRE_OF = partial(changes.with_level, level="verified", organization="a b")
JOIN = partial(changes.with_domain, domain=DOMAIN)
ALL = {
    "publisher": ADD, "exception": GRANT, "requirement": REQUIRE, "organization": REQUIRE_OF,
    "domain": JOIN,
}  # fmt: skip
every_change = pytest.mark.parametrize("wanted", ALL.values(), ids=ALL)


# ── the file ──────────────────────────────────────────────────────────────────────────────────────


@every_change
def test_file_of_a_newer_aperio_is_neither_read_nor_changed(paths: Paths, wanted: Change) -> None:
    by_command(paths, 'schema = 2\n[later]\nof = "a later release"\n')
    with unchanged(paths.home):
        for use in (load_config, partial(managed.change, wanted=wanted)):
            with pytest.raises(RecordNewer) as caught:
                use(paths)
            assert str(paths.managed_file) in caught.value.what
            assert caught.value.next == ("use that aperio, or a newer one",)


def test_file_says_its_schema_and_one_without_is_read(paths: Paths) -> None:
    by_command(paths, '[policy]\nrequire = "verified"\n')
    assert load_config(paths).managed.require == "verified"
    managed.change(paths, ADD)
    assert "\nschema = 1\n" in paths.managed_file.read_text()
    assert load_config(paths).managed.require == "verified"


@pytest.mark.parametrize("schema", ["0", "-1", "1.0", "true", '"1"', "[1]", "1979-05-27"])
def test_schema_that_is_none_is_refused_as_any_other_value(paths: Paths, schema: str) -> None:
    by_command(paths, f"schema = {schema}\n")
    with pytest.raises(ConfigurationInvalid, match="schema"):
        load_config(paths)


def test_schema_is_no_key_of_what_people_write(paths: Paths) -> None:
    by_hand(paths, "schema = 1\n")
    with pytest.raises(ConfigurationInvalid, match="schema"):
        load_config(paths)


@every_change
def test_change_is_written_once_and_privately_and_config_toml_is_not(
    paths: Paths, wanted: Change
) -> None:
    by_hand(paths, LOCAL)
    assert managed.change(paths, wanted)
    assert paths.config_file.read_text() == LOCAL
    assert paths.managed_file.stat().st_mode & 0o777 == 0o600
    assert load_config(paths).managed != ConfigFile()
    with unchanged(paths.home):
        assert not managed.change(paths, wanted)


def test_changes_add_up_and_say_who_owns_the_file(paths: Paths) -> None:
    for wanted in ALL.values():
        assert managed.change(paths, wanted)
    text = paths.managed_file.read_text()
    assert text.startswith("# Written by aperio's commands, which own this file")
    source = str(paths.managed_file)
    assert load_config(paths).managed == ConfigFile(
        publishers=(replace(PERSON, stated_in=source),),
        domains=(replace(DOMAIN, stated_in=source),),
        require="verified",
        organizations=(("a b", "verified"),),
        exceptions=(replace(GRANTED, stated_in=source),),
    )


def test_first_change_makes_a_private_folder(paths: Paths) -> None:
    managed.change(paths, ADD)
    assert paths.home.stat().st_mode & 0o777 == 0o700


def test_folder_of_config_toml_decides_where_it_is(tmp_path: Path) -> None:
    chosen = Paths(tmp_path / "home", tmp_path / "etc" / "mine.toml", tmp_path)
    managed.change(chosen, ADD)
    assert [path.name for path in (tmp_path / "etc").iterdir() if path.suffix == ".toml"] == [
        "managed.toml"
    ]
    assert not (tmp_path / "home").exists()


def test_config_toml_cannot_be_the_file_of_the_commands(tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path / "managed.toml", tmp_path)
    with pytest.raises(ConfigurationInvalid, match="commands write this file"):
        load_config(paths)


def test_changes_write_through_a_link(tmp_path: Path, paths: Paths) -> None:
    (tmp_path / "dotfiles").mkdir()
    paths.home.mkdir(mode=0o700)
    paths.managed_file.symlink_to(tmp_path / "dotfiles" / "aperio.toml")
    managed.change(paths, ADD)
    assert paths.managed_file.is_symlink()
    assert "release@acme.example" in (tmp_path / "dotfiles" / "aperio.toml").read_text()


def test_change_refuses_a_parent_that_leads_nowhere(tmp_path: Path, paths: Paths) -> None:
    paths.home.symlink_to(tmp_path / "nowhere")
    with unchanged(tmp_path), pytest.raises((FolderNotPrivate, OSError)):
        managed.change(paths, ADD)


def test_change_waits_for_nobody_for_ever(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    managed.change(paths, ADD)
    monkeypatch.setattr("aperio_cli.files.locking.FileLock", partial(FileLock, timeout_s=0))
    with (
        FileLock(paths.managed_lock, what="other"),
        unchanged(paths.home),
        pytest.raises(LockHeld, match=r"managed\.toml` was left as it is"),
    ):
        managed.change(paths, GRANT)


def test_changes_at_one_time_lose_nothing(paths: Paths) -> None:
    names = [f"n{number}" for number in range(8)]
    threads = [
        threading.Thread(
            target=managed.change,
            args=(paths, partial(changes.with_publisher, rule=replace(PERSON, namespace=name))),
        )
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(each.namespace for each in load_config(paths).managed.publishers) == names


def test_sites_configuration_is_written_by_people(paths: Paths, no_site: Path) -> None:
    no_site.write_text(LOCAL)
    aimed = Paths(paths.home, no_site, paths.cache)
    with unchanged(no_site.parent), pytest.raises(StatedByHand, match="people write the site's"):
        managed.change(aimed, ADD)
    assert managed.change(paths, ADD)


# ── round trip ────────────────────────────────────────────────────────────────────────────────────

WORDS = ("acme", 'it\'s "on"', "a\\b", "\N{SNOWMAN} \U0001f389", "[policy]", "# no", "'''")


def throws() -> list[random.Random]:
    return [random.Random(seed) for seed in range(150)]  # noqa: S311 - the same every time


def possible_rule(dice: random.Random, source: str) -> PublisherRule:
    """A rule that the reader of config.toml accepts."""
    stated = replace(any_rule(dice), stated_in=source)
    built_from = dice.choice(("", "https://github.com/acme/box"))
    stated = replace(stated, demands=replace(stated.demands, source_repository=built_from))
    if not stated.ci:
        stated = replace(stated, identity=dice.choice(WORDS))
    if stated.namespace == ANY_NAMESPACE:
        stated = replace(stated, plugin="", tier=TIERS[0])
    if stated.valid_until < stated.valid_from:
        stated = replace(stated, valid_until="")
    return stated


def possible_file(dice: random.Random, source: str) -> PublisherFile:
    who = rule(domain="public", issuer="https://x.example", identity=dice.choice(WORDS))
    path = Path(f"/etc/{dice.choice(WORDS)}.json")
    return PublisherFile(path, replace(who, stated_in=source), dice.choice(["", "acme-team"]))


def possible_domain(dice: random.Random, name: str, source: str) -> DomainRule:
    path = Path(f"/etc/{dice.choice(WORDS)}")
    if dice.random() < 0.5:
        return DomainRule(name, path, "", None, source)
    return DomainRule(name, None, "https://tuf.acme.example/", path, source)


def possible_exception(dice: random.Random, source: str) -> PolicyException:
    lifted = dice.choice(("unsigned", "unverified", "limit:memory"))
    version = dice.choice(("", "1.2.3-rc.1"))
    return PolicyException(
        BOX, version, lifted, dice.choice((SOON, LATER)), dice.choice(WORDS), source
    )


def possible_statements(dice: random.Random, path: Path) -> ConfigFile:
    source = str(path)

    def some(make: Callable[..., object]) -> tuple[object, ...]:
        return tuple(make(dice, source) for _ in range(dice.randint(0, 3)))

    names = dice.sample(WORDS, dice.randint(0, len(WORDS)))
    return ConfigFile(
        publishers=some(possible_rule),  # type: ignore[arg-type] # each `make` gives one kind
        publisher_files=some(possible_file),  # type: ignore[arg-type] # as above
        domains=tuple(
            possible_domain(dice, name, source) for name in ("a", "b")[: dice.randint(0, 2)]
        ),
        require=dice.choice(("", *REQUIREMENTS)),
        organizations=tuple((name, dice.choice(REQUIREMENTS)) for name in names),
        require_provenance=dice.random() < 0.5,
        cool_down_days=dice.choice((0, 1, 365)),
        exceptions=some(possible_exception),  # type: ignore[arg-type] # as above
        registries=tuple(
            RegistryRule(
                "/srv/" + dice.choice(WORDS),
                None,
                "",
                tuple(dice.sample(("acme", "beta", "x1"), dice.randint(0, 2))),
            )
            for _ in range(dice.randint(0, 2))
        ),
        sandbox_require=tuple(name for name in REQUIRABLE if dice.random() < 0.3),
        sandbox_mode=dice.choice(("", *SANDBOX_MODES)),
        reported=dice.choice(((), ("acme/box", "acme/hello-connector"))),
        plugin_uid=dice.choice((0, 1, 61001)),
        mtls=dice.random() < 0.5,
        handshake_timeout_s=dice.choice([0, 1, 60, 600]),
    )


def test_what_is_written_reads_as_what_was_meant(paths: Paths) -> None:
    for dice in throws():
        statements = possible_statements(dice, paths.managed_file)
        data = managed.to_bytes(paths.managed_file, statements)
        assert parse_managed(paths.managed_file, data.decode()) == statements


def test_build_is_written_with_all_its_fields(paths: Paths) -> None:
    build = build_rule(signer_workflow="https://github.com/acme/w.yml@refs/tags/v1")
    managed.change(paths, partial(changes.with_publisher, rule=build))
    [found] = load_config(paths).managed.publishers
    assert found == replace(build, stated_in=str(paths.managed_file))


@pytest.mark.parametrize(
    "wanted",
    [
        *(
            partial(changes.with_exception, exception=replace(GRANTED, reason=reason))
            for reason in ('x"\n[policy]\nx', "x\0", "x\x1b[2J", " ", "x" * 501, "\ud800")
        ),
        partial(changes.with_publisher, rule=replace(PERSON, identity='a"\n[[publishers]]')),
        partial(changes.with_level, level="verified", organization='a"]\n[policy]'),
        partial(changes.with_domain, domain=replace(DOMAIN, name="Acme")),
    ],
)  # fmt: skip
def test_what_could_not_be_read_back_is_not_written(paths: Paths, wanted: Change) -> None:
    managed.change(paths, JOIN)
    with unchanged(paths.home), pytest.raises(ConfigurationInvalid, match="left as it is"):
        managed.change(paths, wanted)


def test_text_cannot_end_its_string(paths: Paths) -> None:
    managed.change(paths, partial(changes.with_publisher, rule=replace(PERSON, identity='a"b\\')))
    managed.change(paths, partial(REQUIRE, organization='acme "prod".x'))
    config = load_config(paths)
    assert config.policy.publishers[0].identity == 'a"b\\'
    assert config.policy.organizations == (('acme "prod".x', "verified"),)


# ── beside config.toml ────────────────────────────────────────────────────────────────────────────


def test_lists_of_both_files_count_and_those_of_config_toml_come_first(paths: Paths) -> None:
    by_hand(paths, LOCAL + '[[registries]]\nurl = "/b"\n')
    by_command(paths, BUILD + '[[registries]]\nurl = "/a"\n[[registries]]\nurl = "/b"\n')
    config = load_config(paths)
    sources = [each.stated_in for each in config.policy.publishers]
    assert sources == [str(paths.config_file), str(paths.managed_file)]
    assert [each.url for each in config.registries] == ["/b", "/a"]


@pytest.mark.parametrize(
    ("stated", "added", "held"),
    [
        ("", "", "signed"),
        ("signed", "verified", "verified"),
        ("verified", "signed", "verified"),
        ("", "verified", "verified"),
        ("verified", "", "verified"),
    ],
)
def test_of_a_requirement_the_stricter_counts(
    paths: Paths, stated: str, added: str, held: str
) -> None:
    for write, level in ((by_hand, stated), (by_command, added)):
        own = f'[policy.organizations]\nx = "{level}"\n' if level else ""
        write(paths, f'[policy]\nrequire = "{level}"\n{own}' if level else "")
    config = load_config(paths)
    assert config.policy.require == held
    assert dict(config.policy.organizations).get("x", "signed") == held


def test_flags_and_limits_of_either_file_count(paths: Paths) -> None:
    by_hand(paths, '[sandbox]\nrequire = ["cpu"]\n[host]\nmtls = true\n')
    by_command(paths, '[sandbox]\nrequire = ["memory"]\n[policy]\nrequire_provenance = true\n')
    config = load_config(paths)
    assert config.sandbox_require == ("memory", "cpu")
    assert (config.mtls, config.policy.require_provenance) == (True, True)


def test_interpreters_are_a_persons_to_state(paths: Paths) -> None:
    by_command(paths, '[python]\ninterpreters = ["/tmp/python"]\n')
    with pytest.raises(ConfigurationInvalid) as caught:
        load_config(paths)
    assert f"{paths.managed_file}:1" in caught.value.why


def test_rules_of_either_file_may_name_the_domains_of_the_other(paths: Paths) -> None:
    named = LOCAL.replace('"local"', '"{}"') + 'issuer = "https://x.example"\n'
    domain = '[[domains]]\nname = "{}"\nfile = "/etc/x.json"\n'
    by_hand(paths, named.format("theirs") + domain.format("mine"))
    by_command(paths, named.format("mine") + domain.format("theirs"))
    assert [each.domain for each in load_config(paths).policy.publishers] == ["theirs", "mine"]


def test_two_domains_of_one_name_are_refused_with_both_places(paths: Paths) -> None:
    domain = '[[domains]]\nname = "x"\nfile = "/etc/x.json"\n'
    by_hand(paths, f"# one\n{domain}")
    by_command(paths, domain)
    with pytest.raises(ConfigurationInvalid) as caught:
        load_config(paths)
    assert caught.value.why == f"{paths.config_file}:3\n{paths.managed_file}:2"


@pytest.mark.parametrize("text", ["not toml", "[polyci]\n", LOCAL.replace("local", "lokal"), "\0"])
def test_managed_toml_that_cannot_be_read_is_named_and_kept(paths: Paths, text: str) -> None:
    by_hand(paths, LOCAL)
    by_command(paths, text)
    for wanted in ALL.values():
        with unchanged(paths.home), pytest.raises(ConfigurationInvalid) as caught:
            managed.change(paths, wanted)
        assert str(paths.managed_file) in caught.value.what


def test_managed_toml_that_everybody_may_change_is_refused(paths: Paths) -> None:
    by_command(paths, LOCAL)
    paths.managed_file.chmod(0o666)
    with pytest.raises(PathShared, match="somebody else may change it"):
        load_config(paths)


# ── what a person wrote ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("wanted", "line", "step"),
    [
        (partial(REQUIRE, level="signed"), 'require = "verified"', 'require = "signed"'),
        (partial(REQUIRE_OF, level="signed"), '"a b" = "verified"', '"a b" = "signed"'),
        (
            partial(GRANT, exception=replace(GRANTED, until=LATER)),
            f"until = {SOON}",
            f"until = {LATER}",
        ),
        (REVOKE, 'plugin = "acme/box"', "take that entry out by hand"),
    ],
)
def test_what_config_toml_states_is_refused_with_its_line(
    paths: Paths, wanted: Change, line: str, step: str
) -> None:
    by_hand(paths, HAND)
    with unchanged(paths.home), pytest.raises(StatedByHand) as caught:
        managed.change(paths, wanted)
    number = next(n for n, text in enumerate(HAND.splitlines(), 1) if text.startswith(line))
    assert caught.value.why.startswith(f"{paths.config_file}:{number}: {line}")
    assert step in caught.value.next[0]
    assert caught.value.exit_status == 1


@pytest.mark.parametrize(
    "wanted",
    [
        GRANT, JOIN, REQUIRE, REQUIRE_OF,
        partial(changes.with_publisher, rule=replace(PERSON, issuer="https://accounts.acme.example")),
    ],
)  # fmt: skip
def test_what_config_toml_states_is_not_stated_twice(paths: Paths, wanted: Change) -> None:
    by_hand(paths, HAND)
    with unchanged(paths.home):
        assert not managed.change(paths, wanted)


def test_more_than_config_toml_requires_may_be_required_and_taken_back(paths: Paths) -> None:
    by_hand(paths, HAND.replace('require = "verified"', 'require = "signed"'))
    assert managed.change(paths, REQUIRE)
    assert load_config(paths).policy.require == "verified"
    assert managed.change(paths, partial(REQUIRE, level="signed"))
    assert load_config(paths).policy.require == "signed"


def test_exception_of_another_version_is_another_one(paths: Paths) -> None:
    by_hand(paths, HAND)
    other = replace(GRANTED, version="1.0.0")
    assert managed.change(paths, partial(GRANT, exception=other))
    assert managed.change(paths, partial(GRANT, exception=replace(other, until=LATER)))
    assert [each.until for each in load_config(paths).managed.exceptions] == [LATER]
    assert managed.change(paths, partial(REVOKE, plugin=PluginRef(BOX, "1.0.0")))
    assert load_config(paths).managed.exceptions == ()


def test_configuration_that_commands_of_0_1_0_wrote_means_the_same(paths: Paths) -> None:
    """They appended to config.toml: this is what one was like after every command."""
    text = f"""\
# mine

[[publishers]]
namespace = "*"
domain = "local"
identity = "alice@local"
issuer = "https://oidc.local.aperio.invalid"

[policy.organizations]
acme-prod = "verified"

[[exceptions]]
plugin = "acme/box"
rule = "unverified"
until = {SOON}
reason = "audit pending"

[[domains]]
name = "acme-internal"
file = "/etc/acme.json"
"""
    by_hand(paths, text)
    config, source = load_config(paths), str(paths.config_file)
    assert (
        config.user
        == config.stated
        == ConfigFile(
            publishers=(rule(stated_in=source),),
            domains=(replace(DOMAIN, stated_in=source),),
            organizations=(("acme-prod", "verified"),),
            exceptions=(replace(GRANTED, stated_in=source),),
        )
    )
    managed.change(paths, ADD)
    assert paths.config_file.read_text() == text
    assert [each.namespace for each in load_config(paths).policy.publishers] == ["*", "acme"]
