"""What the documents of a registry have in common: where they are, how large, how they are read."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from aperio_cli.errors.registries import IndexUnreadable, IndexVersionUnknown
from aperio_cli.models.address import has_user, shown
from aperio_cli.models.artifact import ATTESTATIONS_SUFFIX, BUNDLE_SUFFIX
from aperio_cli.models.digest import Digest
from aperio_cli.models.reading import Bounds, described, parse_json
from aperio_cli.models.registry_index import FILE_NAME as INDEX_FILE
from aperio_cli.text import clean

if TYPE_CHECKING:
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.reading import Table

VERSION: Final = 1
ROOT_FILE: Final = "registry.json"
CATALOGUE_FILE: Final = "catalogue.json"
PUBLISHERS_FILE: Final = "publishers.json"
ADVISORIES_FILE: Final = "advisories.json"
FEED_FILE: Final = "feed.atom"
FIXED_FILES: Final = (INDEX_FILE, CATALOGUE_FILE, PUBLISHERS_FILE, ADVISORIES_FILE, FEED_FILE)
"""What a root states besides its shards."""

SCHEMAS_FOLDER: Final = "schemas"
SCHEMA_FILES: Final = tuple(
    f"{SCHEMAS_FOLDER}/{name}.schema.json"
    for name in (
        "advisories",
        "catalogue",
        "common",
        "plugin",
        "plugins",
        "publishers",
        "root",
        "shard",
    )
)
"""JSON Schemas of the documents, which a root states, too; builds of before had none."""

SHARDS: Final = 256
_MIB: Final = 1024 * 1024
ROOT_BOUNDS: Final = Bounds(256 * 1024, members=5_000)
SHARD_BOUNDS: Final = Bounds(8 * _MIB, members=400_000)
PLUGIN_FILE_BOUNDS: Final = Bounds(4 * _MIB, members=400_000)
CATALOGUE_BOUNDS: Final = Bounds(128 * _MIB, members=6_000_000)
PUBLISHERS_BOUNDS: Final = Bounds(16 * _MIB, members=750_000)
ADVISORIES_BOUNDS: Final = Bounds(16 * _MIB, members=750_000)

MAX_URL_CHARACTERS: Final = 4096
MAX_TEXT_CHARACTERS: Final = 2000
_LARGEST_FILE: Final = 256 * _MIB  # a hundred thousand plugins in plugins.json take half
_SHOWN: Final = 120
# Relative to the folder of the root; nothing in it needs escaping in an address.
_PATH: Final = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._~+-]*(?:/[A-Za-z0-9][A-Za-z0-9._~+-]*)*", re.ASCII
)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:", re.ASCII)
_FETCHED: Final = ("https://", "http://")


@dataclass(frozen=True, slots=True)
class FileRef:
    """What a document of a registry has to be.

    Attributes:
        digest: of its bytes.
        size_bytes: their number.
    """

    digest: Digest
    size_bytes: int

    @classmethod
    def of(cls, data: bytes) -> FileRef:
        """Return what these bytes are."""
        return cls(Digest.of(data), len(data))

    def to_json(self) -> dict[str, object]:
        """Return it as other documents state it."""
        return {"sha256": self.digest.hex, "size": self.size_bytes}

    @classmethod
    def from_json(cls, table: Table, *, most: int = _LARGEST_FILE) -> FileRef:
        """Return what a table states.

        Args:
            table: with `sha256` and `size`.
            most: the size that such a document has at most.
        """
        return cls(table.converted("sha256", Digest), table.integer("size", most=most))


def shard_number(name: str) -> int:
    """Return which shard a plugin's id, or a namespace, stands in: 0 to 255.

    The first byte of the SHA-256 digest of its UTF-8 bytes.
    """
    return hashlib.sha256(name.encode()).digest()[0]


def shard_path(number: int) -> str:
    """Return where a shard is, such as `shards/0a.json`."""
    return f"shards/{number:02x}.json"


def plugin_path(plugin: PluginId) -> str:
    """Return where a plugin's own file is."""
    return f"plugins/{plugin.namespace}/{plugin.name}.json"


def bundle_path(digest: Digest) -> str:
    """Return where the Sigstore bundle of this digest is."""
    return f"bundles/sha256/{digest.hex[:2]}/{digest.hex}{BUNDLE_SUFFIX}"


def attestations_path(digest: Digest) -> str:
    """Return where the signed statements of this digest are, one Sigstore bundle a line."""
    return f"bundles/sha256/{digest.hex[:2]}/{digest.hex}{ATTESTATIONS_SUFFIX}"


def mirrored_path(digest: Digest) -> str:
    """Return where a mirror has an artifact that lies elsewhere in the registry it mirrors."""
    return f"mirrored/sha256/{digest.hex[:2]}/{digest.hex}"


def is_path(text: str) -> bool:
    """Return whether a text is a path below the root's folder that needs no escaping."""
    return len(text) <= MAX_URL_CHARACTERS and bool(_PATH.fullmatch(text))


def read_document(data: bytes, bounds: Bounds, where: str) -> Table:
    """Return the table of a document of this version.

    Args:
        data: its bytes.
        bounds: what it may have at most.
        where: what to call it in messages.

    Raises:
        IndexUnreadable: it is no JSON object, or has no version; so does every key of the table.
        IndexVersionUnknown: it is written in another version.
    """
    table = parse_json(data, bounds, functools.partial(_fail, where))
    found = table.value("version")
    if found != VERSION:
        raise IndexVersionUnknown(
            f"`{where}` was not read: it is written in another version of the format",
            why=f"expected version {VERSION}\nfound    {clean(found, limit=40)}",
            next=["install a newer aperio"],
        )
    table.integer("version", least=VERSION, most=VERSION)  # `true` and `1.0` equal it
    return table


def location(table: Table, key: str) -> str:
    """Return where something is: a path below the root's folder, or an http(s) address.

    Whether the registry may point there is up to whoever asks there.
    """
    found = table.text(key, limit=MAX_URL_CHARACTERS)
    if problem := location_problem(found):
        table.fail(key, problem)
    return found


def location_problem(text: str) -> str:
    """Return what is wrong with a location; empty when nothing is."""
    if is_path(text):
        return ""
    if not _SCHEME.match(text):
        return f"`{clean(text, limit=_SHOWN)}` is no path below the registry's folder"
    if not text.lower().startswith(_FETCHED):
        return f"`{shown(text)}` is neither https nor http"
    if has_user(text):
        return f"`{shown(text)}` has a user or a password in it"
    return ""


def display(table: Table, key: str) -> str:
    """Return text that decides nothing, made safe to show; empty when there is none."""
    return table.display(key, limit=MAX_TEXT_CHARACTERS)


def _fail(where: str, key: str, why: str) -> NoReturn:
    raise IndexUnreadable(
        f"`{where}` was not read",
        why=described(key, why),
        next=["tell whoever maintains the registry"],
    )
