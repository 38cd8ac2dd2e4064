"""Prepares a version aside: unpacked, compiled, listed; its receipt is written last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli import clock
from aperio_cli.archive import unpacking
from aperio_cli.errors.files import FilesChanged, FileTooLarge
from aperio_cli.files import tree as files_tree
from aperio_cli.files import writing
from aperio_cli.installing.bytecode import compile_tree
from aperio_cli.models.origin import Build, joined
from aperio_cli.models.receipt import (
    ATTESTATIONS_FILE_NAME,
    BUNDLE_FILE_NAME,
    FILE_NAME,
    FILES_FOLDER,
    MAX_BYTES,
    TREE_FILE_NAME,
    Receipt,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aperio_cli.files.tree import FileRecord
    from aperio_cli.models.artifact import Interpreter
    from aperio_cli.models.grant import Grant
    from aperio_cli.verifying.decide import AdmittedArtifact


@dataclass(frozen=True, slots=True)
class Prepared:
    """A complete version folder that has yet to get its place.

    Attributes:
        folder: where it stands.
        receipt: what it says of itself.
    """

    folder: Path
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a version is installed.

    Attributes:
        interpreter: compiles a Python plugin and will run it; None for a binary.
        owner: whose stored state it is to use.
        grant: what it may do.
    """

    interpreter: Interpreter | None
    owner: str
    grant: Grant


def prepare(admitted: AdmittedArtifact, folder: Path, place: Path, terms: Terms) -> Prepared:
    """Return a complete version folder of an admitted artifact.

    Args:
        admitted: what to unpack.
        folder: where to prepare it; not there yet.
        place: where the folder is going to stand.
        terms: on what terms.

    Raises:
        ArchiveRefused: the artifact cannot be unpacked.
        BytecodeFailed: its Python files could not be compiled within limits.
        FilesChanged: its files changed while they were compiled.
        FileTooLarge: its record would be longer than a record may be.
        OSError: it cannot be written.
    """
    folder.mkdir(mode=0o700)
    tree = _unpack(admitted, folder / FILES_FOLDER, place, terms.interpreter)
    writing.write_atomic(folder / TREE_FILE_NAME, tree)
    if admitted.bundle is not None:
        writing.write_atomic(folder / BUNDLE_FILE_NAME, admitted.bundle)
    if admitted.attestations is not None:
        writing.write_atomic(folder / ATTESTATIONS_FILE_NAME, admitted.attestations)
    digest = files_tree.tree_digest(tree)
    return record(admitted, folder, _receipt(admitted, place, digest, terms))


def record(admitted: AdmittedArtifact, folder: Path, receipt: Receipt) -> Prepared:
    """Write the record of a version folder, and return it as everybody else is going to read it.

    Raises:
        FileTooLarge: it would be longer than a record may be.
        OSError: it cannot be written.
    """
    data = receipt.to_bytes()
    _check_length(data, admitted.subject)
    writing.write_atomic(folder / FILE_NAME, data)
    return Prepared(folder, Receipt.parse(data, receipt.folder))


def _unpack(
    admitted: AdmittedArtifact, destination: Path, place: Path, interpreter: Interpreter | None
) -> bytes:
    """Unpack and compile, and return the contents of files.sha256."""
    unpacked = unpacking.unpack(
        admitted.content, destination, subject=admitted.subject, inflated=admitted.inflated
    )
    if not interpreter:
        return files_tree.format_tree(unpacked)  # they were digested on their way to the disk
    compile_tree(destination, place / FILES_FOLDER, interpreter, subject=admitted.subject)
    records = files_tree.list_tree(destination)
    _check_only_bytecode_is_new(unpacked, records, admitted.subject)
    return files_tree.format_tree(records)


def _check_only_bytecode_is_new(
    unpacked: Sequence[FileRecord], records: Sequence[FileRecord], subject: str
) -> None:
    """Check that what was verified is what is installed, whatever the compiler was made to do.

    Raises:
        FilesChanged: names a file that compiling changed, removed or added.
    """
    new = set(records) - set(unpacked)
    odd = [record.path for record in new if not _is_bytecode(record.path)]
    odd += [record.path for record in set(unpacked) - set(records)]
    if odd:
        raise FilesChanged(
            f"{subject} was not installed: its files changed while they were compiled",
            why="\n".join(sorted(odd)[:5]),
            next=["find out who can write to this account"],
        )


def _is_bytecode(path: str) -> bool:
    return path.endswith(".pyc") and "__pycache__" in path.split("/")[:-1]


def _check_length(record: bytes, subject: str) -> None:
    """Refuse a record that nobody would read.

    Raises:
        FileTooLarge: it is longer than a record may be.
    """
    if len(record) > MAX_BYTES:
        raise FileTooLarge(
            f"{subject} was not installed: more is stated about it than a record may hold",
            why=f"expected at most {MAX_BYTES} bytes of manifest and attestations"
            f"\nfound    {len(record)}",
            next=["tell its publisher"],
        )


def _builds(admitted: AdmittedArtifact) -> tuple[Build, ...]:
    artifact = admitted.artifact
    own = Build(artifact.platform, artifact.digest, artifact.size)
    return joined((own, *admitted.offer.builds))


def _receipt(admitted: AdmittedArtifact, place: Path, tree_digest: str, terms: Terms) -> Receipt:
    return Receipt(
        manifest=admitted.artifact.manifest,
        platform=str(admitted.artifact.platform),
        artifact_digest=admitted.artifact.digest,
        tree_digest=tree_digest,
        installed_at=clock.timestamp(),
        badge=admitted.badge,
        evidence=admitted.evidence,
        source=admitted.offer.location,
        interpreter=terms.interpreter,
        folder=place,
        state_owner=terms.owner,
        grant=terms.grant,
        exceptions=admitted.judgement.lifted,
        index_serial=admitted.offer.index_serial,
        origin=admitted.offer.origin,
        builds=_builds(admitted),
        log_proof=admitted.offer.log_proof,
    )
