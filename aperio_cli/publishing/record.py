"""Records of a registry's source: `records/<namespace>/<name>.json`, one plugin in each.

A record says what was verified when an artifact was added. Its rows never change afterwards, but
for the `status` of a version.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from aperio_cli.models.artifact import published_name
from aperio_cli.models.digest import Digest
from aperio_cli.models.manifest import KINDS, Manifest
from aperio_cli.models.platform import ARCHITECTURES, OPERATING_SYSTEMS, Platform
from aperio_cli.models.plugin_id import PluginId, check_version, version_key
from aperio_cli.models.publisher import Signer
from aperio_cli.models.registry.documents import location_problem
from aperio_cli.models.registry.plugin_file import VersionStatus, mirror_problem
from aperio_cli.text import clean

if TYPE_CHECKING:
    from aperio_cli.models.reading import Table

SCHEMA: Final = "aperio.registry.record/v1"
_TREE: Final = re.compile(r"t1:[0-9a-f]{64}", re.ASCII)
_MIRRORS: Final = 16
_MOST_VERSIONS: Final = 10_000


@dataclass(frozen=True, slots=True)
class PublishedArtifact:
    """One artifact of a version.

    Attributes:
        platform: what it runs on.
        file_name: its name in the version's folder; the bundle stands beside it.
        digest: of the whole file.
        size_bytes: its length.
        attestations: digest of the file with signed statements about it; None when there is none.
        url: where it is, when the registry does not keep it; empty when it does.
        mirrors: other places with the same bytes.
        bundle: digest of its bundle; None in records of before there was one.
        tree: digest of the tree that it unpacks to, `t1:<hex>`; empty in records of before.
    """

    platform: Platform
    file_name: str
    digest: Digest
    size_bytes: int
    attestations: Digest | None = None
    url: str = ""
    mirrors: tuple[str, ...] = ()
    bundle: Digest | None = None
    tree: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the artifact as its record carries it; only what is stated."""
        document: dict[str, object] = {
            "os": self.platform.os,
            "arch": self.platform.arch,
            "file": self.file_name,
            "sha256": self.digest.hex,
            "size": self.size_bytes,
            "tree": self.tree,
            "url": self.url,
            "mirrors": list(self.mirrors),
            "bundle_sha256": self.bundle.hex if self.bundle else "",
            "attestations_sha256": self.attestations.hex if self.attestations else "",
        }
        return {key: value for key, value in document.items() if value not in ("", [])}

    @classmethod
    def from_json(cls, table: Table) -> PublishedArtifact:
        """Return the artifact that a record carries."""
        return cls(
            platform=Platform(
                table.choice("os", OPERATING_SYSTEMS), table.choice("arch", ARCHITECTURES)
            ),
            file_name=table.text("file"),
            digest=table.converted("sha256", Digest),
            size_bytes=table.integer("size"),
            attestations=_optional_digest(table, "attestations_sha256"),
            url=_url(table),
            mirrors=_mirrors(table),
            bundle=_optional_digest(table, "bundle_sha256"),
            tree=table.matching("tree", _TREE, "t1: and 64 hex digits") if "tree" in table else "",
        )


def _optional_digest(table: Table, key: str) -> Digest | None:
    return table.converted(key, Digest) if key in table else None


def _url(table: Table) -> str:
    if "url" not in table:
        return ""
    url = table.text("url")
    if "://" not in url or location_problem(url):
        table.fail("url", location_problem(url) or "expected an https address")
    return url


def _mirrors(table: Table) -> tuple[str, ...]:
    mirrors = table.texts("mirrors")
    if len(mirrors) > _MIRRORS:
        table.fail("mirrors", f"expected at most {_MIRRORS}")
    for mirror in mirrors:
        if "://" not in mirror or mirror_problem(mirror):
            table.fail("mirrors", mirror_problem(mirror) or "expected https addresses")
    return mirrors


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """One version of a plugin.

    Attributes:
        version: the version.
        added_at: when its first artifact was added, RFC 3339 in UTC.
        signer: who signed that.
        manifest: what it declares.
        artifacts: by platform.
        status: why it should no longer be used; None when it is active.
    """

    version: str
    added_at: str
    signer: Signer
    manifest: Manifest
    artifacts: tuple[PublishedArtifact, ...]
    status: VersionStatus | None = None

    @property
    def is_withdrawn(self) -> bool:
        """Whether nobody is to install it anew."""
        return self.status is not None and self.status.is_withdrawn

    def to_json(self) -> dict[str, object]:
        """Return the version as its record carries it."""
        return {
            "version": self.version,
            "added_at": self.added_at,
            **({"status": self.status.to_json()} if self.status else {}),
            "signer": self.signer.to_json(),
            "manifest": self.manifest.to_json(),
            "artifacts": [artifact.to_json() for artifact in self.artifacts],
        }

    @classmethod
    def from_json(cls, table: Table, known: dict[str, Manifest] | None = None) -> PublishedVersion:
        """Return the version that a record carries.

        Args:
            table: the version in the record.
            known: manifests of other versions of the plugin, for `_manifest`.
        """
        manifest = _manifest(table, {} if known is None else known)
        version = table.converted("version", check_version)
        if version != manifest.version:
            table.fail("version", f"expected {manifest.version}, as the manifest says")
        artifacts = [
            PublishedArtifact.from_json(each) for each in table.optional_tables("artifacts")
        ]
        _check_artifacts(table, manifest, artifacts)
        status = table.optional_table("status")
        return cls(
            version=version,
            added_at=table.moment("added_at"),
            signer=Signer.from_json(table.table("signer")),
            manifest=manifest,
            artifacts=tuple(sorted(artifacts, key=lambda artifact: artifact.platform)),
            status=VersionStatus.from_json(status) if status else None,
        )


def _manifest(table: Table, known: dict[str, Manifest]) -> Manifest:
    """Return the manifest of a version; one that differs in the version alone is read but once.

    Args:
        table: the version in the record.
        known: manifests that were read, by all they say but the version; the new one is added.
    """
    stated = table.values.get("manifest")
    if not isinstance(stated, dict) or not isinstance(stated.get("version"), str):
        return Manifest.from_record(table)
    said = repr(stated | {"version": ""})  # tells 1 from true, which are equal
    found = known.get(said)
    if found is None:
        found = known[said] = Manifest.from_record(table)
        return found
    return replace(found, version=table.table("manifest").converted("version", check_version))


def _check_artifacts(table: Table, manifest: Manifest, artifacts: list[PublishedArtifact]) -> None:
    for artifact in artifacts:
        name = published_name(manifest.id, manifest.version, artifact.platform)
        if artifact.file_name != name:
            found = clean(artifact.file_name, limit=120)
            table.fail("artifacts", f"expected `file` to be {name}, found {found}")
    if len({artifact.platform for artifact in artifacts}) != len(artifacts):
        table.fail("artifacts", "a platform is there twice")


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
                "schema": SCHEMA,
                "id": str(self.id),
                "kind": self.kind,
                "versions": [version.to_json() for version in self.versions],
            }
        )

    @classmethod
    def from_json(cls, table: Table) -> Record:
        """Return the plugin that a record speaks for."""
        known: dict[str, Manifest] = {}
        stated = table.tables("versions", most=_MOST_VERSIONS)
        versions = sorted(
            (PublishedVersion.from_json(each, known) for each in stated),
            key=lambda version: version_key(version.version),
            reverse=True,
        )
        if not versions:
            table.fail("versions", "it has no version")
        # Pre-release identifiers may differ in case only, which a folder on disk cannot hold.
        if len({version.version.casefold() for version in versions}) != len(versions):
            table.fail("versions", "a version is there twice")
        plugin, kind = table.converted("id", PluginId.parse), table.choice("kind", KINDS)
        if any((each.manifest.id, each.manifest.kind) != (plugin, kind) for each in versions):
            table.fail("versions", f"expected `{plugin}`, a {kind}, in each manifest")
        return cls(plugin, kind, tuple(versions))


def dump(document: object) -> bytes:
    """JSON as people read and compare it: the same bytes for the same document."""
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"
