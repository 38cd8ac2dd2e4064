"""The source of a registry: a folder of JSON records and artifacts that maintainers keep in git.

    aperio-registry.json                 {"schema", "serial", "updated_at"}
    records/<namespace>/<name>.json      one plugin: its versions and their artifacts
    artifacts/<namespace>/<name>/<version>/<artifact>, its .sigstore.json and .intoto.jsonl
    public/                              what `registry build` makes of it

A record says what was verified when an artifact was added. Its rows never change afterwards.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aperio_cli import clock, files
from aperio_cli.errors import AperioError, RegistrySourceExists, RegistrySourceInvalid
from aperio_cli.models.digest import Digest
from aperio_cli.models.platform import Platform
from aperio_cli.models.plugin_id import PluginId, check_version, version_key
from aperio_cli.registry import BUILT_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE_NAME = "aperio-registry.json"
RECORDS = "records"
ARTIFACTS = "artifacts"
_SOURCE_SCHEMA = "aperio.registry.source/v1"
_RECORD_SCHEMA = "aperio.registry.record/v1"
_MAX_SOURCE_BYTES = 64 * 1024
_MAX_RECORD_BYTES = 16 * 1024 * 1024
_MANIFEST_KEYS = {"description", "license", "permissions", "protocol", "scopes", "state"}


@dataclass(frozen=True, slots=True)
class PublishedArtifact:
    """One artifact of a version.

    Attributes:
        platform: what it runs on.
        file_name: its name in the version's folder; the bundle stands beside it.
        digest: of the whole file.
        size_bytes: its length.
        attestations: digest of the file with signed statements about it; None when there is none.
    """

    platform: Platform
    file_name: str
    digest: Digest
    size_bytes: int
    attestations: Digest | None = None

    def to_json(self) -> dict[str, object]:
        """The artifact as its record carries it."""
        document: dict[str, object] = {
            "os": self.platform.os,
            "arch": self.platform.arch,
            "file": self.file_name,
            "sha256": self.digest.hex,
            "size": self.size_bytes,
        }
        if self.attestations:
            document["attestations_sha256"] = self.attestations.hex
        return document


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """One version of a plugin.

    Attributes:
        version: the version.
        added_at: when its first artifact was added, RFC 3339 in UTC.
        signer: who signed that, as `Signer.to_json` gives it.
        manifest: as `Manifest.to_json` gives it.
        artifacts: by platform.
    """

    version: str
    added_at: str
    signer: dict[str, Any]
    manifest: dict[str, Any]
    artifacts: tuple[PublishedArtifact, ...]

    def to_json(self) -> dict[str, object]:
        """The version as its record carries it."""
        return {
            "version": self.version,
            "added_at": self.added_at,
            "signer": self.signer,
            "manifest": self.manifest,
            "artifacts": [artifact.to_json() for artifact in self.artifacts],
        }


@dataclass(frozen=True, slots=True)
class Record:
    """One plugin of a registry; its versions highest first."""

    id: PluginId
    kind: str
    versions: tuple[PublishedVersion, ...]

    def version(self, version: str) -> PublishedVersion | None:
        """The version named."""
        return next((each for each in self.versions if each.version == version), None)

    def to_bytes(self) -> bytes:
        """The contents of its file."""
        return dump(
            {
                "schema": _RECORD_SCHEMA,
                "id": str(self.id),
                "kind": self.kind,
                "versions": [version.to_json() for version in self.versions],
            }
        )


@dataclass(frozen=True, slots=True)
class State:
    """Which edition of a registry its source is at.

    Attributes:
        serial: grows by one with each change.
        updated_at: when it changed last, RFC 3339 in UTC.
    """

    serial: int
    updated_at: str


class RegistrySource:
    """The folder of a registry's source; `open_source` and `create_source` give one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lock(self) -> files.Lock:
        """Held by whoever changes the source."""
        return files.Lock(
            self.path / ".lock", what=f"the registry in `{self.path}` was not changed"
        )

    def state(self) -> State:
        """The edition.

        Raises:
            RegistrySourceInvalid: the file cannot be read.
        """
        document = self._load(self.path / FILE_NAME, _SOURCE_SCHEMA, _MAX_SOURCE_BYTES)
        serial, updated_at = document.get("serial"), document.get("updated_at")
        if not isinstance(serial, int) or not isinstance(updated_at, str):
            raise _invalid(self.path / FILE_NAME, "expected a serial and a time")
        return State(serial, updated_at)

    def records(self) -> list[Record]:
        """Every record, sorted by id.

        Raises:
            RegistrySourceInvalid: one of them is damaged; names it.
        """
        return [self._record(path) for path in sorted(self._record_files())]

    def record(self, plugin: PluginId) -> Record | None:
        """The record of a plugin.

        Raises:
            RegistrySourceInvalid: it is damaged.
        """
        path = self._record_file(plugin)
        return self._record(path) if path.exists() else None

    def artifact_folder(self, plugin: PluginId, version: str) -> Path:
        """Where the artifacts of a version are."""
        return self.path / ARTIFACTS / plugin.namespace / plugin.name / check_version(version)

    def write_record(self, record: Record) -> None:
        """Replaces the record of a plugin, and moves the source to its next edition.

        Raises:
            DiskFull: there is no space; the record is as it was.
            OSError: the folder cannot be written.
        """
        state = self.state()
        path = self._record_file(record.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        # The edition first: an interrupted change leaves a serial that means nothing, instead of
        # two editions with one serial.
        _write_state(self.path, State(state.serial + 1, clock.timestamp()))
        files.write_atomic(path, record.to_bytes())

    def _record_file(self, plugin: PluginId) -> Path:
        return self.path / RECORDS / plugin.namespace / f"{plugin.name}.json"

    def _record_files(self) -> Iterator[Path]:
        return (self.path / RECORDS).glob("*/[!.]*.json")

    def _record(self, path: Path) -> Record:
        document = self._load(path, _RECORD_SCHEMA, _MAX_RECORD_BYTES)
        try:
            record = _parse_record(document)
        except (AperioError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise _invalid(path, f"{type(error).__name__}: {error}") from error
        if self._record_file(record.id) != path:
            raise _invalid(path, f"it speaks for `{record.id}`")
        return record

    def _load(self, path: Path, schema: str, limit_bytes: int) -> dict[str, Any]:
        try:
            document = json.loads(files.read_capped(path, limit_bytes))
        except (OSError, AperioError, ValueError, RecursionError) as error:
            raise _invalid(path, str(error)) from error
        if not isinstance(document, dict) or document.get("schema") != schema:
            raise _invalid(path, f"expected a JSON object of schema {schema}")
        return document


def create_source(path: Path) -> RegistrySource:
    """Makes the source of a new, empty registry.

    Args:
        path: a folder that is empty or not there yet.

    Raises:
        RegistrySourceExists: something is in it; it stays as it is.
        DiskFull: there is no space.
        OSError: the folder cannot be written.
    """
    if path.is_dir() and any(path.iterdir()):
        is_source = (path / FILE_NAME).exists()
        raise RegistrySourceExists(
            f"`{path}` was left as it is: "
            + ("it is the source of a registry already" if is_source else "it is not empty"),
            next=[f"`aperio registry add ARTIFACT --dir {path}`"]
            if is_source
            else ["name another folder"],
        )
    with files.disk_full_guard(f"`{path}` was not made"):
        path.mkdir(parents=True, exist_ok=True)
        files.write_atomic(path / ".gitignore", f".lock\n/{BUILT_FOLDER}/\n".encode())
        _write_state(path, State(0, clock.timestamp()))
    return RegistrySource(path)


def open_source(path: Path) -> RegistrySource:
    """The source of a registry in a folder.

    Raises:
        RegistrySourceInvalid: there is none, or it is damaged.
    """
    if not (path / FILE_NAME).exists():
        raise RegistrySourceInvalid(
            f"`{path}` is not the source of a registry",
            why=f"it has no {FILE_NAME}",
            next=[
                "name its folder with `--dir DIR`",
                f"make one: `aperio registry init {path}`",
            ],
        )
    source = RegistrySource(path)
    source.state()
    return source


def dump(document: object) -> bytes:
    """JSON as every file of a registry is written: the same bytes for the same document."""
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def _write_state(path: Path, state: State) -> None:
    document = {
        "schema": _SOURCE_SCHEMA,
        "serial": state.serial,
        "updated_at": state.updated_at,
    }
    files.write_atomic(path / FILE_NAME, dump(document))


def _invalid(path: Path, why: str) -> RegistrySourceInvalid:
    return RegistrySourceInvalid(
        f"`{path}` was not read; the registry is as it was",
        why=why,
        next=["bring the file back from the registry's history"],
    )


def _parse_record(document: dict[str, Any]) -> Record:
    versions = sorted(
        (_parse_version(version) for version in document["versions"]),
        key=lambda version: version_key(version.version),
        reverse=True,
    )
    if not versions:
        raise ValueError("it has no version")
    if len({version.version for version in versions}) != len(versions):
        raise ValueError("a version is there twice")
    return Record(PluginId.parse(document["id"]), str(document["kind"]), tuple(versions))


def _parse_version(document: dict[str, Any]) -> PublishedVersion:
    artifacts = sorted(
        (_parse_artifact(artifact) for artifact in document["artifacts"]),
        key=lambda artifact: artifact.platform,
    )
    manifest = dict(document["manifest"])
    if missing := _MANIFEST_KEYS - manifest.keys():
        raise ValueError(f"a manifest lacks {', '.join(sorted(missing))}")
    return PublishedVersion(
        version=check_version(document["version"]),
        added_at=str(document["added_at"]),
        signer=dict(document["signer"]),
        manifest=manifest,
        artifacts=tuple(artifacts),
    )


def _parse_artifact(document: dict[str, Any]) -> PublishedArtifact:
    file_name = document["file"]
    if Path(file_name).name != file_name or file_name.startswith("."):
        raise ValueError("`file` is not a file name")
    return PublishedArtifact(
        platform=Platform.parse(f"{document['os']}/{document['arch']}"),
        file_name=file_name,
        digest=Digest(document["sha256"]),
        size_bytes=int(document["size"]),
        attestations=Digest(document["attestations_sha256"])
        if "attestations_sha256" in document
        else None,
    )
