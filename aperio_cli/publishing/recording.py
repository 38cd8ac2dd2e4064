"""Records what a registry says in its log, which only grows; and writes the log as static files.

The log is kept in the source, because what was published cannot be computed anew from records that
have changed since:

    log/entries.jsonl     one entry a line, in the order in which they were logged
    log/log.json          {"schema", "origin", "checkpoints": [{"size", "root"}, ...]}

`Statements` is what the registry says today. What differs from the log's last word is appended;
what contradicts it refuses. Built is `log/` (c2sp.org/tlog-tiles): a checkpoint, tiles and bundles,
with the partial ones of every earlier checkpoint that no full one has taken the place of yet.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from aperio_cli.errors import AperioError
from aperio_cli.errors.files import FileNotRegular
from aperio_cli.errors.registries import (
    PluginIdConfusing,
    RegistryLogContradicted,
    RegistrySourceInvalid,
)
from aperio_cli.models.digest import Digest
from aperio_cli.models.newer import refuse_newer
from aperio_cli.models.plugin_id import PluginId, version_key
from aperio_cli.models.reading import Bounds, described, parse_json
from aperio_cli.models.registry.confusing import Looks
from aperio_cli.models.registry.log_entry import (
    ACTIVE,
    ARTIFACT,
    PUBLISHER,
    REMOVED,
    ArtifactEntry,
    PublisherEntry,
    StatusEntry,
    signer_digest,
    status_entry,
    subject_of,
)
from aperio_cli.models.tlog.merkle import Tree, leaf_hash
from aperio_cli.models.tlog.note import MAX_NOTE_BYTES, Checkpoint, Note, NoteInvalid
from aperio_cli.models.tlog.tiles import (
    CHECKPOINT_PATH,
    ENTRIES,
    TILE_HEIGHT,
    TILE_WIDTH,
    bundle_data,
    bundles_of,
    partial_tiles,
    tile_data,
    tiles_of,
)
from aperio_cli.registry.log import LOG

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from aperio_cli.files.beneath import Beneath
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.publisher import Signer
    from aperio_cli.models.reading import Table
    from aperio_cli.models.tlog.tiles import Tile
    from aperio_cli.publishing.record import Record

_ENTRIES: Final = (LOG, "entries.jsonl")
_STATE: Final = (LOG, "log.json")
_SCHEMA: Final = "aperio.registry.log/v1"
_MIB: Final = 1024 * 1024
_MOST_ENTRIES_BYTES: Final = 4096 * _MIB
_STATE_BOUNDS: Final = Bounds(64 * _MIB, members=3_000_000)
_ORIGIN: Final = "aperio-registry/"
_ORIGIN_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class Statements:
    """What a registry says today.

    Attributes:
        artifacts: one for each version and platform, in the order in which they were added.
        statuses: the state of every version that is not active.
        publishers: what it says of each namespace.
    """

    artifacts: tuple[ArtifactEntry, ...]
    statuses: tuple[StatusEntry, ...] = ()
    publishers: tuple[PublisherEntry, ...] = ()


@dataclass(slots=True)
class RegistryLog:
    """The log of a registry.

    Attributes:
        origin: its name; empty while it has no entry.
        entries: as they are logged.
        sizes: of the checkpoints so far, ascending.
        tree: over the entries.
    """

    origin: str = ""
    entries: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    tree: Tree = field(default_factory=Tree)
    _last: dict[tuple[str, ...], int] = field(default_factory=dict)
    _versions: dict[str, set[str]] = field(default_factory=dict)
    _namespaces: Looks = field(default_factory=Looks)
    _plugins: Looks = field(default_factory=Looks)

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint; None while there is no entry."""
        if not self.entries:
            return None
        return Checkpoint(self.origin, len(self.entries), self.tree.root())

    def continues(self, checkpoint: Checkpoint) -> bool:
        """Return whether this log began as an earlier one."""
        size, root = checkpoint.head
        return (
            checkpoint.origin == self.origin
            and size <= len(self.tree)
            and self.tree.root(size) == root
        )

    def index_of(self, entry: ArtifactEntry) -> int:
        """Return where the log has an artifact that it has."""
        return self._last[entry.subject]

    def extend(self, statements: Statements) -> None:
        """Append what the registry says today and the log does not say yet.

        Raises:
            RegistryLogContradicted: an artifact that was logged has become another one.
            PluginIdConfusing: a new id looks like another one.
        """
        self.say_publishers(statements.publishers)
        plugins = dict.fromkeys(each.id for each in statements.artifacts)
        for plugin in plugins:
            artifacts = [each for each in statements.artifacts if each.id == plugin]
            self.say_plugin(artifacts, [s for s in statements.statuses if s.id == plugin])
        self.say_gone({str(plugin) for plugin in plugins})
        self.conclude()

    def say_publishers(self, publishers: Sequence[PublisherEntry]) -> None:
        """Append each namespace of which the registry says something else than it last said."""
        now = {each.namespace: each for each in publishers}
        before = {subject[1] for subject in self._last if subject[:1] == (PUBLISHER,)}
        for name in sorted(now.keys() | before):
            nothing = PublisherEntry(name, None)
            self._append_change(now.get(name, nothing), nothing)

    def say_plugin(
        self, artifacts: Sequence[ArtifactEntry], statuses: Sequence[StatusEntry]
    ) -> None:
        """Append what is new of one plugin: artifacts, then states of its versions.

        Args:
            artifacts: all that there are of it, at least one.
            statuses: of those of its versions that are not active.

        Raises:
            RegistryLogContradicted: an artifact that was logged has become another one.
            PluginIdConfusing: its id is new, and looks like another one.
        """
        plugin = artifacts[0].id
        self._refuse_confusing(plugin)
        for artifact in artifacts:
            data, subject = artifact.to_bytes(), artifact.subject
            if self._is_new(artifact, data, self._last.get(subject)):
                self.append(data, subject)
        stated = {each.version: each for each in statuses}
        there = {each.version for each in artifacts}
        for version in sorted(self._versions[str(plugin)]):
            state = ACTIVE if version in there else REMOVED
            self._say_status(stated.get(version) or StatusEntry(plugin, version, state, None))

    def say_gone(self, there: Collection[str]) -> None:
        """Append that every version of a plugin is gone, of each that is not there any more."""
        for name in sorted(self._versions.keys() - there):
            for version in sorted(self._versions[name]):
                self._say_status(StatusEntry(PluginId.parse(name), version, REMOVED, None))

    def conclude(self) -> None:
        """Make a checkpoint of what was appended, if anything was."""
        if self.entries and (not self.sizes or self.sizes[-1] != len(self.entries)):
            self.origin = self.origin or _ORIGIN + Digest.of(self.entries[0]).hex[:_ORIGIN_DIGITS]
            self.sizes.append(len(self.entries))

    def append(self, data: bytes, subject: tuple[str, ...]) -> None:
        """Append one entry about a subject, whatever it says."""
        if subject[:1] == (ARTIFACT,):
            if subject[1] not in self._versions:
                self._namespaces.take(subject[1].partition("/")[0])
                self._plugins.take(subject[1])
            self._versions.setdefault(subject[1], set()).add(subject[2])
        self._last[subject] = len(self.entries)
        self.entries.append(data)
        self.tree.append(leaf_hash(data))

    def _say_status(self, entry: StatusEntry) -> None:
        self._append_change(entry, StatusEntry(entry.id, entry.version, ACTIVE, None))

    def _append_change(
        self, entry: StatusEntry | PublisherEntry, unsaid: StatusEntry | PublisherEntry
    ) -> None:
        """Append an entry unless it was the last word, or says what holds when nothing was said."""
        place = self._last.get(entry.subject)
        if place is None and entry == unsaid:
            return
        data = entry.to_bytes()
        if place is None or data != self.entries[place]:
            self.append(data, entry.subject)

    def _is_new(self, entry: ArtifactEntry, data: bytes, place: int | None) -> bool:
        """Return whether the log lacks an artifact; refuse one that it has otherwise.

        Args:
            entry: the artifact.
            data: the same as it is logged.
            place: where the log has it, whatever it says of it.
        """
        if place is None:
            return True
        if self.entries[place] == data:
            return False
        _refuse_contradiction(entry, json.loads(self.entries[place]), place)
        return True  # it says more now than it said

    def _refuse_confusing(self, plugin: PluginId) -> None:
        """Refuse a new id that looks like another, which would stay in the log for ever."""
        if str(plugin) in self._versions:
            return
        other = self._namespaces.take(plugin.namespace) or self._plugins.take(str(plugin))
        if other:
            raise PluginIdConfusing(
                f"`{plugin}` was not published: people would take it for `{other}`",
                why="0 and o, 1 and l, rn and m look alike, and so do one hyphen and several;\n"
                "an id stands in the registry's log for ever",
                next=["have its publisher choose another name", f"take `{plugin}` out again"],
            )


def _refuse_contradiction(entry: ArtifactEntry, logged: dict[str, str], place: int) -> None:
    now = {"sha256": entry.digest.hex, "tree": entry.tree, "signer": entry.signer.hex}
    changed = [
        f"{key}: logged {logged[key]}, now {value or 'nothing'}"
        for key, value in now.items()
        if logged[key] and logged[key] != value
    ]
    if changed:
        raise RegistryLogContradicted(
            f"`{entry.id}` {entry.version} for {entry.platform} was not published:"
            " the registry's log has it otherwise",
            why="\n".join([f"entry {place} of the log", *changed]),
            next=[
                "bring its record back from the registry's history",
                "release what has changed as a new version",
            ],
        )


def said_of(record: Record) -> tuple[list[ArtifactEntry], list[StatusEntry]]:
    """Return what the log is to have of a plugin: its artifacts, the oldest first, and states."""
    versions = sorted(record.versions, key=lambda each: (each.added_at, version_key(each.version)))
    artifacts = [
        ArtifactEntry(
            id=record.id,
            version=version.version,
            platform=artifact.platform,
            digest=artifact.digest,
            tree=artifact.tree,
            signer=signer,
        )
        for version, signer in ((each, who_signed(each.signer)) for each in versions)
        for artifact in version.artifacts
    ]
    return artifacts, [
        status_entry(record.id, version.version, version.status)
        for version in versions
        if version.status
    ]


def places_of(
    log: RegistryLog, artifacts: Sequence[ArtifactEntry]
) -> dict[tuple[str, Platform], int]:
    """Return where the log has the artifacts of one plugin, by version and platform."""
    return {(each.version, each.platform): log.index_of(each) for each in artifacts}


def who_signed(signer: Signer) -> Digest:
    """Return what the log has of a signer."""
    return signer_digest(
        {"type": signer.domain, "issuer": signer.issuer, "identity": signer.identity}
    )


# ── in the source ─────────────────────────────────────────────────────────────────────────────────


def read_log(root: Beneath) -> RegistryLog:
    """Return the log in the source of a registry, held to its last checkpoint; empty without one.

    Raises:
        RegistrySourceInvalid: it is damaged, or what was logged has changed.
        FileNotRegular: a link stands in its place.
    """
    log = RegistryLog()
    if root.mode(*_STATE) is None:
        return log
    state = _read_state(root)
    log.origin = state.text("origin", limit=200)
    checkpoints = tuple(state.tables("checkpoints"))
    # What stands behind the last one was in no build: one that was killed, or somebody's hand.
    end = max((each.integer("size", least=1) for each in checkpoints), default=0)
    lines = _read(root, _ENTRIES, _MOST_ENTRIES_BYTES).split(b"\n")[:-1]
    for number, line in enumerate(lines[:end]):
        try:
            log.append(line, subject_of(line))
        except ValueError as error:
            raise _invalid(root.path(*_ENTRIES), f"line {number + 1}: {error}") from error
    for each in checkpoints:
        size = each.integer("size", least=1)
        if size > len(log.tree) or log.tree.root(size).hex() != each.text("root"):
            raise _invalid(
                root.path(*_ENTRIES),
                f"its first {size} entries are not those that were published with that size",
            )
        log.sizes.append(size)
    return log


def require_signed_log(path: Path, log: RegistryLog, signed: Checkpoint | None) -> None:
    """Require that the log in the source goes on from the one that was signed last.

    Args:
        path: the source.
        log: the log in it.
        signed: the checkpoint in the root that was signed last; None when nobody noted one.

    Raises:
        RegistrySourceInvalid: it does not: clients would refuse what is built of it for ever.
    """
    if signed is None or log.continues(signed):
        return
    raise _invalid(
        path / LOG,
        f"signed was {signed.size} entries, root {signed.root.hex()}, of {signed.origin}\n"
        f"found {len(log.entries)} entries, which are not how that goes on",
    )


def keep_log(root: Beneath, log: RegistryLog) -> None:
    """Write the log into the source: entries first, so that no checkpoint is without its own.

    Raises:
        OSError: it cannot be written.
    """
    if not log.entries:
        return
    root.make_folders(LOG)
    root.write_atomic(*_ENTRIES, data=b"".join(entry + b"\n" for entry in log.entries))
    checkpoints = [{"size": size, "root": log.tree.root(size).hex()} for size in log.sizes]
    state = {"schema": _SCHEMA, "origin": log.origin, "checkpoints": checkpoints}
    root.write_atomic(*_STATE, data=json.dumps(state, indent=1).encode() + b"\n")


def _read_state(root: Beneath) -> Table:
    path = root.path(*_STATE)

    def fail(key: str, why: str) -> NoReturn:
        raise _invalid(path, described(key, why))

    table = parse_json(_read(root, _STATE, _STATE_BOUNDS.size_bytes), _STATE_BOUNDS, fail)
    stated = table.values.get("schema")
    refuse_newer(path, stated, _SCHEMA, deed="the registry is as it was")
    if stated != _SCHEMA:
        table.fail("schema", f"expected {_SCHEMA}")
    return table


def _read(root: Beneath, parts: tuple[str, ...], limit_bytes: int) -> bytes:
    try:
        return root.read(*parts, limit_bytes=limit_bytes)
    except FileNotRegular:
        raise
    except (OSError, AperioError) as error:
        raise _invalid(root.path(*parts), str(error)) from error


def _invalid(path: Path, why: str) -> RegistrySourceInvalid:
    return RegistrySourceInvalid(
        f"`{path}` is not the registry's log; nothing was built",
        why=why,
        next=["bring the folder `log` back from the registry's history, as it was published last"],
    )


def published_log(folder: Beneath) -> Note | None:
    """Return the checkpoint in what was built, with its signatures; None when none can be read."""
    try:
        note = Note.parse(folder.read(LOG, CHECKPOINT_PATH, limit_bytes=MAX_NOTE_BYTES))
        Checkpoint.parse(note.text)
    except (OSError, AperioError, NoteInvalid):
        return None
    return note


# ── as static files ───────────────────────────────────────────────────────────────────────────────


def log_files(log: RegistryLog, before: Note | None = None) -> Iterator[tuple[str, bytes]]:
    """Return every file of the published log, as its path below the registry, and its bytes.

    Args:
        log: the log.
        before: the checkpoint that is published now; signatures of the same one stay.
    """
    checkpoint = log.checkpoint
    if checkpoint is None:
        return
    is_same = before is not None and before.text == checkpoint.text
    note = before if before and is_same else Note(checkpoint.text)
    yield f"{LOG}/{CHECKPOINT_PATH}", note.to_bytes()
    size = checkpoint.size
    for tile in {*tiles_of(size), *bundles_of(size), *_partial_tiles(log.sizes)}:
        first = tile.index * TILE_WIDTH
        is_bundle = tile.level == ENTRIES
        entries = log.entries[first : first + tile.width] if is_bundle else []
        yield f"{LOG}/{tile.path}", bundle_data(entries) if is_bundle else tile_data(log.tree, tile)


def _partial_tiles(sizes: list[int]) -> Iterator[Tile]:
    """Return the tiles that readers of earlier checkpoints may still ask for."""
    newest = sizes[-1]
    for size in sizes:
        for tile in partial_tiles(size):
            level = max(tile.level, 0)
            if newest >> (TILE_HEIGHT * level) < (tile.index + 1) * TILE_WIDTH:
                yield tile
