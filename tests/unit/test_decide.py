from __future__ import annotations

import dataclasses
import io
import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.errors import AperioError
from aperio_cli.errors.files import DigestMismatch
from aperio_cli.errors.installing import (
    ManifestMismatch,
    PlatformIncompatible,
    ProtocolIncompatible,
)
from aperio_cli.errors.running import ExceptionExpired
from aperio_cli.errors.trust import (
    ProvenanceMismatch,
    ProvenanceMissing,
    PublisherUnknown,
    PublisherUnverified,
    SignatureIdentityMismatch,
    SignatureMissing,
)
from aperio_cli.errors.usage import UsageError
from aperio_cli.models.artifact import Artifact
from aperio_cli.models.digest import Digest
from aperio_cli.models.evidence import ExceptionGranted, Verified, exception_terms
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.policy import Policy, PolicyException
from aperio_cli.models.proof import SBOM_TYPE, UNATTESTED_BUILDER, Proof
from aperio_cli.models.publisher import CI_SERVICES, Demands
from aperio_cli.models.receipt import Receipt
from aperio_cli.models.registry.plugin_file import VersionStatus
from aperio_cli.verifying import policy_refusals
from aperio_cli.verifying.decide import (
    AdmittedArtifact,
    Case,
    Judgement,
    check_receipt,
    decide,
    judge,
)
from tests.builders import (
    ARM,
    LINUX,
    attestation,
    build_rule,
    build_signer,
    manifest,
    offer,
    proof,
    provenance,
    receipt,
    rule,
    signer,
)
from tests.rows import each_row
from tests.trust import REPOSITORY

if TYPE_CHECKING:
    from aperio_cli.models.offer import Offer
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.publisher import Signer

TODAY = date(2026, 1, 1)
GRANTED = ExceptionGranted("unsigned", "2026-02-01", "trying it out")
BOX = PluginId("acme", "box-connector")
VERIFIED = Policy((rule(namespace="acme", domain="public", tier="verified"),), require="verified")
PUBLIC = proof(signer=signer(domain="public"))


def case(**changes: Any) -> Case:
    """Signed by whom the policy names."""
    asked = Case(
        plugin=BOX,
        version="1.2.3",
        proof=proof(),
        exception=None,
        is_local=True,
        policy=Policy((rule(),)),
        today=TODAY,
        location="/registry/box.tar.gz",
        bundle_name="/registry/box.tar.gz.sigstore.json",
    )
    return replace(asked, **changes)


def unsigned(**changes: Any) -> Case:
    return case(**{"proof": None} | changes)


def lifting(lifted: str, **changes: Any) -> PolicyException:
    """An exception of the configuration that holds."""
    stated = PolicyException(BOX, "", lifted, "2026-06-30", "audit pending", "config.toml")
    return replace(stated, **changes)


def artifact(**changes: Any) -> Artifact:
    found = Artifact(Path("/x"), Digest.of(b"artifact"), 8, manifest(), LINUX)
    return replace(found, **changes)


def ask(
    offered: Offer | None = None,
    found: Artifact | None = None,
    *,
    asked: Case | None = None,
    platform: Platform | None = LINUX,
) -> AdmittedArtifact:
    """The case is about what is offered, too, unless another is asked."""
    offered = offered or offer(attestations=b"{}\n")
    asked = asked or case(plugin=offered.id, version=offered.version)
    return decide(offered, asked, found or artifact(), io.BytesIO(), platform=platform)


def refused(offered: Offer | None = None, found: Artifact | None = None) -> AperioError:
    with pytest.raises(AperioError) as caught:
        ask(offered, found)
    assert caught.value.what.startswith("`acme/box-connector` 1.2.3 was refused")
    return caught.value


def refusal(asked: Case, expected: type[AperioError]) -> AperioError:
    """What a case is refused with."""
    with pytest.raises(expected) as caught:
        judge(asked)
    assert caught.value.what.startswith(asked.refused)
    assert caught.value.exit_status == 3
    assert caught.value.next
    return caught.value


# ── admitted ──────────────────────────────────────────────────────────────────────────────────────


def test_decide_admits_whom_a_rule_names() -> None:
    admitted = ask()
    assert admitted.evidence == Verified(proof(), rule())
    assert (admitted.bundle, admitted.attestations) == (b"{}", b"{}\n")
    assert (admitted.badge, admitted.subject) == ("local", "`acme/box-connector` 1.2.3")


def test_decide_admits_an_exception_and_keeps_nothing_that_was_not_verified() -> None:
    admitted = ask(asked=unsigned(exception=GRANTED))
    assert (admitted.evidence, admitted.badge) == (GRANTED, "unsigned")
    assert (admitted.bundle, admitted.attestations) == (None, None)


def test_decide_admits_a_newer_minor_of_the_interface() -> None:
    assert ask(found=artifact(manifest=manifest(protocol="1.99"))).badge == "local"


def test_decide_admits_another_platform_when_it_is_not_to_run_here() -> None:
    admitted = ask(offer(platform=ARM), artifact(platform=ARM), platform=None)
    assert admitted.artifact.platform == ARM


def test_decide_admits_a_length_that_is_right() -> None:
    assert ask(offer(size_bytes=8)).artifact.size == 8


# ── only decide admits ────────────────────────────────────────────────────────────────────────────


def test_admitted_artifact_refuses_every_other_maker() -> None:
    with pytest.raises(TypeError, match="only verifying"):
        AdmittedArtifact(
            offer(),
            artifact(),
            Judgement(GRANTED),
            io.BytesIO(),
            seal=object(),  # type: ignore[arg-type] # the attack
        )


def test_admitted_artifact_refuses_to_be_replaced_in_part() -> None:
    with pytest.raises((TypeError, ValueError), match="seal"):
        dataclasses.replace(ask(), artifact=artifact(size=9))  # type: ignore[call-arg] # the attack


def test_admitted_artifact_closes_its_file() -> None:
    with ask() as admitted:
        pass
    assert admitted.content.closed


# ── refused ───────────────────────────────────────────────────────────────────────────────────────


def test_decide_refuses_other_bytes_and_shows_both_digests() -> None:
    error = refused(found=artifact(digest=Digest.of(b"other")))
    assert isinstance(error, DigestMismatch)
    assert error.exit_status == 3
    assert str(Digest.of(b"other")) in error.why
    assert str(Digest.of(b"artifact")) in error.why


def test_decide_refuses_another_length() -> None:
    error = refused(offer(size_bytes=9))
    assert isinstance(error, DigestMismatch)
    assert "9 bytes" in error.why


@pytest.mark.parametrize("about", [{"version": "1.2.2"}, {"plugin": PluginId("acme", "other")}])
def test_decide_refuses_a_case_about_something_else(about: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is not `acme/box-connector` 1"):
        ask(asked=case(**about))


@each_row(
    ("stated", "key"),
    [
        ({"id": PluginId("acme", "other")}, "id"),
        ({"version": "9.9.9"}, "version"),
        ({"kind": "destination"}, "kind"),
        ({"platform": ARM}, "platform"),
    ],
)
def test_decide_refuses_an_offer_that_the_manifest_does_not_keep(
    stated: dict[str, Any], key: str
) -> None:
    with pytest.raises(ManifestMismatch) as caught:
        ask(offer(**stated))
    assert f"{key}: offered" in caught.value.why
    assert (caught.value.code, caught.value.exit_status) == ("manifest-mismatch", 3)


def test_decide_refuses_another_platform_and_names_both() -> None:
    error = refused(offer(platform=ARM), artifact(platform=ARM))
    assert isinstance(error, PlatformIncompatible)
    assert error.exit_status == 6
    assert "linux/amd64" in error.why
    assert "linux/arm64" in error.why


def test_decide_refuses_another_major_of_the_interface_and_names_both() -> None:
    error = refused(found=artifact(manifest=manifest(protocol="2.0")))
    assert isinstance(error, ProtocolIncompatible)
    assert (error.code, error.exit_status) == ("protocol-incompatible", 6)
    assert error.why == "plugin 2.0\naperio 1.0"


# ── judged: signed ────────────────────────────────────────────────────────────────────────────────


def test_judge_needs_no_artifact() -> None:
    assert judge(case()) == Judgement(Verified(proof(), rule()))


def test_judge_admits_by_any_of_several_rules() -> None:
    rules = (rule(namespace="acme", identity="bob@local"), rule(namespace="acme"))
    assert judge(case(policy=Policy(rules))).evidence == Verified(proof(), rules[1])


def test_judge_takes_the_highest_tier_then_the_first_of_the_rules_that_admit() -> None:
    rules = tuple(
        rule(domain="public", tier=tier, stated_in=source)
        for tier, source in [
            ("community", "a"),
            ("verified", "b"),
            ("verified", "c"),
        ]
    )
    evidence = judge(case(proof=PUBLIC, policy=Policy(rules))).evidence
    assert isinstance(evidence, Verified)
    assert evidence.rule == rules[1]


@each_row("tier", ["community", "verified", "official"])
def test_badge_is_the_tier_of_the_rule(tier: str) -> None:
    policy = Policy((rule(domain="public", tier=tier),))
    assert judge(case(proof=PUBLIC, policy=policy)).badge == tier


def test_badge_of_the_local_domain_is_never_a_tier() -> None:
    assert judge(case(policy=Policy((rule(tier="official"),)))).badge == "local"


def test_judge_admits_a_build_by_its_fields() -> None:
    built = proof(signer=build_signer())
    policy = Policy((build_rule(tier="verified"),))
    assert judge(case(proof=built, policy=policy)).badge == "verified"


def test_judge_ignores_an_exception_when_there_is_a_bundle() -> None:
    refusal(case(policy=Policy(), exception=GRANTED), PublisherUnknown)


def test_refusal_of_an_unknown_publisher_begins_with_a_command_that_is_ready() -> None:
    shown = signer(claims=(("source_repository_uri", "https://example.org/box"),))
    policy = Policy((rule(namespace="other"),))
    error = refusal(case(policy=policy, proof=proof(signer=shown)), PublisherUnknown)
    assert error.code == "publisher-unknown"
    for field in ("alice@local", "https://oidc.local.aperio.invalid", "2026-01-02T03:04:05Z"):
        assert field in error.why
    assert "repository: https://example.org/box" in error.why
    bundle = "/registry/box.tar.gz.sigstore.json"
    assert error.next[0].startswith(f"`aperio trust publisher add acme --from-bundle {bundle}`")


def test_ready_command_quotes_the_name_of_the_bundle() -> None:
    error = refusal(case(policy=Policy(), bundle_name="/a b;reboot"), PublisherUnknown)
    assert "--from-bundle '/a b;reboot'`" in error.next[0]


def test_refusal_names_the_plugin_when_only_other_plugins_have_rules() -> None:
    policy = Policy((rule(namespace="acme", plugin="other"),))
    error = refusal(case(policy=policy), PublisherUnknown)
    assert error.what.endswith("who may sign for `acme/box-connector`")


def test_refusal_of_a_namespace_that_the_site_closed_offers_no_rule() -> None:
    error = refusal(case(policy=Policy((rule(),), frozenset({"acme"}))), PublisherUnknown)
    assert not any("publisher add" in step for step in error.next)


@each_row(
    ("change", "field", "found"),
    [
        ({"identity": "mallory@local"}, "identity", "mallory@local"),
        ({"issuer": "https://evil"}, "issuer", "https://evil"),
        ({"domain": "public"}, "domain", "public"),
        ({"identity": "alice@local.evil"}, "identity", "alice@local.evil"),
        ({"identity": "ALICE@local"}, "identity", "ALICE@local"),
        ({"identity": ""}, "identity", "nothing"),
    ],
)
def test_judge_refuses_a_signer_who_differs_in_one_field(
    change: dict[str, str], field: str, found: str
) -> None:
    error = refusal(case(proof=proof(signer=signer(**change))), SignatureIdentityMismatch)
    assert error.code == "signature-identity-mismatch"
    header, name, expected, received = error.why.splitlines()
    assert header == "rule for `*` in config.toml:"
    assert name == f"  {field}"
    assert expected.startswith("    expected  ")
    assert received == f"    found     {found}"


def test_refusal_names_every_differing_field_of_every_rule() -> None:
    policy = Policy((build_rule(stated_in="a.toml"), rule(namespace="acme", stated_in="b.toml")))
    found = build_signer(source_repository_identifier="1", runner_environment="self-hosted")
    error = refusal(case(proof=proof(signer=found), policy=policy), SignatureIdentityMismatch)
    lines = error.why.splitlines()
    first = lines[: lines.index("rule for `acme` in b.toml:")]
    named = [line for line in first if not line.startswith("    ")]
    assert named == [
        "rule for `acme` in a.toml:",
        "  repository_id",
        "  runner",
    ]
    assert "    expected  123456" in first
    assert "    found     1" in first
    assert "  identity" in lines[len(first) :]


ISSUER = CI_SERVICES["github"].issuer
OTHER_WORKFLOW = f"{REPOSITORY}/.github/workflows/nightly.yml@refs/tags/v1.2.3"


@each_row(
    ("found", "told"),
    [
        (build_signer("1.2.2"), {"ref": ("refs/tags/v1.2.3", "refs/tags/v1.2.2")}),
        (
            build_signer(identity=OTHER_WORKFLOW, build_config_uri=OTHER_WORKFLOW),
            {"workflow": (".github/workflows/release.yml", ".github/workflows/nightly.yml")},
        ),
        (
            build_signer(identity="https://github.com/acme/ci/sign.yml@refs/heads/main"),
            {"signer_workflow": (
                "none: its own workflow signs", "https://github.com/acme/ci/sign.yml@refs/heads/main"
            )},
        ),
        (
            replace(build_signer(), claims=(), identity="ada@acme.example"),
            {"signer": (
                f"a build of {REPOSITORY} in github", "ada@acme.example, which is no build"
            )},
        ),
        (
            replace(build_signer(), issuer="https://x.example"),
            {"issuer": (ISSUER, "https://x.example")},
        ),
        (build_signer(runner_environment=""), {"runner": ("github-hosted", "nothing")}),
    ],
)  # fmt: skip
def test_refusal_of_a_build_is_told_by_the_keys_of_its_rule(
    found: Signer, told: dict[str, tuple[str, str]]
) -> None:
    judged = case(proof=proof(signer=found), policy=Policy((build_rule(),)))
    error = refusal(judged, SignatureIdentityMismatch)
    lines = ["rule for `acme` in config.toml:"]
    for key, (expected, received) in told.items():
        lines += [f"  {key}", f"    expected  {expected}", f"    found     {received}"]
    assert error.why.splitlines() == lines
    assert "`aperio trust publisher add acme --from-bundle " in error.next[1]


def test_judge_refuses_a_build_of_another_version_than_was_offered() -> None:
    built = proof(signer=build_signer("1.2.2"))
    error = refusal(case(proof=built, policy=Policy((build_rule(),))), SignatureIdentityMismatch)
    assert "    expected  refs/tags/v1.2.3\n    found     refs/tags/v1.2.2" in error.why


def test_judge_does_not_open_a_namespace_with_a_rule_to_everybody() -> None:
    rules = (rule(), rule(namespace="acme", identity="bob@local"))
    refusal(case(policy=Policy(rules)), SignatureIdentityMismatch)


@each_row(
    ("dates", "is_admitted"),
    [
        ({"valid_from": "2026-01-02T03:04:05Z"}, True),
        ({"valid_from": "2026-01-02T03:04:06Z"}, False),
        ({"valid_until": "2026-01-02T03:04:05Z"}, True),
        ({"valid_until": "2026-01-02T03:04:04Z"}, False),
    ],
)
def test_judge_compares_a_rule_s_dates_with_the_time_of_the_signature(
    dates: dict[str, str], *, is_admitted: bool
) -> None:
    asked = case(policy=Policy((rule(**dates),)))
    if is_admitted:
        assert judge(asked).badge == "local"
    else:
        error = refusal(asked, SignatureIdentityMismatch)
        assert "  signed at\n    expected  not " in error.why


def test_refusal_shows_no_control_characters_of_a_signer() -> None:
    hostile = proof(signer=signer(identity="a\x1b[31mb", claims=(("x", "\x07"),)))
    for policy, kind in [
        (Policy(), PublisherUnknown),
        (Policy((rule(),)), SignatureIdentityMismatch),
    ]:
        error = refusal(case(policy=policy, proof=hostile), kind)
        assert not {"\x1b", "\x07"} & set(error.why + "".join(error.next))


# ── judged: unsigned ──────────────────────────────────────────────────────────────────────────────


def test_judge_refuses_without_bundle_and_without_exception() -> None:
    error = refusal(unsigned(), SignatureMissing)
    assert error.code == "signature-missing"
    assert "/registry/box.tar.gz" in error.why


def test_judge_admits_unsigned_by_an_exception_of_the_configuration() -> None:
    policy = Policy(exceptions=(lifting("unsigned"),))
    stated = ExceptionGranted("unsigned", "2026-06-30", "audit pending", "config.toml")
    judged = judge(unsigned(policy=policy))
    assert judged == Judgement(stated)
    assert judged.badge == "unsigned"


@each_row(
    "change",
    [
        {"plugin": PluginId("acme", "other")},
        {"version": "1.2.4"},
        {"rule": "unverified"},
        {"rule": "limit:memory"},
    ],
)
def test_judge_refuses_unsigned_by_an_exception_from_something_else(
    change: dict[str, Any],
) -> None:
    policy = Policy(exceptions=(lifting("unsigned", **change),))
    refusal(unsigned(policy=policy), SignatureMissing)


def test_judge_refuses_unsigned_when_the_exception_has_ended() -> None:
    policy = Policy(exceptions=(lifting("unsigned", until="2025-12-31"),))
    error = refusal(unsigned(policy=policy), ExceptionExpired)
    assert error.why == "exception until 2025-12-31: audit pending"
    assert "aperio trust exception add acme/box-connector@1.2.3 --rule unsigned" in error.next[-1]


@pytest.mark.parametrize(
    ("replacement", "step"),
    [
        ("", "`aperio plugin install acme/box-connector`, where its registry has a version that"),
        ("1.3.0", "`aperio plugin install acme/box-connector@1.3.0`, which replaces it"),
    ],
)
def test_what_was_revoked_leads_to_what_replaces_it_and_promises_none(
    replacement: str, step: str
) -> None:
    status = VersionStatus("revoked", "leaks", "2026-01-01T00:00:00Z", replacement)
    assert policy_refusals.revoked(case(), status).next[0].startswith(step)


def test_judge_refuses_what_a_registry_offers_unsigned_whatever_is_excepted() -> None:
    policy = Policy(exceptions=(lifting("unsigned"),))
    refusal(unsigned(policy=policy, is_local=False, exception=GRANTED), SignatureMissing)


def test_judge_refuses_allow_unsigned_where_the_site_requires_signatures() -> None:
    asked = unsigned(policy=Policy(allow_unsigned=False), exception=GRANTED)
    error = refusal(asked, SignatureMissing)
    assert "the site's configuration requires signatures" in error.why


def test_judge_admits_the_site_s_own_exception_where_the_site_requires_signatures() -> None:
    policy = Policy(allow_unsigned=False, exceptions=(lifting("unsigned"),))
    assert judge(unsigned(policy=policy, exception=GRANTED)).badge == "unsigned"


def test_judge_refuses_a_grant_of_something_else() -> None:
    refusal(unsigned(exception=replace(GRANTED, rule="unverified")), ExceptionExpired)


# ── judged: what is required of publishers ────────────────────────────────────────────────────────


@pytest.mark.parametrize("tier", ["verified", "official"])
def test_judge_admits_a_verified_publisher_where_one_is_required(tier: str) -> None:
    policy = replace(VERIFIED, publishers=(rule(domain="public", tier=tier),))
    assert judge(case(proof=PUBLIC, policy=policy)).lifted == ()


def test_judge_refuses_a_community_publisher_where_a_verified_one_is_required() -> None:
    policy = replace(VERIFIED, publishers=(rule(domain="public"),))
    error = refusal(case(proof=PUBLIC, policy=policy), PublisherUnverified)
    assert error.code == "publisher-unverified"
    assert "found    community, as the rule for `*` in config.toml says" in error.why


@pytest.mark.parametrize("domains", [("public", "local"), ("local", "public")])
def test_what_the_local_domain_verifies_too_never_counts_as_verified(
    domains: tuple[str, str],
) -> None:
    both = proof(signer=signer(domain=domains[0], further_domains=domains[1:]))
    error = refusal(case(proof=both, policy=VERIFIED), PublisherUnverified)
    assert "local trust domain" in error.why
    signed = replace(VERIFIED, require="signed")
    assert judge(case(proof=both, policy=signed)).badge == "local"


def test_what_two_other_domains_verify_counts_as_verified() -> None:
    both = proof(signer=signer(domain="mirror", further_domains=("public",)))
    assert judge(case(proof=both, policy=VERIFIED)).badge == "verified"


def test_judge_refuses_the_local_domain_where_a_verified_publisher_is_required() -> None:
    policy = replace(VERIFIED, publishers=(rule(tier="official"),))
    error = refusal(case(policy=policy), PublisherUnverified)
    assert "local trust domain" in error.why
    assert not any("tier" in step for step in error.next)


def test_judge_asks_of_one_organization_what_it_requires() -> None:
    policy = Policy((rule(domain="public"),), organizations=(("acme-prod", "verified"),))
    asked = case(proof=PUBLIC, policy=policy)
    assert judge(asked).badge == "community"
    assert judge(replace(asked, organization="acme-test")).badge == "community"
    error = refusal(replace(asked, organization="acme-prod"), PublisherUnverified)
    assert "organization acme-prod" in error.why


def test_organization_cannot_require_less_than_the_machine() -> None:
    policy = Policy(
        (rule(domain="public"),), require="verified", organizations=(("acme-test", "signed"),)
    )
    asked = case(proof=PUBLIC, policy=policy, organization="acme-test")
    # It is the machine that requires it, and the message does not blame the organization.
    assert "required of every plugin here" in refusal(asked, PublisherUnverified).why


def test_judge_admits_an_unverified_publisher_by_exception_and_says_so() -> None:
    exception = lifting("unverified")
    policy = Policy((rule(),), require="verified", exceptions=(exception,))
    judged = judge(case(policy=policy))
    assert judged == Judgement(Verified(proof(), rule()), (exception,))
    assert judged.badge == "local"


def test_judge_refuses_an_unverified_publisher_when_the_exception_has_ended() -> None:
    ended = lifting("unverified", until="2025-12-31")
    error = refusal(
        case(policy=Policy((rule(),), require="verified", exceptions=(ended,))), ExceptionExpired
    )
    assert "its publisher is not verified" in error.what


def test_judge_refuses_unsigned_where_a_verified_publisher_is_required() -> None:
    policy = Policy(require="verified")
    error = refusal(unsigned(policy=policy, exception=GRANTED), PublisherUnverified)
    assert "nobody signed it" in error.why
    lifted = lifting("unverified")
    both = replace(policy, exceptions=(lifted,))
    assert judge(unsigned(policy=both, exception=GRANTED)) == Judgement(GRANTED, (lifted,))


# ── judged: provenance ────────────────────────────────────────────────────────────────────────────


def attested(*found: Any) -> Proof:
    return proof(attestations=found)


@each_row(
    "policy",
    [
        Policy((rule(),), require_provenance=True),
        Policy((rule(demands=Demands(provenance=True)),)),
        Policy((rule(demands=Demands(builder=provenance().builder)),)),
        Policy((rule(demands=Demands(source_repository=provenance().source_repository)),)),
    ],
)
def test_judge_demands_the_provenance_that_is_asked_for(policy: Policy) -> None:
    error = refusal(case(policy=policy), ProvenanceMissing)
    assert error.code == "provenance-missing"
    sbom = attestation(predicate_type=SBOM_TYPE, provenance=None)
    refusal(case(policy=policy, proof=attested(sbom)), ProvenanceMissing)
    assert judge(case(policy=policy, proof=attested(sbom, attestation()))).badge == "local"


def test_judge_takes_no_provenance_when_none_is_asked_for() -> None:
    assert judge(case()).badge == "local"
    assert judge(case(proof=attested(attestation()))).badge == "local"


@each_row(
    ("demands", "field"),
    [
        (Demands(builder="https://other"), "builder"),
        (Demands(source_repository="https://github.com/acme/other"), "source repository"),
        (Demands(source_repository=provenance().source_repository + "/"), "source repository"),
        (Demands(builder=provenance().builder.upper()), "builder"),
    ],
)
def test_judge_refuses_provenance_that_says_something_else(demands: Demands, field: str) -> None:
    policy = Policy((rule(demands=demands),))
    error = refusal(case(policy=policy, proof=attested(attestation())), ProvenanceMismatch)
    assert error.code == "provenance-mismatch"
    assert f"  {field}\n    expected  " in error.why


@pytest.mark.parametrize("builder", ["", UNATTESTED_BUILDER])
def test_judge_refuses_provenance_that_vouches_for_no_build(builder: str) -> None:
    stated = attested(attestation(provenance=provenance(builder=builder)))
    policy = Policy((rule(),), require_provenance=True)
    error = refusal(case(policy=policy, proof=stated), ProvenanceMismatch)
    assert "one that vouches for the build" in error.why


def test_judge_admits_an_unattested_build_that_a_rule_names() -> None:
    stated = attested(attestation(provenance=provenance(builder=UNATTESTED_BUILDER)))
    policy = Policy((rule(demands=Demands(builder=UNATTESTED_BUILDER)),))
    assert judge(case(policy=policy, proof=stated)).badge == "local"


def test_judge_admits_when_one_of_several_provenances_is_the_one() -> None:
    other = attestation(provenance=provenance(builder="https://other"))
    policy = Policy((rule(demands=Demands(builder=provenance().builder)),))
    assert judge(case(policy=policy, proof=attested(other, attestation()))).badge == "local"
    refusal(case(policy=policy, proof=attested(other, other)), ProvenanceMismatch)


def test_judge_refuses_attestations_of_somebody_whom_no_rule_names() -> None:
    foreign = attestation(signer=signer(identity="mallory@local"))
    error = refusal(case(proof=attested(attestation(), foreign)), ProvenanceMismatch)
    assert "by mallory@local, trust domain local" in error.why
    assert "alice" not in error.why


def test_judge_refuses_provenance_by_another_publisher_than_the_signer() -> None:
    rules = (rule(namespace="acme"), rule(namespace="acme", identity="bob@local"))
    by_bob = attestation(signer=signer(identity="bob@local"))
    policy = Policy(rules, require_provenance=True)
    refusal(case(policy=policy, proof=attested(by_bob)), ProvenanceMissing)
    assert judge(case(policy=Policy(rules), proof=attested(by_bob))).badge == "local"


def test_judge_refuses_unsigned_where_provenance_is_required() -> None:
    policy = Policy(require_provenance=True)
    error = refusal(unsigned(policy=policy, exception=GRANTED), ProvenanceMissing)
    assert "[policy] require_provenance" in error.why


# ── exceptions ────────────────────────────────────────────────────────────────────────────────────


def test_exception_holds_from_tomorrow_to_a_year() -> None:
    for until in ("2026-01-02", "2027-01-01", "2027-01-02"):
        assert ExceptionGranted.unsigned(until=until, reason="why", today=TODAY).until == until


@each_row(
    "until",
    [
        "",
        "2026-01-01",
        "2025-12-31",
        "2027-01-03",
        "9999-01-01",
        "tomorrow",
        "20260201",
        "2026-W05-1",
        "2026-02-30",
        "2026-02-01T00:00:00",
    ],
)
def test_exception_refuses_a_date_that_is_no_day_of_the_next_year(until: str) -> None:
    with pytest.raises(UsageError, match="`--until`") as caught:
        ExceptionGranted.unsigned(until=until, reason="why", today=TODAY)
    assert caught.value.exit_status == 2


@each_row("reason", ["", "   ", "x" * 501, "a\x1bb", "two\nlines"])
def test_exception_refuses_a_reason_that_says_nothing(reason: str) -> None:
    with pytest.raises(UsageError, match="`--reason`"):
        exception_terms("2026-02-01", reason, TODAY)


# ── asked again before each launch ────────────────────────────────────────────────────────────────


def started(policy: Policy, recorded: Receipt | None = None, organization: str = "") -> Judgement:
    return check_receipt(recorded or receipt(), policy, today=TODAY, organization=organization)


def not_started(
    policy: Policy,
    expected: type[AperioError],
    recorded: Receipt | None = None,
    organization: str = "",
) -> AperioError:
    with pytest.raises(expected) as caught:
        started(policy, recorded, organization)
    assert caught.value.what.startswith("`acme/box-connector` 1.2.3 was not started")
    assert caught.value.exit_status == 3
    return caught.value


def recorded(found: Proof, **changes: Any) -> Receipt:
    """The receipt of a version that was admitted with this proof."""
    return receipt(evidence=Verified(found, rule(stated_in="")), **changes)


def test_check_receipt_admits_what_is_still_allowed() -> None:
    assert started(Policy((rule(),))).badge == "local"


def test_check_receipt_judges_what_installation_judged() -> None:
    built = proof(signer=build_signer(), attestations=(attestation(signer=build_signer()),))
    policy = Policy((build_rule(tier="verified"),), require="verified", require_provenance=True)
    at_install = judge(case(proof=built, policy=policy)).evidence
    at_launch = started(policy, recorded(built)).evidence
    assert isinstance(at_install, Verified)
    assert isinstance(at_launch, Verified)
    assert at_launch.rule == at_install.rule
    assert at_launch.proof.signer == built.signer
    assert at_launch.proof.attestations == built.attestations


def test_check_receipt_refuses_when_the_rule_is_gone() -> None:
    error = not_started(Policy(), PublisherUnknown)
    bundle = "/nonexistent/plugins/acme/box-connector/1.2.3/artifact.sigstore.json"
    assert f"--from-bundle {bundle}`" in error.next[0]


@each_row(
    "changed",
    [
        {"identity": "bob@local"},
        {"domain": "public"},
        {"valid_until": "2026-01-01T23:59:59Z"},
        {"valid_from": "2026-02-01T00:00:00Z"},
    ],
)
def test_check_receipt_refuses_when_the_rule_names_somebody_else(changed: dict[str, str]) -> None:
    not_started(Policy((rule(**changed),)), SignatureIdentityMismatch)


def test_check_receipt_refuses_when_a_narrower_rule_was_added() -> None:
    not_started(
        Policy((rule(), rule(namespace="acme", identity="bob@local"))), SignatureIdentityMismatch
    )


def test_check_receipt_refuses_when_a_verified_publisher_is_required_now() -> None:
    not_started(Policy((rule(),), require="verified"), PublisherUnverified)


def test_check_receipt_asks_what_the_organization_requires() -> None:
    policy = Policy((rule(),), organizations=(("acme-prod", "verified"),))
    assert started(policy, organization="acme-test").badge == "local"
    not_started(policy, PublisherUnverified, organization="acme-prod")


def test_check_receipt_refuses_when_the_exception_from_verified_is_gone_or_over() -> None:
    policy = Policy((rule(),), require="verified", exceptions=(lifting("unverified"),))
    kept = receipt(exceptions=(lifting("unverified"),))
    assert started(policy, kept).lifted == policy.exceptions
    not_started(replace(policy, exceptions=()), PublisherUnverified, kept)
    over = lifting("unverified", until="2025-12-31")
    not_started(replace(policy, exceptions=(over,)), ExceptionExpired, kept)


def test_check_receipt_refuses_when_provenance_is_demanded_now() -> None:
    demanding = Policy((rule(),), require_provenance=True)
    not_started(demanding, ProvenanceMissing)
    assert started(demanding, recorded(attested(attestation()))).badge == "local"
    other = Policy((rule(demands=Demands(builder="https://other")),))
    not_started(other, ProvenanceMismatch, recorded(attested(attestation())))


def test_check_receipt_takes_a_record_without_proof_unless_provenance_is_demanded() -> None:
    document = json.loads(receipt().to_bytes()) | {"proof": None}
    earlier = Receipt.parse(json.dumps(document).encode(), receipt().folder)
    assert started(Policy((rule(),)), earlier).badge == "local"
    error = not_started(Policy((rule(),), require_provenance=True), ProvenanceMissing, earlier)
    assert "install it again" in error.next[0]


def unsigned_receipt(**exception: str) -> Receipt:
    return receipt(badge="unsigned", evidence=replace(GRANTED, **exception))


@pytest.mark.parametrize("until", ["2026-01-01", "2026-01-02"])
def test_check_receipt_passes_to_the_last_day_of_an_exception(until: str) -> None:
    assert started(Policy(), unsigned_receipt(until=until)).badge == "unsigned"


@each_row("until", ["2025-12-31", "", "never", "2026-02-30", "20260201"])
def test_check_receipt_refuses_an_exception_that_has_ended(until: str) -> None:
    error = not_started(Policy(), ExceptionExpired, unsigned_receipt(until=until))
    assert "trying it out" in error.why


def test_check_receipt_refuses_unsigned_when_the_site_requires_signatures_now() -> None:
    not_started(Policy(allow_unsigned=False), SignatureMissing, unsigned_receipt())


def test_check_receipt_refuses_when_the_configuration_s_exception_is_gone() -> None:
    stated = unsigned_receipt(stated_in="config.toml")
    assert started(Policy(exceptions=(lifting("unsigned"),)), stated).badge == "unsigned"
    not_started(Policy(), SignatureMissing, stated)
    over = lifting("unsigned", until="2025-12-31")
    not_started(Policy(exceptions=(over,)), ExceptionExpired, stated)


def test_check_receipt_takes_a_new_exception_in_place_of_one_that_ended() -> None:
    policy = Policy(exceptions=(lifting("unsigned"),))
    assert started(policy, unsigned_receipt(until="2025-12-31")).badge == "unsigned"


def test_today_is_the_only_clock_of_a_judgement() -> None:
    policy = Policy(exceptions=(lifting("unsigned"),))
    last = date(2026, 6, 30)
    assert judge(unsigned(policy=policy, today=last)).badge == "unsigned"
    refusal(unsigned(policy=policy, today=last + timedelta(days=1)), ExceptionExpired)
