"""The source of a registry: a folder of JSON records and artifacts that maintainers keep in git.

    aperio-registry.json                 {"schema", "serial", "updated_at"}
    records/<namespace>/<name>.json      one plugin: its versions and their artifacts
    artifacts/<namespace>/<name>/<version>/<artifact>, its .sigstore.json and .intoto.jsonl
    public/                              what `registry build` makes of it

A record says what was verified when an artifact was added. Its rows never change afterwards.

A clone was written by others: no link in it is followed (`beneath`).
"""

from __future__ import annotations

import contextlib
import functools
import json
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.errors.files import FileNotRegular
from aperio_cli.errors.registries import RegistrySourceExists, RegistrySourceInvalid
from aperio_cli.files import writing
from aperio_cli.files.beneath import Beneath
from aperio_cli.models.artifact import published_name
from aperio_cli.models.digest import Digest
from aperio_cli.models.manifest import KINDS, Manifest
from aperio_cli.models.newer import refuse_newer
from aperio_cli.models.platform import ARCHITECTURES, OPERATING_SYSTEMS, Platform
from aperio_cli.models.plugin_id import PluginId, check_version, version_key
from aperio_cli.models.publisher import Signer
from aperio_cli.models.reading import Bounds, Table, described, parse_json
from aperio_cli.registry import BUILT_FOLDER
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE_NAME = "aperio-registry.json"
RECORDS = "records"
ARTIFACTS = "artifacts"
_SOURCE_SCHEMA = "aperio.registry.source/v1"
_RECORD_SCHEMA = "aperio.registry.record/v1"
_SOURCE_BOUNDS = Bounds(64 * 1024)
_RECORD_BOUNDS = Bounds(16 * 1024 * 1024, members=750_000)


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
        """Return the artifact as its record carries it."""
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

    @classmethod
    def from_json(cls, table: Table) -> PublishedArtifact:
        """Return the artifact that a record carries."""
        is_attested = "attestations_sha256" in table
        return cls(
            platform=Platform(
                table.choice("os", OPERATING_SYSTEMS), table.choice("arch", ARCHITECTURES)
            ),
            file_name=table.text("file"),
            digest=table.converted("sha256", Digest),
            size_bytes=table.integer("size"),
            attestations=table.converted("attestations_sha256", Digest) if is_attested else None,
        )


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """One version of a plugin.

    Attributes:
        version: the version.
        added_at: when its first artifact was added, RFC 3339 in UTC.
        signer: who signed that.
        manifest: what it declares.
        artifacts: by platform.
    """

    version: str
    added_at: str
    signer: Signer
    manifest: Manifest
    artifacts: tuple[PublishedArtifact, ...]

    def to_json(self) -> dict[str, object]:
        """Return the version as its record carries it."""
        return {
            "version": self.version,
            "added_at": self.added_at,
            "signer": self.signer.to_json(),
            "manifest": self.manifest.to_json(),
            "artifacts": [artifact.to_json() for artifact in self.artifacts],
        }

    @classmethod
    def from_json(cls, table: Table) -> PublishedVersion:
        """Return the version that a record carries."""
        manifest = Manifest.from_record(table)
        version = table.converted("version", check_version)
        if version != manifest.version:
            table.fail("version", f"expected {manifest.version}, as the manifest says")
        artifacts = [
            PublishedArtifact.from_json(each) for each in table.optional_tables("artifacts")
        ]
        for artifact in artifacts:
            name = published_name(manifest.id, version, artifact.platform)
            if artifact.file_name != name:
                found = clean(artifact.file_name, limit=120)
                table.fail("artifacts", f"expected `file` to be {name}, found {found}")
        if len({artifact.platform for artifact in artifacts}) != len(artifacts):
            table.fail("artifacts", "a platform is there twice")
        return cls(
            version=version,
            added_at=table.recorded("added_at"),
            signer=Signer.from_json(table.table("signer")),
            manifest=manifest,
            artifacts=tuple(sorted(artifacts, key=lambda artifact: artifact.platform)),
        )


@dataclass(frozen=True, slots=True)
class Record:
    """One plugin of a registry; its versions highest first."""

    id: PluginId
    kind: str
    versions: tuple[PublishedVersion, ...]

    def version(self, version: str) -> PublishedVersion | None:
        """Return the version named."""
        return next((each for each in self.versions if each.version == version), None)

    def to_bytes(self) -> bytes:
        """Return the contents of its file."""
        return dump(
            {
                "schema": _RECORD_SCHEMA,
                "id": str(self.id),
                "kind": self.kind,
                "versions": [version.to_json() for version in self.versions],
            }
        )

    @classmethod
    def from_json(cls, table: Table) -> Record:
        """Return the plugin that a record speaks for."""
        versions = sorted(
            map(PublishedVersion.from_json, table.optional_tables("versions")),
            key=lambda version: version_key(version.version),
            reverse=True,
        )
        if not versions:
            table.fail("versions", "it has no version")
        if len({version.version for version in versions}) != len(versions):
            table.fail("versions", "a version is there twice")
        plugin, kind = table.converted("id", PluginId.parse), table.choice("kind", KINDS)
        if any((each.manifest.id, each.manifest.kind) != (plugin, kind) for each in versions):
            table.fail("versions", f"expected `{plugin}`, a {kind}, in each manifest")
        return cls(plugin, kind, tuple(versions))


@dataclass(frozen=True, slots=True)
class Edition:
    """One edition of a registry.

    Attributes:
        serial: grows by one with each change.
        updated_at: when it changed last, RFC 3339 in UTC.
    """

    serial: int
    updated_at: str


class RegistryFolder:
    """The folder that the maintainers of a registry keep, held open; `open_source` gives one.

    Every method refuses a link on its way with FileNotRegular.

    Attributes:
        root: the folder.
    """

    def __init__(self, root: Beneath) -> None:
        self.root = root

    @property
    def path(self) -> Path:
        """The folder, as it was named."""
        return self.root.root

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Held by whoever changes the source."""
        return self.root.lock(".lock", what=f"the registry in `{self.path}` was not changed")

    def edition(self) -> Edition:
        """Return the edition that the folder is at.

        Raises:
            RegistrySourceInvalid: the file cannot be read.
        """
        table = self._load((FILE_NAME,), _SOURCE_SCHEMA, _SOURCE_BOUNDS)
        return Edition(table.integer("serial"), table.recorded("updated_at"))

    def records(self) -> list[Record]:
        """Return every record, sorted by id.

        Raises:
            RegistrySourceInvalid: one of them is damaged; names it.
        """
        return [self._record(parts) for parts in self._record_files()]

    def record(self, plugin: PluginId) -> Record | None:
        """Return the record of a plugin.

        Raises:
            RegistrySourceInvalid: it is damaged.
        """
        parts = _record_parts(plugin)
        return None if self.root.mode(*parts) is None else self._record(parts)

    def write_record(self, record: Record) -> None:
        """Replace the record of a plugin, and move the source to its next edition.

        Raises:
            DiskFull: there is no space; the record is as it was.
            OSError: the folder cannot be written.
        """
        edition = self.edition()
        parts = _record_parts(record.id)
        self.root.make_folders(*parts[:-1])
        # The edition first: an interrupted change leaves a serial that means nothing, instead of
        # two editions with one serial.
        _write_edition(self.root, Edition(edition.serial + 1, clock.timestamp()))
        self.root.write_atomic(*parts, data=record.to_bytes())

    def _record_files(self) -> Iterator[tuple[str, ...]]:
        """Yield the paths of all records; other files beside them are nobody's concern."""
        for namespace in self._visible(RECORDS):
            if stat.S_ISDIR(self.root.mode(RECORDS, namespace) or 0):
                names = self._visible(RECORDS, namespace)
                yield from ((RECORDS, namespace, n) for n in names if n.endswith(".json"))

    def _visible(self, *parts: str) -> list[str]:
        if self.root.mode(*parts) is None:
            return []
        return [name for name in self.root.names(*parts) if not name.startswith(".")]

    def _record(self, parts: tuple[str, ...]) -> Record:
        record = Record.from_json(self._load(parts, _RECORD_SCHEMA, _RECORD_BOUNDS))
        if _record_parts(record.id) != parts:
            raise _invalid(self.root.path(*parts), f"it speaks for `{record.id}`")
        return record

    def _load(self, parts: tuple[str, ...], schema: str, bounds: Bounds) -> Table:
        path = self.root.path(*parts)
        try:
            data = self.root.read(*parts, limit_bytes=bounds.size_bytes)
        except FileNotRegular:
            raise
        except (OSError, AperioError) as error:
            raise _invalid(path, str(error)) from error
        table = parse_json(data, bounds, functools.partial(_fail, path))
        stated = table.values.get("schema")
        refuse_newer(path, stated, schema, deed="the registry is as it was")
        if stated != schema:
            table.fail("schema", f"expected {schema}")
        return table


def version_folder(plugin: PluginId, version: str) -> tuple[str, ...]:
    """Return where the artifacts of a version are, in the source and in what is built of it."""
    return ARTIFACTS, plugin.namespace, plugin.name, check_version(version)


def _record_parts(plugin: PluginId) -> tuple[str, ...]:
    return RECORDS, plugin.namespace, f"{plugin.name}.json"


def create_source(path: Path) -> None:
    """Make the source of a new, empty registry.

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
    with writing.disk_full_guard(f"`{path}` was not made"):
        path.mkdir(parents=True, exist_ok=True)
        ignored = f".lock\n{writing.ASIDE_PREFIX}*\n/{BUILT_FOLDER}/\n"
        with Beneath(path) as root:
            root.write_atomic(".gitignore", data=ignored.encode())
            _write_edition(root, Edition(0, clock.timestamp()))


@contextlib.contextmanager
def open_source(path: Path) -> Iterator[RegistryFolder]:
    """Hold the source of a registry open for the length of the block.

    Raises:
        RegistrySourceInvalid: there is none in the folder, or it is damaged.
        FileNotRegular: a link stands in the place of its file.
        OSError: the folder may not be read.
    """
    with contextlib.ExitStack() as opened:
        try:
            root = opened.enter_context(Beneath(path))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _no_source(path) from error
        if root.mode(FILE_NAME) is None:
            raise _no_source(path)
        registry = RegistryFolder(root)
        registry.edition()
        yield registry


def _no_source(path: Path) -> RegistrySourceInvalid:
    return RegistrySourceInvalid(
        f"`{path}` is not the source of a registry",
        why=f"it has no {FILE_NAME}",
        next=[
            "name its folder with `--dir DIR`",
            f"make one: `aperio registry init {path}`",
        ],
    )


def dump(document: object) -> bytes:
    """JSON as every file of a registry is written: the same bytes for the same document."""
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def _write_edition(root: Beneath, edition: Edition) -> None:
    document = {
        "schema": _SOURCE_SCHEMA,
        "serial": edition.serial,
        "updated_at": edition.updated_at,
    }
    root.write_atomic(FILE_NAME, data=dump(document))


def _invalid(path: Path, why: str) -> RegistrySourceInvalid:
    return RegistrySourceInvalid(
        f"`{path}` was not read; the registry is as it was",
        why=why,
        next=["bring the file back from the registry's history"],
    )


def _fail(path: Path, key: str, why: str) -> NoReturn:
    raise _invalid(path, described(key, why))
