"""Stage 3, sign: Artifact → SignedArtifact, a Sigstore bundle and statements beside each.

Other files that somebody has to stand behind get a bundle alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aperio_cli.errors import Refusal
from aperio_cli.errors.trust import ArtifactChanged, SigningFailed
from aperio_cli.files import reading, writing
from aperio_cli.models.artifact import ATTESTATIONS_SUFFIX, BUNDLE_SUFFIX, SignedArtifact
from aperio_cli.proving.attestations import verify_attestations
from aperio_cli.proving.signature import verify_signature
from aperio_cli.proving.trusted_root import TrustedRootSource
from aperio_cli.signing import client, statements

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from aperio_cli.models.artifact import Artifact
    from aperio_cli.models.digest import Digest
    from aperio_cli.models.publisher import Signer
    from aperio_cli.signing.credential import Credential
    from aperio_cli.signing.domain import SigningDomain

__all__ = [
    "SignedFile",
    "Subject",
    "attestations_path",
    "bundle_path",
    "sign",
    "sign_file",
    "sign_files",
]

# The artifact, its provenance, its bill of materials.
_ENTRIES_PER_ARTIFACT = 3


@dataclass(frozen=True, slots=True)
class Subject:
    """A file to sign.

    Attributes:
        path: of the file.
        digest: what it has to be.
        sbom: its bill of materials, a CycloneDX document; None when it has none.
    """

    path: Path
    digest: Digest
    sbom: Mapping[str, Any] | None


def bundle_path(artifact: Path) -> Path:
    """Return where the bundle of an artifact file stands.

    Beside it, with `.sigstore.json` added.
    """
    return artifact.with_name(artifact.name + BUNDLE_SUFFIX)


def attestations_path(artifact: Path) -> Path:
    """Return where the statements about an artifact file stand.

    Beside it, with `.intoto.jsonl` added.
    """
    return artifact.with_name(artifact.name + ATTESTATIONS_SUFFIX)


def sign(
    artifacts: Sequence[Artifact],
    *,
    domain: SigningDomain,
    on_signed: Callable[[SignedArtifact], None] | None = None,
) -> list[SignedArtifact]:
    """Sign artifacts, and statements about them, and write both beside each.

    One certificate serves them all. Everything is verified before the first file is written; what
    was there is replaced, the bundle last.

    Args:
        artifacts: what to sign, in the order of the result.
        domain: who certifies the signature.
        on_signed: called after each bundle is on disk, to show progress.

    Raises:
        ArtifactChanged: when a file is not what its artifact says; nothing was signed.
        CredentialMissing, IdentityTokenInvalid, ConsentMissing: when nobody can be identified.
        NetworkUnavailable, SigningTimeout: when a service of the domain does not answer.
        SigningFailed: when one fails, or what was signed does not verify; nothing was written.
        TrustDomainBroken: when the domain's keys cannot be used.
        DiskFull: when there is no space for a file; those before it are there.
        OSError: when an artifact cannot be read, or its folder cannot be written.
    """
    subjects = []
    for artifact in artifacts:
        _check_unchanged(
            artifact.path, artifact.digest, step="build it again: `aperio plugin build`"
        )
        subjects.append(Subject(artifact.path, artifact.digest, statements.read_sbom(artifact)))
    signed = []
    for artifact, made in zip(artifacts, _make(subjects, domain), strict=True):
        bundle, attestations = _write(artifact.path, made)
        kinds = tuple(made.attestations)
        signed.append(SignedArtifact(artifact, bundle, attestations, kinds, made.signer))
        if on_signed:
            on_signed(signed[-1])
    return signed


def sign_files(subjects: Sequence[Subject], *, domain: SigningDomain) -> list[Signer]:
    """Sign files that are no artifacts, as `sign` does; return who signed each.

    This is how aperio's own releases are signed.

    Raises:
        AperioError: as `sign`, but for a file that changed: whoever calls has just hashed it.
        OSError: a bundle cannot be written.
    """
    made = _make(subjects, domain)
    for subject, one in zip(subjects, made, strict=True):
        _write(subject.path, one)
    return [one.signer for one in made]


def _make(subjects: Sequence[Subject], domain: SigningDomain) -> list[_Made]:
    """Return the signatures for each file, verified, under one certificate."""
    if not subjects:
        return []
    maker = _Maker(domain, domain.credential())

    def work(session: client.SigningSession) -> list[_Made]:
        return [maker.make(session, subject) for subject in subjects]

    entries = _ENTRIES_PER_ARTIFACT * len(subjects)
    return client.with_session(domain, maker.credential, work, entries=entries)


@dataclass(frozen=True, slots=True)
class SignedFile:
    """A file that is no artifact, with its bundle.

    Attributes:
        path: the file.
        digest: its digest.
        bundle_path: where its bundle stands.
        signer: who signed it.
    """

    path: Path
    digest: Digest
    bundle_path: Path
    signer: Signer


def sign_file(path: Path, digest: Digest, *, domain: SigningDomain) -> SignedFile:
    """Sign a file, and write its bundle beside it once that was verified.

    Args:
        path: the file.
        digest: of what was read of it.
        domain: who certifies the signature.

    Raises:
        AperioError: as `sign`; of one file, without statements.
    """
    _check_unchanged(path, digest, step="run the same command again")
    maker = _Maker(domain, domain.credential())

    def work(session: client.SigningSession) -> tuple[bytes, Signer]:
        bundle = session.sign_digest(digest)
        return bundle, maker.verified(Subject(path, digest, None), bundle)

    bundle, signer = client.with_session(domain, maker.credential, work, entries=1)
    writing.write_atomic(bundle_path(path), bundle)
    return SignedFile(path, digest, bundle_path(path), signer)


@dataclass(frozen=True, slots=True)
class _Made:
    """What was signed for one artifact, verified, not yet written.

    Attributes:
        bundle: the signature of the artifact.
        attestations: bundles around statements, by predicate type.
        signer: who signed all of them.
    """

    bundle: bytes
    attestations: Mapping[str, bytes]
    signer: Signer

    @property
    def lines(self) -> bytes:
        """The attestations as JSON Lines."""
        return b"".join(line + b"\n" for line in self.attestations.values())


@dataclass(frozen=True, slots=True)
class _Maker:
    """Signs one artifact after the other, and looks at what came of it."""

    domain: SigningDomain
    credential: Credential

    def make(self, session: client.SigningSession, subject: Subject) -> _Made:
        """Return the signatures for a file: the provenance says what its certificate says.

        Raises:
            SigningFailed: when one of them does not verify.
        """
        bundle = session.sign_digest(subject.digest)
        signer = self.verified(subject, bundle)
        named = (subject.path.name, subject.digest)
        attestations = {
            kind: session.sign_statement(named, kind, predicate)
            for kind, predicate in statements.statements(signer, subject.sbom).items()
        }
        made = _Made(bundle, attestations, signer)
        self._verify_attestations(subject, made)
        return made

    def verified(self, subject: Subject, bundle: bytes) -> Signer:
        """Return who signed, as somebody who reads the file elsewhere would find.

        Raises:
            SigningFailed: it does not verify, or somebody else signed.
        """
        try:
            signer = verify_signature(subject.digest, bundle, [self._root()]).signer
        except Refusal as refusal:
            raise _useless(subject, f"{refusal.code}: {refusal.why}") from refusal
        if not self.credential.names(signer):
            found = f"{signer.identity}, issuer {signer.issuer}"
            raise _useless(subject, f"expected {self.credential}\nfound    {found}")
        return signer

    def _verify_attestations(self, subject: Subject, made: _Made) -> None:
        try:
            found = verify_attestations(subject.digest, made.lines, [self._root()])
        except Refusal as refusal:
            raise _useless(subject, f"{refusal.code}: {refusal.why}") from refusal
        kinds = [attestation.predicate_type for attestation in found]
        if kinds != list(made.attestations):
            raise _useless(subject, f"expected {', '.join(made.attestations)}\nfound    {kinds}")

    def _root(self) -> TrustedRootSource:
        return TrustedRootSource(self.domain.name, self.domain.trusted_root_json().encode())


def _write(path: Path, made: _Made) -> tuple[Path, Path]:
    """Write what was signed beside a file; return the bundle's path and the attestations'."""
    bundle, attestations = bundle_path(path), attestations_path(path)
    was_there = attestations.exists()
    writing.write_atomic(attestations, made.lines)
    try:
        writing.write_atomic(bundle, made.bundle)
    except BaseException:  # an interruption too: statements without a signature help nobody
        if not was_there:
            attestations.unlink(missing_ok=True)
        raise
    return bundle, attestations


def _check_unchanged(path: Path, digest: Digest, *, step: str) -> None:
    """Refuse a file that is not what was read.

    Raises:
        ArtifactChanged: it is another one by now.
    """
    found = reading.hash_file(path)
    if found != digest:
        raise ArtifactChanged(
            f"`{path}` was not signed: it changed since it was read",
            why=f"expected {digest}\nfound    {found}",
            next=[step],
        )


def _useless(subject: Subject, why: str) -> SigningFailed:
    return SigningFailed(
        f"`{subject.path}` was not signed: its new signature does not verify, none was written",
        why=why,
        next=["check this machine's clock", "run the same command again"],
    )
