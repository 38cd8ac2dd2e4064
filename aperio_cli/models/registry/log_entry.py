"""Entries of a registry's log: what a registry once said, and cannot take back.

An entry is one line of JSON, its keys sorted, without spaces, in ASCII. It has ids and digests
only, because it can never be removed: reasons, names and addresses of people stand in the
documents, whose digests are logged.

    {"entry": "artifact/v1", "id", "version", "platform", "sha256", "tree", "signer"}
    {"entry": "status/v1", "id", "version", "state", "details"}
    {"entry": "publisher/v1", "namespace", "details"}

The last status of a version is what counts, and so is the last entry of a namespace. A version that
was never given a status is active. Its artifact is logged once for each platform, for ever.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from aperio_cli.models.digest import Digest
from aperio_cli.models.platform import Platform
from aperio_cli.models.plugin_id import PluginId, check_version, is_namespace
from aperio_cli.models.reading import Bounds, described, parse_json
from aperio_cli.models.registry.plugin_file import STATES
from aperio_cli.models.tlog.tiles import MAX_ENTRY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aperio_cli.models.reading import Table
    from aperio_cli.models.registry.plugin_file import (
        PluginArtifact,
        PluginVersion,
        VersionStatus,
    )

ACTIVE: Final = "active"
REMOVED: Final = "removed"
LOGGED_STATES: Final = (ACTIVE, *STATES, REMOVED)

ARTIFACT: Final = "artifact/v1"
STATUS: Final = "status/v1"
PUBLISHER: Final = "publisher/v1"
_SIGNER_KEYS: Final = ("type", "issuer", "identity")
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_BOUNDS = Bounds(MAX_ENTRY_BYTES, depth=4, members=100)
_TREE = re.compile(r"(?:t1:[0-9a-f]{64})?", re.ASCII)
_OPTIONAL_DIGEST = re.compile(r"(?:[0-9a-f]{64})?", re.ASCII)


class EntryUnreadable(ValueError):
    """Bytes that are no entry of a registry's log; the text says why."""


@dataclass(frozen=True, slots=True)
class ArtifactEntry:
    """That a version's artifact for a platform is these bytes, signed by this signer.

    Attributes:
        id: the plugin.
        version: its version.
        platform: what the artifact runs on.
        digest: of the artifact.
        tree: digest of the tree that it unpacks to; empty when the registry does not state it.
        signer: `signer_digest` of who the registry says signed it.
    """

    id: PluginId
    version: str
    platform: Platform
    digest: Digest
    tree: str
    signer: Digest

    @property
    def subject(self) -> tuple[str, ...]:
        """What it is about; the log has it once, or more of the same."""
        return ARTIFACT, str(self.id), self.version, str(self.platform)

    def to_bytes(self) -> bytes:
        """Return the entry as it is logged."""
        return _line(
            entry=ARTIFACT,
            id=str(self.id),
            version=self.version,
            platform=str(self.platform),
            sha256=self.digest.hex,
            tree=self.tree,
            signer=self.signer.hex,
        )


@dataclass(frozen=True, slots=True)
class StatusEntry:
    """That a version came to be in a state.

    Attributes:
        id: the plugin.
        version: its version.
        state: one of `LOGGED_STATES`.
        details: `digest_of` the whole status; None when the state is all there is to it.
    """

    id: PluginId
    version: str
    state: str
    details: Digest | None

    @property
    def subject(self) -> tuple[str, ...]:
        """What it is about; the log's last entry about it counts."""
        return STATUS, str(self.id), self.version

    def to_bytes(self) -> bytes:
        """Return the entry as it is logged."""
        return _line(
            entry=STATUS,
            id=str(self.id),
            version=self.version,
            state=self.state,
            details=self.details.hex if self.details else "",
        )


@dataclass(frozen=True, slots=True)
class PublisherEntry:
    """That the registry came to say something else of who publishes in a namespace.

    Attributes:
        namespace: which.
        details: `digest_of` what publishers.json states of it; None when it states nothing.
    """

    namespace: str
    details: Digest | None

    @property
    def subject(self) -> tuple[str, ...]:
        """What it is about; the log's last entry about it counts."""
        return PUBLISHER, self.namespace

    def to_bytes(self) -> bytes:
        """Return the entry as it is logged."""
        details = self.details.hex if self.details else ""
        return _line(entry=PUBLISHER, namespace=self.namespace, details=details)


@dataclass(frozen=True, slots=True)
class OtherEntry:
    """An entry of a kind that this aperio does not know; it is counted, and says nothing."""

    data: bytes

    @property
    def subject(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def to_bytes(self) -> bytes:
        """Return the entry as it was logged."""
        return self.data


LogEntry = ArtifactEntry | StatusEntry | PublisherEntry | OtherEntry


def subject_of(data: bytes) -> tuple[str, ...]:
    """Return what a genuine entry is about, its kind first; empty for a kind that is not known.

    It is for the many entries of a log whose checkpoint vouches for them: `parse_entry` would take
    ten times as long.

    Raises:
        ValueError: it is no JSON object, or has no such texts.
    """
    values = json.loads(data)
    keys = _SUBJECTS.get(values.get("entry", ""), ()) if isinstance(values, dict) else ()
    found = tuple(values[key] for key in keys if key in values)
    if len(found) != len(keys) or not all(isinstance(each, str) for each in found):
        message = "it lacks what it is about"
        raise ValueError(message)
    return found


def artifact_entry(
    plugin: PluginId, version: PluginVersion, artifact: PluginArtifact
) -> ArtifactEntry:
    """Return the entry of an artifact, as a plugin's file states it."""
    return ArtifactEntry(
        id=plugin,
        version=version.version,
        platform=artifact.platform,
        digest=artifact.digest,
        tree=artifact.tree,
        signer=signer_digest(dict(version.signer)),
    )


def status_entry(plugin: PluginId, version: str, status: VersionStatus | None) -> StatusEntry:
    """Return the entry of a version's state, as a plugin's file states it."""
    if status is None:
        return StatusEntry(plugin, version, ACTIVE, None)
    return StatusEntry(plugin, version, status.state, digest_of(status.to_json()))


def digest_of(value: Mapping[str, Any]) -> Digest:
    """Return the digest of a part of a document, however the document was written."""
    return Digest.of(_ENCODER.encode(value).encode("ascii"))


def signer_digest(signer: Mapping[str, str]) -> Digest:
    """Return what an entry has of who signed: the keys that say who, and nothing for display."""
    return digest_of({key: signer.get(key, "") for key in _SIGNER_KEYS})


def parse_entry(data: bytes) -> LogEntry:
    """Return the entry in these bytes.

    Raises:
        EntryUnreadable: it is none, or is written in another form than entries are.
    """
    table = parse_json(data, _BOUNDS, _fail)
    kind = table.values.get("entry")
    parse = _KINDS.get(kind) if isinstance(kind, str) else None
    if parse is None:
        return OtherEntry(data)
    entry = parse(table)
    if entry.to_bytes() != data:  # two forms of one statement would be two entries
        raise EntryUnreadable("it is not written as entries are: expected sorted keys and no more")
    return entry


def _artifact(table: Table) -> ArtifactEntry:
    return ArtifactEntry(
        id=table.converted("id", PluginId.parse),
        version=table.converted("version", check_version),
        platform=table.converted("platform", Platform.parse),
        digest=table.converted("sha256", Digest),
        tree=table.matching("tree", _TREE, "t1: and 64 hex digits, or nothing"),
        signer=table.converted("signer", Digest),
    )


def _status(table: Table) -> StatusEntry:
    return StatusEntry(
        id=table.converted("id", PluginId.parse),
        version=table.converted("version", check_version),
        state=table.choice("state", LOGGED_STATES),
        details=_optional_digest(table, "details"),
    )


def _publisher(table: Table) -> PublisherEntry:
    namespace = table.text("namespace")
    if not is_namespace(namespace):
        table.fail("namespace", "expected a namespace")
    return PublisherEntry(namespace, _optional_digest(table, "details"))


_SUBJECTS: Final = {
    ARTIFACT: ("entry", "id", "version", "platform"),
    STATUS: ("entry", "id", "version"),
    PUBLISHER: ("entry", "namespace"),
}
_KINDS: Final[Mapping[str, Callable[[Table], LogEntry]]] = {
    ARTIFACT: _artifact,
    STATUS: _status,
    PUBLISHER: _publisher,
}


def _optional_digest(table: Table, key: str) -> Digest | None:
    found = table.matching(key, _OPTIONAL_DIGEST, "64 lower-case hexadecimal digits, or nothing")
    return Digest(found) if found else None


def _line(**values: str) -> bytes:
    return _ENCODER.encode(values).encode("ascii")


def _fail(key: str, why: str) -> NoReturn:
    raise EntryUnreadable(described(key, why))
