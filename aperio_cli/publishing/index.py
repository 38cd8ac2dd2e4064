"""Builds what a registry's readers read from its source: static files that any server can offer.

    plugins.json                      version 1 (`models.registry_index`): the entry point
    plugins/<namespace>/<name>.json   one whole entry, also versions that plugins.json leaves out
    catalogue.json                    one row for each plugin, for search
    registry.json                     digests and lengths of the files above, serial and time
    artifacts/…                       artifacts, bundles and attestations

Built from the source alone: the same source gives the same bytes, wherever and whenever. It is
built aside and takes its place when it is whole (`output`).
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

from aperio_cli.errors import Refusal
from aperio_cli.errors.registries import RegistrySourceInvalid
from aperio_cli.files import writing
from aperio_cli.models.artifact import (
    ATTESTATIONS_SUFFIX,
    BUNDLE_SUFFIX,
    MAX_ATTESTATIONS_BYTES,
    MAX_BUNDLE_BYTES,
)
from aperio_cli.models.digest import Digest
from aperio_cli.models.protocol import format_protocol, is_compatible
from aperio_cli.models.registry_index import FILE_NAME, SEED_PLATFORM, VERSION
from aperio_cli.publishing.output import CATALOGUE, ROOT_FILE, replacing
from aperio_cli.publishing.source import (
    Edition,
    PublishedArtifact,
    PublishedVersion,
    Record,
    RegistryFolder,
    dump,
    open_source,
    version_folder,
)
from aperio_cli.registry import BUILT_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aperio_cli.files.beneath import Beneath

_CHUNK_BYTES = 1024 * 1024
_SCHEMA = "1.1"
_EPOCH = 1


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What was built.

    Attributes:
        out: the folder.
        plugins: how many plugins.
        versions: how many versions.
        left_out: versions that stand in detail files only, as `id@version`.
        serial: the edition.
    """

    out: Path
    plugins: int
    versions: int
    left_out: tuple[str, ...]
    serial: int

    def to_json(self) -> dict[str, object]:
        """Return the report as the `data` of the JSON envelope."""
        return {
            "out": str(self.out),
            "plugins": self.plugins,
            "versions": self.versions,
            "left_out": list(self.left_out),
            "serial": self.serial,
        }


def build(directory: Path, out: Path | None = None) -> BuildReport:
    """Build a registry, which replaces an earlier build wholly or not at all.

    Args:
        directory: the registry's source.
        out: where to write; by default `public` in the source. A folder that is missing, empty,
            or an earlier build and nothing else.

    Raises:
        RegistrySourceInvalid: the folder is no registry, a record is damaged, or an artifact, a
            bundle or attestations are missing or not those that were added.
        FileNotRegular: a link stands in the source, or in the place of the output.
        RegistryOutputForeign: the output holds something else.
        LockHeld: another process is changing the source.
        DiskFull: there is no space.
        OSError: the folder cannot be written.
    """
    shown = directory / BUILT_FOLDER if out is None else out
    with (
        open_source(directory) as registry,
        writing.disk_full_guard(f"`{shown}` was not built"),
        registry.lock(),
    ):
        records, edition = registry.records(), registry.edition()
        with replacing(registry.root, shown) as built:
            for record in records:
                _copy_artifacts(registry, record, built)
            _write_documents(records, edition, built)
    left_out = [f"{r.id}@{v.version}" for r in records for v in r.versions if not _is_in_v1(v)]
    count = sum(len(record.versions) for record in records)
    return BuildReport(shown, len(records), count, tuple(left_out), edition.serial)


# ── artifacts ─────────────────────────────────────────────────────────────────────────────────────


def _copy_artifacts(registry: RegistryFolder, record: Record, built: Beneath) -> None:
    for version in record.versions:
        folder = version_folder(record.id, version.version)
        built.make_folders(*folder)
        for artifact in version.artifacts:
            _copy_artifact(registry.root, built, (*folder, artifact.file_name), artifact)
            _copy_bundle(registry.root, built, (*folder, artifact.file_name), artifact)
            if artifact.attestations:
                name = artifact.file_name + ATTESTATIONS_SUFFIX
                _copy_attestations(registry.root, built, (*folder, name), artifact.attestations)


def _copy_artifact(
    root: Beneath, built: Beneath, parts: tuple[str, ...], artifact: PublishedArtifact
) -> None:
    """Copy the bytes that the record names: those that are digested are those that are written."""
    with _reading(root, parts), root.open_file(*parts) as file, built.aside_file(*parts) as aside:
        found, size_bytes = _copy(file, aside.file, artifact.size_bytes)
        if (found, size_bytes) != (artifact.digest, artifact.size_bytes):
            expected = f"{artifact.digest}, {artifact.size_bytes} bytes"
            why = f"expected {expected}\nfound    {found}, {size_bytes} bytes"
            raise _damaged(root.path(*parts), why)
        aside.commit()


def _copy(file: BinaryIO, copy: BinaryIO, size_bytes: int) -> tuple[Digest, int]:
    """Copy at most one byte more than the size; return digest and length of that."""
    digest, left = hashlib.sha256(), size_bytes + 1
    while left > 0 and (chunk := file.read(min(_CHUNK_BYTES, left))):
        left -= len(chunk)
        digest.update(chunk)
        copy.write(chunk)
    return Digest(digest.hexdigest()), size_bytes + 1 - left


def _copy_bundle(
    root: Beneath, built: Beneath, parts: tuple[str, ...], artifact: PublishedArtifact
) -> None:
    """Copy a bundle, when it is one and of that artifact: nothing else is published as one."""
    from aperio_cli.proving.signature import check_bundle

    parts = (*parts[:-1], parts[-1] + BUNDLE_SUFFIX)
    with _reading(root, parts):
        data = root.read(*parts, limit_bytes=MAX_BUNDLE_BYTES)
    try:
        check_bundle(artifact.digest, data, subject="the bundle")
    except Refusal as refusal:
        raise _damaged(root.path(*parts), f"{refusal.what}\n{refusal.why}") from refusal
    built.write_atomic(*parts, data=data)


def _copy_attestations(
    root: Beneath, built: Beneath, parts: tuple[str, ...], expected: Digest
) -> None:
    with _reading(root, parts):
        data = root.read(*parts, limit_bytes=MAX_ATTESTATIONS_BYTES)
    if Digest.of(data) != expected:
        raise _damaged(root.path(*parts), f"expected {expected}\nfound    {Digest.of(data)}")
    built.write_atomic(*parts, data=data)


@contextlib.contextmanager
def _reading(root: Beneath, parts: tuple[str, ...]) -> Iterator[None]:
    """Tell that a file of the source is missing."""
    try:
        yield
    except FileNotFoundError as error:
        raise _damaged(root.path(*parts), "it is not there") from error


def _damaged(path: Path, why: str) -> RegistrySourceInvalid:
    return RegistrySourceInvalid(
        f"`{path}` is not the file that was added; nothing was built",
        why=why,
        next=["bring the file back from the registry's history"],
    )


# ── documents ─────────────────────────────────────────────────────────────────────────────────────


def _write_documents(records: list[Record], edition: Edition, out: Beneath) -> None:
    stamps = {"epoch": _EPOCH, "serial": edition.serial}
    entries, rows = [], []
    for record in records:
        location = f"plugins/{record.id}.json"
        detail = _write(out, location, _entry(record, record.versions))
        shown = [version for version in record.versions if _is_in_v1(version)]
        entries.append(_entry(record, shown) | {"detail": {"url": location} | detail})
        rows.append(_row(record) | {"detail": {"url": location} | detail})
    head = {"updated_at": edition.updated_at, **stamps}
    written = {
        CATALOGUE: _write(out, CATALOGUE, {"version": 1, **head, "plugins": rows}),
        FILE_NAME: _write(out, FILE_NAME, _plugins_document(head, entries)),
    }
    _write(out, ROOT_FILE, {"version": 1, **head, "files": written})


def _plugins_document(head: dict[str, Any], entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "version": VERSION,
        "updated_at": head["updated_at"],
        "schema": _SCHEMA,
        "epoch": head["epoch"],
        "serial": head["serial"],
        "links": {"root": ROOT_FILE, "catalogue": CATALOGUE},
        "plugins": entries,
    }


def _write(out: Beneath, location: str, document: dict[str, Any]) -> dict[str, object]:
    """Write a file, and return its digest and length as other files state them."""
    data = dump(document)
    parts = location.split("/")
    out.make_folders(*parts[:-1])
    out.write_atomic(*parts, data=data)
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def _is_in_v1(version: PublishedVersion) -> bool:
    """Return whether a reader of the seed schema can be shown it.

    It has but one artifact to offer.
    """
    is_readable = is_compatible(version.manifest.protocol)
    return is_readable and any(a.platform == SEED_PLATFORM for a in version.artifacts)


def _row(record: Record) -> dict[str, Any]:
    newest = record.versions[0]
    return {
        "id": str(record.id),
        "kind": record.kind,
        "description": newest.manifest.description,
        "latest": newest.version,
        "platforms": [str(artifact.platform) for artifact in newest.artifacts],
    }


def _entry(record: Record, versions: tuple[PublishedVersion, ...] | list[PublishedVersion]) -> Any:
    newest = record.versions[0]
    manifest, signer = newest.manifest, newest.signer
    optional = {"homepage": manifest.homepage, "source": manifest.source}
    return {
        "id": str(record.id),
        "kind": record.kind,
        "description": manifest.description,
        "license": manifest.license,
        **{key: address for key, address in optional.items() if address},
        "status": "active",
        "permissions": {
            "oauth_scopes": list(manifest.scopes),
            "egress": list(manifest.egress),
            "needs_kv": manifest.state,
        },
        "signer": {
            "type": signer.domain,
            "issuer": signer.issuer,
            "identity": signer.identity,
        },
        "versions": [_version(record, version) for version in versions],
    }


def _version(record: Record, version: PublishedVersion) -> dict[str, Any]:
    seed = [a for a in version.artifacts if a.platform == SEED_PLATFORM]
    own = [_location(record, version, artifact) for artifact in seed]
    return {
        "version": version.version,
        **({"download_url": own[0], "sha256": seed[0].digest.hex} if seed else {}),
        **({"sigstore_bundle": own[0] + BUNDLE_SUFFIX} if seed else {}),
        # `verified` is computed from the registry's publisher records, never taken from an author.
        "publisher": {"name": record.id.namespace, "verified": False},
        "published_at": version.added_at,
        "protocols": [format_protocol(version.manifest.protocol)],
        "artifacts": [_artifact(record, version, artifact) for artifact in version.artifacts],
    }


def _artifact(
    record: Record, version: PublishedVersion, artifact: PublishedArtifact
) -> dict[str, Any]:
    location = _location(record, version, artifact)
    return {
        "os": artifact.platform.os,
        "arch": artifact.platform.arch,
        "url": location,
        "sha256": artifact.digest.hex,
        "size": artifact.size_bytes,
        "sigstore_bundle": location + BUNDLE_SUFFIX,
        **({"attestations": location + ATTESTATIONS_SUFFIX} if artifact.attestations else {}),
    }


def _location(record: Record, version: PublishedVersion, artifact: PublishedArtifact) -> str:
    """Relative to the index; made of characters that need no escaping in an address."""
    folder = version_folder(record.id, version.version)
    return str(PurePosixPath(*folder, artifact.file_name))
