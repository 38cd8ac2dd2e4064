"""What registries were last heard to say against versions, remembered on this machine.

    {"schema": 1, "plugins": {"acme/box-connector": {"https://registry.example/": {
        "epoch": 1, "serial": 4711, "read_at": "...",
        "versions": {"1.0.0": {"state": "revoked", "reason": "...", "at": "..."}}}}}}

A launch asks no network, so what it knows is what some earlier command read. Each registry is
remembered by itself: none takes back what another has said, and of several the worst counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from aperio_cli.models.newer import is_ours, refuse_newer
from aperio_cli.models.plugin_id import PluginId, check_version
from aperio_cli.models.reading import Bounds, parse_json
from aperio_cli.models.registry.plugin_file import STATES, VersionStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import NoReturn

    from aperio_cli.models.reading import Table

SCHEMA: Final = 1
BOUNDS: Final = Bounds(8 * 1024 * 1024, members=400_000)


@dataclass(frozen=True, slots=True)
class Known:
    """What one registry says against the versions of one plugin.

    Attributes:
        epoch: of its edition; None when it did not say.
        serial: of its edition; None when it did not say.
        read_at: when it was read, RFC 3339 in UTC.
        versions: what is said against each; those of which nothing is said are not there.
    """

    epoch: int | None
    serial: int | None
    read_at: str
    versions: Mapping[str, VersionStatus]

    @property
    def edition(self) -> tuple[int, int]:
        """What never goes back."""
        return self.epoch or 0, self.serial or 0

    def to_json(self) -> dict[str, object]:
        """Return it as the memory holds it."""
        versions = {version: status.to_json() for version, status in self.versions.items()}
        return {
            "epoch": self.epoch,
            "serial": self.serial,
            "read_at": self.read_at,
            "versions": versions,
        }

    @classmethod
    def from_json(cls, table: Table) -> Known:
        """Return what a memory holds; `table.fail` raises what is wrong with it."""
        versions = table.table("versions")
        return cls(
            epoch=_number(table, "epoch"),
            serial=_number(table, "serial"),
            read_at=table.moment("read_at"),
            versions={
                check_version(version): VersionStatus.from_json(versions.table(version))
                for version in versions.values
            },
        )


def _number(table: Table, key: str) -> int | None:
    return None if table.values.get(key) is None else table.integer(key)


@dataclass(frozen=True, slots=True)
class KnownVersions:
    """What is remembered of all plugins, by id and registry."""

    plugins: Mapping[PluginId, Mapping[str, Known]] = field(
        default_factory=lambda: MappingProxyType({})
    )

    def status(self, plugin: PluginId, version: str) -> VersionStatus | None:
        """Return the worst that is said against a version; None for nothing."""
        found = [each for each in self._said(plugin, version) if each]
        return max(found, key=lambda status: STATES.index(status.state), default=None)

    def _said(self, plugin: PluginId, version: str) -> Iterator[VersionStatus | None]:
        for known in self.plugins.get(plugin, {}).values():
            yield known.versions.get(version)

    def having(self, plugin: PluginId, registry: str, known: Known) -> KnownVersions:
        """Return the memory with what a registry says of a plugin now.

        What says nothing against any version is not remembered.
        """
        said = {**self.plugins.get(plugin, {}), registry: known}
        kept = {place: each for place, each in said.items() if each.versions}
        plugins = {**self.plugins, plugin: kept}
        return KnownVersions({each: said for each, said in plugins.items() if said})

    def and_also(self, other: KnownVersions) -> KnownVersions:
        """Return what both remember, each registry's word by itself."""
        plugins = {plugin: dict(said) for plugin, said in self.plugins.items()}
        for plugin, said in other.plugins.items():
            # Of one registry two memories may hold two editions: neither takes the other back.
            renamed = {f"{place} (other)": known for place, known in said.items()}
            plugins[plugin] = {**plugins.get(plugin, {}), **renamed}
        return KnownVersions(plugins)

    def to_bytes(self) -> bytes:
        """Return the file that holds it."""
        plugins = {
            str(plugin): {place: known.to_json() for place, known in sorted(said.items())}
            for plugin, said in sorted(self.plugins.items())
        }
        return json.dumps({"schema": SCHEMA, "plugins": plugins}, ensure_ascii=False).encode()

    @classmethod
    def parse(cls, data: bytes, path: Path, fail: Callable[[str, str], NoReturn]) -> KnownVersions:
        """Return what a file holds; `fail` is told what is wrong with it.

        Raises:
            RecordNewer: a newer aperio wrote it.
            PluginIdInvalid, VersionInvalid: a key of it is none.
        """
        table = parse_json(data, BOUNDS, fail)
        schema = table.values.get("schema")
        refuse_newer(path, schema, SCHEMA)
        if not is_ours(schema, SCHEMA):
            table.fail("schema", f"expected schema {SCHEMA}")
        plugins = table.table("plugins")
        found = {}
        for key in plugins.values:
            said = plugins.table(key)
            found[PluginId.parse(key)] = {
                place: Known.from_json(said.table(place)) for place in said.values
            }
        return cls(found)
