"""`shards/XX.json`: what the plugins' files have to be, a 256th of them in each.

    {"version": 1, "shard": "0a",
     "plugins": {"acme/box-connector": {"sha256": "...", "size": 9486}},
     "namespaces": ["acme"]}

A plugin stands in the shard of its id, a namespace that the registry states in the shard of its own
name (`documents.shard_number`).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from aperio_cli.errors.usage import PluginIdInvalid
from aperio_cli.models.plugin_id import PluginId, is_namespace
from aperio_cli.models.registry.documents import (
    PLUGIN_FILE_BOUNDS,
    SHARD_BOUNDS,
    VERSION,
    FileRef,
    read_document,
    shard_number,
)
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_cli.models.reading import Table


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard.

    Attributes:
        number: which of the 256 it is.
        plugins: what the file of each plugin has to be, by id.
        namespaces: those that the registry states.
    """

    number: int
    plugins: Mapping[PluginId, FileRef]
    namespaces: frozenset[str]

    def to_json(self) -> dict[str, object]:
        """Return the shard as its file states it, sorted."""
        plugins = sorted((str(plugin), ref) for plugin, ref in self.plugins.items())
        return {
            "version": VERSION,
            "shard": f"{self.number:02x}",
            "plugins": {plugin: ref.to_json() for plugin, ref in plugins},
            "namespaces": sorted(self.namespaces),
        }


def parse_shard(data: bytes, *, number: int, where: str) -> Shard:
    """Return the shard in these bytes.

    Args:
        data: contents of the file.
        number: which shard it has to be.
        where: what to call it in messages.

    Raises:
        IndexUnreadable: it is no shard, another one, or a name in it belongs into another.
        IndexVersionUnknown: it is written in another version of the format.
    """
    table = read_document(data, SHARD_BOUNDS, where)
    if table.text("shard") != f"{number:02x}":
        table.fail("shard", f"expected {number:02x}")
    return Shard(number, MappingProxyType(_plugins(table, number)), _namespaces(table, number))


def _plugins(table: Table, number: int) -> dict[PluginId, FileRef]:
    stated = table.table("plugins")
    return {
        _id(stated, key, number): FileRef.from_json(
            stated.table(key), most=PLUGIN_FILE_BOUNDS.size_bytes
        )
        for key in stated.values
    }


def _id(stated: Table, key: str, number: int) -> PluginId:
    _check_place(stated, key, key, number)
    try:
        return PluginId.parse(key)
    except PluginIdInvalid as error:
        stated.fail(key, error.why)


def _namespaces(table: Table, number: int) -> frozenset[str]:
    names = table.texts("namespaces")
    for name in names:
        if not is_namespace(name):
            table.fail("namespaces", f"`{clean(name, limit=80)}` is not a namespace")
        _check_place(table, "namespaces", name, number)
    return frozenset(names)


def _check_place(table: Table, key: str, name: str, number: int) -> None:
    if (found := shard_number(name)) != number:
        table.fail(key, f"`{clean(name, limit=120)}` belongs into shard {found:02x}")
