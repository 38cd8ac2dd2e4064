"""Refusals that several parts of signature verification give, and what turns faults into them.

Every message starts with "the artifact": the caller knows what the bytes belong to and says so.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aperio_cli.errors import Refusal
from aperio_cli.errors.trust import (
    AttestationMalformed,
    BundleMalformed,
    SignatureDigestMismatch,
    SignatureInvalid,
    TrustRootInvalid,
    TrustRootMissing,
    VerifierCrashed,
)
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aperio_cli.models.digest import Digest

_EVIDENCE_CHARACTERS = 300


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Turn whatever goes wrong in the block into a refusal.

    Raises:
        VerifierCrashed: for everything that is no refusal yet, except an interruption.
    """
    try:
        yield
    except (Refusal, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as crash:  # a panic of a parser written in Rust is no Exception
        raise VerifierCrashed(
            "the artifact was refused: its signature could not be checked",
            why=f"{type(crash).__name__}: {clean(crash, limit=_EVIDENCE_CHARACTERS)}",
            next=["get artifact and bundle again, in case they were damaged on the way"],
        ) from crash


def evidence(error: BaseException) -> str:
    """An error's text without what pydantic adds: pieces of the unverified bundle, and a link."""
    lines = (line.partition(" [type=")[0].strip() for line in str(error).splitlines())
    text = "\n".join(line for line in lines if line and not line.startswith("For further"))
    return clean(text, limit=_EVIDENCE_CHARACTERS) or type(error).__name__


def invalid(why: str) -> SignatureInvalid:
    """The bundle proves nothing about anyone whom this machine trusts."""
    return SignatureInvalid(
        "the artifact was refused: its bundle does not prove who signed it",
        why=why,
        next=[
            "get artifact and bundle again, in case they were damaged on the way",
            "if it repeats, tell the publisher",
        ],
    )


def malformed(why: str) -> BundleMalformed:
    """What came is no bundle at all."""
    return BundleMalformed(
        "the artifact was refused: what came as its bundle is not a Sigstore bundle",
        why=why,
        next=["get the bundle that belongs to this artifact", "sign the artifact again"],
    )


def malformed_statement(why: str) -> AttestationMalformed:
    """A genuine signature, over a document that does not say what its type promises."""
    return AttestationMalformed(
        "the artifact was refused: a signed statement about it cannot be understood",
        why=why,
        next=["tell the publisher", "sign the artifact again with `aperio plugin sign`"],
    )


def another_file(expected: Digest, signed: str) -> SignatureDigestMismatch:
    """A genuine signature of something else; `signed` says of what."""
    return SignatureDigestMismatch(
        "the artifact was refused: its bundle is the signature of another file",
        why=f"expected {expected}\nsigned   {signed}",
        next=["get the bundle that belongs to this artifact", "sign the artifact again"],
    )


def no_root(why: str) -> TrustRootMissing:
    """There is nothing to check against."""
    return TrustRootMissing(
        "the artifact was refused: there is no trusted root to check its signature against",
        why=why,
        next=["for artifacts signed on this machine: `aperio trust local init`"],
    )


def broken_root(name: str, why: str, remedies: Sequence[str] = ()) -> TrustRootInvalid:
    """Return the refusal for a root that is there and says nothing that can be used."""
    return TrustRootInvalid(
        f"the artifact was refused: the trusted root `{name}` cannot be read",
        why=why,
        next=remedies
        or ["see where it comes from: `aperio trust show`", "bring the file back from a copy"],
    )
