"""One entry's proof in one file, which needs nothing beside it (c2sp.org/tlog-proof).

    c2sp.org/tlog-proof@v1
    index 73894
    gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
    ...

    example.com/log
    109482
    sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=

    — witness.example/w1 jWbPPwAA...fZ+qnA==

The hashes lead from the entry to the root of the checkpoint below them. Whether anybody vouches for
that checkpoint is for its reader to find out: it is compared with one that is trusted.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Final

from aperio_cli.models.tlog.merkle import check_inclusion, leaf_hash
from aperio_cli.models.tlog.note import MAX_NOTE_BYTES, Checkpoint, Note, NoteInvalid, _decoded

SUFFIX: Final = ".tlog-proof"
MAX_PROOF_BYTES: Final = MAX_NOTE_BYTES + 8 * 1024

_FIRST_LINE = "c2sp.org/tlog-proof@v1"
_EXTRA = "extra "
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})", re.ASCII)
_MOST_HASHES = 63


@dataclass(frozen=True, slots=True)
class LogProof:
    """That an entry stands in a log.

    Attributes:
        index: its place, from 0.
        path: hashes from its sibling to the root's children.
        note: the log's checkpoint, with whatever signatures it has.
    """

    index: int
    path: tuple[bytes, ...]
    note: Note

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint.

        Raises:
            NoteInvalid: the note is none.
        """
        return Checkpoint.parse(self.note.text)

    def check(self, entry: bytes) -> Checkpoint:
        """Return the checkpoint of the log that an entry is proved to stand in.

        Raises:
            NoteInvalid: the note is no checkpoint.
            ProofInvalid: the hashes do not lead from the entry to its root.
        """
        checkpoint = self.checkpoint
        check_inclusion(leaf_hash(entry), self.index, checkpoint.head, self.path)
        return checkpoint

    def to_json(self) -> dict[str, object]:
        """Return what it proves, and the contents of its file, as reports carry them."""
        proof = {"index": self.index, "proof": self.to_bytes().decode()}
        return self.checkpoint.to_json() | proof

    def to_bytes(self) -> bytes:
        """Return the contents of its file."""
        hashes = [base64.b64encode(each).decode("ascii") for each in self.path]
        head = "\n".join([_FIRST_LINE, f"index {self.index}", *hashes])
        return f"{head}\n\n".encode() + self.note.to_bytes()

    @classmethod
    def parse(cls, data: bytes) -> LogProof:
        """Return the proof in a file; nothing of it is checked, and extra data is ignored.

        Raises:
            NoteInvalid: it is none.
        """
        if len(data) > MAX_PROOF_BYTES:
            raise NoteInvalid(f"it is longer than {MAX_PROOF_BYTES} bytes")
        head, separator, note = data.partition(b"\n\n")
        lines = head.decode("utf-8", "replace").split("\n")
        if not separator or lines.pop(0) != _FIRST_LINE:
            raise NoteInvalid(f"its first line is not {_FIRST_LINE}")
        if lines and lines[0].startswith(_EXTRA):
            lines.pop(0)
        index = _INDEX.fullmatch(lines.pop(0)) if lines else None
        if index is None:
            raise NoteInvalid("it names no index")
        if len(lines) > _MOST_HASHES:
            raise NoteInvalid(f"it has more than {_MOST_HASHES} hashes")
        return cls(int(index[1]), tuple(map(_decoded, lines)), Note.parse(note))
