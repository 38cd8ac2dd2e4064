"""Stage 5, verify: an offer, its bytes and the operator's policy give an admitted artifact.

The order is the security argument (DESIGN, section 4): bytes within a limit, their digest, the
bundle, who signed, whether they may, and only then the archive, member by member; last, whether
the manifest inside says what was offered. Nothing is unpacked or executed. Whatever goes wrong in
an unforeseen way is a refusal too.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from aperio_cli import archive, files
from aperio_cli.errors import (
    AperioError,
    BytecodeInArtifact,
    FileTooLarge,
    NotFound,
    Refusal,
    VerifierCrashed,
    clean,
)
from aperio_cli.fetch import FetchRequest, fetch_file
from aperio_cli.models.artifact import (
    BUNDLE_SUFFIX,
    MAX_BUNDLE_BYTES,
    Artifact,
    platform_of_name,
)
from aperio_cli.models.manifest import Manifest
from aperio_cli.models.offer import Offer
from aperio_cli.models.publisher import LOCAL_DOMAIN
from aperio_cli.verifying.decide import (
    AdmittedArtifact,
    ExceptionGranted,
    Question,
    check_bytes,
    decide,
    judge_signer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aperio_cli.files import FileRecord
    from aperio_cli.models.digest import Digest
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.policy import Policy
    from aperio_cli.models.publisher import Signer

MAX_ARTIFACT_BYTES = 1024**3
DOWNLOAD_TIMEOUT_S = 600.0
_COPY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """What to verify, and by which rules.

    Attributes:
        source: a registry's offer, or the path of a local artifact, which is its own offer.
        policy: the operator's rules.
        config_file: where the operator would add a rule, for messages.
        local_root: the trusted root of the local trust domain.
        machine: this machine's platform.
        is_to_run_here: whether the artifact has to fit this machine.
        bundle: where a local artifact's bundle is; None means beside it.
        exception: what the operator granted for this one local artifact.
        offline: whether nothing may be downloaded.
    """

    source: Offer | Path
    policy: Policy
    config_file: Path
    local_root: Path
    machine: Platform
    is_to_run_here: bool = True
    bundle: Path | None = None
    exception: ExceptionGranted | None = None
    offline: bool = False

    @property
    def subject(self) -> str:
        """What messages call the artifact before it is known to be what it says."""
        if isinstance(self.source, Offer):
            return f"`{self.source.id}` {self.source.version}"
        return f"`{self.source}`"


def verify_artifact(request: VerifyRequest) -> AdmittedArtifact:
    """The artifact, admitted; the caller closes it.

    The artifact is opened once: the bytes that are digested, verified and walked are those that
    the result holds open, in a private copy that has no name.

    Raises:
        NotFound: a local artifact, or the bundle named for it, is not there.
        Refusal: the evidence or the archive does not hold; one subclass for each cause.
        AperioError: it could not be had (`fetch_file` and its errors), its manifest cannot be
            read (ManifestInvalid), it does not fit (PlatformIncompatible, ProtocolIncompatible),
            or there is no space (DiskFull).
    """
    with _refusing(request), contextlib.ExitStack() as on_failure:
        content = on_failure.enter_context(_private_copy(request))
        admitted = _examine(request, content)
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


def _examine(request: VerifyRequest, content: BinaryIO) -> AdmittedArtifact:
    digest = files.hash_file(content)
    size_bytes = os.fstat(content.fileno()).st_size
    offer = request.source
    if not isinstance(offer, Offer):
        offer = _own_offer(request, offer, content)
    check_bytes(offer, digest, size_bytes)
    question = Question(
        offer=offer,
        signer=_signer(request, offer.bundle, digest),
        bundle=offer.bundle,
        exception=request.exception if offer is not request.source else None,
        policy=request.policy,
        config_file=str(request.config_file),
        platform=request.machine if request.is_to_run_here else None,
    )
    judge_signer(question)
    records = archive.walk(content, subject=request.subject)
    _refuse_bytecode(records, request.subject)
    manifest = _read_manifest(request, content)
    artifact = Artifact(Path(offer.location), digest, size_bytes, manifest, offer.platform)
    return decide(question, artifact, content)


def _read_manifest(request: VerifyRequest, content: BinaryIO) -> Manifest:
    data = archive.read_manifest(content, subject=request.subject)
    return Manifest.parse(data, where=f"manifest.yaml in {request.subject.replace('`', '')}")


def _own_offer(request: VerifyRequest, path: Path, content: BinaryIO) -> Offer:
    """What a local artifact says of itself: a claim, compared again with all of it afterwards."""
    claim = _read_manifest(request, content)
    return Offer(
        id=claim.id,
        version=claim.version,
        kind=claim.kind,
        platform=platform_of_name(path.name) or request.machine,
        location=str(path.absolute()),
        digest=None,
        size_bytes=None,
        bundle=_local_bundle(request, path),
        source=str(path),
    )


def _local_bundle(request: VerifyRequest, path: Path) -> bytes | None:
    stated = request.bundle
    beside = path.with_name(path.name + BUNDLE_SUFFIX)
    try:
        with files.open_regular(stated or beside, follow_links=True) as file:
            # One byte over the limit is enough for the verifier to refuse it by its length.
            return file.read(MAX_BUNDLE_BYTES + 1)
    except FileNotFoundError as error:
        if stated is None:
            return None
        raise NotFound(
            f"`{stated}` is not there; nothing was verified",
            next=["check the path for a typing error"],
        ) from error


def _signer(request: VerifyRequest, bundle: bytes | None, digest: Digest) -> Signer | None:
    if bundle is None:
        return None
    from aperio_cli.verifying import signature

    try:
        root = signature.read_trusted_root(LOCAL_DOMAIN, request.local_root)
        return signature.verify_signature(digest, bundle, [root])
    except Refusal as refusal:
        # It knows bytes and bundles; what they belong to is known here.
        what = refusal.what.replace("the artifact", request.subject, 1)
        raise type(refusal)(what, why=refusal.why, next=refusal.next) from refusal


def _refuse_bytecode(records: Sequence[FileRecord], subject: str) -> None:
    for record in records:
        if record.path.endswith((".pyc", ".pyo")) or "__pycache__" in record.path.split("/"):
            raise BytecodeInArtifact(
                f"{subject} was refused: it carries compiled Python, which nobody can review",
                why=files.show_path(record.path),
                next=["tell its publisher to build it with `aperio plugin build`"],
            )


# ── the bytes ─────────────────────────────────────────────────────────────────────────────────────


def _private_copy(request: VerifyRequest) -> BinaryIO:
    """The artifact's bytes in an open file of our own that has no name any more."""
    with (
        files.disk_full_guard(f"{request.subject} was not copied for verification"),
        tempfile.TemporaryDirectory(prefix="aperio-verify-") as folder,
    ):
        copy = Path(folder) / "artifact"
        if isinstance(request.source, Offer):
            _download(request.source, copy, offline=request.offline)
        else:
            _copy_local(request.source, copy)
        return files.open_regular(copy)


def _download(offer: Offer, copy: Path, *, offline: bool) -> None:
    limit = MAX_ARTIFACT_BYTES if offer.size_bytes is None else offer.size_bytes
    fetch_file(
        FetchRequest(
            source=offer.location,
            limit_bytes=min(limit, MAX_ARTIFACT_BYTES),
            offline=offline,
            timeout_s=DOWNLOAD_TIMEOUT_S,
        ),
        copy,
    )


def _copy_local(source: Path, copy: Path) -> None:
    try:
        file = files.open_regular(source, follow_links=True)
    except OSError as error:
        raise NotFound(
            f"`{source}` cannot be read; nothing was verified",
            why=os.strerror(error.errno or 0),
            next=["check the path for a typing error"],
        ) from error
    copied_bytes = 0
    with file, copy.open("xb") as destination:
        while chunk := file.read(_COPY_BYTES):
            copied_bytes += len(chunk)
            if copied_bytes > MAX_ARTIFACT_BYTES:
                raise FileTooLarge(
                    f"`{source}` was not verified: it is too long for an artifact",
                    why=f"expected at most {MAX_ARTIFACT_BYTES} bytes",
                    next=["check that this is the file you meant"],
                )
            destination.write(chunk)
