"""Stage 5, verify: an offer, its bytes and the operator's policy give an admitted artifact.

The order is the security argument: bytes within a limit, their digest, the bundle, who signed,
whether they may, and only then the archive, member by member; last, whether the manifest inside
says what was offered. Nothing is unpacked or executed. Whatever goes wrong in an unforeseen way is
a refusal too.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from aperio_cli import text
from aperio_cli.archive import reading
from aperio_cli.errors import AperioError
from aperio_cli.errors.files import FileTooLarge
from aperio_cli.errors.installing import BytecodeInArtifact
from aperio_cli.errors.trust import VerifierCrashed
from aperio_cli.errors.usage import NotFound
from aperio_cli.files import reading as files_reading
from aperio_cli.files import writing
from aperio_cli.files.temporary import temporary_file
from aperio_cli.models.artifact import (
    ATTESTATIONS_SUFFIX,
    BUNDLE_SUFFIX,
    MAX_ATTESTATIONS_BYTES,
    MAX_BUNDLE_BYTES,
    Artifact,
    platform_of_name,
)
from aperio_cli.models.digest import Digest
from aperio_cli.models.manifest import Manifest
from aperio_cli.models.offer import Offer
from aperio_cli.models.origin import ADDRESS, FILE, Origin
from aperio_cli.text import clean
from aperio_cli.verifying.clearing import Cleared, clear
from aperio_cli.verifying.decide import AdmittedArtifact, check_bytes, decide, judge
from aperio_cli.verifying.downloading import MAX_ARTIFACT_BYTES, Source, download
from aperio_cli.verifying.judgement import ADD, INSTALL, VERIFY, Case, Deed
from aperio_cli.verifying.kept import KeptArtifacts
from aperio_cli.verifying.remote import DOWNLOAD_TIMEOUT_S, RemoteArtifact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date

    from aperio_cli.archive.reading import Entry
    from aperio_cli.models.evidence import ExceptionGranted
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.policy import Policy
    from aperio_cli.models.proof import Proof
    from aperio_cli.proving.trusted_root import TrustedRootSource

__all__ = [
    "ADD",
    "DOWNLOAD_TIMEOUT_S",
    "INSTALL",
    "MAX_ARTIFACT_BYTES",
    "VERIFY",
    "AdmittedArtifact",
    "Cleared",
    "Deed",
    "KeptArtifacts",
    "RemoteArtifact",
    "VerifyRequest",
    "clear",
    "verify_artifact",
]

_COPY_BYTES = 1024 * 1024
_Statements = tuple[
    bytes | None, bytes | None
]  # a bundle and attestations; nothing is believed yet


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """An artifact to verify, and the rules to verify it by.

    Attributes:
        source: a registry's offer, or an artifact that is its own offer: a path, or an address.
        policy: the operator's rules.
        roots: gives the trusted roots, in the order in which they are tried; asked only when
            there is a signature to check.
        machine: this machine's platform.
        today: the day on which exceptions have to hold.
        is_to_run_here: whether the artifact has to fit this machine.
        bundle: the file of an artifact's bundle; None means beside the artifact.
        attestations: the file of statements about an artifact; None means beside the artifact.
        exception: what the operator granted for this one artifact, which is a file.
        offline: whether nothing may be downloaded.
        deed: what was asked for, for messages.
        kept: artifacts that were downloaded before, by the digest that a registry states; None
            when none are kept. A new one is kept once it is what the registry states.
        on_arrival: told how many bytes have arrived of how many, None when nobody said.
    """

    source: Offer | Path | RemoteArtifact
    policy: Policy
    roots: Callable[[], Sequence[TrustedRootSource]]
    machine: Platform
    today: date
    is_to_run_here: bool = True
    bundle: Path | None = None
    attestations: Path | None = None
    exception: ExceptionGranted | None = None
    offline: bool = False
    deed: Deed = INSTALL
    kept: KeptArtifacts | None = None
    on_arrival: Callable[[int, int | None], None] | None = None

    def bytes_of(self, offer: Offer) -> Source:
        """Return where the bytes of an offer may come from."""
        return Source(offer, self.kept, self.offline, self.on_arrival)

    @property
    def subject(self) -> str:
        """The name of the artifact in messages, before it is known to be what it says."""
        if isinstance(self.source, Offer):
            return f"`{self.source.id}` {self.source.version}"
        return f"`{self.source}`"


def verify_artifact(request: VerifyRequest) -> AdmittedArtifact:
    """Return the artifact, admitted; the caller closes it.

    The artifact is opened once: the bytes that are digested, verified and walked are those that
    the result holds open, in a private copy that never had a name.

    Raises:
        NotFound: a local artifact, or the bundle or the attestations named for it, are not there.
        Refusal: the evidence or the archive does not hold; one subclass for each cause.
        AperioError: it could not be had (`fetch_into` and its errors), its manifest cannot be
            read (ManifestInvalid), it does not fit (PlatformIncompatible, ProtocolIncompatible),
            or there is no space (DiskFull).
    """
    with _refusing(request), contextlib.ExitStack() as on_failure:
        statements = _statements_at_hand(request)
        with _verifier_loading(is_needed=statements is None or statements[0] is not None):
            content, digest = _private_copy(request)
        on_failure.enter_context(content)
        if statements is None:
            statements = _statements_beside(request)
        admitted = _examine(request, statements, content, digest)
        on_failure.pop_all()
        return admitted


@contextlib.contextmanager
def _refusing(request: VerifyRequest) -> Iterator[None]:
    try:
        yield
    except AperioError:
        raise
    except Exception as crash:
        raise VerifierCrashed(
            f"{request.subject} was refused: checking it ended in an unforeseen error",
            why=f"{type(crash).__name__}: {clean(crash)}",
            next=["get the artifact again, in case it was damaged on the way"],
        ) from crash


def _examine(
    request: VerifyRequest, statements: _Statements, content: BinaryIO, digest: Digest
) -> AdmittedArtifact:
    size_bytes = os.fstat(content.fileno()).st_size
    offer, claim = _offer(request, statements, content)
    check_bytes(offer, digest, size_bytes, request.deed.refused)
    case = _case(request, offer, _proof(request, offer, digest))
    judge(case)
    with contextlib.ExitStack() as on_failure:
        inflated = _room(request)
        if inflated:
            on_failure.callback(inflated.close)
        members = reading.list_members(content, subject=request.subject, inflated=inflated)
        _refuse_bytecode(members, request.subject)
        manifest = claim or _read_manifest(request, content)
        artifact = Artifact(Path(offer.location), digest, size_bytes, manifest, offer.platform)
        platform = request.machine if request.is_to_run_here else None
        admitted = decide(offer, case, artifact, content, inflated, platform=platform)
        on_failure.pop_all()
        return admitted


def _room(request: VerifyRequest) -> reading.Inflated | None:
    """Return where to keep what is inside of an artifact that is going to be unpacked."""
    if request.deed is not INSTALL:
        return None
    with contextlib.suppress(OSError):  # it is inflated a second time then
        return reading.Inflated(temporary_file("aperio-verify-"))
    return None


def _offer(
    request: VerifyRequest, statements: _Statements, content: BinaryIO
) -> tuple[Offer, Manifest | None]:
    """Return what the artifact is offered as; of a local one its own manifest says so, a claim."""
    source = request.source
    if isinstance(source, Offer):
        return source, None
    claim = _read_manifest(request, content)
    bundle, attestations = statements
    offer = Offer(
        id=claim.id,
        version=claim.version,
        kind=claim.kind,
        platform=platform_of_name(source.name) or request.machine,
        location=str(source.absolute() if isinstance(source, Path) else source),
        digest=None,
        size_bytes=None,
        bundle=bundle,
        source=str(source),
        attestations=attestations,
        origin=_named_origin(source),
    )
    return offer, claim


def _named_origin(source: Path | RemoteArtifact) -> Origin:
    if isinstance(source, Path):
        return Origin(FILE, str(source.absolute()))
    return Origin(ADDRESS, str(source))


def _read_manifest(request: VerifyRequest, content: BinaryIO) -> Manifest:
    data = reading.read_manifest(content, subject=request.subject)
    return Manifest.parse(data, where=f"manifest.yaml in {request.subject.replace('`', '')}")


def _case(request: VerifyRequest, offer: Offer, proof: Proof | None) -> Case:
    source = request.source
    bundle_name = f"{offer.id}@{offer.version}"
    if isinstance(source, Path):
        bundle_name = str(request.bundle or _beside(source, BUNDLE_SUFFIX))
    elif isinstance(source, RemoteArtifact):
        bundle_name = str(request.bundle or source)
    is_local = isinstance(source, Path)
    return Case(
        plugin=offer.id,
        version=offer.version,
        proof=proof,
        exception=request.exception if is_local else None,
        is_local=is_local,
        policy=request.policy,
        today=request.today,
        location=offer.location,
        bundle_name=bundle_name,
        outcome=request.deed.refused,
    )


def _refuse_bytecode(members: Sequence[Entry], subject: str) -> None:
    for member in members:
        if member.path.endswith((".pyc", ".pyo")) or "__pycache__" in member.path.split("/"):
            raise BytecodeInArtifact(
                f"{subject} was refused: it carries compiled Python, which nobody can review",
                why=text.show_path(member.path),
                next=["tell its publisher to build it with `aperio plugin build`"],
            )


# ── what is stated about the bytes ────────────────────────────────────────────────────────────────


def _statements_at_hand(request: VerifyRequest) -> _Statements | None:
    """Return what is stated; None where it has to be fetched, after the artifact itself."""
    source = request.source
    if isinstance(source, Offer):
        return source.bundle, source.attestations
    if isinstance(source, RemoteArtifact):
        return None
    return (
        _read_stated(request, request.bundle, _beside(source, BUNDLE_SUFFIX), MAX_BUNDLE_BYTES),
        _read_stated(
            request,
            request.attestations,
            _beside(source, ATTESTATIONS_SUFFIX),
            MAX_ATTESTATIONS_BYTES,
        ),
    )


def _statements_beside(request: VerifyRequest) -> _Statements:
    """Return what stands beside an artifact at an address, or in the files named for it."""
    return (
        _fetch_stated(request, request.bundle, BUNDLE_SUFFIX, MAX_BUNDLE_BYTES),
        _fetch_stated(request, request.attestations, ATTESTATIONS_SUFFIX, MAX_ATTESTATIONS_BYTES),
    )


def _fetch_stated(
    request: VerifyRequest, stated: Path | None, suffix: str, limit_bytes: int
) -> bytes | None:
    if stated:
        return _read_stated(request, stated, stated, limit_bytes)
    assert isinstance(request.source, RemoteArtifact)  # noqa: S101 - the others have theirs at hand
    return request.source.fetch_beside(suffix, limit_bytes, offline=request.offline)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _read_stated(
    request: VerifyRequest, stated: Path | None, beside: Path, limit_bytes: int
) -> bytes | None:
    # Only what somebody named may be a link: what lies beside an artifact came with it.
    try:
        with files_reading.open_regular(stated or beside, follow_links=bool(stated)) as file:
            # One byte over the limit is enough for the verifier to refuse it by its length.
            return file.read(limit_bytes + 1)
    except FileNotFoundError as error:
        if stated is None:
            return None
        raise NotFound(
            f"`{stated}` is not there; {request.deed.undone}",
            next=["check the path for a typing error"],
        ) from error
    except OSError as error:
        raise NotFound(
            f"`{stated or beside}` cannot be read; {request.deed.undone}",
            why=os.strerror(error.errno or 0),
            next=["see who may read it: it belongs to the artifact"],
        ) from error


@contextlib.contextmanager
def _verifier_loading(*, is_needed: bool) -> Iterator[None]:
    """Import Sigstore while the block runs: it takes as long as a download does.

    The thread is waited for however the block ends, so that no process ends in an import.
    """
    thread = threading.Thread(target=_load_verifier, name="aperio-load-sigstore")
    if is_needed:
        thread.start()
    try:
        yield
    finally:
        if is_needed:
            thread.join()


def _load_verifier() -> None:
    # What goes wrong comes again where the verifier is used, and is a refusal there.
    with contextlib.suppress(Exception), _no_collections():
        from aperio_cli.proving import signature

        signature.load()


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Look for no garbage: imports make none, and looking takes a sixth of their time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _proof(request: VerifyRequest, offer: Offer, digest: Digest) -> Proof | None:
    """Return what the bundle proves, and with it what every attestation does."""
    if offer.bundle is None:
        return None
    from aperio_cli.proving.attestations import verify_attestations
    from aperio_cli.proving.signature import verify_signature

    roots, subject = request.roots(), request.subject
    proof = verify_signature(digest, offer.bundle, roots, subject=subject)
    if offer.attestations is None:
        return proof
    stated = verify_attestations(digest, offer.attestations, roots, subject=subject)
    return replace(proof, attestations=(*proof.attestations, *stated))


# ── the bytes ─────────────────────────────────────────────────────────────────────────────────────


def _private_copy(request: VerifyRequest) -> tuple[BinaryIO, Digest]:
    """Return the artifact's bytes in an open file of our own without a name, and their digest."""
    with (
        writing.disk_full_guard(f"{request.subject} was not copied for verification"),
        contextlib.ExitStack() as on_failure,
    ):
        content = on_failure.enter_context(temporary_file("aperio-verify-"))
        if isinstance(request.source, Offer):
            digest = download(request.bytes_of(request.source), content)
        elif isinstance(request.source, RemoteArtifact):
            digest = request.source.fetch(content, MAX_ARTIFACT_BYTES, offline=request.offline)
        else:
            digest = _copy_local(request.source, content, request.deed)
        content.flush()
        on_failure.pop_all()
        return content, digest


def _copy_local(source: Path, copy: BinaryIO, deed: Deed) -> Digest:
    try:
        file = files_reading.open_regular(source, follow_links=True)
    except OSError as error:
        raise NotFound(
            f"`{source}` cannot be read; {deed.undone}",
            why=os.strerror(error.errno or 0),
            next=["check the path for a typing error"],
        ) from error
    copied_bytes = 0
    digest = hashlib.sha256()
    with file:
        while chunk := file.read(_COPY_BYTES):
            copied_bytes += len(chunk)
            if copied_bytes > MAX_ARTIFACT_BYTES:
                raise FileTooLarge(
                    f"`{source}` is too long for an artifact; {deed.undone}",
                    why=f"expected at most {MAX_ARTIFACT_BYTES} bytes",
                    next=["check that this is the file you meant"],
                )
            digest.update(chunk)
            copy.write(chunk)
    return Digest(digest.hexdigest())
