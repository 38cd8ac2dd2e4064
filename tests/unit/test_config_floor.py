"""The site's configuration is a floor: no configuration of a user's admits more than it does.

The last part holds that against configurations made at random from parts that fit together.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.config import (
    Config,
    ConfigFile,
    PublisherFile,
    forbidden_by_site,
    policy_in_force,
)
from aperio_cli.config.merging import merge
from aperio_cli.config.model import Places
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.policy import REQUIREMENTS, Policy, PolicyException
from aperio_cli.models.publisher import (
    ANY_NAMESPACE,
    TIERS,
    CiIdentity,
    Demands,
    PublisherRule,
    Signer,
)
from tests.builders import signer
from tests.rows import each_row
from tests.unit.test_config import DOMAIN, EXCEPTION, FILE, LOCAL, PERSON, but, load

if TYPE_CHECKING:
    from collections.abc import Iterator

ACME = '[[publishers]]\nnamespace = "acme"\ndomain = "local"\nidentity = "bob@local"\n'
BOX = PluginId("acme", "box")
OTHER = PluginId("globex", "x1")
EVERYONE = ACME.replace('"acme"', '"*"').replace("bob@local", "carol@local")


def identities(policy: Policy, plugin: PluginId) -> list[str]:
    return [rule.identity for rule in policy.rules_for(plugin)]


# ── publishers, case by case ──────────────────────────────────────────────────────────────────────


def test_site_rules_count_for_a_user_without_rules(tmp_path: Path) -> None:
    assert identities(load(tmp_path, "", ACME).policy, BOX) == ["bob@local"]


def test_user_rule_counts_only_when_the_site_has_it_too(tmp_path: Path) -> None:
    kept = load(tmp_path, LOCAL + ACME, ACME).policy.publishers
    assert [each.namespace for each in kept] == ["acme"]


def test_user_rule_for_every_namespace_is_not_admitted_and_leaves_the_sites_own(
    tmp_path: Path,
) -> None:
    policy = load(tmp_path, LOCAL, ACME).policy
    assert [rule.namespace for rule in policy.publishers] == ["acme"]
    assert policy.rules_for(OTHER) == ()


def test_user_rule_for_another_signer_than_the_sites_closes_the_namespace(tmp_path: Path) -> None:
    """Neither the user's signer nor the site's rule for every namespace opens it again."""
    policy = load(tmp_path, ACME.replace("bob@local", "mallory@local"), ACME + EVERYONE).policy
    assert policy.rules_for(BOX) == ()


def test_user_rule_for_every_namespace_does_not_displace_the_sites_own(tmp_path: Path) -> None:
    policy = load(tmp_path, EVERYONE, ACME + EVERYONE).policy
    assert identities(policy, BOX) == ["bob@local"]
    assert identities(policy, OTHER) == ["carol@local"]


def test_user_rule_may_name_a_namespace_where_the_site_admits_the_signer_for_all(
    tmp_path: Path,
) -> None:
    policy = load(tmp_path, ACME.replace("bob", "carol"), EVERYONE).policy
    assert identities(policy, BOX) == ["carol@local"]


def test_site_without_publishers_leaves_the_user_free(tmp_path: Path) -> None:
    assert len(load(tmp_path, LOCAL, "[python]\ninterpreters = ['x']").policy.publishers) == 1


@each_row(
    ("user", "site", "expected"),
    [
        ("2026-01-01", "", "2026-01-01T00:00:00Z"),
        ("", "2026-01-01", "2026-01-01T00:00:00Z"),
        ("2026-01-01", "2026-02-01", "2026-02-01T00:00:00Z"),
        ("2026-03-01", "2026-02-01", "2026-03-01T00:00:00Z"),
    ],
)
def test_later_beginning_of_both_counts(
    tmp_path: Path, user: str, site: str, expected: str
) -> None:
    texts = [PERSON + (f"valid_from = {day}\n" if day else "") for day in (user, site)]
    [rule] = load(tmp_path, *texts).policy.publishers
    assert rule.valid_from == expected


@each_row(
    ("user", "site", "expected"),
    [
        ("2026-01-01", "", "2026-01-01T23:59:59Z"),
        ("", "2026-01-01", "2026-01-01T23:59:59Z"),
        ("2026-01-01", "2026-02-01", "2026-01-01T23:59:59Z"),
        ("2026-03-01", "2026-02-01", "2026-02-01T23:59:59Z"),
    ],
)
def test_earlier_end_of_both_counts(tmp_path: Path, user: str, site: str, expected: str) -> None:
    texts = [PERSON + (f"valid_until = {day}\n" if day else "") for day in (user, site)]
    [rule] = load(tmp_path, *texts).policy.publishers
    assert rule.valid_until == expected


def test_user_may_narrow_a_rule_to_one_plugin(tmp_path: Path) -> None:
    policy = load(tmp_path, PERSON + 'plugin = "box"\n', PERSON).policy
    assert identities(policy, BOX) == ["release@acme.example"]
    assert policy.rules_for(PluginId("acme", "other")) == ()


def test_user_does_not_widen_a_rule_for_one_plugin(tmp_path: Path) -> None:
    policy = load(tmp_path, PERSON, PERSON + 'plugin = "box"\n').policy
    assert policy.rules_for(PluginId("acme", "other")) == ()


def test_user_who_names_another_plugin_than_the_site_closes_the_namespace(tmp_path: Path) -> None:
    policy = load(tmp_path, PERSON + 'plugin = "other"\n', PERSON + 'plugin = "box"\n').policy
    assert policy.rules_for(BOX) == policy.rules_for(PluginId("acme", "other")) == ()


def test_demands_of_both_count(tmp_path: Path) -> None:
    builder = 'builder = "https://builder.example"\n'
    repository = 'source_repository = "https://github.com/acme/box"\n'
    [rule] = load(tmp_path, PERSON + builder, PERSON + repository).policy.publishers
    assert rule.demands == Demands(
        builder="https://builder.example", source_repository="https://github.com/acme/box"
    )


def test_user_does_not_take_back_a_demand_of_the_site(tmp_path: Path) -> None:
    site = PERSON + "require_provenance = true\n"
    [rule] = load(tmp_path, PERSON + "require_provenance = false\n", site).policy.publishers
    assert rule.demands.provenance


def test_demands_that_cannot_both_hold_close_the_namespace(tmp_path: Path) -> None:
    texts = [PERSON + f'builder = "https://{name}.example"\n' for name in ("one", "two")]
    assert load(tmp_path, *texts).policy.rules_for(BOX) == ()


@pytest.mark.parametrize(("user", "site"), [("official", "community"), ("community", "verified")])
def test_tier_of_the_site_counts(tmp_path: Path, user: str, site: str) -> None:
    texts = [PERSON + f'tier = "{tier}"\n' for tier in (user, site)]
    assert load(tmp_path, *texts).policy.publishers[0].tier == site


# ── requirements and exceptions, case by case ─────────────────────────────────────────────────────


def require(level: str) -> str:
    return f'[policy]\nrequire = "{level}"\n'


@each_row("user", REQUIREMENTS)
@each_row("site", REQUIREMENTS)
def test_stricter_requirement_counts(tmp_path: Path, user: str, site: str) -> None:
    found = load(tmp_path, require(user), require(site)).policy.require
    assert found == ("verified" if "verified" in {user, site} else "signed")


def test_stricter_requirement_counts_for_each_organization(tmp_path: Path) -> None:
    user = '[policy.organizations]\na = "signed"\nb = "verified"\nd = "verified"\n'
    site = '[policy.organizations]\na = "verified"\nb = "signed"\nc = "verified"\n'
    policy = load(tmp_path, user, site).policy
    assert {name: policy.required(name) for name in "abcde"} == {
        "a": "verified", "b": "verified", "c": "verified", "d": "verified", "e": "signed",
    }  # fmt: skip


def test_provenance_is_required_when_either_requires_it(tmp_path: Path) -> None:
    stated = "[policy]\nrequire_provenance = true\n"
    taken_back = "[policy]\nrequire_provenance = false\n"
    assert load(tmp_path, stated, "").policy.require_provenance
    assert load(tmp_path, taken_back, stated).policy.require_provenance


@each_row(
    "site",
    [require("signed"), require("verified"), '[policy.organizations]\nacme = "verified"\n'],
)
@each_row("rule", ["unsigned", "unverified"])
def test_users_exception_does_not_count_where_the_site_states_what_it_lifts(
    tmp_path: Path, site: str, rule: str
) -> None:
    policy = load(tmp_path, but(EXCEPTION, "rule", f'"{rule}"'), site).policy
    assert policy.exceptions == ()
    assert not policy.allow_unsigned


def test_users_exception_counts_where_the_site_states_nothing(tmp_path: Path) -> None:
    policy = load(tmp_path, require("verified") + EXCEPTION, PERSON).policy
    assert [each.rule for each in policy.exceptions] == ["unverified"]
    assert policy.allow_unsigned


def test_unsigned_is_no_way_around_the_provenance_that_the_site_requires(tmp_path: Path) -> None:
    site = "[policy]\nrequire_provenance = true\n"
    policy = load(tmp_path, but(EXCEPTION, "rule", '"unsigned"'), site).policy
    assert (policy.exceptions, policy.allow_unsigned) == ((), False)


def test_users_exception_from_a_limit_that_the_site_requires_does_not_count(
    tmp_path: Path,
) -> None:
    user = but(EXCEPTION, "rule", '"limit:memory"') + but(EXCEPTION, "rule", '"limit:cpu"')
    policy = load(tmp_path, user, "[sandbox]\nrequire = ['memory']").policy
    assert [each.rule for each in policy.exceptions] == ["limit:cpu"]


def test_sites_own_exception_counts_against_its_own_requirement(tmp_path: Path) -> None:
    policy = load(tmp_path, "", require("verified") + EXCEPTION).policy
    assert [each.stated_in for each in policy.exceptions] == [str(tmp_path / "site.toml")]


def test_forbidden_by_site_says_what_the_site_states() -> None:
    site = ConfigFile(require="verified", sandbox_require=("memory",))
    assert forbidden_by_site("unverified", site) == '[policy] require = "verified"'
    assert forbidden_by_site("limit:memory", site) == '[sandbox] require "memory"'
    assert forbidden_by_site("limit:cpu", site) == ""


# ── domains, files, the rest ──────────────────────────────────────────────────────────────────────


def test_sites_domain_wins_over_a_users_of_the_same_name(tmp_path: Path) -> None:
    mine = but(DOMAIN, "file", '"/home/mallory/root.json"')
    [domain] = load(tmp_path, mine, DOMAIN).domains
    assert domain.stated_in == str(tmp_path / "site.toml")


@pytest.mark.parametrize("site", [PERSON, FILE.replace("/etc/aperio/", "/etc/site/")])
def test_users_publisher_files_do_not_count_where_the_site_states_publishers(
    tmp_path: Path, site: str
) -> None:
    config = load(tmp_path, FILE, site)
    assert Path("/etc/aperio/publishers.json") not in [f.path for f in config.publisher_files]


def test_sites_publisher_file_is_a_floor_before_it_was_read(tmp_path: Path) -> None:
    """Whatever it states, nobody of the user's is admitted by the configuration alone."""
    assert load(tmp_path, LOCAL + PERSON, FILE).policy.rules_for(BOX) == ()


def test_rules_for_every_namespace_wait_for_the_users_publisher_files(tmp_path: Path) -> None:
    """A file may speak about a namespace, which then is not open to `*`."""
    policy = load(tmp_path, LOCAL + FILE).policy
    assert policy.publishers == ()


def test_sandbox_requirements_of_both_count(tmp_path: Path) -> None:
    config = load(tmp_path, "[sandbox]\nrequire = ['cpu']", "[sandbox]\nrequire = ['memory']")
    assert config.sandbox_require == ("memory", "cpu")


def test_site_registries_are_asked_first(tmp_path: Path) -> None:
    both = "[[registries]]\nurl = '/mine'\n[[registries]]\nurl = '/site'\n"
    config = load(tmp_path, both, "[[registries]]\nurl = '/site'\n")
    assert [each.url for each in config.registries] == ["/site", "/mine"]


# ── rules of publisher files ──────────────────────────────────────────────────────────────────────


def stated(namespace: str, identity: str) -> PublisherRule:
    return PublisherRule(namespace, "public", identity, "https://accounts.example", "test")


def files_of(config: Config) -> list[PublisherFile]:
    return list(config.publisher_files)


def test_publisher_file_speaks_about_namespaces_that_the_configuration_does_not(
    tmp_path: Path,
) -> None:
    config = load(tmp_path, PERSON + LOCAL + FILE)
    [file] = files_of(config)
    rules = {file: (stated("acme", "mallory"), stated("globex", "grace"))}
    policy = policy_in_force(config.user, config.site, rules)
    assert identities(policy, BOX) == ["release@acme.example"]
    assert identities(policy, OTHER) == ["grace"]
    assert identities(policy, PluginId("initech", "tps")) == ["alice@local"]


def test_first_of_two_publisher_files_rules_a_namespace(tmp_path: Path) -> None:
    config = load(tmp_path, FILE + but(FILE, "file", '"/etc/other.json"'))
    first, second = files_of(config)
    rules = {first: (stated("acme", "ada"),), second: (stated("acme", "eve"),)}
    assert identities(policy_in_force(config.user, config.site, rules), BOX) == ["ada"]


def test_users_rule_is_held_to_the_rules_of_the_sites_file(tmp_path: Path) -> None:
    config = load(tmp_path, PERSON, FILE)
    [file] = files_of(config)
    named = load(tmp_path, PERSON).policy.publishers[0]
    admitted = policy_in_force(config.user, config.site, {file: (named,)})
    refused = policy_in_force(config.user, config.site, {file: (stated("acme", "ada"),)})
    assert identities(admitted, BOX) == ["release@acme.example"]
    assert identities(refused, BOX) == []


# ── at random ─────────────────────────────────────────────────────────────────────────────────────

PLACES = Places(Path("u"), Path("m"), Path("s"))
NAMESPACES = ("acme", "globex", ANY_NAMESPACE)
PEOPLE = ("ada@acme.example", "bob@acme.example")
ISSUER = "https://accounts.example"
BUILDERS = ("", "", "", "https://builder-1.example", "https://builder-2.example")
MOMENTS = ("2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z", "2026-12-31T23:59:59Z")
CI = CiIdentity(
    "github", "https://github.com/acme/box", "1", "2", "release.yml", "refs/tags/v{version}",
    "github-hosted",
)  # fmt: skip
PLUGINS = [PluginId(namespace, name) for namespace in ("acme", "globex") for name in ("box", "hat")]
SIGNERS = [
    signer(domain=domain, identity=identity, issuer=ISSUER, signed_at=moment)
    for domain in ("public", "internal")
    for identity in PEOPLE
    for moment in MOMENTS
]
SIGNERS += [
    signer(
        domain="public",
        identity=found["identity"],
        issuer=ISSUER,
        signed_at=MOMENTS[0],
        claims=tuple((key, value) for key, value in found.items() if key != "identity"),
    )
    for found in (CI.expected("1.0.0"), replace(CI, owner_id="3").expected("1.0.0"))
]


def any_rule(dice: random.Random) -> PublisherRule:
    ci = dice.choice((None, None, CI, replace(CI, owner_id="3")))
    until = dice.choice(("", "", *MOMENTS))
    return PublisherRule(
        namespace=dice.choice(NAMESPACES),
        domain=dice.choice(("public", "public", "internal")),
        identity="" if ci else dice.choice(PEOPLE),
        issuer=ISSUER,
        stated_in=f"rule {dice.random()}",
        ci=ci,
        plugin=dice.choice(("", "", "box", "hat")),
        tier=dice.choice(TIERS),
        valid_from=dice.choice(("", "", *MOMENTS)),
        valid_until=until,
        demands=Demands(dice.random() < 0.1, dice.choice(BUILDERS), dice.choice(BUILDERS)),
    )


def some_rules(dice: random.Random, least: int = 0) -> tuple[PublisherRule, ...]:
    return tuple(any_rule(dice) for _ in range(dice.randint(least, 4)))


def any_statements(dice: random.Random, *, least: int = 0) -> ConfigFile:
    names = ("a", "b")
    organizations = tuple((n, dice.choice(REQUIREMENTS)) for n in names if dice.random() < 0.3)
    rules = ("unsigned", "unverified", "limit:memory")
    return ConfigFile(
        publishers=some_rules(dice, least),
        require=dice.choice(("", *REQUIREMENTS)),
        organizations=organizations,
        require_provenance=dice.random() < 0.1,
        exceptions=tuple(
            PolicyException(dice.choice(PLUGINS), "", rule, "2026-12-31", "why", f"{dice.random()}")
            for rule in rules
            if dice.random() < 0.4
        ),
        sandbox_require=dice.choice(((), ("memory",))),
    )


def likely_user(dice: random.Random, site: ConfigFile) -> ConfigFile:
    """A user who copies rules of the site's and changes them, which is how one gets around it."""
    user = any_statements(dice)
    other = any_rule(dice)
    twisted = tuple(
        replace(
            rule,
            namespace=dice.choice((rule.namespace, other.namespace)),
            plugin=dice.choice((rule.plugin, "", other.plugin)),
            tier=other.tier,
            valid_from=dice.choice((rule.valid_from, "")),
            valid_until=dice.choice((rule.valid_until, "")),
            demands=dice.choice((rule.demands, Demands(), other.demands)),
        )
        for rule in site.publishers
        if dice.random() < 0.8
    )
    return replace(user, publishers=dice.choice(((), (), user.publishers)) + twisted)


def apart(dice: random.Random, user: ConfigFile) -> tuple[ConfigFile, ConfigFile]:
    """A user's statements, some of them in config.toml and the others by commands."""
    cut, other = dice.randint(0, len(user.publishers)), any_statements(dice)
    stated = replace(user, publishers=user.publishers[:cut], exceptions=other.exceptions)
    managed = replace(user, publishers=user.publishers[cut:], publisher_files=())
    return dice.choice(((stated, managed), (user, ConfigFile()), (ConfigFile(), user)))


def admits(policy: Policy, plugin: PluginId, who: Signer, organization: str, builder: str) -> bool:
    """Whether a signed artifact whose provenance names the builder may be used."""
    required = policy.required(organization) == "verified"
    is_lifted = policy.exception(plugin, "1.0.0", "unverified", today="2026-01-01") is not None
    for rule in policy.rules_for(plugin):
        if not rule.admits(who, "1.0.0"):
            continue
        if required and rule.tier == TIERS[0] and not is_lifted:
            continue
        if (policy.require_provenance or rule.demands.is_any) and not builder:
            continue
        wanted = {rule.demands.builder, rule.demands.source_repository} - {""}
        if wanted <= {builder}:
            return True
    return False


def alone(site: ConfigFile, rules: tuple[PublisherRule, ...] = ()) -> Policy:
    """What the site's file says by itself, without the code that is tested."""
    states = bool(site.require or site.organizations or site.require_provenance)
    return Policy(
        publishers=site.publishers + rules,
        require=site.require or REQUIREMENTS[0],
        organizations=site.organizations,
        require_provenance=site.require_provenance,
        exceptions=site.exceptions,
        allow_unsigned=not states,
    )


def throws() -> Iterator[random.Random]:
    return (random.Random(seed) for seed in range(200))  # noqa: S311 - the same every time


def uses() -> Iterator[tuple[PluginId, Signer, str, str]]:
    """Plugin, signer, organization, and the builder that the provenance names."""
    return itertools.product(PLUGINS, SIGNERS, ("", "a"), ("", *BUILDERS[-2:]))


def test_no_user_configuration_admits_a_signer_that_the_site_alone_refuses() -> None:
    admitted = 0
    for dice in throws():
        site = any_statements(dice, least=1)
        user = likely_user(dice, site)
        floor = alone(site)
        policy = merge(*apart(dice, user), site, PLACES).policy
        for use in uses():
            if admits(policy, *use):
                assert admits(floor, *use), (user, site, use)
                admitted += 1
    assert admitted > 500, "too few are admitted for this to say anything"


def test_no_user_rule_gets_around_the_rules_of_the_sites_file() -> None:
    entry = PublisherFile(Path("/etc/p.json"), stated(ANY_NAMESPACE, "ada"))
    own = PublisherFile(Path("/home/p.json"), stated(ANY_NAMESPACE, "eve"))
    admitted = 0
    for dice in throws():
        rules = {entry: some_rules(dice), own: some_rules(dice)}
        site = replace(any_statements(dice), publisher_files=(entry,))
        copied = replace(site, publishers=site.publishers + rules[entry])
        user = replace(likely_user(dice, copied), publisher_files=(own,))
        config = merge(*apart(dice, user), site, PLACES)
        assert config.publisher_files == (entry,)
        own_words = {rule.namespace for rule in site.publishers}
        floor = alone(site, tuple(r for r in rules[entry] if r.namespace not in own_words))
        policy = policy_in_force(config.user, site, {entry: rules[entry]})
        for use in uses():
            if admits(policy, *use):
                assert admits(floor, *use), (user, site, use)
                admitted += 1
    assert admitted > 500, "too few are admitted for this to say anything"


def test_no_user_configuration_lifts_what_the_site_states() -> None:
    for dice in throws():
        site = any_statements(dice)
        policy = merge(*apart(dice, likely_user(dice, site)), site, PLACES).policy
        floor = alone(site)
        assert floor.allow_unsigned or not policy.allow_unsigned
        for organization in ("", "a", "b"):
            found, least = policy.required(organization), floor.required(organization)
            assert REQUIREMENTS.index(found) >= REQUIREMENTS.index(least)
        assert policy.require_provenance or not floor.require_provenance
        for plugin, rule in itertools.product(PLUGINS, ("unsigned", "unverified", "limit:memory")):
            if forbidden_by_site(rule, site):
                granted = policy.exception(plugin, "1.0.0", rule, today="2026-01-01")
                assert granted is None or granted in site.exceptions
