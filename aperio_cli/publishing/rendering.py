"""What a record becomes in the documents of a registry: pure, bytes for bytes.

JSON is written on one line for each plugin: a fifth of the size of indented text, written ten times
as quickly, and two editions still compare line by line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.models.artifact import ATTESTATIONS_SUFFIX, BUNDLE_SUFFIX
from aperio_cli.models.platform import Platform
from aperio_cli.models.plugin_id import is_prerelease
from aperio_cli.models.protocol import format_protocol, is_compatible
from aperio_cli.models.publisher import RULE_KEYS
from aperio_cli.models.registry.documents import (
    VERSION,
    FileRef,
    attestations_path,
    bundle_path,
    plugin_path,
)
from aperio_cli.models.registry_index import SEED_PLATFORM
from aperio_cli.publishing.source import version_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aperio_cli.models.digest import Digest
    from aperio_cli.models.publisher import Signer
    from aperio_cli.models.registry.publishers import RegistryPublisher
    from aperio_cli.publishing.record import PublishedArtifact, PublishedVersion, Record

REVISION: Final = 2
"""Counts up whenever the same record becomes other bytes: what was kept of before is made anew."""

ACTIVE: Final = "active"
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
Places = Mapping[tuple[str, Platform], int]
"""Where a registry's log has the artifacts of a plugin, by version and platform."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A file of the source that a registry gives out as it is.

    Attributes:
        path: where it is in what is built.
        source: where it is in the source.
        sha256: what it has to be.
        size_bytes: its length, when that is recorded; else the most that it may have.
        is_exact: whether the length is recorded.
    """

    path: str
    source: str
    sha256: str
    size_bytes: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Row:
    """What the documents of a registry say about one plugin.

    Attributes:
        id: the plugin.
        ref: its file.
        whole: its entry of plugins.json with every version that has a place there.
        newest: the same with the newest stable version alone.
        catalogue: its row of catalogue.json.
        events: what happened when: time, version, state, and a line about it.
        left_out: versions that have no place in plugins.json.
        versions: how many versions it has.
        copied: files that are given out as they are.
    """

    id: str
    ref: FileRef
    whole: bytes
    newest: bytes
    catalogue: bytes
    events: tuple[tuple[str, str, str, str], ...]
    left_out: tuple[str, ...]
    versions: int
    copied: tuple[Copied, ...]

    @property
    def path(self) -> str:
        """Where its file is."""
        return f"plugins/{self.id}.json"


def compact(document: object) -> bytes:
    """JSON as programs read it, on one line."""
    return _ENCODER.encode(document).encode()


def lines(head: dict[str, Any], key: str, rows: Iterable[bytes]) -> bytes:
    """Return a document whose last key holds a list with one line for each row."""
    before = compact(head)[:-1]
    body = b",\n".join(rows)
    return before + f',"{key}":['.encode() + (b"\n" + body + b"\n" if body else b"") + b"]}\n"


def render(
    record: Record,
    publisher: RegistryPublisher | None,
    places: Places,
    *,
    most_bundle_bytes: tuple[int, int],
) -> tuple[Row, bytes]:
    """Return what is said about a plugin, and the contents of its file.

    Args:
        record: its record; every artifact states its bundle.
        publisher: what the registry knows of its namespace.
        places: where the log has its artifacts; empty without a log.
        most_bundle_bytes: how long a bundle, and the statements of an artifact, may be.
    """
    said = {
        version.version: compact(_version(record, version, publisher, places))
        for version in record.versions
    }
    about = compact(_about(record))[1:-1]
    file = _plugin_file(record, about, said)
    ref = FileRef.of(file)
    detail = compact({"detail": {"url": plugin_path(record.id)} | ref.to_json()})[1:]
    shown = [version for version in record.versions if _is_in_v1(version)]

    def entry_of(versions: Sequence[PublishedVersion]) -> bytes:
        chosen = b",".join(said[version.version] for version in versions)
        return b'{%b,"versions":[%b],%b' % (about, chosen, detail)

    row = Row(
        id=str(record.id),
        ref=ref,
        whole=entry_of(shown),
        newest=entry_of(_best(shown)),
        catalogue=compact(_catalogue_row(record, publisher))[:-1] + b"," + detail,
        events=tuple(_events(record)),
        left_out=tuple(v.version for v in record.versions if v not in shown),
        versions=len(record.versions),
        copied=tuple(_copied(record, most_bundle_bytes)),
    )
    return row, file


def _is_in_v1(version: PublishedVersion) -> bool:
    """Return whether a reader of the seed schema can be shown it.

    Such a reader has but one artifact to offer, and cannot see that a version is withdrawn.
    """
    is_readable = is_compatible(version.manifest.protocol) and not version.is_withdrawn
    return is_readable and any(a.platform == SEED_PLATFORM for a in version.artifacts)


def _best(versions: Sequence[PublishedVersion]) -> list[PublishedVersion]:
    """Return the version that is installed when none is named, alone; nothing without one."""
    stable = [each for each in versions if not is_prerelease(each.version)]
    return ([each for each in stable if each.status is None] or stable)[:1]


# ── documents ─────────────────────────────────────────────────────────────────────────────────────


def _plugin_file(record: Record, about: bytes, said: Mapping[str, bytes]) -> bytes:
    """Return the contents of its file; each version is written but once, wherever it stands."""
    gone = [said[version.version] for version in record.versions if version.is_withdrawn]
    left = [said[version.version] for version in record.versions if not version.is_withdrawn]
    withdrawn = b',"withdrawn":[%b]' % b",".join(gone) if gone else b""
    versions = b",".join(left)
    return b'{"version":%d,%b,"versions":[%b]%b}\n' % (VERSION, about, versions, withdrawn)


def _about(record: Record) -> dict[str, Any]:
    """Return what holds for a plugin whatever its version."""
    newest = record.versions[0]
    manifest = newest.manifest
    optional = {"homepage": manifest.homepage, "source": manifest.source}
    return {
        "id": str(record.id),
        "kind": record.kind,
        "description": manifest.description,
        "license": manifest.license,
        **{key: address for key, address in optional.items() if address},
        "status": _status(record),
        "permissions": {
            "oauth_scopes": list(manifest.scopes),
            "egress": list(manifest.egress),
            "needs_kv": manifest.state,
        },
        "signer": signer_stated(newest.signer),
    }


def _status(record: Record) -> str:
    """Return `active`, or the mildest of what all versions are."""
    left = [version for version in record.versions if not version.is_withdrawn]
    candidates = left or record.versions
    if any(version.status is None for version in candidates):
        return ACTIVE
    states = {version.status.state for version in candidates if version.status}
    return next(state for state in ("deprecated", "yanked", "revoked") if state in states)


def signer_stated(signer: Signer) -> dict[str, str]:
    """Return what documents say of who signed; nothing is decided by it."""
    claims = dict(signer.claims)
    return {
        "type": signer.domain,
        "issuer": signer.issuer,
        "identity": signer.identity,
        **{key: claims[claim] for claim, key in RULE_KEYS.items() if claims.get(claim)},
    }


def _catalogue_row(record: Record, publisher: RegistryPublisher | None) -> dict[str, Any]:
    left = [version for version in record.versions if not version.is_withdrawn]
    latest = next(iter(_best(left) or left), None)
    shown = latest or record.versions[0]
    return {
        "id": str(record.id),
        "kind": record.kind,
        "description": shown.manifest.description,
        "license": shown.manifest.license,
        "latest": latest.version if latest else "",
        "platforms": [str(artifact.platform) for artifact in latest.artifacts] if latest else [],
        "publisher": _publisher(record, shown, publisher),
        "published_at": shown.added_at,
        "status": _status(record),
    }


def _publisher(
    record: Record, version: PublishedVersion, publisher: RegistryPublisher | None
) -> dict[str, Any]:
    """Return who publishes; `verified` is computed, never taken from an author."""
    is_verified = bool(publisher and publisher.verifies(record.id, version.version, version.signer))
    return {
        "name": record.id.namespace,
        "verified": is_verified,
        **({"tier": publisher.tier} if publisher and is_verified else {}),
    }


def _version(
    record: Record,
    version: PublishedVersion,
    publisher: RegistryPublisher | None,
    places: Places,
) -> dict[str, Any]:
    artifacts = [_artifact(record, version, each, places) for each in version.artifacts]
    seed = next((a for a in artifacts if (a["os"], a["arch"]) == _SEED), None)
    return {
        "version": version.version,
        **({"download_url": seed["url"], "sha256": seed["sha256"]} if seed else {}),
        **({"sigstore_bundle": seed["sigstore_bundle"]} if seed else {}),
        "publisher": _publisher(record, version, publisher),
        "published_at": version.added_at,
        "protocols": [format_protocol(version.manifest.protocol)],
        "signer": signer_stated(version.signer),
        **({"status": version.status.to_json()} if version.status else {}),
        "artifacts": artifacts,
    }


_SEED: Final = (SEED_PLATFORM.os, SEED_PLATFORM.arch)


def _artifact(
    record: Record, version: PublishedVersion, artifact: PublishedArtifact, places: Places
) -> dict[str, Any]:
    bundle = _stated(artifact)
    optional: dict[str, Any] = {
        "mirrors": list(artifact.mirrors),
        "tree": artifact.tree,
    }
    place = places.get((version.version, artifact.platform))
    attestations = artifact.attestations
    return {
        "os": artifact.platform.os,
        "arch": artifact.platform.arch,
        "url": artifact.url or _place(record, version, artifact),
        "sha256": artifact.digest.hex,
        "size": artifact.size_bytes,
        **{key: value for key, value in optional.items() if value},
        "sigstore_bundle": bundle_path(bundle),
        "bundle_sha256": bundle.hex,
        **(
            {
                "attestations": attestations_path(attestations),
                "attestations_sha256": attestations.hex,
            }
            if attestations
            else {}
        ),
        **({} if place is None else {"log_index": place}),
    }


def _stated(artifact: PublishedArtifact) -> Digest:
    if artifact.bundle is None:
        raise ValueError(f"{artifact.file_name} states no bundle")
    return artifact.bundle


def _place(record: Record, version: PublishedVersion, artifact: PublishedArtifact) -> str:
    """Relative to the root, and to the source; of characters that need no escaping in addresses."""
    return "/".join((*version_folder(record.id, version.version), artifact.file_name))


def _copied(record: Record, most_bundle_bytes: tuple[int, int]) -> Iterable[Copied]:
    most_bundle, most_attestations = most_bundle_bytes
    for version in record.versions:
        for each in version.artifacts:
            place = _place(record, version, each)
            if not each.url:
                yield Copied(place, place, each.digest.hex, each.size_bytes, is_exact=True)
            bundle, source = _stated(each), place + BUNDLE_SUFFIX
            yield Copied(bundle_path(bundle), source, bundle.hex, most_bundle, is_exact=False)
            if each.attestations:
                path, source = attestations_path(each.attestations), place + ATTESTATIONS_SUFFIX
                digest = each.attestations.hex
                yield Copied(path, source, digest, most_attestations, is_exact=False)


def _events(record: Record) -> Iterable[tuple[str, str, str, str]]:
    for version in record.versions:
        yield version.added_at, version.version, ACTIVE, version.manifest.description
        if version.status:
            yield version.status.at, version.version, version.status.state, version.status.reason
