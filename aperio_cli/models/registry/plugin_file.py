"""`plugins/<namespace>/<name>.json`: everything that a registry says about one plugin.

An entry of plugins.json with more in it, so that a reader of plugins.json alone reads this file,
too (`registry_index.parse_detail`). What such a reader would misunderstand stands elsewhere than it
looks: versions that are not to be installed anew are not among `versions`, but `withdrawn`.

    {"version": 1, "id": "acme/box-connector", "kind": "connector", ...,
     "versions": [{"version": "1.1.0", "published_at": "...", "protocols": ["1.0"], "signer": {...},
        "status": {"state": "deprecated", "reason": "...", "at": "...", "replacement": "1.2.0"},
        "artifacts": [{"os", "arch", "url", "mirrors", "sha256", "size", "tree", "sigstore_bundle",
                       "bundle_sha256", "attestations", "attestations_sha256", "log_index"}]}],
     "withdrawn": [{"version": "1.0.0", "status": {"state": "revoked", ...}, ...}]}
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.models.digest import Digest
from aperio_cli.models.manifest import KINDS
from aperio_cli.models.platform import Platform
from aperio_cli.models.plugin_id import PluginId, check_version, version_key
from aperio_cli.models.protocol import parse_protocol
from aperio_cli.models.registry.documents import (
    MAX_TEXT_CHARACTERS,
    MAX_URL_CHARACTERS,
    PLUGIN_FILE_BOUNDS,
    display,
    location,
    location_problem,
    read_document,
)
from aperio_cli.models.registry_index import MAX_VERSIONS
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.models.reading import Table

YANKED: Final = "yanked"
DEPRECATED: Final = "deprecated"
REVOKED: Final = "revoked"
STATES: Final = (DEPRECATED, YANKED, REVOKED)
"""What a version can be besides active, the mildest first.

A deprecated version is installed with a warning. A yanked one is installed only by whoever has
locked it. A revoked one is neither installed nor started.
"""

_MIRRORS: Final = 16
_OCI: Final = "oci://"  # read by nothing yet; a registry may state it all the same
_TREE: Final = re.compile(r"t1:[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """Why a version should no longer be used.

    Attributes:
        state: one of `STATES`.
        reason: for people, one line.
        at: since when, RFC 3339 in UTC.
        replacement: the version to use instead; empty when none is named.
    """

    state: str
    reason: str
    at: str
    replacement: str = ""

    @property
    def is_withdrawn(self) -> bool:
        """Whether nobody is to install it anew."""
        return self.state in {YANKED, REVOKED}

    def to_json(self) -> dict[str, object]:
        """Return the status as records and plugin files state it."""
        document: dict[str, object] = {"state": self.state, "reason": self.reason, "at": self.at}
        return document | ({"replacement": self.replacement} if self.replacement else {})

    @property
    def report(self) -> dict[str, object]:
        """The status as reports carry it, all keys there."""
        return self.to_json() | {"replacement": self.replacement or None}

    @classmethod
    def from_json(cls, table: Table) -> VersionStatus:
        """Return the status that a table states; an unknown state fails: it may be a worse one."""
        return cls(
            state=table.choice("state", STATES),
            reason=table.text("reason", limit=MAX_TEXT_CHARACTERS),
            at=table.moment("at"),
            replacement=(
                table.converted("replacement", check_version) if "replacement" in table else ""
            ),
        )


@dataclass(frozen=True, slots=True)
class PluginArtifact:
    """One artifact of a version.

    Attributes:
        platform: what it runs on.
        url: a path below the folder of the root, or an address.
        mirrors: other places with the same bytes.
        digest: of the artifact.
        size_bytes: its length.
        bundle: where its Sigstore bundle is; empty when there is none.
        bundle_digest: what that has to be; None when it is not stated.
        attestations: where signed statements about it are; empty when there are none.
        attestations_digest: what they have to be; None when it is not stated.
        tree: digest of the tree that it unpacks to, `t1:<hex>`; empty when it is not stated.
        log_index: where the registry's log has it; None when there is no log.
    """

    platform: Platform
    url: str
    mirrors: tuple[str, ...]
    digest: Digest
    size_bytes: int
    bundle: str
    bundle_digest: Digest | None
    attestations: str
    attestations_digest: Digest | None
    tree: str
    log_index: int | None


@dataclass(frozen=True, slots=True)
class PublishedBy:
    """Who a registry says publishes a plugin; nothing is decided by it.

    Attributes:
        name: the namespace.
        is_verified: whether the registry says that it knows them.
        tier: how well, in its own words; empty when it says nothing.
    """

    name: str
    is_verified: bool
    tier: str


@dataclass(frozen=True, slots=True)
class PluginVersion:
    """One version of a plugin.

    Attributes:
        version: the version.
        artifacts: by platform.
        protocols: versions of the plugin interface that it speaks.
        requires_host: which versions of aperio it needs, as `>=1.0,<2`; empty for any.
        published_at: when it was added, RFC 3339 in UTC.
        publisher: who published it, for display.
        signer: who signed it as the registry has it, for display: type, issuer, identity and more.
        status: None when it is active.
    """

    version: str
    artifacts: tuple[PluginArtifact, ...]
    protocols: tuple[tuple[int, int], ...]
    requires_host: str
    published_at: str
    publisher: PublishedBy
    signer: tuple[tuple[str, str], ...]
    status: VersionStatus | None

    def artifact(self, platform: Platform) -> PluginArtifact | None:
        """Return the artifact for a platform; None when there is none."""
        return next((each for each in self.artifacts if each.platform == platform), None)


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a plugin asks for, as its newest manifest says."""

    oauth_scopes: tuple[str, ...]
    egress: tuple[str, ...]
    needs_kv: bool


@dataclass(frozen=True, slots=True)
class PluginFile:
    """What a registry says about one plugin.

    Attributes:
        id: its id.
        kind: connector, remediation or destination.
        description: one line, for display; so are the next three.
        license: an SPDX expression.
        homepage: an address, or empty.
        source: an address, or empty.
        permissions: what it asks for.
        versions: all of them, also those withdrawn; highest first.
    """

    id: PluginId
    kind: str
    description: str
    license: str
    homepage: str
    source: str
    permissions: Permissions
    versions: tuple[PluginVersion, ...]

    def version(self, version: str) -> PluginVersion | None:
        """Return the version named; None when there is none."""
        return next((each for each in self.versions if each.version == version), None)


def parse_plugin_file(data: bytes, *, where: str) -> PluginFile:
    """Return what the file of a plugin says.

    Args:
        data: its contents.
        where: what to call it in messages.

    Raises:
        IndexUnreadable: it is no such file, of an unknown kind, or has a version twice.
        IndexVersionUnknown: it is written in another version of the format.
    """
    table = read_document(data, PLUGIN_FILE_BOUNDS, where)
    return PluginFile(
        id=table.converted("id", PluginId.parse),
        kind=table.choice("kind", KINDS),
        description=display(table, "description"),
        license=display(table, "license"),
        homepage=display(table, "homepage"),
        source=display(table, "source"),
        permissions=_permissions(table.inner("permissions")),
        versions=_versions(table),
    )


def _permissions(table: Table) -> Permissions:
    return Permissions(table.texts("oauth_scopes"), table.texts("egress"), table.flag("needs_kv"))


def _versions(table: Table) -> tuple[PluginVersion, ...]:
    found: dict[str, PluginVersion] = {}
    for each, is_withdrawn in _stated(table):
        version = _version(each)
        if is_withdrawn != bool(version.status and version.status.is_withdrawn):
            each.fail("status", "what is yanked or revoked, and nothing else, is `withdrawn`")
        # Pre-release identifiers may differ in case only, which a folder on disk cannot hold.
        if found.setdefault(version.version.casefold(), version) is not version:
            each.fail("version", f"{version.version} is there twice")
    if len(found) > MAX_VERSIONS:
        table.fail("versions", f"more than {MAX_VERSIONS}")
    ordered = sorted(found.values(), key=lambda each: version_key(each.version), reverse=True)
    return tuple(ordered)


def _stated(table: Table) -> Iterator[tuple[Table, bool]]:
    """Yield the versions, and whether each stands among those withdrawn."""
    yield from ((each, False) for each in table.tables("versions"))
    yield from ((each, True) for each in table.optional_tables("withdrawn"))


def _version(table: Table) -> PluginVersion:
    status = table.optional_table("status")
    signer = table.inner("signer")
    publisher = table.inner("publisher")
    return PluginVersion(
        version=table.converted("version", check_version),
        artifacts=_artifacts(table),
        protocols=_protocols(table),
        requires_host=display(table, "requires_host"),
        published_at=table.moment("published_at"),
        publisher=PublishedBy(
            display(publisher, "name"), publisher.flag("verified"), display(publisher, "tier")
        ),
        signer=tuple((clean(key, limit=40), display(signer, key)) for key in signer.values),
        status=VersionStatus.from_json(status) if status else None,
    )


def _protocols(table: Table) -> tuple[tuple[int, int], ...]:
    try:
        return tuple(map(parse_protocol, table.texts("protocols")))
    except ValueError as error:
        table.fail("protocols", str(error))


def _artifacts(table: Table) -> tuple[PluginArtifact, ...]:
    found: dict[Platform, PluginArtifact] = {}
    for each in table.tables("artifacts"):
        platform = _platform(each)
        if platform is None:
            continue  # a platform that this aperio does not know; it cannot be this machine's
        if found.setdefault(platform, artifact := _artifact(each, platform)) is not artifact:
            each.fail("os", f"{platform} is there twice")
    return tuple(sorted(found.values(), key=lambda each: each.platform))


def _platform(table: Table) -> Platform | None:
    try:
        return Platform.parse(f"{table.recorded('os')}/{table.recorded('arch')}")
    except ValueError:
        return None


def _artifact(table: Table, platform: Platform) -> PluginArtifact:
    return PluginArtifact(
        platform=platform,
        url=location(table, "url"),
        mirrors=_mirrors(table),
        digest=table.converted("sha256", Digest),
        size_bytes=table.integer("size"),
        bundle=_optional_location(table, "sigstore_bundle"),
        bundle_digest=_optional_digest(table, "bundle_sha256"),
        attestations=_optional_location(table, "attestations"),
        attestations_digest=_optional_digest(table, "attestations_sha256"),
        tree=table.matching("tree", _TREE, "t1: and 64 hex digits") if "tree" in table else "",
        log_index=table.integer("log_index") if "log_index" in table else None,
    )


def _optional_location(table: Table, key: str) -> str:
    return location(table, key) if key in table else ""


def _optional_digest(table: Table, key: str) -> Digest | None:
    return table.converted(key, Digest) if key in table else None


def _mirrors(table: Table) -> tuple[str, ...]:
    mirrors = table.texts("mirrors")
    if len(mirrors) > _MIRRORS:
        table.fail("mirrors", f"expected at most {_MIRRORS}")
    for mirror in mirrors:
        if problem := mirror_problem(mirror):
            table.fail("mirrors", problem)
    return mirrors


def mirror_problem(text: str) -> str:
    """Return what is wrong with the location of a mirror; empty when nothing is."""
    if len(text) > MAX_URL_CHARACTERS:
        return f"expected at most {MAX_URL_CHARACTERS} characters"
    if not text.isprintable():
        return "expected printable characters on one line"
    return location_problem("https" + text[3:] if text.startswith(_OCI) else text)
