"""Builds what a registry's readers read from its source: static files that any server can offer.

    plugins.json                      version 1 (`models.registry_index`): the entry point
    plugins/<namespace>/<name>.json   one whole entry, also versions that plugins.json leaves out
    catalogue.json                    one row for each plugin, for search
    registry.json                     digests and lengths of the files above, serial and time
    artifacts/…                       artifacts, bundles and attestations

Built from the source alone: the same source gives the same bytes, wherever and whenever.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from aperio_cli import files
from aperio_cli.errors import RegistrySourceInvalid
from aperio_cli.models.artifact import (
    ATTESTATIONS_SUFFIX,
    BUNDLE_SUFFIX,
    MAX_ATTESTATIONS_BYTES,
    MAX_BUNDLE_BYTES,
)
from aperio_cli.models.protocol import is_compatible, parse_protocol
from aperio_cli.models.registry_index import FILE_NAME, SEED_PLATFORM, VERSION
from aperio_cli.publishing.source import (
    ARTIFACTS,
    PublishedArtifact,
    PublishedVersion,
    Record,
    RegistrySource,
    State,
    dump,
    open_source,
)
from aperio_cli.registry import BUILT_FOLDER

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
        """The report as the `data` of the JSON envelope."""
        return {
            "out": str(self.out),
            "plugins": self.plugins,
            "versions": self.versions,
            "left_out": list(self.left_out),
            "serial": self.serial,
        }


def build(directory: Path, out: Path | None = None) -> BuildReport:
    """Builds a registry; what others depend on is written before what names it.

    Args:
        directory: the registry's source.
        out: where to write; by default `public` in the source. Files of other names stay.

    Raises:
        RegistrySourceInvalid: the folder is no registry, a record is damaged, or an artifact is
            missing or differs from its record; nothing was written.
        LockHeld: another process is changing the source.
        DiskFull: there is no space.
        OSError: the folder cannot be written.
    """
    source = open_source(directory)
    out = directory / BUILT_FOLDER if out is None else out
    with source.lock(), files.disk_full_guard(f"`{out}` was not built"):
        records = source.records()
        for record in records:
            _check_artifacts(source, record)
        for record in records:
            _copy_artifacts(source, record, out)
        _write_documents(records, source.state(), out)
    left_out = [f"{r.id}@{v.version}" for r in records for v in r.versions if not _is_in_v1(v)]
    count = sum(len(record.versions) for record in records)
    return BuildReport(out, len(records), count, tuple(left_out), source.state().serial)


# ── artifacts ─────────────────────────────────────────────────────────────────────────────────────


def _check_artifacts(source: RegistrySource, record: Record) -> None:
    for version in record.versions:
        for artifact in version.artifacts:
            path = source.artifact_folder(record.id, version.version) / artifact.file_name
            try:
                found = files.hash_file(path)
            except FileNotFoundError:
                raise _damaged(path, "it is not there") from None
            if found != artifact.digest:
                raise _damaged(path, f"expected {artifact.digest}\nfound    {found}")
            if not path.with_name(path.name + BUNDLE_SUFFIX).is_file():
                raise _damaged(path, "its bundle is not there")
            _check_attestations(path, artifact)


def _check_attestations(artifact_path: Path, artifact: PublishedArtifact) -> None:
    if artifact.attestations is None:
        return
    path = artifact_path.with_name(artifact_path.name + ATTESTATIONS_SUFFIX)
    try:
        found = files.hash_file(path)
    except FileNotFoundError:
        raise _damaged(path, "it is not there") from None
    if found != artifact.attestations:
        raise _damaged(path, f"expected {artifact.attestations}\nfound    {found}")


def _damaged(path: Path, why: str) -> RegistrySourceInvalid:
    return RegistrySourceInvalid(
        f"`{path}` is not the artifact that was added; nothing was built",
        why=why,
        next=["bring the file back from the registry's history"],
    )


def _copy_artifacts(source: RegistrySource, record: Record, out: Path) -> None:
    for version in record.versions:
        origin = source.artifact_folder(record.id, version.version)
        destination = out / origin.relative_to(source.path)
        if destination == origin:
            continue
        destination.mkdir(parents=True, exist_ok=True)
        for artifact in version.artifacts:
            _copy(origin / artifact.file_name, destination / artifact.file_name)
            _copy_small(origin, destination, artifact.file_name + BUNDLE_SUFFIX, MAX_BUNDLE_BYTES)
            if artifact.attestations:
                name = artifact.file_name + ATTESTATIONS_SUFFIX
                _copy_small(origin, destination, name, MAX_ATTESTATIONS_BYTES)


def _copy_small(origin: Path, destination: Path, name: str, limit_bytes: int) -> None:
    files.write_atomic(destination / name, files.read_capped(origin / name, limit_bytes))


def _copy(origin: Path, destination: Path) -> None:
    if destination.is_file() and files.hash_file(destination) == files.hash_file(origin):
        return
    with files.open_regular(origin) as file, files.AsideFile(destination) as aside:
        shutil.copyfileobj(file, aside.file)
        aside.commit()


# ── documents ─────────────────────────────────────────────────────────────────────────────────────


def _write_documents(records: list[Record], state: State, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    stamps = {"epoch": _EPOCH, "serial": state.serial}
    entries, rows = [], []
    for record in records:
        location = f"plugins/{record.id}.json"
        detail = _write(out, location, _entry(record, record.versions))
        shown = [version for version in record.versions if _is_in_v1(version)]
        entries.append(_entry(record, shown) | {"detail": {"url": location} | detail})
        rows.append(_row(record) | {"detail": {"url": location} | detail})
    head = {"updated_at": state.updated_at, **stamps}
    written = {
        "catalogue.json": _write(out, "catalogue.json", {"version": 1, **head, "plugins": rows}),
        FILE_NAME: _write(out, FILE_NAME, _plugins_document(head, entries)),
    }
    _write(out, "registry.json", {"version": 1, **head, "files": written})


def _plugins_document(head: dict[str, Any], entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "version": VERSION,
        "updated_at": head["updated_at"],
        "schema": _SCHEMA,
        "epoch": head["epoch"],
        "serial": head["serial"],
        "links": {"root": "registry.json", "catalogue": "catalogue.json"},
        "plugins": entries,
    }


def _write(out: Path, location: str, document: dict[str, Any]) -> dict[str, object]:
    """Writes a file, and gives its digest and length as other files state them."""
    data = dump(document)
    path = out / location
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomic(path, data)
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def _is_in_v1(version: PublishedVersion) -> bool:
    """Whether a reader of the seed schema can be shown it: it has but one artifact to offer."""
    is_readable = is_compatible(parse_protocol(str(version.manifest["protocol"])))
    return is_readable and any(a.platform == SEED_PLATFORM for a in version.artifacts)


def _row(record: Record) -> dict[str, Any]:
    newest = record.versions[0]
    return {
        "id": str(record.id),
        "kind": record.kind,
        "description": newest.manifest["description"],
        "latest": newest.version,
        "platforms": [str(artifact.platform) for artifact in newest.artifacts],
    }


def _entry(record: Record, versions: tuple[PublishedVersion, ...] | list[PublishedVersion]) -> Any:
    newest = record.versions[0]
    manifest, signer = newest.manifest, newest.signer
    optional = {key: manifest[key] for key in ("homepage", "source") if manifest.get(key)}
    return {
        "id": str(record.id),
        "kind": record.kind,
        "description": manifest["description"],
        "license": manifest["license"],
        **optional,
        "status": "active",
        "permissions": {
            "oauth_scopes": manifest["scopes"],
            "egress": manifest["permissions"]["egress"],
            "needs_kv": manifest["state"],
        },
        "signer": {
            "type": signer.get("domain"),
            "issuer": signer.get("issuer"),
            "identity": signer.get("identity"),
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
        "protocols": [version.manifest["protocol"]],
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
    parts = (ARTIFACTS, record.id.namespace, record.id.name, version.version, artifact.file_name)
    return str(PurePosixPath(*parts))
