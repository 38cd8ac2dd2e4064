"""A registry's index, `plugins.json` version 1, and a plugin's detail file, one entry of it.

The format is the seed schema `{"version": 1, "updated_at", "plugins": [{"id", "kind", "versions":
[{"version", "download_url", "sha256", "sigstore_bundle", "publisher": {"name", "verified"}}]}]}`
with additions only, so that a reader of the seed still reads what is written today:

1. `version` stays 1; unknown keys are ignored; nothing of the seed is renamed, retyped or dropped.
2. `sigstore_bundle` is a string: the bundle itself when it begins with `{`, else where it is.
3. `download_url` and `sha256` of a version are its linux/amd64 artifact; a version without one
   stands only in the detail file.
4. `artifacts` lists every platform: `os`, `arch`, `url`, `sha256`, `size`, `sigstore_bundle`, and,
   when there are any, `attestations`: where its signed statements are, JSON Lines.
5. `protocols` gives the interface versions; `detail` where the whole entry is, with its digest.
6. An entry of unknown kind is skipped; the same id or version twice makes the whole file invalid.
7. Ids and versions are those of `plugin_id`.

Everything in an index is somebody's word; `verifying` decides what is true.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from aperio_cli.errors.registries import IndexUnreadable, IndexVersionUnknown
from aperio_cli.models.digest import Digest
from aperio_cli.models.manifest import KINDS
from aperio_cli.models.platform import Platform
from aperio_cli.models.plugin_id import PluginId, check_version, version_key
from aperio_cli.models.protocol import parse_protocol
from aperio_cli.models.reading import Bounds, described, parse_json
from aperio_cli.text import clean

if TYPE_CHECKING:
    from aperio_cli.models.reading import Table

VERSION = 1
FILE_NAME = "plugins.json"
MAX_BYTES = 32 * 1024 * 1024
MAX_VERSIONS = 10_000
SEED_PLATFORM = Platform("linux", "amd64")

_MAX_URL_CHARACTERS = 4096
_MAX_TEXT_CHARACTERS = 2000
# An index as `registry build` writes it has a member in every 25 bytes or more.
_BOUNDS: Final = Bounds(MAX_BYTES, members=1_500_000)


@dataclass(frozen=True, slots=True)
class Download:
    """One artifact of a version, as the index states it.

    Attributes:
        platform: what it runs on.
        url: absolute, or relative to the index.
        digest: what the artifact's digest must be.
        size_bytes: what its length must be; None when it is not stated.
        bundle: a Sigstore bundle as JSON text, or where it is, or empty.
        attestations: where signed statements about it are, or empty.
    """

    platform: Platform
    url: str
    digest: Digest
    size_bytes: int | None
    bundle: str
    attestations: str = ""


@dataclass(frozen=True, slots=True)
class IndexVersion:
    """One version of a plugin.

    Attributes:
        version: the version.
        downloads: its artifacts; at most one for each platform.
        protocols: versions of the plugin interface it speaks; empty when not stated.
        publisher: the publisher's name, for display.
    """

    version: str
    downloads: tuple[Download, ...]
    protocols: tuple[tuple[int, int], ...]
    publisher: str


@dataclass(frozen=True, slots=True)
class Detail:
    """Where the whole entry of a plugin is, and what it must be."""

    url: str
    digest: Digest
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One plugin.

    Attributes:
        id: its id.
        kind: connector, remediation or destination.
        description: one line, for display.
        versions: highest first.
        detail: where the whole entry is; None when this is all there is.
    """

    id: PluginId
    kind: str
    description: str
    versions: tuple[IndexVersion, ...]
    detail: Detail | None


@dataclass(frozen=True, slots=True)
class RegistryIndex:
    """An index that was read.

    Attributes:
        entries: sorted by id.
        skipped: ids, or what stood in their place, of entries this aperio does not understand.
        updated_at: when it was written, for display.
        serial: which edition it says it is; None when it does not say.
    """

    entries: tuple[IndexEntry, ...]
    skipped: tuple[str, ...]
    updated_at: str
    serial: int | None = None

    def entry(self, plugin: PluginId) -> IndexEntry | None:
        """Return the entry of a plugin; None when there is none."""
        return next((entry for entry in self.entries if entry.id == plugin), None)

    @classmethod
    def parse(cls, data: bytes, *, where: str) -> RegistryIndex:
        """Return the index in these bytes.

        Args:
            data: contents of `plugins.json`, UTF-8.
            where: what to call the file in messages.

        Raises:
            IndexUnreadable: not JSON, a malformed key, or an id or a version twice.
            IndexVersionUnknown: written in another version of the format.
        """
        table = parse_json(data, _BOUNDS, functools.partial(_fail, where))
        if "version" in table and table.values["version"] != VERSION:
            raise _version_unknown(where, table.values["version"])
        table.integer("version", least=VERSION, most=VERSION)
        return _index(table)


def parse_detail(data: bytes, *, where: str) -> IndexEntry:
    """Return the entry in a plugin's detail file: all its versions, also those not in the index.

    Raises:
        IndexUnreadable: not JSON, a malformed key, a version twice, or an unknown kind.
    """
    table = parse_json(data, _BOUNDS, functools.partial(_fail, where))
    entry = _entry(table)
    if entry is None:
        table.fail("kind", "unknown")
    return entry


def _fail(where: str, key: str, why: str) -> NoReturn:
    raise IndexUnreadable(
        f"the index `{where}` was not read",
        why=described(key, why),
        next=["tell whoever maintains the registry"],
    )


def _version_unknown(where: str, found: object) -> IndexVersionUnknown:
    return IndexVersionUnknown(
        f"the index `{where}` was not read: it is written in another version of the format",
        why=f"expected version {VERSION}\nfound    {clean(found, limit=40)}",
        next=["install a newer aperio"],
    )


def _index(table: Table) -> RegistryIndex:
    entries: dict[PluginId, IndexEntry] = {}
    skipped = []
    for raw in table.tables("plugins"):
        entry = _entry(raw)
        if entry is None:
            skipped.append(raw.display("id", limit=120))
        elif entry.id in entries:
            raw.fail("id", f"`{entry.id}` is there twice")
        else:
            entries[entry.id] = entry
    ordered = tuple(entries[plugin] for plugin in sorted(entries))
    serial = table.integer("serial") if "serial" in table else None
    return RegistryIndex(ordered, tuple(skipped), _display(table, "updated_at"), serial)


def _display(table: Table, key: str) -> str:
    return table.display(key, limit=_MAX_TEXT_CHARACTERS)


def _entry(table: Table) -> IndexEntry | None:
    """Return one entry; None when its kind is unknown, whatever else it says."""
    if table.recorded("kind") not in KINDS:
        return None
    plugin = table.converted("id", PluginId.parse)
    versions: dict[str, IndexVersion] = {}
    for each in table.tables("versions", most=MAX_VERSIONS):
        version = _version(each)
        # Pre-release identifiers may differ in case only, which a folder on disk cannot hold.
        if versions.setdefault(version.version.casefold(), version) is not version:
            each.fail("version", f"`{plugin}` {version.version} is there twice")
    return IndexEntry(
        id=plugin,
        kind=table.values["kind"],
        description=_display(table, "description"),
        versions=tuple(
            sorted(versions.values(), key=lambda v: version_key(v.version), reverse=True)
        ),
        detail=_detail(table.table("detail")) if "detail" in table else None,
    )


def _detail(table: Table) -> Detail:
    return Detail(_url(table, "url"), table.converted("sha256", Digest), _size(table))


def _version(table: Table) -> IndexVersion:
    return IndexVersion(
        version=table.converted("version", check_version),
        downloads=_downloads(table),
        protocols=_protocols(table),
        publisher=_display(table.inner("publisher"), "name"),
    )


def _protocols(table: Table) -> tuple[tuple[int, int], ...]:
    try:
        return tuple(map(parse_protocol, table.texts("protocols")))
    except ValueError as error:
        table.fail("protocols", str(error))


def _downloads(table: Table) -> tuple[Download, ...]:
    """Return a version's artifacts: `artifacts` when it is there, else the seed's only one."""
    if "artifacts" not in table:
        return (_download(table, "download_url", SEED_PLATFORM),)
    found: dict[Platform, Download] = {}
    for each in table.tables("artifacts"):
        platform = _platform(each)
        if platform is None:
            continue  # a platform that this aperio does not know; it cannot be this machine's
        download = _download(each, "url", platform)
        if found.setdefault(platform, download) is not download:
            each.fail("os", f"{platform} is there twice")
    seed = found.get(SEED_PLATFORM)
    if seed and "sha256" in table and table.recorded("sha256") != seed.digest.hex:
        table.fail("sha256", f"differs from the {SEED_PLATFORM} artifact's")
    return tuple(sorted(found.values(), key=lambda download: download.platform))


def _platform(table: Table) -> Platform | None:
    return _known_platform(f"{table.recorded('os')}/{table.recorded('arch')}")


@functools.lru_cache(maxsize=64)  # an index has few of them, each thousands of times
def _known_platform(text: str) -> Platform | None:
    try:
        return Platform.parse(text)
    except ValueError:
        return None


def _download(table: Table, url_key: str, platform: Platform) -> Download:
    return Download(
        platform=platform,
        url=_url(table, url_key),
        digest=table.converted("sha256", Digest),
        size_bytes=_size(table),
        bundle=table.recorded("sigstore_bundle", ""),
        attestations=_url(table, "attestations") if "attestations" in table else "",
    )


def _url(table: Table, key: str) -> str:
    return table.text(key, limit=_MAX_URL_CHARACTERS)


def _size(table: Table) -> int | None:
    return table.integer("size") if "size" in table else None
