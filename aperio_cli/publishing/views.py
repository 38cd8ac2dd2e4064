"""The documents of a registry that are about all of its plugins: bytes for bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.models.plugin_id import PluginId
from aperio_cli.models.registry.documents import (
    ADVISORIES_FILE,
    CATALOGUE_FILE,
    FEED_FILE,
    PUBLISHERS_FILE,
    ROOT_FILE,
    SCHEMA_FILES,
    SHARDS,
    FileRef,
    shard_number,
)
from aperio_cli.models.registry.root import Root
from aperio_cli.models.registry.shard import Shard
from aperio_cli.models.registry_index import FILE_NAME, VERSION
from aperio_cli.publishing.feed import feed
from aperio_cli.publishing.rendering import compact, lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from aperio_cli.models.tlog.note import Checkpoint
    from aperio_cli.publishing.edition import Edition
    from aperio_cli.publishing.rendering import Row

WHOLE_VIEW_BYTES: Final = 4 * 1024 * 1024
"""How long plugins.json may be for it to list every version; beyond, the newest of each plugin."""

_SCHEMA: Final = "1.1"
_PACKAGE: Final = Path(__file__).resolve().parent


def fixed_files(
    rows: Sequence[Row],
    edition: Edition,
    publishers: Iterable[Mapping[str, object]],
    advisories: Iterable[Mapping[str, object]],
) -> dict[str, bytes]:
    """Return the fixed files by their path.

    Args:
        rows: every plugin, sorted by id.
        edition: which edition it is.
        publishers: entries of publishers.json.
        advisories: records of OSV.
    """
    # No edition stands in it: a document in which nothing changes is read from caches for ever.
    head = {"version": VERSION}
    return {
        FILE_NAME: _index(rows, edition),
        CATALOGUE_FILE: lines(head, "plugins", (row.catalogue for row in rows)),
        PUBLISHERS_FILE: lines(head, "publishers", map(compact, publishers)),
        ADVISORIES_FILE: lines(head, "advisories", map(compact, advisories)),
        FEED_FILE: feed(rows, edition),
    }


def _index(rows: Sequence[Row], edition: Edition) -> bytes:
    head: dict[str, Any] = {
        "version": VERSION,
        "updated_at": edition.updated_at,
        "schema": _SCHEMA,
        "epoch": edition.epoch,
        "serial": edition.serial,
        "expires_at": edition.expires_at,
        "links": {
            "root": ROOT_FILE,
            "catalogue": CATALOGUE_FILE,
            "publishers": PUBLISHERS_FILE,
            "advisories": ADVISORIES_FILE,
        },
    }
    is_whole = sum(len(row.whole) for row in rows) <= WHOLE_VIEW_BYTES
    return lines(head, "plugins", (row.whole if is_whole else row.newest for row in rows))


def schemas() -> Iterator[tuple[str, bytes]]:
    """Yield the JSON Schemas of the documents by their path; this package has them there, too."""
    for path in SCHEMA_FILES:
        yield path, (_PACKAGE / path).read_bytes()


def shards(rows: Iterable[Row], namespaces: Iterable[str]) -> Iterator[bytes]:
    """Yield the shards, by number.

    Args:
        rows: every plugin.
        namespaces: those that the registry states besides those of its plugins.
    """
    plugins: list[dict[PluginId, FileRef]] = [{} for _ in range(SHARDS)]
    stated: list[set[str]] = [set() for _ in range(SHARDS)]
    for namespace in namespaces:
        stated[shard_number(namespace)].add(namespace)
    for row in rows:
        plugin = PluginId(*row.id.split("/"))
        plugins[shard_number(row.id)][plugin] = row.ref
        stated[shard_number(plugin.namespace)].add(plugin.namespace)
    for number in range(SHARDS):
        shard = Shard(number, plugins[number], frozenset(stated[number]))
        yield compact(shard.to_json()) + b"\n"


def root(
    edition: Edition,
    files: Mapping[str, FileRef],
    shard_refs: Sequence[FileRef],
    log: Checkpoint | None,
) -> bytes:
    """Return the root of an edition.

    Args:
        edition: the edition.
        files: what the other documents are, by path.
        shard_refs: what the shards are, by number.
        log: the checkpoint of the registry's log; None while it is empty.
    """
    made = Root(
        name=edition.name,
        epoch=edition.epoch,
        serial=edition.serial,
        updated_at=edition.updated_at,
        expires_at=edition.expires_at,
        files=files,
        shards=tuple(shard_refs),
        previous=edition.previous,
        log=log,
    )
    return compact(made.to_json()) + b"\n"
