"""Faults that several parts of signature verification find, and what turns them into refusals.

The parts know bytes and bundles, not what these belong to. So a fault has no subject; whoever asked
names it once, where the fault becomes a refusal.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

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

    from aperio_cli.errors import Refusal
    from aperio_cli.models.digest import Digest

_SAID_CHARACTERS = 300


class Fault(Exception):
    """A reason to refuse, before it is said what is refused. Never leaves the package `proving`.

    Attributes:
        error: class of the refusal that it becomes.
        what: what is wrong, as the end of a sentence about the refused thing.
        why: evidence; may have several lines.
        next: what to do, easiest first.
    """

    def __init__(
        self,
        error: type[Refusal],
        what: str,
        *,
        why: str,
        next: Sequence[str],  # noqa: A002 - the field's name in errors
    ) -> None:
        super().__init__(what)
        self.error = error
        self.what = what
        self.why = why
        self.next = tuple(next)

    def about(self, subject: str) -> Refusal:
        """Return the refusal of a subject, such as "`box.tar.gz`" or "the artifact"."""
        return self.error(f"{subject} was refused: {self.what}", why=self.why, next=self.next)


@contextlib.contextmanager
def refusing(subject: str) -> Iterator[None]:
    """Turn whatever goes wrong in the block into a refusal of the subject.

    Raises:
        Refusal: for a fault, of its class.
        VerifierCrashed: for everything else, except an interruption.
    """
    try:
        with faulting():
            yield
    except Fault as fault:
        raise fault.about(subject) from fault


@contextlib.contextmanager
def faulting() -> Iterator[None]:
    """Turn whatever goes wrong in the block into a fault.

    Raises:
        Fault: for everything, except an interruption.
    """
    try:
        yield
    except (Fault, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as crash:  # a panic of a parser written in Rust is no Exception
        raise Fault(
            VerifierCrashed,
            "its signature could not be checked",
            why=f"{type(crash).__name__}: {clean(crash, limit=_SAID_CHARACTERS)}",
            next=["get artifact and bundle again, in case they were damaged on the way"],
        ) from crash


def said_by(error: BaseException) -> str:
    """Return an error's text without what pydantic adds: pieces of the bundle, and a link."""
    lines = (line.partition(" [type=")[0].strip() for line in str(error).splitlines())
    text = "\n".join(line for line in lines if line and not line.startswith("For further"))
    return clean(text, limit=_SAID_CHARACTERS) or type(error).__name__


def invalid(why: str) -> Fault:
    """Return the fault of a bundle that proves nothing about anyone whom this machine trusts."""
    return Fault(
        SignatureInvalid,
        "its bundle does not prove who signed it",
        why=why,
        next=[
            "get artifact and bundle again, in case they were damaged on the way",
            "if it repeats, tell the publisher",
        ],
    )


def malformed(why: str) -> Fault:
    """Return the fault of what is no bundle at all."""
    return Fault(
        BundleMalformed,
        "what came as its bundle is not a Sigstore bundle",
        why=why,
        next=["get the bundle that belongs to this artifact", "sign the artifact again"],
    )


def malformed_statement(why: str) -> Fault:
    """Return the fault of a signed document that does not say what its type promises."""
    return Fault(
        AttestationMalformed,
        "a signed statement about it cannot be understood",
        why=why,
        next=["tell the publisher", "sign the artifact again with `aperio plugin sign`"],
    )


def another_file(expected: Digest, signed: str) -> Fault:
    """Return the fault of a genuine signature of something else; `signed` says of what."""
    return Fault(
        SignatureDigestMismatch,
        "its bundle is the signature of another file",
        why=f"expected {expected}\nsigned   {signed}",
        next=["get the bundle that belongs to this artifact", "sign the artifact again"],
    )


def no_root(why: str) -> Fault:
    """Return the fault of having nothing to check against."""
    return Fault(
        TrustRootMissing,
        "there is no trusted root to check its signature against",
        why=why,
        next=["for artifacts signed on this machine: `aperio trust local init`"],
    )


def broken_root(name: str, why: str, remedies: Sequence[str] = ()) -> Fault:
    """Return the fault of a root that is there and says nothing that can be used."""
    return Fault(
        TrustRootInvalid,
        f"the trusted root `{name}` cannot be read",
        why=why,
        next=remedies
        or ["see where it comes from: `aperio trust show`", "bring the file back from a copy"],
    )
