"""Attestations: further signed statements about an artifact, in a file beside it.

`<artifact>.intoto.jsonl` holds one Sigstore bundle with a DSSE envelope a line, as GitHub's
artifact attestations do. A blank line says nothing, as tools that join such files leave them; no
other is skipped: one that does not verify, or is about another file, refuses the artifact. Whoever
delivers the file can leave lines out; a policy that demands provenance is what helps against that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperio_cli.errors.trust import AttestationMalformed
from aperio_cli.models.artifact import MAX_ATTESTATIONS_BYTES
from aperio_cli.proving.refusals import Fault, refusing
from aperio_cli.proving.signature import verify_statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.models.digest import Digest
    from aperio_cli.models.proof import Attestation
    from aperio_cli.proving.trusted_root import TrustedRootSource

MAX_ATTESTATIONS = 32
_MAX_LINES = 1024  # blank ones included: 16 MiB of line ends would be as many objects


def verify_attestations(
    digest: Digest,
    data: bytes,
    roots: Sequence[TrustedRootSource],
    *,
    subject: str = "the artifact",
) -> tuple[Attestation, ...]:
    """Return the statements in a file of attestations, in its order, each with who made it.

    Who may make them is decided afterwards. Needs no network and writes nothing.

    Args:
        digest: the digest that was computed from the artifact itself.
        data: contents of the file; at most 16 MiB and 32 statements.
        roots: the trusted roots to try.
        subject: what refusals call the artifact.

    Raises:
        AttestationMalformed: when the file is too long or empty, or a line is a signature over
            no statement of version 1.
        SignatureDigestMismatch: when a line is about other files.
        ProvenanceMismatch: when provenance contradicts the certificate of its maker.
        BundleMalformed, SignatureInvalid, TrustDomainUnknown, TrustRootMissing, TrustRootInvalid,
        VerifierCrashed: for a line, as `verify_signature` for a bundle.
    """
    with refusing(subject):
        return tuple(_verified(digest, line, roots, number=number) for number, line in _lines(data))


def _lines(data: bytes) -> list[tuple[int, bytes]]:
    """Return the lines that are not blank, with their numbers."""
    if len(data) > MAX_ATTESTATIONS_BYTES:
        raise _unfit(f"expected at most {MAX_ATTESTATIONS_BYTES} bytes\nfound    {len(data)}")
    lines = data.split(b"\n", _MAX_LINES)
    stated = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if len(lines) > _MAX_LINES or not 0 < len(stated) <= MAX_ATTESTATIONS:
        raise _unfit(
            f"expected 1 to {MAX_ATTESTATIONS} lines, each a Sigstore bundle,"
            f" and at most {_MAX_LINES} with blank ones"
        )
    return stated


def _verified(
    digest: Digest, line: bytes, roots: Sequence[TrustedRootSource], *, number: int
) -> Attestation:
    try:
        statement, proof = verify_statement(line, roots, limit_bytes=MAX_ATTESTATIONS_BYTES)
        statement.check_subject(digest)
        return statement.attestation(proof.signer)
    except Fault as fault:
        raise Fault(
            fault.error,
            f"line {number} of its attestations does not hold",
            why=fault.why,
            next=["get the attestations that belong to this artifact", "sign the artifact again"],
        ) from fault


def _unfit(why: str) -> Fault:
    return Fault(
        AttestationMalformed,
        "what came as its attestations is not a file of them",
        why=why,
        next=["get the attestations that belong to this artifact", "sign the artifact again"],
    )
