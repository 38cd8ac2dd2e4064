"""Rules that are proposed for a signer: the signer passes, and nobody like them does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aperio_cli.errors.trust import PublisherUnfit
from aperio_cli.errors.usage import UsageError
from aperio_cli.models.publisher import (
    BUILD_CONFIG_URI,
    OWNER_ID,
    REPOSITORY_ID,
    REPOSITORY_REF,
    REPOSITORY_URI,
    RUNNER,
    CiIdentity,
    Signer,
)
from aperio_cli.trust.proposing import Proposal, propose_rule
from tests.builders import signer
from tests.rows import each_row

GITHUB = CiIdentity(
    "github", "https://github.com/acme/box", "123456", "789", ".github/workflows/release.yml",
    "refs/tags/v{version}", "github-hosted",
)  # fmt: skip
GITLAB = CiIdentity(
    "gitlab", "https://gitlab.com/acme/tools/box", "12", "34", ".gitlab-ci.yml",
    "refs/tags/{version}", "gitlab-hosted",
)  # fmt: skip
CLAIMS = (BUILD_CONFIG_URI, OWNER_ID, REPOSITORY_ID, REPOSITORY_REF, REPOSITORY_URI, RUNNER)


def build(ci: CiIdentity, version: str = "1.2.3", **claims: str) -> Signer:
    """Whom the certificate of such a build names; with claims changed, or left out when empty."""
    stated = ci.expected(version)
    subject = claims.pop("identity", stated.pop("identity"))
    stated |= claims
    kept = tuple((name, value) for name, value in stated.items() if value)
    return signer(domain="public", identity=subject, issuer="https://ci.example", claims=kept)


def test_person_becomes_a_rule_for_that_identity() -> None:
    someone = signer(domain="public", identity="ada@acme.example", issuer="https://acme.example")
    rule = propose_rule(someone, "1.2.3", Proposal("acme", "box", "verified", "config.toml"))
    assert rule.to_json() == {
        "namespace": "acme", "domain": "public", "identity": "ada@acme.example",
        "issuer": "https://acme.example", "plugin": "box", "tier": "verified",
    }  # fmt: skip
    assert rule.stated_in == "config.toml"


@pytest.mark.parametrize("identity", [GITHUB, GITLAB], ids=["github", "gitlab"])
def test_build_becomes_a_rule_for_every_version_of_it(identity: CiIdentity) -> None:
    rule = propose_rule(build(identity), "1.2.3", Proposal("acme"))
    assert rule.ci == identity
    assert rule.admits(build(identity, "2.0.0-rc.1"), "2.0.0-rc.1")
    assert not rule.admits(build(identity, "1.2.3"), "2.0.0")


def test_reusable_workflow_becomes_its_identity_and_the_callers_build() -> None:
    shared = "https://github.com/acme/ci/.github/workflows/sign.yml@refs/tags/v2"
    rule = propose_rule(build(GITHUB, identity=shared), "1.2.3", Proposal("acme"))
    assert rule.ci == replace(GITHUB, signer_workflow=shared)
    assert not rule.admits(build(GITHUB), "1.2.3")


@each_row("claim", [OWNER_ID, REPOSITORY_ID, REPOSITORY_URI, RUNNER])
def test_rule_admits_no_build_with_another_claim(claim: str) -> None:
    rule = propose_rule(build(GITHUB), "1.2.3", Proposal("acme"))
    assert not rule.admits(build(GITHUB, **{claim: "another"}), "1.2.3")


@each_row("claim", [OWNER_ID, REPOSITORY_ID, REPOSITORY_REF, REPOSITORY_URI, RUNNER])
def test_build_without_a_claim_is_refused(claim: str) -> None:
    with pytest.raises(PublisherUnfit) as caught:
        propose_rule(build(GITHUB, **{claim: ""}), "1.2.3", Proposal("acme"))
    assert f"does not say {claim}" in caught.value.why


@each_row(
    ("ref", "version"),
    [
        ("refs/heads/main", "1.2.3"),
        ("refs/tags/latest", ""),
        ("refs/heads/main", ""),
        ("refs/tags/v1.2.4", "1.2.3"),
        ("refs/tags/v11.2.3", "1.2.3"),
        ("refs/tags/v1.2.34", "1.2.3"),
        ("refs/tags/v1.2.3.4", "1.2.3"),
        ("refs/tags/v0.1.2.3", "1.2.3"),
        ("refs/tags/1.2.3-and-1.2.3", "1.2.3"),
        ("refs/tags/v1x2x3", "1.2.3"),
    ],
)
def test_build_whose_ref_does_not_say_the_version_is_refused(ref: str, version: str) -> None:
    """A rule for that ref would take every build of it for every version."""
    identity = replace(GITHUB, ref=ref)
    with pytest.raises(PublisherUnfit) as caught:
        propose_rule(build(identity), version, Proposal("acme"))
    assert ref in caught.value.why
    assert "any version for every version" in caught.value.why


@each_row(
    ("ref", "template"),
    [
        ("refs/tags/v1.2.3", "refs/tags/v{version}"),
        ("refs/tags/box/1.2.3-rc.1", "refs/tags/box/{version}"),
        ("refs/tags/box-v1.2.3", "refs/tags/box-v{version}"),
    ],
)
def test_version_is_taken_from_the_ref_when_there_is_only_a_bundle(ref: str, template: str) -> None:
    rule = propose_rule(build(replace(GITHUB, ref=ref)), "", Proposal("acme"))
    assert rule.ci
    assert rule.ci.ref == template


@pytest.mark.parametrize(
    "claims",
    [
        {RUNNER: "somewhere"},
        {OWNER_ID: "acme"},
        {REPOSITORY_ID: "0"},
        {REPOSITORY_URI: "https://github.com/acme/other"},
        {REPOSITORY_URI: "http://github.com/acme/box"},
        {BUILD_CONFIG_URI: "https://github.com/acme/box/release.yml@refs/heads/main"},
        {BUILD_CONFIG_URI: "https://github.com/acme/box/../x/release.yml@refs/tags/v1.2.3"},
        {BUILD_CONFIG_URI: "https://github.com/acme/box/release.yml"},
        {BUILD_CONFIG_URI: "release.yml"},
        {"identity": "https://github.com/acme/ci/sign.yml"},
    ],
)
def test_build_that_no_rule_could_mean_is_refused(claims: dict[str, str]) -> None:
    with pytest.raises(PublisherUnfit):
        propose_rule(build(GITHUB, **claims), "1.2.3", Proposal("acme"))


@each_row(
    "proposal",
    [
        Proposal("Acme"),
        Proposal(""),
        Proposal("acme", plugin="a/b"),
        Proposal("*", plugin="box"),
        Proposal("*", tier="verified"),
        Proposal("acme", tier="trusted"),
    ],
)
def test_proposal_that_the_configuration_would_not_take_is_refused(proposal: Proposal) -> None:
    with pytest.raises(UsageError, match="not accepted"):
        propose_rule(build(GITHUB), "1.2.3", proposal)


def test_local_signer_cannot_be_verified() -> None:
    with pytest.raises(UsageError, match="`--tier` was not accepted"):
        propose_rule(signer(), "1.2.3", Proposal("acme", tier="verified"))
