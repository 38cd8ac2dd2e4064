"""Signed notes, checkpoints, and the keys of logs and witnesses.

    example.com/log            origin: which log
    20852163                   size
    CsUYapGGPo4d...2IA=        root

    — example.com/log Az3grlgt...TOAYQ8=
    — witness.example/w1 jWbPPwAA...fZ+qnA==

The text ends with the last empty line; below it stands one signature in each line: name, then a
key id of four bytes and the signature, base64. A witness signs the text together with the moment at
which it was the newest that it had seen of the log.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.models.tlog.merkle import HASH_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_NOTE_BYTES: Final = 64 * 1024
MAX_SIGNATURES: Final = 64
ED25519: Final = 0x01
COSIGNATURE: Final = 0x04

_DASH: Final = "\N{EM DASH} "
_NAME = re.compile(r"[^\s+]{1,200}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_MAX_ORIGIN_CHARACTERS = 200
_MAX_MOMENT = 2**63 - 1
_ID_BYTES = 4
_MOMENT_BYTES = 8
_KEY_BYTES = 32


class NoteInvalid(ValueError):
    """A text that is no note, no checkpoint or no key; or one whose signature is none."""


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One line below a note.

    Attributes:
        name: of the key.
        key_id: four bytes that tell keys of one name apart; proves nothing.
        signature: what the key made; its form depends on the key.
    """

    name: str
    key_id: bytes
    signature: bytes

    @property
    def line(self) -> str:
        """The line, without its end."""
        return f"{_DASH}{self.name} {_encoded(self.key_id + self.signature)}"


@dataclass(frozen=True, slots=True)
class Note:
    """A text, which ends with a line end, and its signatures, in order."""

    text: str
    signatures: tuple[NoteSignature, ...] = ()

    def to_bytes(self) -> bytes:
        """Return the note as it is sent."""
        lines = "".join(f"{each.line}\n" for each in self.signatures)
        return f"{self.text}\n{lines}".encode()

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Return a note; its signatures are read, and none is checked.

        Raises:
            NoteInvalid: it is none, or too long, or has too many signatures.
        """
        text, separator, lines = _text_of(data).rpartition("\n\n")
        if not separator or not text:
            raise NoteInvalid("no empty line stands before its signatures")
        if lines and not lines.endswith("\n"):
            raise NoteInvalid("its last line has no end")
        found = lines.split("\n")[:-1]
        if len(found) > MAX_SIGNATURES:
            raise NoteInvalid(f"it has more than {MAX_SIGNATURES} signatures")
        return cls(text + "\n", tuple(map(_signature, found)))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log at one of its sizes.

    Attributes:
        origin: which log.
        size: how many entries.
        root: the root of its tree, 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        is_named = self.origin.isprintable() and self.origin.strip() == self.origin
        if not is_named or not 0 < len(self.origin) <= _MAX_ORIGIN_CHARACTERS:
            raise NoteInvalid("its origin is no name: expected printable characters on one line")
        if self.size < 0 or len(self.root) != HASH_BYTES:
            raise NoteInvalid("a checkpoint has a size and a hash of 32 bytes")

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{_encoded(self.root)}\n"

    @property
    def head(self) -> tuple[int, bytes]:
        """Size and root, as proofs take them."""
        return self.size, self.root

    def to_bytes(self, signatures: Iterable[NoteSignature] = ()) -> bytes:
        """Return the checkpoint as a note with these signatures."""
        return Note(self.text, tuple(signatures)).to_bytes()

    def to_json(self) -> dict[str, object]:
        """Return the checkpoint as documents carry it: the root in hexadecimal digits."""
        return {"origin": self.origin, "size": self.size, "root": self.root.hex()}

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Return the checkpoint that a note's text is.

        Raises:
            NoteInvalid: it is none, or has further lines, which nobody could hold to anything.
        """
        lines = text.split("\n")
        if len(lines) != len(("origin", "size", "root", "")) or lines[-1]:
            raise NoteInvalid("a checkpoint has three lines: origin, size and root")
        if not _SIZE.fullmatch(lines[1]):
            raise NoteInvalid("its size is no number")
        return cls(lines[0], int(lines[1]), _decoded(lines[2]))


@dataclass(frozen=True, slots=True)
class NoteKey:
    """The public key of a log or of a witness, an Ed25519 key.

    As text `<name>+<key id, 8 hexadecimal digits>+<base64 of type and key>`, a `vkey`.

    Attributes:
        name: its name in signature lines.
        kind: `ED25519`, or `COSIGNATURE` for a witness.
        key: 32 bytes.
    """

    name: str
    kind: int
    key: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes that signature lines begin with."""
        head = f"{self.name}\n".encode() + bytes([self.kind])
        return hashlib.sha256(head + self.key).digest()[:_ID_BYTES]

    def __str__(self) -> str:
        material = _encoded(bytes([self.kind]) + self.key)
        return f"{self.name}+{self.key_id.hex()}+{material}"

    @classmethod
    def parse(cls, text: str) -> NoteKey:
        """Return the key that is written so.

        Raises:
            NoteInvalid: it is no such text, its id is another key's, or it is of another kind.
        """
        name, _, rest = text.partition("+")
        key_id, _, material = rest.partition("+")
        if not _NAME.fullmatch(name):
            raise NoteInvalid("expected NAME+ID+KEY, as the witness states its key")
        data = _decoded(material)
        if len(data) != 1 + _KEY_BYTES or data[0] not in {ED25519, COSIGNATURE}:
            raise NoteInvalid("expected an Ed25519 key, of a log or for cosignatures")
        key = cls(name, data[0], data[1:])
        if key.key_id.hex() != key_id:
            raise NoteInvalid(f"its id is not that of the key: expected {key.key_id.hex()}")
        return key

    def verify(self, note: Note) -> int | None:
        """Return when this key signed a note, seconds since 1970; 0 for a key without moments.

        None when it did not sign: lines of unknown keys are ignored, whatever they say.

        Raises:
            NoteInvalid: a line names this key, and is not its signature.
        """
        own = [s for s in note.signatures if (s.name, s.key_id) == (self.name, self.key_id)]
        moments = [self._verified(note, each.signature) for each in own]
        return max(moments) if moments else None

    def _verified(self, note: Note, signature: bytes) -> int:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        moment, message = 0, note.text.encode()
        if self.kind == COSIGNATURE:
            moment = int.from_bytes(signature[:_MOMENT_BYTES], "big")
            signature = signature[_MOMENT_BYTES:]
            message = cosigned_message(note.text, moment)
        try:
            if moment > _MAX_MOMENT:
                raise NoteInvalid(f"the signature of {self.name} names no moment")
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise NoteInvalid(f"the signature of {self.name} is not its own") from error
        return moment


def cosigned_message(text: str, moment: int) -> bytes:
    """Return what a witness signs: the moment, then the whole text of the checkpoint."""
    return f"cosignature/v1\ntime {moment}\n{text}".encode()


def cosigned_by(note: Note, witnesses: Sequence[NoteKey]) -> dict[str, int]:
    """Return the witnesses who signed a checkpoint, each with its moment.

    Raises:
        NoteInvalid: a line names one of them, and is not its signature.
    """
    found = {key.name: key.verify(note) for key in witnesses}
    return {name: moment for name, moment in found.items() if moment is not None}


def _text_of(data: bytes) -> str:
    if len(data) > MAX_NOTE_BYTES:
        raise NoteInvalid(f"it is longer than {MAX_NOTE_BYTES} bytes")
    if any(byte < ord(" ") and byte != ord("\n") for byte in data):
        raise NoteInvalid("it has a control character in it")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise NoteInvalid("it is not UTF-8 text") from error


def _signature(line: str) -> NoteSignature:
    name, separator, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not separator or not _NAME.fullmatch(name):
        raise NoteInvalid("a line below it is no signature")
    data = _decoded(encoded)
    if len(data) <= _ID_BYTES:
        raise NoteInvalid("a signature below it is too short")
    return NoteSignature(name, data[:_ID_BYTES], data[_ID_BYTES:])


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decoded(text: str) -> bytes:
    """Return what base64 stands for; one text for each value, so that nothing can hide in it."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteInvalid("it has something else where base64 was expected") from error
    if _encoded(data) != text:
        raise NoteInvalid("it has base64 in another form than everybody writes")
    return data
