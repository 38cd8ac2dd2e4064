"""Watches a registry: whether its log is whole, and whether log and documents say the same.

Whoever installs from a registry proves single entries. A monitor reads everything: each entry of
the log, which have to lead to the checkpoint that the root states, and each plugin's file. It tells
what the documents offer and the log lacks, what the log has and the documents deny, and where the
log says two things of one artifact. Anybody can run one; who runs it often notices what whoever
signs the registry would rather keep unnoticed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.registries import RegistryLogUnproven
from aperio_cli.models.registry.documents import (
    PUBLISHERS_BOUNDS,
    PUBLISHERS_FILE,
    read_document,
)
from aperio_cli.models.registry.log_entry import (
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
from aperio_cli.models.tlog.merkle import Tree, leaf_hash
from aperio_cli.models.tlog.tiles import (
    MAX_BUNDLE_BYTES,
    MAX_TILE_BYTES,
    bundles_of,
    entries_in,
    tile_data,
    tiles_of,
)
from aperio_cli.registry.log import LOG, require_bounded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.models.registry.log_entry import LogEntry
    from aperio_cli.models.registry.plugin_file import PluginFile
    from aperio_cli.models.tlog.note import Checkpoint
    from aperio_cli.registry.rooted import RootedRegistry

UNLOGGED: Final = "unlogged"
DENIED: Final = "denied"
CONTRADICTED: Final = "contradicted"
UNREADABLE: Final = "unreadable"
FINDINGS: Final = (UNLOGGED, DENIED, CONTRADICTED, UNREADABLE)


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
    """

    registry: str
    serial: int
    checkpoint: Checkpoint
    plugins: int
    artifacts: int
    findings: tuple[Finding, ...]

    def log_json(self) -> dict[str, object]:
        """Return what was seen of the log as reports carry it."""
        findings = [each.to_json() for each in self.findings]
        return self.checkpoint.to_json() | {"artifacts": self.artifacts, "findings": findings}


@dataclass(slots=True)
class _Said:
    """What a log says, at its end."""

    artifacts: dict[tuple[str, ...], tuple[int, ArtifactEntry]] = field(default_factory=dict)
    statuses: dict[tuple[str, ...], tuple[int, StatusEntry]] = field(default_factory=dict)
    publishers: dict[tuple[str, ...], tuple[int, PublisherEntry]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def hear(self, index: int, entry: LogEntry) -> None:
        """Take one entry in."""
        if isinstance(entry, ArtifactEntry):
            known = self.artifacts.get(entry.subject)
            if known and _differ(known[1], entry):
                why = f"entry {known[0]} says {known[1].digest}, entry {index} {entry.digest}"
                self.findings.append(Finding(CONTRADICTED, _name(entry), why, index))
            self.artifacts[entry.subject] = (index, entry)
        elif isinstance(entry, StatusEntry):
            self.statuses[entry.subject] = (index, entry)
        elif isinstance(entry, PublisherEntry):
            self.publishers[entry.subject] = (index, entry)
        else:
            assert isinstance(entry, OtherEntry)  # noqa: S101 - a kind of later; it says nothing


def watch(reader: RootedRegistry) -> Watched:
    """Read the whole of a registry and of its log, and tell where they do not agree.

    Raises:
        RegistryLogUnproven: there is no log, it is too long, or its files do not lead to its
            checkpoint.
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
    said = _Said()
    for index, data in enumerate(_entries(reader, checkpoint)):
        try:
            said.hear(index, parse_entry(data))
        except EntryUnreadable as error:
            said.findings.append(Finding(UNREADABLE, f"entry {index}", str(error), index))
    files = list(reader.files())
    findings = [*said.findings, *_compared(said, files), *_compared_publishers(said, reader)]
    artifacts = sum(len(each.artifacts) for file in files for each in file.versions)
    return Watched(name, root.serial, checkpoint, len(files), artifacts, tuple(findings))


def _entries(reader: RootedRegistry, checkpoint: Checkpoint) -> list[bytes]:
    """Return every entry, once they lead to the checkpoint; tiles have to be those of them.

    Raises:
        RegistryLogUnproven: they do not.
    """
    entries: list[bytes] = []
    for bundle in bundles_of(checkpoint.size):
        data = reader.log_file(f"{LOG}/{bundle.path}", MAX_BUNDLE_BYTES)
        try:
            entries += entries_in(data, bundle.width)
        except ValueError as error:
            raise _broken(reader, bundle.path, str(error)) from error
    tree = Tree(map(leaf_hash, entries))
    if tree.root() != checkpoint.root:
        why = f"expected root {checkpoint.root.hex()}\nfound    root {tree.root().hex()}"
        raise _broken(reader, "tile/entries", why)
    for tile in tiles_of(checkpoint.size):
        if reader.log_file(f"{LOG}/{tile.path}", MAX_TILE_BYTES) != tile_data(tree, tile):
            raise _broken(reader, tile.path, "its hashes are not those of the entries")
    return entries


def _broken(reader: RootedRegistry, path: str, why: str) -> RegistryLogUnproven:
    return RegistryLogUnproven(
        f"the log of `{reader.documents.place}` is not the one that its root states:"
        f" `{LOG}/{path}`",
        why=why,
        next=["try again: files of two editions may have met", "tell whoever signs the registry"],
    )


def _compared(said: _Said, files: list[PluginFile]) -> Iterator[Finding]:
    """Yield what plugins' files and the log do not agree about."""
    offered = set()
    for file in files:
        for version in file.versions:
            for artifact in version.artifacts:
                entry = artifact_entry(file.id, version, artifact)
                offered.add(entry.subject)
                yield from _artifact(said, entry, artifact.log_index)
            yield from _status(said, status_entry(file.id, version.version, version.status))
    for subject, (index, entry) in said.artifacts.items():
        if subject not in offered and not _is_removed(said, entry):
            why = f"the log has {entry.digest}, and no document offers it"
            yield Finding(DENIED, _name(entry), why, index)


def _artifact(said: _Said, entry: ArtifactEntry, stated: int | None) -> Iterator[Finding]:
    known = said.artifacts.get(entry.subject)
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
    known = said.statuses.get(entry.subject)
    is_told = (known[1] == entry) if known else (entry.state, entry.details) == ("active", None)
    if not is_told:
        was = f"`{known[1].state}`" if known else "nothing"
        why = f"the documents say `{entry.state}`, the log said {was} last"
        yield Finding(UNLOGGED, f"{entry.id} {entry.version}", why, known[0] if known else None)


def _compared_publishers(said: _Said, reader: RootedRegistry) -> Iterator[Finding]:
    data = reader.fixed_file(PUBLISHERS_FILE)
    table = read_document(data, PUBLISHERS_BOUNDS, PUBLISHERS_FILE)
    now = {each.text("namespace"): dict(each.values) for each in table.tables("publishers")}
    for name, stated in now.items():
        entry = PublisherEntry(name, digest_of(json.loads(json.dumps(stated))))
        known = said.publishers.get(entry.subject)
        if known is None or known[1] != entry:
            why = "what the documents say of it was not logged"
            yield Finding(UNLOGGED, name, why, known[0] if known else None)
    for index, entry in said.publishers.values():
        if entry.details and entry.namespace not in now:
            yield Finding(DENIED, entry.namespace, "the log has it, and no document", index)


def _is_removed(said: _Said, entry: ArtifactEntry) -> bool:
    status = said.statuses.get(StatusEntry(entry.id, entry.version, REMOVED, None).subject)
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
