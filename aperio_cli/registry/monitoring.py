"""Watches a registry: whether its log is whole, and whether log and documents say the same.

Whoever installs from a registry proves single entries. A monitor reads everything: each entry of
the log, which have to lead to the checkpoint that the root states, and each plugin's file. It tells
what the documents offer and the log lacks, what the log has and the documents deny, and where the
log says two things of one artifact. Anybody can run one; who runs it often notices what whoever
signs the registry would rather keep unnoticed.

A log may have millions of entries. They are read bundle by bundle and hashed into tiles as they
come, of which one of each level is held; what they say stands in a database on the disk, which is
gone with the process. So the memory that a monitor takes does not grow with the log.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from aperio_cli.errors.files import DiskFull
from aperio_cli.errors.registries import RegistryLogUnproven
from aperio_cli.models.registry.documents import (
    PUBLISHERS_BOUNDS,
    PUBLISHERS_FILE,
    read_document,
)
from aperio_cli.models.registry.log_entry import (
    ARTIFACT,
    PUBLISHER,
    REMOVED,
    ArtifactEntry,
    EntryUnreadable,
    OtherEntry,
    PublisherEntry,
    StatusEntry,
    artifact_entry,
    digest_of,
    parse_entry,
    status_entry,
)
from aperio_cli.models.tlog.merkle import Frontier, leaf_hash
from aperio_cli.models.tlog.tiles import (
    MAX_BUNDLE_BYTES,
    MAX_TILE_BYTES,
    bundles_of,
    entries_in,
    tiles_over,
)
from aperio_cli.registry.log import LOG, require_bounded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aperio_cli.models.registry.log_entry import LogEntry
    from aperio_cli.models.registry.plugin_file import PluginFile
    from aperio_cli.models.tlog.note import Checkpoint
    from aperio_cli.registry.rooted import RootedRegistry

_Entry = ArtifactEntry | StatusEntry | PublisherEntry
_T = TypeVar("_T", ArtifactEntry, StatusEntry, PublisherEntry)

UNLOGGED: Final = "unlogged"
DENIED: Final = "denied"
CONTRADICTED: Final = "contradicted"
UNREADABLE: Final = "unreadable"
FINDINGS: Final = (UNLOGGED, DENIED, CONTRADICTED, UNREADABLE)

_MOST_FINDINGS: Final = 10_000
_TABLES: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -16384;
CREATE TABLE said (
  subject TEXT PRIMARY KEY, kind TEXT NOT NULL, place INTEGER NOT NULL, data BLOB NOT NULL,
  offered INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about which log and documents do not agree.

    Attributes:
        kind: `unlogged`: the documents say it and the log does not; `denied`: the other way round;
            `contradicted`: the log says two things; `unreadable`: an entry is none.
        subject: what it is about.
        why: what was expected, and found.
        index: the entry that it is about; None when there is none.
    """

    kind: str
    subject: str
    why: str
    index: int | None = None

    def to_json(self) -> dict[str, object]:
        """Return the finding as reports carry it."""
        return {
            "kind": self.kind,
            "subject": self.subject,
            "why": self.why,
            "index": self.index,
        }


@dataclass(frozen=True, slots=True)
class Watched:
    """What a monitor has seen.

    Attributes:
        registry: where it is.
        serial: its edition.
        checkpoint: of its log.
        plugins: how many plugins the documents have.
        artifacts: how many artifacts they offer.
        findings: what does not agree.
        left_out: how many findings more there are.
    """

    registry: str
    serial: int
    checkpoint: Checkpoint
    plugins: int
    artifacts: int
    findings: tuple[Finding, ...]
    left_out: int = 0

    def log_json(self) -> dict[str, object]:
        """Return what was seen of the log as reports carry it."""
        findings = [each.to_json() for each in self.findings]
        return self.checkpoint.to_json() | {
            "artifacts": self.artifacts,
            "findings": findings,
            "left_out": self.left_out,
        }


@dataclass(slots=True)
class _Told:
    """Findings, as many as anybody reads, and how many plugins and artifacts were seen."""

    findings: list[Finding] = field(default_factory=list)
    left_out: int = 0
    plugins: int = 0
    artifacts: int = 0

    def tell(self, findings: Iterable[Finding]) -> None:
        """Add findings."""
        for finding in findings:
            if len(self.findings) < _MOST_FINDINGS:
                self.findings.append(finding)
            else:
                self.left_out += 1


class _Said:
    """What a log says, at its end, by what it is about; in a database that nobody else sees."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # a file of no name, in the folder for such
        self._database.executescript(_TABLES)

    def close(self) -> None:
        """Forget it."""
        self._database.close()

    def hear(self, index: int, data: bytes) -> Iterator[Finding]:
        """Take one entry in; yield what it contradicts."""
        try:
            entry = parse_entry(data)
        except EntryUnreadable as error:
            yield Finding(UNREADABLE, f"entry {index}", str(error), index)
            return
        if isinstance(entry, OtherEntry):  # a kind of later; it says nothing
            return
        known = self.find(entry) if isinstance(entry, ArtifactEntry) else None
        if known and isinstance(entry, ArtifactEntry) and _differ(known[1], entry):
            why = f"entry {known[0]} says {known[1].digest}, entry {index} {entry.digest}"
            yield Finding(CONTRADICTED, _name(entry), why, index)
        self._database.execute(
            "INSERT OR REPLACE INTO said VALUES (?, ?, ?, ?, 0)",
            (_key(entry), entry.subject[0], index, data),
        )

    def find(self, like: _T) -> tuple[int, _T] | None:
        """Return the last word about what an entry is about, and where it stands."""
        row = self._database.execute(
            "SELECT place, data FROM said WHERE subject = ?", (_key(like),)
        ).fetchone()
        if row is None:
            return None
        found = parse_entry(row[1])
        assert isinstance(found, type(like))  # noqa: S101 - of one subject, hence of one kind
        return row[0], found

    def offer(self, entry: _Entry) -> None:
        """Note that a document says something of what an entry is about."""
        self._database.execute("UPDATE said SET offered = 1 WHERE subject = ?", (_key(entry),))

    def unoffered(self, kind: str) -> Iterator[tuple[int, LogEntry]]:
        """Yield the last words of a kind about what no document says anything of, in order."""
        for place, data in self._database.execute(
            "SELECT place, data FROM said WHERE kind = ? AND offered = 0 ORDER BY place", (kind,)
        ):
            yield place, parse_entry(data)


def _key(entry: _Entry) -> str:
    return "\0".join(entry.subject)


def watch(reader: RootedRegistry) -> Watched:
    """Read the whole of a registry and of its log, and tell where they do not agree.

    Raises:
        RegistryLogUnproven: there is no log, it is too long, or its files do not lead to its
            checkpoint.
        DiskFull: what the log says cannot be kept meanwhile.
        AperioError: as `RegistryReader.find`, of every document.
    """
    root = reader.root()
    name, checkpoint = reader.documents.place, root.log
    if checkpoint is None:
        raise RegistryLogUnproven(
            f"the registry `{name}` has no log, so nothing of it can be watched",
            why="its root states none",
            next=["ask whoever signs it to build it with a newer aperio"],
        )
    require_bounded(name, checkpoint)
    told = _Told()
    try:
        with contextlib.closing(_Said()) as said:
            told.tell(_heard(reader, checkpoint, said))
            told.tell(_compared(said, reader.files(), told))
            told.tell(_compared_publishers(said, reader))
    except sqlite3.Error as error:
        raise DiskFull(
            f"the registry `{name}` was not watched: what its log says cannot be kept meanwhile",
            why=f"in the folder for temporary files: {error}",
            next=["make space there, or name another folder in TMPDIR"],
        ) from error
    findings = tuple(told.findings)
    seen = (told.plugins, told.artifacts)
    return Watched(name, root.serial, checkpoint, *seen, findings, told.left_out)


def _heard(reader: RootedRegistry, checkpoint: Checkpoint, said: _Said) -> Iterator[Finding]:
    """Hear every entry; tiles have to be those of them, and all of them lead to the checkpoint.

    Raises:
        RegistryLogUnproven: they are not, or do not.
    """
    edge, findings = Frontier(), list[Finding]()

    def leaves() -> Iterator[bytes]:
        for index, data in enumerate(_entries(reader, checkpoint)):
            findings.extend(said.hear(index, data))
            leaf = leaf_hash(data)
            edge.append(leaf)
            yield leaf

    for tile, data in tiles_over(leaves()):
        if reader.log_file(f"{LOG}/{tile.path}", MAX_TILE_BYTES) != data:
            raise _broken(reader, tile.path, "its hashes are not those of the entries")
        yield from findings
        findings.clear()
    if edge.root() != checkpoint.root:
        why = f"expected root {checkpoint.root.hex()}\nfound    root {edge.root().hex()}"
        raise _broken(reader, "tile/entries", why)


def _entries(reader: RootedRegistry, checkpoint: Checkpoint) -> Iterator[bytes]:
    """Yield every entry, bundle by bundle.

    Raises:
        RegistryLogUnproven: a bundle is none.
    """
    for bundle in bundles_of(checkpoint.size):
        data = reader.log_entries(f"{LOG}/{bundle.path}", MAX_BUNDLE_BYTES)
        try:
            yield from entries_in(data, bundle.width)
        except ValueError as error:
            raise _broken(reader, bundle.path, str(error)) from error


def _broken(reader: RootedRegistry, path: str, why: str) -> RegistryLogUnproven:
    return RegistryLogUnproven(
        f"the log of `{reader.documents.place}` is not the one that its root states:"
        f" `{LOG}/{path}`",
        why=why,
        next=["try again: files of two editions may have met", "tell whoever signs the registry"],
    )


def _compared(said: _Said, files: Iterable[PluginFile], told: _Told) -> Iterator[Finding]:
    """Yield what plugins' files and the log do not agree about; count what there is."""
    for file in files:
        told.plugins += 1
        for version in file.versions:
            for artifact in version.artifacts:
                told.artifacts += 1
                entry = artifact_entry(file.id, version, artifact)
                yield from _artifact(said, entry, artifact.log_index)
                said.offer(entry)
            yield from _status(said, status_entry(file.id, version.version, version.status))
    for index, last in said.unoffered(ARTIFACT):
        if isinstance(last, ArtifactEntry) and not _is_removed(said, last):
            why = f"the log has {last.digest}, and no document offers it"
            yield Finding(DENIED, _name(last), why, index)


def _artifact(said: _Said, entry: ArtifactEntry, stated: int | None) -> Iterator[Finding]:
    known = said.find(entry)
    if known is None:
        yield Finding(UNLOGGED, _name(entry), f"{entry.digest} is offered, and not in the log")
    elif known[1] != entry:
        why = f"the log has {known[1].digest}, the document {entry.digest}"
        if known[1].digest == entry.digest:
            why = "tree or signer are not those of the log"
        yield Finding(UNLOGGED, _name(entry), why, known[0])
    elif known[0] != stated:
        why = f"its file says that it is entry {stated}, and it is entry {known[0]}"
        yield Finding(UNLOGGED, _name(entry), why, known[0])


def _status(said: _Said, entry: StatusEntry) -> Iterator[Finding]:
    known = said.find(entry)
    is_told = (known[1] == entry) if known else (entry.state, entry.details) == ("active", None)
    if not is_told:
        was = f"`{known[1].state}`" if known else "nothing"
        why = f"the documents say `{entry.state}`, the log said {was} last"
        yield Finding(UNLOGGED, f"{entry.id} {entry.version}", why, known[0] if known else None)


def _compared_publishers(said: _Said, reader: RootedRegistry) -> Iterator[Finding]:
    data = reader.fixed_file(PUBLISHERS_FILE)
    table = read_document(data, PUBLISHERS_BOUNDS, PUBLISHERS_FILE)
    for each in table.tables("publishers"):
        name, stated = each.text("namespace"), dict(each.values)
        entry = PublisherEntry(name, digest_of(json.loads(json.dumps(stated))))
        known = said.find(entry)
        if known is None or known[1] != entry:
            why = "what the documents say of it was not logged"
            yield Finding(UNLOGGED, name, why, known[0] if known else None)
        said.offer(entry)
    for index, last in said.unoffered(PUBLISHER):
        if isinstance(last, PublisherEntry) and last.details:
            yield Finding(DENIED, last.namespace, "the log has it, and no document", index)


def _is_removed(said: _Said, entry: ArtifactEntry) -> bool:
    status = said.find(StatusEntry(entry.id, entry.version, REMOVED, None))
    return status is not None and status[1].state == REMOVED


def _differ(before: ArtifactEntry, after: ArtifactEntry) -> bool:
    """Return whether two entries about one artifact cannot both be true."""
    return (
        before.digest != after.digest
        or before.signer != after.signer
        or bool(before.tree and before.tree != after.tree)
    )


def _name(entry: ArtifactEntry) -> str:
    return f"{entry.id} {entry.version} {entry.platform}"
