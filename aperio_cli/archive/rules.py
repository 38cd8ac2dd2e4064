"""What the writer and the reader of artifacts both hold them to.

An artifact is one gzip member (RFC 1952: no name, no time, system 255) around
a POSIX ustar archive (IEEE Std 1003.1, pax, "ustar Interchange Format"): regular files only, owner
0:0 without names, modes 0755 or 0644, one time for all, manifest.yaml first and the others in the
order of their paths' bytes, two zero blocks at the end. Folders are implied by the files in them
and not stored, so an empty folder cannot be packed.

A path means one file on every system, whether it can be written there or not: what Windows takes
for a device, a drive, a stream or a pattern, or shortens, is no path of an artifact anywhere.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field

from aperio_cli.errors.files import (
    ArchiveDuplicate,
    ArchiveMalformed,
    ArchiveManifestMissing,
    ArchiveMemberType,
    ArchivePath,
    ArchiveRefused,
    ArchiveTooLarge,
    ArchiveTruncated,
)
from aperio_cli.text import show_path

MANIFEST = "manifest.yaml"
MAX_MANIFEST_BYTES = 64 * 1024

BLOCK_BYTES = 512
ZERO_BLOCK = bytes(BLOCK_BYTES)
_MAX_PATH_BYTES = 255
_MAX_DEPTH = 32
# Controls, bidirectional marks, line ends; and private characters, as which shares and subsystems
# of other systems disguise `:` and the like (U+F001 to U+F07F).
_MISLEADING = frozenset({"Cc", "Cf", "Co", "Zl", "Zp"})
# learn.microsoft.com, "Naming Files, Paths, and Namespaces": reserved characters and names, the
# latter with any extension, and with spaces before it.
_RESERVED_CHARACTERS = re.compile(r'[<>:"|?*]')
_DEVICE = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|clock\$|com[0-9¹²³]|lpt[0-9¹²³]) *(?:\..*)?",
    re.IGNORECASE,
)
# What Windows makes of a longer name, by which it opens that file, too: `LIBRAR~1.PY`.
_SHORT_NAME = re.compile(r"[^.]{1,6}~[0-9]{1,6}(?:\.[^.]{0,3})?")


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """How much an artifact may unpack to.

    Attributes:
        total_bytes: the whole tar stream, headers included.
        file_bytes: one file.
        members: number of files, and of folders, stored or implied.
        ratio: uncompressed to compressed bytes, once `ratio_free_bytes` have been unpacked.
        ratio_free_bytes: what may be unpacked at any ratio; short texts compress very well.
    """

    total_bytes: int = 2 * 1024**3
    file_bytes: int = 1024**3
    members: int = 20_000
    ratio: int = 200
    ratio_free_bytes: int = 10 * 1024**2


DEFAULT_LIMITS = UnpackLimits()


class Fault(Exception):
    """What is wrong, before it is said whose artifact it is in; never leaves this package."""

    def __init__(self, kind: type[ArchiveRefused], why: str) -> None:
        super().__init__(why)
        self.kind = kind
        self.why = why

    def refusal(self, subject: str) -> ArchiveRefused:
        """Return the refusal that people see."""
        step = "get the artifact again, in case it was changed on the way"
        if self.kind not in {ArchiveTruncated, ArchiveMalformed}:
            step = "do not use this artifact, and tell its publisher"
        return self.kind(f"{subject} was refused: {_TITLES[self.kind]}", why=self.why, next=[step])


_TITLES: dict[type[ArchiveRefused], str] = {
    ArchiveTruncated: "it ends too early",
    ArchiveMalformed: "it is not a well-formed archive",
    ArchiveMemberType: "it holds something other than files",
    ArchivePath: "a path in it is not safe",
    ArchiveDuplicate: "two members of it claim the same path",
    ArchiveTooLarge: "it is larger than a plugin may be",
    ArchiveManifestMissing: f"it does not begin with {MANIFEST}",
}


def fault_in_path(raw: bytes) -> Fault | None:
    """Return what is wrong with a member's path by itself, or None."""
    try:
        path = raw.decode()
    except UnicodeDecodeError:
        return Fault(ArchivePath, f"`{show_path(raw)}` is not UTF-8")
    parts = path.split("/")
    rules = (
        (path.startswith("/"), "is absolute"),
        (".." in parts, "has a part `..`"),
        ("." in parts, "has a part `.`"),
        ("" in parts, "has an empty part"),
        ("\\" in path, "has a backslash"),
        (any(unicodedata.category(c) in _MISLEADING for c in path), "has invisible characters"),
        (not unicodedata.is_normalized("NFC", path), "is not in Unicode normal form C"),
        (bool(_RESERVED_CHARACTERS.search(path)), "has a character that Windows reserves"),
        (
            any(part.endswith((".", " ")) for part in parts),
            "has a part that ends in a dot or space",
        ),
        (any(_DEVICE.fullmatch(part) for part in parts), "has the name of a device on Windows"),
        (any(_SHORT_NAME.fullmatch(part) for part in parts), "has a short name of Windows"),
        (len(raw) > _MAX_PATH_BYTES, f"is longer than {_MAX_PATH_BYTES} bytes"),
        (len(parts) > _MAX_DEPTH, f"is more than {_MAX_DEPTH} folders deep"),
    )
    broken = next((words for is_broken, words in rules if is_broken), None)
    return Fault(ArchivePath, f"`{show_path(path)}` {broken}") if broken else None


@dataclass(slots=True)
class Names:
    """The paths seen so far, with the folders they imply."""

    max_members: int
    stored: set[str] = field(default_factory=set)
    is_folder_by_path: dict[str, bool] = field(default_factory=dict)
    path_by_folded: dict[str, str] = field(default_factory=dict)

    def add(self, path: str) -> Fault | None:
        """Take note of a member's path, or say what it collides with."""
        if path in self.stored:
            return Fault(ArchiveDuplicate, f"`{show_path(path)}` is there twice")
        self.stored.add(path)
        parts = path.split("/")
        for length in range(1, len(parts)):
            if fault := self._claim("/".join(parts[:length]), is_folder=True):
                return fault
        return self._claim(path, is_folder=False)

    def _claim(self, path: str, *, is_folder: bool) -> Fault | None:
        known = self.is_folder_by_path.setdefault(path, is_folder)
        if known != is_folder:
            return Fault(ArchiveDuplicate, f"`{show_path(path)}` is both a file and a folder")
        if len(self.is_folder_by_path) > self.max_members:
            return Fault(ArchiveTooLarge, f"it has more than {self.max_members} files and folders")
        other = self.path_by_folded.setdefault(_folded(path), path)
        if other != path:
            why = f"`{show_path(other)}` and `{show_path(path)}` differ in case only"
            return Fault(ArchiveDuplicate, why)
        return None


def _folded(path: str) -> str:
    """Return what paths have in common that some system takes for one.

    Some fold to lower case, some to upper (U+0131 is `I` there), some normalize before or after.
    """
    upper = unicodedata.normalize("NFD", path).upper()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", upper).casefold())
