"""The log of a registry, as those who read the registry hold it to its word.

The signed root states the log's checkpoint, so whoever signs the registry vouches for the log. Two
things are asked of it here. It has to continue the log that was seen before (`follow`): a shorter
one, another one, or one in which an entry has changed is refused. And it has to have what the
registry offers (`prove`). Both are computed from tiles, a few files of at most 8 kB that never
change, and checked against the checkpoint; the tiles themselves need nobody's word.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from aperio_cli.errors.registries import (
    RegistryLogForked,
    RegistryLogUnproven,
    RegistryUnwitnessed,
)
from aperio_cli.models.tlog.merkle import (
    ProofInvalid,
    check_consistency,
    check_inclusion,
    leaf_hash,
)
from aperio_cli.models.tlog.note import MAX_NOTE_BYTES, Checkpoint, Note, NoteInvalid, cosigned_by
from aperio_cli.models.tlog.proof import LogProof
from aperio_cli.models.tlog.tiles import CHECKPOINT_PATH, MAX_TILE_BYTES, TiledTree
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aperio_cli.models.registry.log_entry import ArtifactEntry
    from aperio_cli.models.registry.rule import WitnessRule
    from aperio_cli.models.tlog.tiles import Tile

_MOST_ENTRIES: Final = 20_000_000
LOG: Final = "log"
"""The folder of the log, below the registry's."""


@dataclass(slots=True)
class LogReader:
    """The log of one registry at the checkpoint that its root states.

    Attributes:
        name: what to call the registry in messages.
        checkpoint: what the signed root states.
        read: gives the contents of a file of the log, by its path below the registry's folder,
            held to a size.
        read_together: gives those of several that it could read, or what kept it from that; None
            where nothing is gained by asking for several at once.
    """

    name: str
    checkpoint: Checkpoint
    read: Callable[[str, int], bytes]
    read_together: Callable[[Sequence[str], int], Mapping[str, bytes | Exception]] | None = None
    _tree: TiledTree = field(init=False)
    _ahead: dict[str, bytes | Exception] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._tree = TiledTree(self.checkpoint.size, self._tile)

    def follow(self, known: Checkpoint) -> None:
        """Refuse the log unless it continues the one that was seen before.

        Raises:
            RegistryLogForked: it is the checkpoint of a shorter log, of one with other entries, or
                of another log.
            RegistryLogUnproven: the log's files are not those of its checkpoint.
            AperioError: a tile could not be read (`read` and its errors).
        """
        if known == self.checkpoint:
            return
        if known.origin != self.checkpoint.origin:
            self._forked(known, "it is another log")
        if known.size >= self.checkpoint.size:
            is_shorter = known.size > self.checkpoint.size
            self._forked(known, "it is shorter" if is_shorter else "it has other entries")
        self._read_ahead(old=known.size)
        if self._earlier_root(known.size) != known.root:
            self._forked(known, "its first entries are others than were seen before")

    def prove(self, entry: ArtifactEntry, index: int | None) -> LogProof:
        """Return the proof that the log has what the registry offers.

        Args:
            entry: what is offered.
            index: where the registry says that the log has it.

        Raises:
            RegistryLogUnproven: it does not say where, or the log does not have it there.
            AperioError: a tile could not be read (`read` and its errors).
        """
        subject = f"`{entry.id}` {entry.version} for {entry.platform}"
        if index is None:
            self._unproven(subject, "its file does not say where the log has it")
        try:
            self._read_ahead(entry=index)
            path = self._tree.inclusion_proof(index)
            check_inclusion(leaf_hash(entry.to_bytes()), index, self.checkpoint.head, path)
        except ValueError as error:  # ProofInvalid, or an index beyond the log
            self._unproven(subject, f"entry {index} of the log: {error}")
        return LogProof(index, path, Note(self.checkpoint.text))

    def require_witnesses(self, rule: WitnessRule) -> dict[str, int]:
        """Return which witnesses signed the checkpoint, with the moment of each; else refuse.

        Raises:
            RegistryUnwitnessed: fewer than the rule asks for, or one did not sign what it says.
            AperioError: the checkpoint could not be read (`read` and its errors).
        """
        if not rule.least:
            return {}
        try:
            note = Note.parse(self.read(f"{LOG}/{CHECKPOINT_PATH}", MAX_NOTE_BYTES))
            if Checkpoint.parse(note.text) != self.checkpoint:
                self._unwitnessed("its checkpoint is not the one that the registry's root states")
            found = cosigned_by(note, rule.witnesses)
        except NoteInvalid as error:
            self._unwitnessed(f"its checkpoint cannot be used: {error}")
        if len(found) < rule.least:
            names = ", ".join(clean(key.name) for key in rule.witnesses)
            self._unwitnessed(
                f"expected {rule.least} of {names}\nfound    {', '.join(sorted(found)) or 'none'}"
            )
        return found

    def _earlier_root(self, size: int) -> bytes:
        """Return the root that this log had when it had so many entries, as its checkpoint proves.

        Files that somebody on the way has changed are told apart from a log that says otherwise.
        """
        try:
            root, path = self._tree.earlier_root(size), self._tree.consistency_proof(size)
            check_consistency((size, root), self.checkpoint.head, path)
        except ProofInvalid as error:
            why = f"the log's files are not those of its checkpoint: {error}"
            self._unproven("what was seen before", why)
        return root

    def _read_ahead(self, *, entry: int | None = None, old: int = 0) -> None:
        """Read the tiles of a proof side by side: one after the other, each costs a round trip."""
        if self.read_together:
            paths = [f"{LOG}/{tile.path}" for tile in self._tree.tiles_for(entry=entry, old=old)]
            if len(paths) > 1:
                self._ahead.update(self.read_together(paths, MAX_TILE_BYTES))

    def _tile(self, tile: Tile) -> bytes:
        path = f"{LOG}/{tile.path}"
        found = self._ahead.pop(path, None)
        if isinstance(found, Exception):
            raise found
        return self.read(path, MAX_TILE_BYTES) if found is None else found

    def _forked(self, known: Checkpoint, why: str) -> NoReturn:
        raise forked(self.name, known, self.checkpoint, why)

    def _unproven(self, subject: str, why: str) -> NoReturn:
        raise RegistryLogUnproven(
            f"{subject} was not used: the log of `{self.name}` is not proved to have it",
            why=why,
            next=[
                "try again: files of two editions may have met",
                "tell whoever signs the registry",
            ],
        )

    def _unwitnessed(self, why: str) -> NoReturn:
        raise unwitnessed(self.name, why)


def follow_log(
    name: str,
    read: Callable[[str, int], bytes],
    known: Checkpoint,
    current: Checkpoint | None,
    read_together: Callable[[Sequence[str], int], Mapping[str, bytes | Exception]] | None = None,
) -> None:
    """Refuse a registry whose log does not continue the one that was seen before.

    Args:
        name: what to call the registry in messages.
        read: as `LogReader` reads.
        known: the checkpoint that is remembered.
        current: the one that the root states; None when it states none.
        read_together: as `LogReader` reads several.

    Raises:
        AperioError: as `LogReader.follow`.
    """
    if current is None:
        raise forked(name, known, None, "it has no log any more")
    LogReader(name, current, read, read_together).follow(known)


def require_bounded(name: str, checkpoint: Checkpoint) -> None:
    """Require that a log ends some day, for whoever reads all of it.

    Raises:
        RegistryLogUnproven: it is longer than that of any registry.
    """
    if checkpoint.size > _MOST_ENTRIES:
        raise RegistryLogUnproven(
            f"the log of `{name}` was not read: it is too long",
            why=f"expected at most {_MOST_ENTRIES} entries\nstated   {checkpoint.size}",
            next=["ask whoever signs the registry how it came to be"],
        )


def unwitnessed(name: str, why: str) -> RegistryUnwitnessed:
    """Return the error of a log that the witnesses whom a rule names have not signed."""
    return RegistryUnwitnessed(
        f"the registry `{name}` was not used: witnesses of its log are missing",
        why=why,
        next=["try again later: a witness may not have seen the newest edition yet"],
    )


def forked(name: str, known: Checkpoint, current: Checkpoint | None, why: str) -> RegistryLogForked:
    """Return the error of a log that is not the one that was seen before."""
    lines = (
        f"{word} {each.size} entries, root {each.root.hex()}, {each.origin}"
        for word, each in (("seen before", known), ("offered now", current))
        if each
    )
    return RegistryLogForked(
        f"the registry `{name}` was not used: its log is not the one that was seen before",
        why="\n".join([why, *lines]),
        next=[
            "keep this message: what it states was signed, and together it proves what happened",
            "compare with somebody who reads the same registry from elsewhere",
            "ask whoever signs the registry how it came to be",
        ],
    )
