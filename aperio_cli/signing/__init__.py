"""Stage 3, sign: Artifact → SignedArtifact, a Sigstore bundle beside each artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperio_cli import files
from aperio_cli.errors import ArtifactChanged, Refusal, SigningFailed
from aperio_cli.models.artifact import BUNDLE_SUFFIX, SignedArtifact
from aperio_cli.signing import client
from aperio_cli.verifying.signature import TrustedRootSource, verify_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from aperio_cli.models.artifact import Artifact
    from aperio_cli.models.publisher import Signer
    from aperio_cli.signing.domain import SigningDomain

__all__ = ["bundle_path", "sign"]


def bundle_path(artifact: Path) -> Path:
    """Where the bundle of an artifact file stands: beside it, with `.sigstore.json` added."""
    return artifact.with_name(artifact.name + BUNDLE_SUFFIX)


def sign(
    artifacts: Sequence[Artifact],
    *,
    domain: SigningDomain,
    on_signed: Callable[[SignedArtifact], None] | None = None,
) -> list[SignedArtifact]:
    """Sign artifacts as the domain's user and write a bundle beside each.

    Every bundle is verified before the first is written; a bundle that was there is replaced.

    Args:
        artifacts: what to sign, in the order of the result.
        domain: who certifies the signature.
        on_signed: called after each bundle is on disk, to show progress.

    Raises:
        ArtifactChanged: when a file is not what its artifact says; nothing was signed.
        SigningFailed: when a service of the domain fails, or its signature does not verify;
            no bundle was written.
        TrustDomainBroken: when the domain's keys cannot be used.
        DiskFull: when there is no space for a bundle; those before it are there.
        OSError: when an artifact cannot be read, or its folder cannot be written.
    """
    for artifact in artifacts:
        _check_unchanged(artifact)
    bundles = client.sign_digests([artifact.digest for artifact in artifacts], domain)
    signers = [
        _verified(artifact, bundle, domain)
        for artifact, bundle in zip(artifacts, bundles, strict=True)
    ]
    signed = []
    for artifact, bundle, signer in zip(artifacts, bundles, signers, strict=True):
        path = bundle_path(artifact.path)
        files.write_atomic(path, bundle)
        signed.append(SignedArtifact(artifact, path, signer))
        if on_signed:
            on_signed(signed[-1])
    return signed


def _check_unchanged(artifact: Artifact) -> None:
    found = files.hash_file(artifact.path)
    if found != artifact.digest:
        raise ArtifactChanged(
            f"`{artifact.path}` was not signed: it changed since it was read",
            why=f"expected {artifact.digest}\nfound    {found}",
            next=["build it again: `aperio plugin build`"],
        )


def _verified(artifact: Artifact, bundle: bytes, domain: SigningDomain) -> Signer:
    """Who signed, as somebody who installs the artifact would find."""
    root = TrustedRootSource(domain.name, domain.trusted_root_json().encode())
    try:
        signer = verify_signature(artifact.digest, bundle, [root])
    except Refusal as refusal:
        raise _useless(artifact, f"{refusal.code}: {refusal.why}") from refusal
    if (signer.identity, signer.issuer) != (domain.identity, domain.issuer):
        raise _useless(
            artifact,
            f"expected {domain.identity}, issuer {domain.issuer}\n"
            f"found    {signer.identity}, issuer {signer.issuer}",
        )
    return signer


def _useless(artifact: Artifact, why: str) -> SigningFailed:
    return SigningFailed(
        f"`{artifact.path}` was not signed: its new signature does not verify, none was written",
        why=why,
        next=["check this machine's clock", "run the same command again"],
    )
