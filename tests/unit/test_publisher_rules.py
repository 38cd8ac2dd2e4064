"""Who a rule names, and what the operator requires: models/publisher.py and models/policy.py."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import pytest

from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.policy import Policy, PolicyException
from aperio_cli.models.publisher import (
    TIERS,
    CiIdentity,
    Demands,
    PublisherRule,
    Signer,
)
from tests.builders import build_rule, build_signer, rule, signer, table
from tests.rows import each_row
from tests.trust import REPOSITORY, WORKFLOW

BOX = PluginId("acme", "box-connector")
VERSION = "1.2.3"
REUSABLE = "https://github.com/acme/ci/.github/workflows/sign.yml@refs/tags/v2"
CONFIG = f"{REPOSITORY}/{WORKFLOW}@refs/tags/v1.2.3"
CLAIMS = (
    "runner_environment",
    "source_repository_uri",
    "source_repository_ref",
    "source_repository_identifier",
    "source_repository_owner_identifier",
    "build_config_uri",
)


def fields(stated: PublisherRule, found: Signer, version: str = VERSION) -> list[str]:
    """The names of the fields that differ."""
    return [difference.field for difference in stated.differences(found, version)]


def ci(**changes: Any) -> PublisherRule:
    """The rule for the GitHub build, with its build changed."""
    stated = build_rule()
    assert stated.ci
    return replace(stated, ci=replace(stated.ci, **changes))


# ── a person, or a service account ────────────────────────────────────────────────────────────────


def test_rule_admits_exactly_whom_it_names() -> None:
    assert rule().admits(signer(), VERSION)


@each_row(
    ("change", "field"),
    [
        ({"domain": "public"}, "domain"),
        ({"issuer": "https://oidc.local.aperio.invalid/"}, "issuer"),
        ({"issuer": ""}, "issuer"),
        ({"identity": "alice@local "}, "identity"),
        ({"identity": "Alice@local"}, "identity"),
        ({"identity": "xalice@local"}, "identity"),
        ({"identity": ""}, "identity"),
    ],
)
def test_rule_names_the_one_field_that_differs(change: dict[str, str], field: str) -> None:
    assert fields(rule(), signer(**change)) == [field]


@each_row("blank", ["domain", "identity", "issuer"])
def test_rule_with_a_blank_admits_nobody_not_even_a_blank(blank: str) -> None:
    stated, found = rule(**{blank: ""}), signer(**{blank: ""})
    [difference] = stated.differences(found, VERSION)
    assert (difference.field, difference.expected, difference.found) == (
        blank,
        "a value",
        "nothing",
    )


def test_rule_takes_no_part_of_an_identity_for_a_pattern() -> None:
    for pattern in (".*", "*", "alice@.*", "alice@local|bob@local", "*@local"):
        assert fields(rule(identity=pattern), signer()) == ["identity"]


@pytest.mark.parametrize("identity", [CONFIG, REUSABLE])
def test_rule_for_an_identity_admits_no_build_of_it(identity: str) -> None:
    # Whoever calls a reusable workflow, or registers the repository's name again, has the same one.
    found = build_signer(identity=identity)
    stated = rule(domain=found.domain, identity=identity, issuer=found.issuer)
    [difference] = stated.differences(found, VERSION)
    assert (difference.field, difference.found) == ("source_repository_identifier", "123456")
    assert "`ci`" in difference.expected


@pytest.mark.parametrize("missing", ["repository", "owner"])
def test_builds_without_numbers_are_not_taken_for_one_publisher(missing: str) -> None:
    number = {
        "repository": "source_repository_identifier",
        "owner": "source_repository_owner_identifier",
    }[missing]
    config = {number: "", "build_config_uri": "https://ci.acme.example/pipelines/1"}
    first, second = (
        build_signer(identity=f"build@{host}", **config)
        for host in ("acme.example", "evil.example")
    )
    assert first.lineage != second.lineage
    assert first.name == first.identity


# ── a build ───────────────────────────────────────────────────────────────────────────────────────


def test_rule_admits_the_build_of_the_version_that_it_names() -> None:
    assert fields(build_rule(), build_signer()) == []


@each_row("claim", CLAIMS)
def test_rule_compares_every_claim_of_a_build(claim: str) -> None:
    assert fields(build_rule(), build_signer(**{claim: "other"})) == [claim]


@each_row("claim", CLAIMS)
def test_rule_admits_no_build_whose_certificate_lacks_a_claim(claim: str) -> None:
    found = build_signer()
    silent = replace(found, claims=tuple(pair for pair in found.claims if pair[0] != claim))
    [difference] = build_rule().differences(silent, VERSION)
    assert (difference.field, difference.found) == (claim, "nothing")
    assert fields(build_rule(), build_signer(**{claim: ""})) == [claim]


@each_row(
    ("blank", "claims"),
    [
        ("repository_id", ["source_repository_identifier"]),
        ("owner_id", ["source_repository_owner_identifier"]),
        ("runner", ["runner_environment"]),
    ],
)
def test_build_with_a_blank_admits_not_even_a_blank(blank: str, claims: list[str]) -> None:
    found = build_signer(**dict.fromkeys(claims, ""))
    assert fields(ci(**{blank: ""}), found) == claims


def test_rule_refuses_a_build_of_another_version() -> None:
    differing = fields(build_rule(), build_signer("1.2.4"))
    assert differing == ["identity", "source_repository_ref", "build_config_uri"]


def test_version_stands_wherever_the_ref_names_it_and_nowhere_else() -> None:
    stated = ci(ref="refs/tags/box/v{version}", repository=f"{REPOSITORY}-{{version}}")
    assert stated.ci
    expected = stated.ci.expected("2.0.0-rc.1")
    assert expected["source_repository_ref"] == "refs/tags/box/v2.0.0-rc.1"
    assert expected["source_repository_uri"] == f"{REPOSITORY}-{{version}}"


def test_version_with_the_characters_of_a_pattern_is_taken_as_text() -> None:
    assert fields(build_rule(), build_signer("1x2x3"), "1.2.3") != []
    assert fields(ci(ref="refs/heads/.*{version}"), build_signer()) != []


def test_rule_of_a_reusable_workflow_asks_for_it_and_for_the_caller() -> None:
    stated = build_rule(signer_workflow=REUSABLE)
    assert fields(stated, build_signer(identity=REUSABLE)) == []
    assert fields(stated, build_signer()) == ["identity"]
    other = REUSABLE.replace("v2", "v3")
    assert fields(stated, build_signer(identity=other)) == ["identity"]
    elsewhere = {"source_repository_identifier": "666"}
    assert fields(stated, build_signer(identity=REUSABLE, **elsewhere)) == [*elsewhere]


def test_rule_refuses_a_reusable_workflow_that_it_does_not_name() -> None:
    assert fields(build_rule(), build_signer(identity=REUSABLE)) == ["identity"]


def test_gitlab_puts_two_slashes_before_the_workflow() -> None:
    project = "https://gitlab.com/acme/box"
    build = CiIdentity(
        service="gitlab",
        repository=project,
        repository_id="7",
        owner_id="8",
        workflow=".gitlab-ci.yml",
        ref="refs/tags/v{version}",
        runner="gitlab-hosted",
    )
    config = f"{project}//.gitlab-ci.yml@refs/tags/v1.2.3"
    assert build.expected(VERSION)["build_config_uri"] == config
    assert build.expected(VERSION)["identity"] == config


# ── dates ─────────────────────────────────────────────────────────────────────────────────────────


@each_row(
    ("valid_from", "valid_until", "is_admitted"),
    [
        ("2026-01-02T03:04:05Z", "", True),
        ("2026-01-02T03:04:06Z", "", False),
        ("", "2026-01-02T03:04:05Z", True),
        ("", "2026-01-02T03:04:04Z", False),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z", True),
        ("2026-01-03T00:00:00Z", "2026-01-01T00:00:00Z", False),
    ],
)
def test_rule_holds_for_signatures_of_its_days(
    valid_from: str, valid_until: str, *, is_admitted: bool
) -> None:
    stated = rule(valid_from=valid_from, valid_until=valid_until)
    assert stated.admits(signer(), VERSION) == is_admitted
    assert set(fields(stated, signer())) <= {"signed at"}


# ── which rules are about a plugin ────────────────────────────────────────────────────────────────


@each_row(
    ("change", "is_about"),
    [
        ({"namespace": "*"}, True),
        ({"namespace": "acme"}, True),
        ({"namespace": "acm"}, False),
        ({"namespace": "acme2"}, False),
        ({"namespace": "acme", "plugin": "box-connector"}, True),
        ({"namespace": "acme", "plugin": "box"}, False),
        ({"namespace": "*", "plugin": "box-connector"}, True),
    ],
)
def test_rule_covers_its_namespace_and_plugin(change: dict[str, str], *, is_about: bool) -> None:
    assert rule(**change).covers(BOX) == is_about


def test_policy_does_not_open_a_namespace_with_rules_to_those_for_all() -> None:
    everybody, own = rule(), rule(namespace="acme", identity="bob@local")
    assert Policy((everybody, own)).rules_for(BOX) == (own,)
    assert Policy((everybody,)).rules_for(BOX) == (everybody,)
    other = rule(namespace="acme", plugin="other")
    assert Policy((everybody, other)).rules_for(BOX) == ()


def test_policy_keeps_the_order_of_the_files() -> None:
    rules = tuple(rule(namespace="acme", identity=name) for name in "cab")
    assert Policy(rules).rules_for(BOX) == rules


def test_policy_of_a_closed_namespace_has_no_rules() -> None:
    stated = (rule(), rule(namespace="acme"))
    assert Policy(stated, frozenset({"acme"})).rules_for(BOX) == ()
    assert Policy(stated, frozenset({"globex"})).rules_for(BOX) == stated[1:]


# ── what is required ──────────────────────────────────────────────────────────────────────────────


@each_row("machine", ["signed", "verified"])
@each_row("own", ["signed", "verified"])
def test_policy_requires_the_stricter_of_machine_and_organization(machine: str, own: str) -> None:
    policy = Policy(require=machine, organizations=(("acme-prod", own),))
    stricter = "verified" if "verified" in {machine, own} else "signed"
    assert policy.required("acme-prod") == stricter
    assert policy.required("other") == policy.required() == machine


def exception(**changes: Any) -> PolicyException:
    stated = PolicyException(BOX, "", "unverified", "2026-06-30", "audit pending")
    return replace(stated, **changes)


@each_row(
    ("change", "today", "is_about"),
    [
        ({}, "2026-06-30", True),
        ({}, "2026-07-01", False),
        ({"version": "1.2.3"}, "2026-06-30", True),
        ({"version": "1.2.30"}, "2026-06-30", False),
        ({"plugin": PluginId("acme", "other")}, "2026-06-30", False),
        ({"plugin": PluginId("other", "box-connector")}, "2026-06-30", False),
        ({"rule": "unsigned"}, "2026-06-30", False),
        ({"until": ""}, "2026-06-30", False),
    ],
)
def test_exception_is_from_one_rule_for_one_plugin_until_a_day(
    change: dict[str, Any], today: str, *, is_about: bool
) -> None:
    policy = Policy(exceptions=(exception(**change),))
    found = policy.exception(BOX, VERSION, "unverified", today=today)
    assert (found is not None) == is_about


def test_exception_names_its_version_in_reports() -> None:
    assert exception().to_json()["plugin"] == "acme/box-connector"
    assert exception(version=VERSION).to_json() == {
        "plugin": "acme/box-connector@1.2.3",
        "rule": "unverified",
        "until": "2026-06-30",
        "reason": "audit pending",
    }


def test_rule_may_name_any_domain_that_verified() -> None:
    several = signer(further_domains=("mirror", "spare"))
    for domain in several.domains:
        assert rule(domain=domain).admits(several, "1.2.3")
    (difference,) = rule(domain="other").differences(several, "1.2.3")
    assert (difference.field, difference.found) == ("domain", several.domain)


def test_rule_compares_the_rest_whichever_domain_it_names() -> None:
    several = signer(further_domains=("mirror",), identity="mallory@local")
    assert not rule(domain="mirror").admits(several, "1.2.3")


@pytest.mark.parametrize("further", [(), ("mirror", "spare")])
def test_signer_keeps_its_domains_in_a_record(further: tuple[str, ...]) -> None:
    stated = signer(further_domains=further)
    assert Signer.from_json(table(stated.to_json())) == stated


def test_signer_of_an_older_record_has_one_domain() -> None:
    document = signer().to_json()
    del document["further_domains"]
    assert Signer.from_json(table(document)) == signer()


# ── whose successor somebody is ───────────────────────────────────────────────────────────────────


def test_releases_of_one_workflow_have_one_lineage_and_one_name() -> None:
    first, second = build_signer("1.2.3"), build_signer("1.3.0")
    assert first.identity != second.identity
    assert first.lineage == second.lineage
    assert first.name == second.name == f"{REPOSITORY}/{WORKFLOW}"


@each_row(
    "change",
    [
        {"source_repository_identifier": "666"},
        {"source_repository_owner_identifier": "666"},
        {"build_config_uri": f"{REPOSITORY}/.github/workflows/other.yml@refs/tags/v1.2.3"},
        {"identity": REUSABLE},
    ],
)
def test_lineage_tells_builds_apart_that_somebody_else_made(change: dict[str, str]) -> None:
    assert build_signer(**change).lineage != build_signer().lineage


@each_row(
    "change", [{"domain": "staging"}, {"issuer": "https://other"}, {"identity": "alice@local.evil"}]
)
def test_lineage_of_a_person_is_domain_issuer_and_identity(change: dict[str, str]) -> None:
    assert signer().name == "alice@local"
    assert signer(**change).lineage != signer().lineage
    later = signer(signed_at="2027-01-01T00:00:00Z", certificate_digest="00" * 32)
    assert later.lineage == signer().lineage


def test_lineage_of_a_build_is_never_that_of_a_person() -> None:
    person = signer(domain="public", issuer=build_signer().issuer, identity=build_signer().identity)
    assert person.lineage != build_signer().lineage
    nameless = build_signer(build_config_uri="")
    assert nameless.lineage != build_signer().lineage


# ── as documents ──────────────────────────────────────────────────────────────────────────────────


def test_signer_reads_back_from_its_document() -> None:
    assert Signer.from_json(table(build_signer().to_json())) == build_signer()


@each_row("missing", ["domain", "identity", "issuer", "signed_at", "claims"])
def test_signer_is_not_read_from_a_damaged_document(missing: str) -> None:
    document = signer().to_json()
    del document[missing]
    with pytest.raises(ValueError, match=f"`{missing}` is missing"):
        Signer.from_json(table(document))


def test_rule_says_only_what_is_stated_and_never_an_identity_beside_a_build() -> None:
    assert list(rule().to_json()) == ["namespace", "domain", "identity", "issuer"]
    stated = build_rule(
        signer_workflow=REUSABLE,
        plugin="box-connector",
        tier=TIERS[1],
        valid_from="2026-01-01T00:00:00Z",
        valid_until="2026-12-31T23:59:59Z",
        demands=Demands(provenance=True, builder="b", source_repository="s"),
    )
    document = stated.to_json()
    assert "identity" not in document
    assert document["signer_workflow"] == REUSABLE
    assert document["require_provenance"] is True
    assert set(document) - set(build_rule().to_json()) == {
        "signer_workflow",
        "plugin",
        "tier",
        "valid_from",
        "valid_until",
        "require_provenance",
        "builder",
        "source_repository",
    }


@pytest.mark.parametrize("stated", [rule(), build_rule(tier="verified")])
def test_rule_reads_back_from_toml(stated: PublisherRule) -> None:
    assert tomllib.loads(stated.to_toml()) == {"publishers": [stated.to_json()]}


@each_row(
    ("demands", "is_any"),
    [
        (Demands(), False),
        (Demands(provenance=True), True),
        (Demands(builder="b"), True),
        (Demands(source_repository="s"), True),
    ],
)
def test_builder_and_source_imply_that_provenance_is_asked_for(
    demands: Demands, *, is_any: bool
) -> None:
    assert demands.is_any == is_any
