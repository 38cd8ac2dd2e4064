"""`registry.json`, the signed root of a registry: what every other document has to be.

    {"version": 1, "name": "acme", "epoch": 1, "serial": 4711, "updated_at": "...",
     "expires_at": "...", "previous": {"serial": 4710, "sha256": "..."},
     "files": {"plugins.json": {"sha256": "...", "size": 6560}, ...},
     "shards": [{"sha256": "...", "size": 45123}, ... 256 of them],
     "log": {"origin": "registry.example/log", "size": 0, "root": "..."}}

Epoch and serial never go back: first the epoch is compared, then the serial. Whoever lost a serial,
because somebody signed the highest number there is, starts a new epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from aperio_cli.models.digest import Digest
from aperio_cli.models.registry.documents import (
    ADVISORIES_BOUNDS,
    ADVISORIES_FILE,
    CATALOGUE_BOUNDS,
    CATALOGUE_FILE,
    FIXED_FILES,
    PUBLISHERS_BOUNDS,
    PUBLISHERS_FILE,
    ROOT_BOUNDS,
    SHARD_BOUNDS,
    SHARDS,
    VERSION,
    FileRef,
    is_path,
    read_document,
)
from aperio_cli.models.tlog.note import Checkpoint, NoteInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_cli.models.reading import Table

_MOST = {
    CATALOGUE_FILE: CATALOGUE_BOUNDS.size_bytes,
    PUBLISHERS_FILE: PUBLISHERS_BOUNDS.size_bytes,
    ADVISORIES_FILE: ADVISORIES_BOUNDS.size_bytes,
}
_MOST_FILES = 64
_NAME_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The edition that was signed before.

    Attributes:
        serial: its serial.
        digest: of its registry.json.
    """

    serial: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Root:
    """The root of a registry.

    Attributes:
        name: which of its signer's registries it is; empty: the only one.
        epoch: counts up when serials start anew.
        serial: counts up with every edition.
        updated_at: when the edition was made, RFC 3339 in UTC.
        expires_at: its last moment, RFC 3339 in UTC.
        files: what the other documents have to be, by path; `FIXED_FILES` are among them.
        shards: what the shards have to be, by number.
        previous: the edition that was signed before; None for the first.
        log: the checkpoint of the transparency log; None when there is no log.
    """

    name: str
    epoch: int
    serial: int
    updated_at: str
    expires_at: str
    files: Mapping[str, FileRef]
    shards: tuple[FileRef, ...]
    previous: Predecessor | None = None
    log: Checkpoint | None = None

    @property
    def expires(self) -> str:
        """Its last moment, as signed documents call it."""
        return self.expires_at

    def to_json(self) -> dict[str, object]:
        """Return the root as its file states it."""
        previous = self.previous
        document: dict[str, object] = {
            "version": VERSION,
            **({"name": self.name} if self.name else {}),
            "updated_at": self.updated_at,
            "epoch": self.epoch,
            "serial": self.serial,
            "expires_at": self.expires_at,
            "previous": previous and {"serial": previous.serial, "sha256": previous.digest.hex},
            "files": {path: ref.to_json() for path, ref in self.files.items()},
            "shards": [ref.to_json() for ref in self.shards],
        }
        return document | ({"log": self.log.to_json()} if self.log else {})


def parse_root(data: bytes, *, where: str) -> Root:
    """Return the root in these bytes.

    Args:
        data: contents of `registry.json`.
        where: what to call it in messages.

    Raises:
        IndexUnreadable: it is no root, or not every document is stated.
        IndexVersionUnknown: it is written in another version of the format.
    """
    table = read_document(data, ROOT_BOUNDS, where)
    updated_at, expires_at = table.moment("updated_at"), table.moment("expires_at", is_end=True)
    if expires_at < updated_at:
        table.fail("expires_at", f"it ends before it begins, on {updated_at}")
    return Root(
        name=table.text("name", limit=_NAME_CHARACTERS) if "name" in table else "",
        epoch=table.integer("epoch", least=1),
        serial=table.integer("serial"),
        updated_at=updated_at,
        expires_at=expires_at,
        files=MappingProxyType(_files(table)),
        shards=_shards(table),
        previous=_previous(table),
        log=log_of(table),
    )


def _files(table: Table) -> dict[str, FileRef]:
    files = table.table("files")
    if len(files.values) > _MOST_FILES:
        table.fail("files", f"expected at most {_MOST_FILES}")
    for path in files.values:
        if not is_path(path):
            table.fail("files", "expected paths below the folder of the root")
    for path in FIXED_FILES:
        files.value(path)
    return {path: _ref(files, path) for path in files.values}


def _ref(files: Table, path: str) -> FileRef:
    stated = files.table(path)
    most = _MOST.get(path)
    return FileRef.from_json(stated) if most is None else FileRef.from_json(stated, most=most)


def _shards(table: Table) -> tuple[FileRef, ...]:
    most = SHARD_BOUNDS.size_bytes
    shards = tuple(
        FileRef.from_json(each, most=most) for each in table.tables("shards", most=SHARDS)
    )
    if len(shards) != SHARDS:
        table.fail("shards", f"expected {SHARDS}, found {len(shards)}")
    return shards


def _previous(table: Table) -> Predecessor | None:
    stated = table.optional_table("previous")
    if stated is None:
        return None
    serial = stated.integer("serial")
    if serial >= table.integer("serial"):
        stated.fail("serial", "expected a lower serial than its own")
    return Predecessor(serial, stated.converted("sha256", Digest))


def log_of(table: Table) -> Checkpoint | None:
    """Return the checkpoint that a table states under `log`; None without one.

    `table.fail` raises what is wrong with it.
    """
    stated = table.optional_table("log")
    if stated is None:
        return None
    origin, size = stated.text("origin", limit=_NAME_CHARACTERS), stated.integer("size")
    try:
        return Checkpoint(origin, size, stated.converted("root", Digest).raw)
    except NoteInvalid as error:
        stated.fail("origin", str(error))
