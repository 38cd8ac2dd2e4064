"""Provenance that was signed on an instance is read here, and refused when it deviates."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from aperio_cli.models.digest import Digest
from aperio_cli.models.proof import PROVENANCE_TYPE
from tests.sigstack import instances
from tests.sigstack.clients import (
    Document,
    Signed,
    attest,
    attestation_refusal,
    attested,
    provenance,
)
from tests.sigstack.identities import BUILDS, COMMIT, REPOSITORY, WORKFLOW, build, person
from tests.trust import new_domain, root_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sigstack.instances import Instance

CONTENTS = b"the artifact"


@pytest.fixture(scope="session", name="statement")
def _statement(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """Provenance that the build signed."""
    folder = tmp_path_factory.mktemp("statement")
    return attest(instance, folder, CONTENTS, provenance(), instance.token(build()))


def payload_of(bundle: Document) -> Document:
    """The in-toto statement in a bundle."""
    statement: Document = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    return statement


def with_payload(signed: Signed, statement: Document) -> Document:
    """The bundle with another statement in its envelope."""
    bundle = signed.twin()
    raw = json.dumps(statement).encode()
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(raw).decode()
    return bundle


def test_provenance_says_what_was_signed_and_by_whom(instance: Instance, statement: Signed) -> None:
    found = attested(statement.digest, statement.bundle, instances.root_of(instance))
    assert (found.predicate_type, found.signer.identity) == (PROVENANCE_TYPE, WORKFLOW)
    assert found.signer.issuer == BUILDS
    assert found.provenance is not None
    assert found.provenance.builder == WORKFLOW
    assert found.provenance.source_repository == REPOSITORY
    assert found.provenance.source_digest == COMMIT


def test_provenance_refuses_for_another_file(instance: Instance, statement: Signed) -> None:
    tampered, root = Digest.of(b"the artifacT"), instances.root_of(instance)
    refused = attestation_refusal(tampered, statement.bundle, root)
    assert refused.code == "signature-digest-mismatch"


def test_provenance_refuses_when_its_statement_was_changed(
    instance: Instance, statement: Signed
) -> None:
    changed, tampered = payload_of(statement.bundle), Digest.of(b"the artifacT")
    changed["subject"][0]["digest"]["sha256"] = tampered.hex
    bundle = with_payload(statement, changed)
    refused = attestation_refusal(tampered, bundle, instances.root_of(instance))
    assert refused.code == "signature-invalid"


def test_provenance_refuses_when_its_signature_is_anothers(
    instance: Instance, statement: Signed, tmp_path: Path
) -> None:
    other = attest(instance, tmp_path, b"another", provenance(), instance.token(build()))
    bundle = statement.twin()
    bundle["dsseEnvelope"]["signatures"] = other.bundle["dsseEnvelope"]["signatures"]
    refused = attestation_refusal(statement.digest, bundle, instances.root_of(instance))
    assert refused.code == "signature-invalid"


def test_provenance_refuses_without_a_log_entry(instance: Instance, statement: Signed) -> None:
    bundle = statement.twin()
    bundle["verificationMaterial"]["tlogEntries"] = []
    refused = attestation_refusal(statement.digest, bundle, instances.root_of(instance))
    assert refused.code == "bundle-malformed"


def test_provenance_refuses_when_only_another_instance_is_trusted(
    statement: Signed, tmp_path: Path
) -> None:
    refused = attestation_refusal(statement.digest, statement.bundle, root_of(new_domain(tmp_path)))
    assert refused.code == "trust-domain-unknown"


def test_provenance_of_another_repository_refuses_though_it_is_signed(
    instance: Instance, tmp_path: Path
) -> None:
    workflow = {"repository": "https://github.com/mallory/box-connector"}
    claimed = provenance(externalParameters={"workflow": workflow}, resolvedDependencies=[])
    signed = attest(instance, tmp_path, CONTENTS, claimed, instance.token(build()))
    refused = attestation_refusal(signed.digest, signed.bundle, instances.root_of(instance))
    assert refused.code == "provenance-mismatch"


def test_provenance_of_a_person_is_only_their_word(instance: Instance, tmp_path: Path) -> None:
    signed = attest(instance, tmp_path, CONTENTS, provenance(), instance.token(person()))
    found = attested(signed.digest, signed.bundle, instances.root_of(instance))
    assert found.signer.claims == ()
