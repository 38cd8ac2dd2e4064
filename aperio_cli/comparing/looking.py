"""Looks at a version: an installed one, one that was admitted, an artifact that was not."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn

from aperio_cli.archive.reading import Reader
from aperio_cli.archive.rules import DEFAULT_LIMITS
from aperio_cli.comparing.seen import Component, Seen, SeenFile
from aperio_cli.errors import AperioError
from aperio_cli.files import reading, tree
from aperio_cli.models.manifest import Manifest
from aperio_cli.models.reading import Bounds, parse_json
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.models.reading import Table
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.store.installed import Store
    from aperio_cli.verifying.decide import AdmittedArtifact

SBOM_NAME: Final = "sbom.cdx.json"
_SBOM_BOUNDS: Final = Bounds(8 * 1024 * 1024)
_MOST_COMPONENTS: Final = 20_000
_SHOWN: Final = 200


class _NoBill(Exception):
    """A bill of materials cannot be read."""


def look_at_installed(store: Store, receipt: Receipt) -> Seen:
    """Return what there is to see of an installed version, by the list of its files.

    Raises:
        ReceiptInvalid: that list is damaged.
        OSError: a file may not be read.
    """
    files = {}
    for record in tree.parse_tree(store.tree_list(receipt)):
        if not record.path.endswith(".pyc"):
            files[record.path] = SeenFile(record.sha256, record.mode, _size(receipt, record.path))
    bill = None
    if SBOM_NAME in files:
        bill = _bill_in(receipt.files / SBOM_NAME)
    return Seen("installed", receipt.manifest, receipt.evidence, "", bill, files)


def _size(receipt: Receipt, path: str) -> int:
    try:
        return (receipt.files / path).lstat().st_size
    except FileNotFoundError:  # `list --check` says so
        return 0


def look_at_admitted(admitted: AdmittedArtifact, place: str) -> Seen:
    """Return what there is to see of an artifact that was admitted.

    Raises:
        ArchiveRefused, OSError: as `archive.reading.walk`.
    """
    files, bill = _walked(admitted.content, admitted.subject)
    return Seen(place, admitted.artifact.manifest, admitted.evidence, "", bill, files)


def look_at_artifact(path: Path, refusal: AperioError) -> Seen:
    """Return what there is to see of a local artifact that is not admitted; all of it is a claim.

    Raises:
        ArchiveRefused, ManifestInvalid: it cannot be read.
        OSError: it may not be read.
    """
    subject = f"`{path}`"
    with reading.open_regular(path, follow_links=True) as content:
        reader = Reader(content, DEFAULT_LIMITS, subject=subject)
        next(iter(reader))
        manifest = Manifest.parse(b"".join(reader.body()), where=f"manifest.yaml in {path}")
        files, bill = _walked(content, subject)
    return Seen("artifact", manifest, None, refusal.code, bill, files)


def _walked(
    content: BinaryIO, subject: str
) -> tuple[dict[str, SeenFile], dict[str, Component] | None]:
    """Return the files of an artifact, and its bill of materials."""
    files: dict[str, SeenFile] = {}
    bill = None
    reader = Reader(content, DEFAULT_LIMITS, subject=subject)
    for entry in reader:
        digest, kept = hashlib.sha256(), bytearray()
        for chunk in reader.body():
            digest.update(chunk)
            if entry.path == SBOM_NAME and len(kept) <= _SBOM_BOUNDS.size_bytes:
                kept += chunk
        if entry.path == SBOM_NAME:
            bill = read_bill(bytes(kept))
        files[entry.path] = SeenFile(digest.hexdigest(), entry.mode, entry.size_bytes)
    return files, bill


def _bill_in(path: Path) -> dict[str, Component] | None:
    try:
        return read_bill(reading.read_capped(path, _SBOM_BOUNDS.size_bytes))
    except (OSError, AperioError):
        return None


def read_bill(data: bytes) -> dict[str, Component] | None:
    """Return the dependencies in a bill of materials (CycloneDX, JSON); None when it is none.

    Components are told apart by their package URLs without versions, else by their names.
    """
    try:
        table = parse_json(data, _SBOM_BOUNDS, _fail)
        stated = list(table.tables("components", most=_MOST_COMPONENTS))
        found: dict[str, Component] = {}
        for each in stated:
            name, version = _named(each), one_line(each.display("version", limit=_SHOWN))
            before = found.get(name, Component(()))
            versions = sorted({*before.versions, version})
            digests = sorted({*before.digests, *_digests(each)})
            found[name] = Component(tuple(versions), tuple(digests))
    except _NoBill:
        return None
    return found


def _named(table: Table) -> str:
    purl = table.display("purl", limit=_SHOWN)
    name, at, _ = purl.rpartition("@")
    return one_line((name if at else purl) or table.display("name", limit=_SHOWN))


def _digests(table: Table) -> list[str]:
    if "hashes" not in table:
        return []
    return [each.display("content", limit=_SHOWN) for each in table.tables("hashes", most=64)]


def _fail(_key: str, why: str) -> NoReturn:
    raise _NoBill(why)
