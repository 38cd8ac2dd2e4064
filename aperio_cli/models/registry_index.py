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

import json
from dataclasses import dataclass
from typing import Any, TypeVar

from aperio_cli.errors import AperioError
from aperio_cli.errors.registries import IndexUnreadable, IndexVersionUnknown
from aperio_cli.models.digest import Digest
from aperio_cli.models.manifest import KINDS
from aperio_cli.models.platform import Platform
from aperio_cli.models.plugin_id import PluginId, check_version, version_key
from aperio_cli.models.protocol import parse_protocol
from aperio_cli.text import clean

VERSION = 1
FILE_NAME = "plugins.json"
MAX_BYTES = 32 * 1024 * 1024
MAX_VERSIONS = 10_000
SEED_PLATFORM = Platform("linux", "amd64")

_MAX_URL_CHARACTERS = 4096
_MAX_MEMBERS = 2_000_000  # an index as `registry build` writes it has one in 30 bytes or more
_MAX_TEXT_CHARACTERS = 2000

_Value = TypeVar("_Value")


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
        """The entry of a plugin."""
        return next((entry for entry in self.entries if entry.id == plugin), None)

    @classmethod
    def parse(cls, data: bytes, *, where: str) -> RegistryIndex:
        """The index in these bytes.

        Args:
            data: contents of `plugins.json`, UTF-8, already held to `MAX_BYTES`.
            where: what to call the file in messages.

        Raises:
            IndexUnreadable: not JSON, a malformed key, or an id or a version twice.
            IndexVersionUnknown: written in another version of the format.
        """
        document = _load(data, where)
        if "version" in document and document["version"] != VERSION:
            raise _version_unknown(where, document["version"])
        with _Faults(where):
            if _get(document, "version", int) != VERSION:
                raise _fault("version", "expected a number")
            return _index(document)


def parse_detail(data: bytes, *, where: str) -> IndexEntry:
    """The entry in a plugin's detail file: all its versions, also those not in `plugins.json`.

    Raises:
        IndexUnreadable: not JSON, a malformed key, a version twice, or an unknown kind.
    """
    document = _load(data, where)
    with _Faults(where):
        entry = _entry(document)
        if entry is None:
            raise _fault("kind", "unknown")
        return entry


# ── reading JSON ──────────────────────────────────────────────────────────────────────────────────


class _Faults:
    """Turns whatever is wrong inside the block into one error that names the file."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, AperioError):
            raise _unreadable(self._where, f"{error.what} {error.why}".strip()) from error
        if isinstance(error, ValueError):
            raise _unreadable(self._where, str(error)) from error


def _load(data: bytes, where: str) -> dict[str, Any]:
    # A parser makes hundreds of bytes of a member, so they are counted in the text before.
    if sum(map(data.count, (b",", b"{", b"["))) > _MAX_MEMBERS:
        raise _unreadable(where, f"expected at most {_MAX_MEMBERS} members")
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _unreadable(where, f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise _unreadable(where, "expected a JSON object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, unless a key is there twice: two readers would see two different indexes."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key of an object is there twice")
    return found


def _unreadable(where: str, why: str) -> IndexUnreadable:
    return IndexUnreadable(
        f"the index `{where}` was not read", why=why, next=["tell whoever maintains the registry"]
    )


def _version_unknown(where: str, found: object) -> IndexVersionUnknown:
    return IndexVersionUnknown(
        f"the index `{where}` was not read: it is written in another version of the format",
        why=f"expected version {VERSION}\nfound    {clean(found, limit=40)}",
        next=["install a newer aperio"],
    )


def _fault(key: str, why: str) -> ValueError:
    return ValueError(f"`{clean(key, limit=80)}`: {why}")


def _get(mapping: dict[str, Any], key: str, kind: type[_Value]) -> _Value:
    value = mapping.get(key)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _fault(key, f"expected {_WORDS[kind]}")
    return value


_WORDS: dict[type, str] = {dict: "an object", list: "a list", str: "text", int: "a number"}


def _text(mapping: dict[str, Any], key: str) -> str:
    """Text for display; empty when it is missing or of another type: it decides nothing."""
    value = mapping.get(key)
    return clean(value, limit=_MAX_TEXT_CHARACTERS) if isinstance(value, str) else ""


# ── reading an index ──────────────────────────────────────────────────────────────────────────────


def _index(document: dict[str, Any]) -> RegistryIndex:
    entries: dict[PluginId, IndexEntry] = {}
    skipped = []
    for raw in _get(document, "plugins", list):
        if not isinstance(raw, dict):
            raise _fault("plugins", "expected a list of objects")
        entry = _entry(raw)
        if entry is None:
            skipped.append(clean(raw.get("id"), limit=120))
        elif entry.id in entries:
            raise _fault("plugins", f"`{entry.id}` is there twice")
        else:
            entries[entry.id] = entry
    ordered = tuple(entries[plugin] for plugin in sorted(entries))
    serial = _get(document, "serial", int) if "serial" in document else None
    return RegistryIndex(ordered, tuple(skipped), _text(document, "updated_at"), serial)


def _entry(raw: dict[str, Any]) -> IndexEntry | None:
    """One entry; None when its kind is unknown, whatever else it says."""
    kind = _get(raw, "kind", str)
    if kind not in KINDS:
        return None
    plugin = PluginId.parse(_get(raw, "id", str))
    stated = _get(raw, "versions", list)
    if len(stated) > MAX_VERSIONS:
        raise _fault("versions", f"more than {MAX_VERSIONS}")
    versions: dict[str, IndexVersion] = {}
    for each in stated:
        if not isinstance(each, dict):
            raise _fault("versions", "expected a list of objects")
        version = _version(each)
        # Pre-release identifiers may differ in case only, which a folder on disk cannot hold.
        if versions.setdefault(version.version.casefold(), version) is not version:
            raise _fault("versions", f"`{plugin}` {version.version} is there twice")
    ordered = sorted(versions.values(), key=lambda v: version_key(v.version), reverse=True)
    return IndexEntry(plugin, kind, _text(raw, "description"), tuple(ordered), _detail(raw))


def _detail(raw: dict[str, Any]) -> Detail | None:
    if "detail" not in raw:
        return None
    stated = _get(raw, "detail", dict)
    return Detail(_url(stated, "url"), Digest(_get(stated, "sha256", str)), _size(stated))


def _version(raw: dict[str, Any]) -> IndexVersion:
    protocols = _get(raw, "protocols", list) if "protocols" in raw else []
    publisher = raw.get("publisher")
    return IndexVersion(
        version=check_version(_get(raw, "version", str)),
        downloads=_downloads(raw),
        protocols=tuple(parse_protocol(str(text)) for text in protocols),
        publisher=_text(publisher, "name") if isinstance(publisher, dict) else "",
    )


def _downloads(raw: dict[str, Any]) -> tuple[Download, ...]:
    """The artifacts of a version: `artifacts` when it is there, else the seed's only one."""
    if "artifacts" not in raw:
        return (_download(raw, "download_url", SEED_PLATFORM),)
    found: dict[Platform, Download] = {}
    for each in _get(raw, "artifacts", list):
        if not isinstance(each, dict):
            raise _fault("artifacts", "expected a list of objects")
        platform = _platform(each)
        if platform is None:
            continue  # a platform that this aperio does not know; it cannot be this machine's
        if platform in found:
            raise _fault("artifacts", f"{platform} is there twice")
        found[platform] = _download(each, "url", platform)
    seed = found.get(SEED_PLATFORM)
    if seed and "sha256" in raw and _get(raw, "sha256", str) != seed.digest.hex:
        raise _fault("sha256", f"differs from the {SEED_PLATFORM} artifact's")
    return tuple(found[platform] for platform in sorted(found))


def _platform(raw: dict[str, Any]) -> Platform | None:
    system, architecture = _get(raw, "os", str), _get(raw, "arch", str)
    try:
        return Platform.parse(f"{system}/{architecture}")
    except ValueError:
        return None


def _download(raw: dict[str, Any], url_key: str, platform: Platform) -> Download:
    bundle = raw.get("sigstore_bundle", "")
    if not isinstance(bundle, str):
        raise _fault("sigstore_bundle", "expected text")
    return Download(
        platform=platform,
        url=_url(raw, url_key),
        digest=Digest(_get(raw, "sha256", str)),
        size_bytes=_size(raw),
        bundle=bundle,
        attestations=_url(raw, "attestations") if "attestations" in raw else "",
    )


def _url(raw: dict[str, Any], key: str) -> str:
    url = _get(raw, key, str)
    if not 0 < len(url) <= _MAX_URL_CHARACTERS or not url.isprintable():
        raise _fault(key, f"expected 1 to {_MAX_URL_CHARACTERS} printable characters")
    return url


def _size(raw: dict[str, Any]) -> int | None:
    if "size" not in raw:
        return None
    size = _get(raw, "size", int)
    if size < 0:
        raise _fault("size", "expected a number of bytes")
    return size
