"""`aperio plugin sign` on an instance, `plugin verify` and `install` by an operator's rules."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli import clock
from tests.builders import write_artifact
from tests.sigstack import instances
from tests.sigstack.aperio import (
    BUILD_RULE,
    PERSON_RULE,
    PIPELINE_RULE,
    Done,
    Operator,
    attestations_of,
    bundle_of,
    release,
    sign,
)
from tests.sigstack.clients import sigstore
from tests.sigstack.identities import (
    ALICE,
    BUILDS,
    COMMIT,
    PEOPLE,
    PIPELINE,
    REPOSITORY,
    WORKFLOW,
    build,
    person,
    pipeline,
)
from tests.trust import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.sigstack.aperio import Rule
    from tests.sigstack.identities import Claims
    from tests.sigstack.instances import Instance

VERIFIED = {"require": "verified"}


@pytest.fixture(scope="session", name="released")
def _released(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the build released; a test works on a copy."""
    return release(instance, tmp_path_factory.mktemp("released"), build())


@pytest.fixture(name="artifact")
def _artifact(released: Path, tmp_path: Path) -> Path:
    """A copy of the release: artifact, bundle and attestations."""
    shutil.copytree(released.parent, tmp_path / "dist")
    return tmp_path / "dist" / released.name


@pytest.fixture(name="operator")
def _operator(instance: Instance, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Operator:
    """An operator who trusts the instance and takes verified publishers only: the build."""
    operator = Operator(tmp_path / "operator", capsys)
    return operator.states(instance.trust_config, BUILD_RULE, policy=VERIFIED)


def check_refused(done: Done, code: str) -> None:
    """The command refused for this cause and wrote nothing about the artifact."""
    assert (done.status, done.error["code"]) == (3, code), done.document
    assert not done.data


# ── accepted ──────────────────────────────────────────────────────────────────────────────────────

RELEASES = [
    pytest.param(person(), PERSON_RULE, ALICE, id="person"),
    pytest.param(build(), BUILD_RULE, WORKFLOW, id="github build"),
    pytest.param(pipeline(), PIPELINE_RULE, PIPELINE, id="gitlab pipeline"),
]


@pytest.mark.parametrize(("claims", "rule", "identity"), RELEASES)
def test_release_is_admitted_by_the_rule_for_its_publisher(
    claims: Claims,
    rule: Rule,
    identity: str,
    instance: Instance,
    operator: Operator,
    tmp_path: Path,
) -> None:
    artifact = release(instance, tmp_path, claims)
    done = operator.states(instance.trust_config, rule).verifies(artifact)
    assert done.status == 0, done.document
    assert done.data["signer"]["identity"] == identity
    assert done.data["rule"]["namespace"] == "acme"


def test_release_carries_provenance_that_policy_can_demand(
    artifact: Path, operator: Operator, instance: Instance
) -> None:
    demands = {"source_repository": REPOSITORY}
    operator.states(instance.trust_config, BUILD_RULE | demands, policy=VERIFIED)
    done = operator.verifies(artifact)
    assert done.status == 0, done.document
    (attestation,) = done.data["proof"]["attestations"]
    assert attestation["provenance"]["source_sha"] == COMMIT
    assert attestation["signer"]["identity"] == WORKFLOW


def test_release_is_installed_as_verified(artifact: Path, operator: Operator) -> None:
    done = operator.run("plugin", "install", str(artifact), "--yes")
    assert done.status == 0, done.document
    (entry,) = operator.run("plugin", "list").data["plugins"]
    assert (entry["id"], entry["badge"]) == ("acme/box-connector", "verified")


def test_release_verifies_with_the_client_that_everybody_has(
    artifact: Path, instance: Instance, client: dict[str, str]
) -> None:
    expected = ("--cert-identity", WORKFLOW, "--cert-oidc-issuer", BUILDS)
    arguments = ("verify", "identity", "--bundle", str(bundle_of(artifact)), *expected)
    assert sigstore(instance, client, *arguments, str(artifact)).returncode == 0
    artifact.write_bytes(artifact.read_bytes() + b"\0")
    assert sigstore(instance, client, *arguments, str(artifact)).returncode != 0


# ── refused: who signed ───────────────────────────────────────────────────────────────────────────

HOSTILE_BUILDS = {
    "repository registered again": build(repository_id="999000111"),
    "owner registered again": build(repository_owner_id="999000222"),
    "another repository": build(repository="mallory/box-connector"),
    "another workflow": build(
        workflow_ref="acme/box-connector/.github/workflows/test.yml@refs/tags/v1.2.3"
    ),
    "another signing workflow": build(
        job_workflow_ref="mallory/ci/.github/workflows/sign.yml@refs/tags/v2"
    ),
    "another version's tag": build("1.2.4"),
    "a branch": build(ref="refs/heads/v1.2.3"),
    "a runner of their own": build(runner_environment="self-hosted"),
    "a person of the same instance": person("mallory@example.com"),
    "a pipeline of the same name": pipeline(),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", HOSTILE_BUILDS)
def test_release_refuses_when_its_signer_differs_in_one_thing(
    case: str, instance: Instance, operator: Operator, tmp_path: Path
) -> None:
    artifact = release(instance, tmp_path, HOSTILE_BUILDS[case])
    check_refused(operator.verifies(artifact), "signature-identity-mismatch")


RULES: dict[str, tuple[Rule, str]] = {
    "issuer": (BUILD_RULE | {"issuer": PEOPLE}, "signature-identity-mismatch"),
    "person": (PERSON_RULE, "signature-identity-mismatch"),
    "namespace": (BUILD_RULE | {"namespace": "globex"}, "publisher-unknown"),
    "tier": (BUILD_RULE | {"tier": "community"}, "publisher-unverified"),
    "builder": (BUILD_RULE | {"builder": "https://example.com/builder"}, "provenance-mismatch"),
}


@pytest.mark.parametrize("case", RULES)
def test_release_refuses_when_the_rule_is_for_another(
    case: str, artifact: Path, instance: Instance, operator: Operator
) -> None:
    rule, code = RULES[case]
    operator.states(instance.trust_config, rule, policy=VERIFIED)
    check_refused(operator.verifies(artifact), code)


# ── refused: what was signed, and where ───────────────────────────────────────────────────────────


def _appended(artifact: Path) -> None:
    artifact.write_bytes(artifact.read_bytes() + b"\0")


def _without_log_entry(artifact: Path) -> None:
    bundle = json.loads(bundle_of(artifact).read_bytes())
    bundle["verificationMaterial"]["tlogEntries"] = []
    bundle_of(artifact).write_text(json.dumps(bundle), encoding="utf-8")


HOSTILE_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "tampered artifact": (_appended, "signature-digest-mismatch"),
    "no bundle": (lambda artifact: bundle_of(artifact).unlink(), "signature-missing"),
    "empty bundle": (lambda artifact: bundle_of(artifact).write_bytes(b"{}"), "bundle-malformed"),
    "no log entry": (_without_log_entry, "bundle-malformed"),
    "empty attestations": (
        lambda artifact: attestations_of(artifact).write_bytes(b"\n"),
        "attestation-malformed",
    ),
}


@pytest.mark.parametrize("case", HOSTILE_FILES)
def test_release_refuses_when_a_file_of_it_was_changed(
    case: str, artifact: Path, operator: Operator
) -> None:
    change, code = HOSTILE_FILES[case]
    change(artifact)
    check_refused(operator.verifies(artifact), code)


def test_release_refuses_without_the_provenance_that_policy_demands(
    artifact: Path, operator: Operator, instance: Instance
) -> None:
    policy = VERIFIED | {"require_provenance": True}
    operator.states(instance.trust_config, BUILD_RULE, policy=policy)
    attestations_of(artifact).unlink()
    check_refused(operator.verifies(artifact), "provenance-missing")


def test_release_refuses_when_the_instance_is_not_configured(
    artifact: Path, operator: Operator
) -> None:
    (operator.home / "config.toml").write_text("", encoding="utf-8")
    check_refused(operator.verifies(artifact), "trust-domain-unknown")


def test_release_refuses_when_its_authority_ended_before(
    artifact: Path, operator: Operator, instance: Instance, tmp_path: Path
) -> None:
    root: dict[str, Any] = instances.trusted_root(instance)
    ended = clock.format_timestamp(clock.now() - timedelta(minutes=30))
    root["certificateAuthorities"][0]["validFor"]["end"] = ended
    changed = tmp_path / "trusted_root.json"
    changed.write_text(json.dumps(root), encoding="utf-8")
    operator.states(changed, BUILD_RULE, policy=VERIFIED)
    check_refused(operator.verifies(artifact), "signature-invalid")


def test_refused_release_leaves_nothing_behind(artifact: Path, operator: Operator) -> None:
    before = snapshot(operator.home)
    _appended(artifact)
    check_refused(operator.run("plugin", "install", str(artifact)), "signature-digest-mismatch")
    assert snapshot(operator.home) == before


# ── signing that fails ────────────────────────────────────────────────────────────────────────────

UNFIT_TOKENS: dict[str, tuple[Callable[[Instance], str], str]] = {
    "of an unverified e-mail": (
        lambda on: on.token(person() | {"email_verified": False}),
        "signing-failed",
    ),
    "expired": (
        lambda on: on.token(person() | {"exp": clock.now() - timedelta(minutes=1)}),
        "identity-token-invalid",
    ),
    "for another audience": (
        lambda on: on.token(person() | {"aud": "npm"}),
        "identity-token-invalid",
    ),
}


@pytest.mark.parametrize("case", UNFIT_TOKENS)
def test_nothing_is_signed_with_a_token_that_is(
    case: str, instance: Instance, tmp_path: Path
) -> None:
    make, code = UNFIT_TOKENS[case]
    token = make(instance)
    artifact = write_artifact(tmp_path / "dist")
    done = sign(instance, artifact, token, tmp_path)
    assert (done.status, done.error["code"]) == (1, code)
    assert token not in json.dumps(done.document)
    assert [path.name for path in artifact.parent.iterdir()] == [artifact.name]


NOBODY = "http://127.0.0.1:9"
# sigstore-python raises for the first two; for a timestamp it logs why and goes on without one.
SILENT_SERVICES = {
    "caUrls": (4, "network-unavailable"),
    "rekorTlogUrls": (4, "network-unavailable"),
    "tsaUrls": (1, "signing-failed"),
}


@pytest.mark.parametrize("service", SILENT_SERVICES)
def test_nothing_is_written_when_a_service_does_not_answer(
    service: str, instance: Instance, tmp_path: Path
) -> None:
    document = json.loads(instance.trust_config.read_bytes())
    document["signingConfig"][service][0]["url"] = NOBODY
    changed = tmp_path / "trust_config.json"
    changed.write_text(json.dumps(document), encoding="utf-8")
    artifact, token = write_artifact(tmp_path / "dist"), instance.token(person())
    done = sign(instance, artifact, token, tmp_path, trust_config=changed)
    assert (done.status, done.error["code"]) == SILENT_SERVICES[service]
    assert token not in json.dumps(done.document)
    assert [path.name for path in artifact.parent.iterdir()] == [artifact.name]
