"""cosign, which shares no code with us: it verifies our bundles, and we verify its own."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.models.digest import Digest
from aperio_cli.models.proof import PROVENANCE_TYPE, RELEASE_TYPES
from aperio_cli.proving.signature import verify_signature
from tests.sigstack import instances, layout, tools
from tests.sigstack.aperio import attestations_of, bundle_of, release
from tests.sigstack.clients import (
    Signed,
    attestation_refusal,
    attested,
    proof_of,
    provenance,
    refusal,
    sign,
)
from tests.sigstack.conftest import REAL
from tests.sigstack.identities import ALICE, BUILDS, PEOPLE, WORKFLOW, build, person
from tests.trust import new_domain, root_of

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.sigstack.identities import Claims
    from tests.sigstack.instances import Instance
    from tests.sigstack.stack import Stack

pytestmark = list(REAL)

CONTENTS = b"the artifact"
IDENTITIES = [
    pytest.param(person(), ALICE, PEOPLE, id="person"),
    pytest.param(build(), WORKFLOW, BUILDS, id="build"),
]


@pytest.fixture(scope="session", name="cosign")
def _cosign() -> str:
    """The program; skips where it cannot be built."""
    try:
        return str(tools.program(tools.COSIGN))
    except tools.NotBuilt as error:
        pytest.skip(str(error))


# ── cosign verifies ours ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Verifying:
    """cosign's verifying commands, for what `aperio plugin sign` wrote on an instance.

    Attributes:
        instance, cosign, folder: where it was signed, the program, and a folder for its files.
    """

    instance: Instance
    cosign: str
    folder: Path

    def __call__(
        self,
        artifact: Path,
        bundle: Path | None = None,
        *,
        identity: str = WORKFLOW,
        issuer: str = BUILDS,
        root: dict[str, Any] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Verify an artifact with its signature, or with another bundle: that of a statement."""
        trusted = self.folder / "trusted_root.json"
        document = instances.trusted_root(self.instance) if root is None else root
        trusted.write_text(json.dumps(document), encoding="utf-8")
        statement = ("verify-blob-attestation", f"--type={PROVENANCE_TYPE}")
        argv = [
            *(self.cosign, *(statement if bundle else ("verify-blob",))),
            *(f"--bundle={bundle or bundle_of(artifact)}", f"--trusted-root={trusted}"),
            *(f"--certificate-identity={identity}", f"--certificate-oidc-issuer={issuer}"),
            *("--use-signed-timestamps", str(artifact)),
        ]
        return self.instance.run(argv, instances.environment(self.folder))


@pytest.fixture(scope="session", name="released")
def _released(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the build released; a test works on a copy."""
    return release(instance, tmp_path_factory.mktemp("released"), build())


@pytest.fixture(name="ours")
def _ours(released: Path, tmp_path: Path) -> Path:
    """A copy of the release: artifact, bundle and attestations."""
    shutil.copytree(released.parent, tmp_path / "dist")
    return tmp_path / "dist" / released.name


@pytest.fixture(name="verifying")
def _verifying(instance: Instance, cosign: str, tmp_path: Path) -> Verifying:
    return Verifying(instance, cosign, tmp_path)


@pytest.mark.parametrize(("claims", "identity", "issuer"), IDENTITIES)
def test_cosign_verifies_what_we_signed(
    claims: Claims, identity: str, issuer: str, verifying: Verifying, tmp_path: Path
) -> None:
    artifact = release(verifying.instance, tmp_path, claims)
    done = verifying(artifact, identity=identity, issuer=issuer)
    assert (done.returncode, done.stderr.strip()) == (0, "Verified OK")


def test_cosign_refuses_what_we_signed_when_it_was_tampered_with(
    ours: Path, verifying: Verifying
) -> None:
    ours.write_bytes(ours.read_bytes() + b"\0")
    assert verifying(ours).returncode != 0


def test_cosign_refuses_what_we_signed_for_another_identity_or_issuer(
    ours: Path, verifying: Verifying
) -> None:
    assert verifying(ours, identity=WORKFLOW.replace("acme", "mallory")).returncode != 0
    assert verifying(ours, issuer=PEOPLE).returncode != 0


def test_cosign_refuses_what_we_signed_when_only_another_instance_is_trusted(
    ours: Path, verifying: Verifying, tmp_path: Path
) -> None:
    foreign = json.loads(root_of(new_domain(tmp_path / "foreign")).document)
    assert verifying(ours, root=foreign).returncode != 0


@pytest.fixture(name="statement")
def _statement(ours: Path) -> Path:
    """The bundle of our provenance, as a file of its own."""
    line, *_ = attestations_of(ours).read_bytes().splitlines()
    path = ours.with_name("statement.json")
    path.write_bytes(line)
    return path


def test_cosign_verifies_our_provenance(ours: Path, statement: Path, verifying: Verifying) -> None:
    done = verifying(ours, statement)
    assert (done.returncode, done.stderr.strip()) == (0, "Verified OK")


def test_cosign_refuses_our_provenance_for_another_file(
    ours: Path, statement: Path, verifying: Verifying
) -> None:
    ours.write_bytes(ours.read_bytes() + b"\0")
    assert verifying(ours, statement).returncode != 0


# ── we verify cosign's ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Signing:
    """cosign's signing commands, run where the real services are reachable.

    Attributes:
        stack, cosign, folder: the services, the program, and a folder for its files, in which
            `artifact` is what gets signed.
    """

    stack: Stack
    cosign: str
    folder: Path

    def __call__(self, command: str, claims: Claims, *arguments: str) -> Signed:
        """Sign the artifact; a failure is the test's."""
        bundle, token = self.folder / "cosign.json", self.folder / "token"
        token.write_text(self.stack.token(claims), encoding="ascii")
        argv = [
            *(self.cosign, command, "--yes", f"--bundle={bundle}"),
            f"--signing-config={self.stack.folder / layout.SIGNING_CONFIG}",
            f"--trusted-root={self.stack.folder / layout.TRUSTED_ROOT}",
            f"--identity-token={token}",
            *(*arguments, str(self.folder / "artifact")),
        ]
        done = self.stack.run(argv, instances.environment(self.folder))
        assert done.returncode == 0, done.stderr
        return Signed(Digest.of(CONTENTS), json.loads(bundle.read_bytes()))


@pytest.fixture(name="signing")
def _signing(real_stack: Stack, cosign: str, tmp_path: Path) -> Signing:
    (tmp_path / "artifact").write_bytes(CONTENTS)
    return Signing(real_stack, cosign, tmp_path)


@pytest.mark.parametrize(("claims", "identity", "issuer"), IDENTITIES)
def test_bundle_that_cosign_made_verifies_here(
    claims: Claims, identity: str, issuer: str, real_stack: Stack, signing: Signing
) -> None:
    proof = proof_of(real_stack, signing("sign-blob", claims))
    assert (proof.signer.identity, proof.signer.issuer) == (identity, issuer)


def test_bundle_that_cosign_made_refuses_for_another_file(
    real_stack: Stack, signing: Signing
) -> None:
    signed, root = signing("sign-blob", person()), instances.root_of(real_stack)
    refused = refusal(Digest.of(b"the artifacT"), signed.bundle, root)
    assert refused.code == "signature-digest-mismatch"


@pytest.mark.parametrize("part", ["tlogEntries", "timestampVerificationData"])
def test_bundle_that_cosign_made_refuses_with_another_ones_proof(
    part: str, real_stack: Stack, signing: Signing
) -> None:
    signed, other = signing("sign-blob", person()), signing("sign-blob", person())
    bundle = signed.twin()
    bundle["verificationMaterial"][part] = other.bundle["verificationMaterial"][part]
    refused = refusal(signed.digest, bundle, instances.root_of(real_stack))
    assert refused.code == "signature-invalid"


def test_bundle_verifies_with_the_trusted_root_that_cosign_writes(
    real_stack: Stack, cosign: str, tmp_path: Path
) -> None:
    written, start = tmp_path / "root.json", "start-time=2026-01-01T00:00:00Z"
    pem = {path.stem: path for path in real_stack.folder.glob("*.pem")}
    certificate_log = f"public-key={pem['certificate_log_public']},{start}"
    log = f"public-key={pem['log_public']},{start},origin={layout.ORIGIN}"
    argv = [
        *(cosign, "trusted-root", "create", f"--out={written}"),
        f"--fulcio=url={layout.FULCIO},certificate-chain={pem['certificates_chain']}",
        f"--ctfe=url={layout.CERTIFICATE_LOG},{certificate_log}",
        f"--rekor=url=https://{layout.ORIGIN},{log}",
        f"--tsa=url={layout.TIMESTAMPS},certificate-chain={pem['timestamps_chain']}",
    ]
    done = real_stack.run(argv, instances.environment(tmp_path))
    assert done.returncode == 0, done.stderr
    signed = sign(real_stack, tmp_path, CONTENTS, real_stack.token(person()))
    root = instances.root_from(json.loads(written.read_bytes()))
    proof = verify_signature(signed.digest, json.dumps(signed.bundle).encode(), [root])
    assert proof.signer.identity == ALICE


def statement(*files: bytes, predicate_type: str = PROVENANCE_TYPE) -> dict[str, Any]:
    """An in-toto statement about files of these contents, with the build's provenance."""
    subjects = [{"name": "artifact", "digest": {"sha256": Digest.of(file).hex}} for file in files]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": predicate_type,
        "predicate": provenance() if predicate_type == PROVENANCE_TYPE else {},
    }


def attest_blob(signing: Signing, stated: dict[str, Any]) -> Signed:
    """A statement that cosign signed as the build."""
    path = signing.folder / "statement.json"
    path.write_text(json.dumps(stated), encoding="utf-8")
    return signing("attest-blob", build(), f"--statement={path}")


def test_provenance_that_cosign_signed_verifies_here(real_stack: Stack, signing: Signing) -> None:
    signed = attest_blob(signing, statement(CONTENTS))
    found = attested(signed.digest, signed.bundle, instances.root_of(real_stack))
    assert found.signer.identity == WORKFLOW
    assert found.provenance is not None
    assert found.provenance.builder == WORKFLOW


def test_provenance_that_cosign_signed_refuses_for_another_file(
    real_stack: Stack, signing: Signing
) -> None:
    signed, root = attest_blob(signing, statement(b"another")), instances.root_of(real_stack)
    refused = attestation_refusal(Digest.of(CONTENTS), signed.bundle, root)
    assert refused.code == "signature-digest-mismatch"


def test_statement_that_cosign_makes_of_a_predicate_verifies_here(
    real_stack: Stack, signing: Signing
) -> None:
    predicate = signing.folder / "predicate.json"
    predicate.write_text(json.dumps(provenance()), encoding="utf-8")
    arguments = (f"--predicate={predicate}", f"--type={PROVENANCE_TYPE}")
    signed, root = signing("attest-blob", build(), *arguments), instances.root_of(real_stack)
    found = attested(signed.digest, signed.bundle, root)
    assert found.provenance is not None
    assert found.provenance.builder == WORKFLOW


def test_one_signature_over_all_files_of_a_release_verifies_for_each(
    real_stack: Stack, signing: Signing
) -> None:
    stated = statement(CONTENTS, b"for another platform", predicate_type=RELEASE_TYPES[0])
    bundle = json.dumps(attest_blob(signing, stated).bundle).encode()
    root = instances.root_of(real_stack)
    for contents in (CONTENTS, b"for another platform"):
        proof = verify_signature(Digest.of(contents), bundle, [root])
        assert proof.signer.identity == WORKFLOW
    refused = refusal(Digest.of(b"the artifacT"), json.loads(bundle), root)
    assert refused.code == "signature-digest-mismatch"
