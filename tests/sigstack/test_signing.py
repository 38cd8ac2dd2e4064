"""What is signed on an instance verifies here, and what deviates from it in one thing is refused.

The signatures are made by sigstore-python's own command, so that the services and this verifier
meet a client that knows neither. Every test runs on the embedded instance, and in `make test-all`
on the real services too.
"""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from aperio_cli import clock
from aperio_cli.models.digest import Digest
from aperio_cli.proving.signature import verify_signature
from tests.sigstack import instances
from tests.sigstack.clients import Document, Signed, proof_of, refusal, sign, sigstore
from tests.sigstack.identities import (
    ALICE,
    BUILDS,
    COMMIT,
    PEOPLE,
    REPOSITORY,
    WORKFLOW,
    TokenIssuer,
    build,
    person,
    pipeline,
)
from tests.trust import new_domain, root_of, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.sigstack.identities import Claims
    from tests.sigstack.instances import Instance


# ── signing, with the client that everybody has ───────────────────────────────────────────────────


@pytest.fixture(scope="session", name="signed")
def _signed(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """A file that Alice signed."""
    folder = tmp_path_factory.mktemp("signed")
    return sign(instance, folder, b"the artifact", instance.token(person()))


@pytest.fixture(scope="session", name="other")
def _other(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """Another file that Alice signed on the same instance: all of it is genuine."""
    folder = tmp_path_factory.mktemp("other")
    return sign(instance, folder, b"another artifact", instance.token(person()))


@pytest.fixture(scope="session", name="foreign")
def _foreign(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """The trusted root of a domain that signed nothing."""
    domain = new_domain(tmp_path_factory.mktemp("foreign"))
    root: Document = json.loads(root_of(domain).document)
    return root


# ── what a certificate says ───────────────────────────────────────────────────────────────────────


def test_signer_is_the_person_whom_the_issuer_vouched_for(
    instance: Instance, signed: Signed
) -> None:
    proof = proof_of(instance, signed)
    assert (proof.signer.identity, proof.signer.issuer) == (ALICE, PEOPLE)
    assert (proof.signer.domain, proof.signer.claims) == (instances.DOMAIN, ())


def test_signing_time_is_the_moment_of_signing(instance: Instance, tmp_path: Path) -> None:
    before = clock.timestamp()
    signed = sign(instance, tmp_path, b"the artifact", instance.token(person()))
    proof = proof_of(instance, signed)
    assert before <= proof.signer.signed_at <= clock.timestamp()


def test_signer_of_a_build_has_the_claims_of_its_token(instance: Instance, tmp_path: Path) -> None:
    signed = sign(instance, tmp_path, b"the artifact", instance.token(build()))
    signer = proof_of(instance, signed).signer
    assert (signer.identity, signer.issuer) == (WORKFLOW, BUILDS)
    assert dict(signer.claims) == {
        "build_signer_uri": WORKFLOW,
        "build_signer_digest": COMMIT,
        "runner_environment": "github-hosted",
        "source_repository_uri": REPOSITORY,
        "source_repository_digest": COMMIT,
        "source_repository_ref": "refs/tags/v1.2.3",
        "source_repository_identifier": "514202610",
        "source_repository_owner_uri": "https://github.com/acme",
        "source_repository_owner_identifier": "70114201",
        "build_config_uri": WORKFLOW,
        "build_config_digest": COMMIT,
        "build_trigger": "push",
        "run_invocation_uri": f"{REPOSITORY}/actions/runs/9034112775/attempts/1",
        "source_repository_visibility": "public",
    }


def test_signer_of_a_reusable_workflow_is_that_workflow(instance: Instance, tmp_path: Path) -> None:
    shared = "acme/ci/.github/workflows/sign.yml@refs/tags/v2"
    token = instance.token(build(job_workflow_ref=shared))
    signed = sign(instance, tmp_path, b"the artifact", token)
    signer = proof_of(instance, signed).signer
    assert signer.identity == f"https://github.com/{shared}"
    assert signer.claim("build_config_uri") == WORKFLOW


def test_log_entry_is_in_the_log_that_the_root_names(instance: Instance, other: Signed) -> None:
    proof = proof_of(instance, other)
    assert proof.log_entry is not None
    assert proof.log_entry.log == instances.trusted_root(instance)["tlogs"][0]["baseUrl"]
    assert proof.log_entry.index < proof.log_entry.tree_size


# ── what the services certify ─────────────────────────────────────────────────────────────────────


def _claims(**changes: object) -> Claims:
    return person() | changes


HOSTILE_TOKENS: dict[str, Callable[[Instance], str]] = {
    "expired": lambda on: on.token(_claims(exp=clock.now() - timedelta(minutes=1))),
    "for another audience": lambda on: on.token(_claims(aud="npm")),
    "of an e-mail that is not verified": lambda on: on.token(_claims(email_verified=False)),
    "of an unknown issuer": lambda on: on.token(_claims(iss="https://accounts.example.com")),
    "signed with another key": lambda _: TokenIssuer().token(person()),
    "of a build without its repository's number": lambda on: on.token(
        {name: value for name, value in build().items() if name != "repository_id"}
    ),
}


@pytest.mark.parametrize("case", HOSTILE_TOKENS)
def test_nothing_is_signed_when_the_token_is_wrong(
    case: str, instance: Instance, tmp_path: Path, client: dict[str, str]
) -> None:
    artifact = tmp_path / "artifact"
    artifact.write_bytes(b"the artifact")
    before = snapshot(tmp_path)
    token = HOSTILE_TOKENS[case](instance)
    done = sigstore(instance, client, "sign", "--identity-token", token, str(artifact))
    assert done.returncode != 0
    assert not list(tmp_path.glob("artifact.sigstore*"))
    assert {path: state for path, state in snapshot(tmp_path).items() if path in before} == before


# ── refused: another file ─────────────────────────────────────────────────────────────────────────


def test_tampered_file_refuses_with_the_digest_that_was_signed(
    instance: Instance, signed: Signed
) -> None:
    root, tampered = instances.root_of(instance), Digest.of(b"the artifacT")
    refused = refusal(tampered, signed.bundle, root)
    assert refused.code == "signature-digest-mismatch"
    assert signed.digest.hex in refused.why


def test_tampered_file_refuses_when_the_bundle_claims_its_digest(
    instance: Instance, signed: Signed
) -> None:
    tampered, bundle = Digest.of(b"the artifacT"), signed.twin()
    claimed = base64.b64encode(tampered.raw).decode()
    bundle["messageSignature"]["messageDigest"]["digest"] = claimed
    refused = refusal(tampered, bundle, instances.root_of(instance))
    assert refused.code == "signature-invalid"


# ── refused: another root ─────────────────────────────────────────────────────────────────────────


def test_bundle_refuses_when_only_another_instance_is_trusted(
    signed: Signed, foreign: Document
) -> None:
    root = instances.root_from(foreign)
    assert refusal(signed.digest, signed.bundle, root).code == "trust-domain-unknown"


@pytest.mark.parametrize("part", ["ctlogs", "tlogs", "timestampAuthorities"])
def test_bundle_refuses_when_one_service_is_another_instances(
    part: str, instance: Instance, signed: Signed, foreign: Document
) -> None:
    root = instances.trusted_root(instance) | {part: foreign[part]}
    refused = refusal(signed.digest, signed.bundle, instances.root_from(root))
    assert refused.code == "signature-invalid"


PERIODS: dict[str, Callable[[Document], Document]] = {
    "certificateAuthorities": lambda entry: entry["validFor"],
    "timestampAuthorities": lambda entry: entry["validFor"],
    "ctlogs": lambda entry: entry["publicKey"]["validFor"],
    "tlogs": lambda entry: entry["publicKey"]["validFor"],
}


@pytest.mark.parametrize("part", PERIODS)
def test_bundle_refuses_when_a_service_ended_before_it_was_made(
    part: str, instance: Instance, signed: Signed
) -> None:
    root = instances.trusted_root(instance)
    ended = clock.format_timestamp(clock.now() - timedelta(minutes=30))
    PERIODS[part](root[part][0])["end"] = ended
    refused = refusal(signed.digest, signed.bundle, instances.root_from(root))
    assert refused.code == "signature-invalid"


@pytest.mark.parametrize("part", PERIODS)
def test_bundle_refuses_when_a_service_began_after_it_was_made(
    part: str, instance: Instance, signed: Signed
) -> None:
    root = instances.trusted_root(instance)
    begins = clock.format_timestamp(clock.now() + timedelta(minutes=30))
    PERIODS[part](root[part][0])["start"] = begins
    refused = refusal(signed.digest, signed.bundle, instances.root_from(root))
    assert refused.code == "signature-invalid"


def test_bundle_verifies_when_its_services_end_later(instance: Instance, signed: Signed) -> None:
    root = instances.trusted_root(instance)
    for part, period_of in PERIODS.items():
        period_of(root[part][0])["end"] = clock.format_timestamp(clock.now() + timedelta(hours=1))
    raw = json.dumps(signed.bundle).encode()
    proof = verify_signature(signed.digest, raw, [instances.root_from(root)])
    assert proof.signer.identity == ALICE


# ── refused: a bundle with a part missing, or with a genuine part of another bundle ───────────────


def test_bundle_refuses_without_a_log_entry(instance: Instance, signed: Signed) -> None:
    bundle = signed.twin()
    bundle["verificationMaterial"]["tlogEntries"] = []
    assert refusal(signed.digest, bundle, instances.root_of(instance)).code == "bundle-malformed"


MISSING: dict[str, Callable[[Document], Document]] = {
    "certificate": lambda bundle: bundle["verificationMaterial"],
    "timestampVerificationData": lambda bundle: bundle["verificationMaterial"],
    "inclusionProof": lambda bundle: bundle["verificationMaterial"]["tlogEntries"][0],
    "canonicalizedBody": lambda bundle: bundle["verificationMaterial"]["tlogEntries"][0],
    "signature": lambda bundle: bundle["messageSignature"],
}


@pytest.mark.parametrize("part", MISSING)
def test_bundle_refuses_without_a_part(part: str, instance: Instance, signed: Signed) -> None:
    bundle = signed.twin()
    del MISSING[part](bundle)[part]
    refused = refusal(signed.digest, bundle, instances.root_of(instance))
    assert refused.code in {"bundle-malformed", "signature-invalid"}


def _entry(bundle: Document) -> Document:
    entry: Document = bundle["verificationMaterial"]["tlogEntries"][0]
    return entry


SPLICED: dict[str, Callable[[Document], tuple[Document, str]]] = {
    "certificate": lambda bundle: (bundle["verificationMaterial"], "certificate"),
    "timestamp": lambda bundle: (bundle["verificationMaterial"], "timestampVerificationData"),
    "log entry": lambda bundle: (bundle["verificationMaterial"], "tlogEntries"),
    "logged body": lambda bundle: (_entry(bundle), "canonicalizedBody"),
    "inclusion proof": lambda bundle: (_entry(bundle), "inclusionProof"),
    "checkpoint": lambda bundle: (_entry(bundle)["inclusionProof"], "checkpoint"),
    "signature": lambda bundle: (bundle["messageSignature"], "signature"),
    "certificate and timestamp": lambda bundle: (bundle, "verificationMaterial"),
}


@pytest.mark.parametrize("part", SPLICED)
def test_bundle_refuses_with_a_genuine_part_of_another(
    part: str, instance: Instance, signed: Signed, other: Signed
) -> None:
    bundle = signed.twin()
    place, key = SPLICED[part](bundle)
    found, _ = SPLICED[part](other.twin())
    assert place[key] != found[key]
    place[key] = found[key]
    refused = refusal(signed.digest, bundle, instances.root_of(instance))
    assert refused.code == "signature-invalid"


# ── the embedded instance stands for the real one ─────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.go
@pytest.mark.sandbox
@pytest.mark.parametrize("claims", [person(), build(), pipeline()])
def test_embedded_certificate_says_what_fulcios_does(
    claims: Claims, real_stack: Instance, tmp_path: Path
) -> None:
    said = []
    with instances.embedded(tmp_path / "embedded") as embedded:
        for instance in (embedded, real_stack):
            signed = sign(instance, tmp_path, b"the artifact", instance.token(claims))
            signer = proof_of(instance, signed).signer
            said.append((signer.identity, signer.issuer, signer.claims))
    assert said[0] == said[1]
