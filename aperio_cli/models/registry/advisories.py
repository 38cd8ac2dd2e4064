"""`advisories.json`: known faults of plugins, records of OSV (ossf.github.io/osv-schema, 1.7).

    {"version": 1, ..., "advisories": [{"id": "APERIO-2026-0001", "modified": "...", "summary":
     "...", "affected": [{"package": {"ecosystem": "Aperio", "name": "acme/box-connector"},
       "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "1.2.4"}]}],
       "versions": ["1.0.0"]}], ...}]}

A record of the source, `advisories/<ID>.json`, is one of them. What a record says about packages of
other ecosystems is none of ours; ranges of git commits name no versions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.errors.usage import VersionInvalid
from aperio_cli.models.plugin_id import PluginId, check_version, version_key
from aperio_cli.models.registry.documents import (
    ADVISORIES_BOUNDS,
    MAX_TEXT_CHARACTERS,
    read_document,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.models.reading import Table

ECOSYSTEM: Final = "Aperio"
_SEMVER: Final = "SEMVER"
_RANGES: Final = (_SEMVER, "ECOSYSTEM", "GIT")
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}", re.ASCII)
_ZERO: Final = "0"  # before every version
_EVENTS: Final = ("introduced", "fixed", "last_affected", "limit")
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Event:
    """Where a range of versions begins or ends.

    Attributes:
        kind: introduced, fixed, last_affected or limit.
        version: at which version; `0` stands before every one.
    """

    kind: str
    version: str


@dataclass(frozen=True, slots=True)
class Affected:
    """A plugin that an advisory is about.

    Attributes:
        plugin: its id.
        versions: affected ones, one by one.
        ranges: events of each range.
    """

    plugin: PluginId
    versions: frozenset[str]
    ranges: tuple[tuple[Event, ...], ...]

    def includes(self, version: str) -> bool:
        """Return whether a version is affected (OSV schema, "Evaluation")."""
        return version in self.versions or any(_is_in(version, each) for each in self.ranges)


@dataclass(frozen=True, slots=True)
class Advisory:
    """One known fault.

    Attributes:
        id: of the record.
        modified: when it changed last, RFC 3339 in UTC.
        withdrawn: when it was taken back, or empty.
        summary: one line, for display.
        severity: scores by type, such as `CVSS_V3`, for display.
        aliases: other names of the same fault.
        references: addresses, for display.
        affected: the plugins.
    """

    id: str
    modified: str
    withdrawn: str
    summary: str
    severity: tuple[tuple[str, str], ...]
    aliases: tuple[str, ...]
    references: tuple[str, ...]
    affected: tuple[Affected, ...]

    def affects(self, plugin: PluginId, version: str) -> bool:
        """Return whether it is about this version, and was not taken back."""
        about = (each for each in self.affected if each.plugin == plugin)
        return not self.withdrawn and any(each.includes(version) for each in about)

    def fixed_in(self, plugin: PluginId) -> tuple[str, ...]:
        """Return the versions of a plugin that are stated to mend it, lowest first."""
        about = [each for each in self.affected if each.plugin == plugin]
        events = [event for each in about for found in each.ranges for event in found]
        found = {event.version for event in events if event.kind == "fixed"}
        return tuple(sorted(found, key=version_key))


def parse_advisories(data: bytes, *, where: str) -> tuple[Advisory, ...]:
    """Return the advisories of a registry, sorted by id.

    Args:
        data: contents of `advisories.json`.
        where: what to call it in messages.

    Raises:
        IndexUnreadable: it is no such file, or has an id twice.
        IndexVersionUnknown: it is written in another version of the format.
    """
    table = read_document(data, ADVISORIES_BOUNDS, where)
    found: dict[str, Advisory] = {}
    for each in table.tables("advisories"):
        advisory = parse_advisory(each)
        if found.setdefault(advisory.id.casefold(), advisory) is not advisory:
            each.fail("id", f"`{advisory.id}` is there twice")
    return tuple(sorted(found.values(), key=lambda advisory: advisory.id))


def parse_advisory(table: Table) -> Advisory:
    """Return one record of OSV; `table.fail` raises what is wrong with a key that is used here."""
    return Advisory(
        id=table.matching("id", _ID, "the id of an advisory, such as APERIO-2026-0001"),
        modified=table.moment("modified"),
        withdrawn=table.moment("withdrawn") if "withdrawn" in table else "",
        summary=table.display("summary", limit=MAX_TEXT_CHARACTERS),
        severity=tuple(
            (each.text("type", limit=40), each.text("score", limit=200))
            for each in table.optional_tables("severity")
        ),
        aliases=table.texts("aliases"),
        references=tuple(
            each.display("url", limit=MAX_TEXT_CHARACTERS)
            for each in table.optional_tables("references")
        ),
        affected=tuple(_affected(table)),
    )


def _affected(table: Table) -> Iterator[Affected]:
    for each in table.tables("affected", most=_MOST):
        package = each.table("package")
        if package.text("ecosystem") == ECOSYSTEM:
            yield Affected(
                plugin=package.converted("name", PluginId.parse),
                versions=frozenset(_versions(each)),
                ranges=tuple(_ranges(each)),
            )


def _versions(table: Table) -> Iterator[str]:
    for text in table.texts("versions"):
        yield _checked(table, "versions", text)


def _ranges(table: Table) -> Iterator[tuple[Event, ...]]:
    for each in table.optional_tables("ranges"):
        if each.choice("type", _RANGES) != _SEMVER:
            continue
        events = tuple(_event(event) for event in each.tables("events", most=_MOST))
        if not any(event.kind == "introduced" for event in events):
            each.fail("events", "expected an event that says where it was introduced")
        yield events


def _event(table: Table) -> Event:
    stated = [key for key in _EVENTS if key in table]
    if len(stated) != 1:
        table.fail("", f"expected one of {', '.join(_EVENTS)}")
    (kind,) = stated
    version = table.text(kind)
    is_open = (kind, version) in {("introduced", _ZERO), ("limit", "*")}
    return Event(kind, version if is_open else _checked(table, kind, version))


def _checked(table: Table, key: str, text: str) -> str:
    try:
        return check_version(text)
    except VersionInvalid as error:
        table.fail(key, f"{error.what}\n{error.why}")


def _is_in(version: str, events: tuple[Event, ...]) -> bool:
    """Return whether the events of a range leave a version affected."""
    found = version_key(version)
    limits = [event.version for event in events if event.kind == "limit"]
    if limits and all(limit != "*" and found >= version_key(limit) for limit in limits):
        return False
    is_affected = False
    for event in sorted((each for each in events if each.kind != "limit"), key=_place):
        if event.kind == "introduced":
            is_affected |= event.version == _ZERO or found >= version_key(event.version)
        elif event.kind == "fixed":
            is_affected &= found < version_key(event.version)
        else:
            is_affected &= found <= version_key(event.version)
    return is_affected


def _place(event: Event) -> tuple[bool, Any]:
    """Return a key that sorts events by version, `0` before every one."""
    is_first = event.version == _ZERO
    return not is_first, () if is_first else version_key(event.version)
