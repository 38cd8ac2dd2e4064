"""`.aperioignore`: what of a project its author leaves out, or waives a refusal of.

The patterns are gitignore's (git documentation, "gitignore"): they come after those of
`contents`, and the last one that fits decides, so `!name` packs what would be left out by itself.
One file counts, at the top of the project.

A comment of the form `# waive FINGERPRINT PATH: REASON` waives one finding of the search for
secrets. The fingerprint is of what was found, so that the waiver ends when that is changed.

Patterns are regular expressions in disguise, made by whoever wrote the project: how many `*` one
has is limited, because each may multiply the time that the next ones take.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.errors.building import IgnoreInvalid
from aperio_cli.errors.files import FileTooLarge
from aperio_cli.files.beneath import Beneath
from aperio_cli.models.reading import Unreadable, text_of
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pathspec import GitIgnoreSpec

FILE_NAME = ".aperioignore"
MAX_BYTES = 64 * 1024
WAIVER_FORM = "# waive FINGERPRINT PATH: REASON"

_MAX_PATTERNS = 500
_MAX_PATTERN_CHARACTERS = 255
_MAX_STARS = 3
_MAX_DOUBLE_STARS = 2
_MEANT_AS_WAIVER = re.compile(r"#\s*waive\b", re.IGNORECASE)
_WAIVER = re.compile(r"# waive ([0-9a-f]{16}) (\S(?:.{0,250}?\S)?): (\S.{0,300})")


@dataclass(frozen=True, slots=True)
class Waiver:
    """A finding that the author says is no secret.

    Attributes:
        fingerprint: of what was found.
        path: of the file in the project.
        reason: why it is none.
    """

    fingerprint: str
    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """A line in gitignore's form, and why it leaves something out.

    Without a reason it does so tacitly: what it fits is used in another way.
    """

    text: str
    why: str

    @property
    def packs(self) -> bool:
        """Whether what it fits is packed, having been left out by an earlier one."""
        return self.text.startswith("!")


class Ignore:
    """Patterns, of which the last one that fits a path decides.

    Attributes:
        waivers: in the order of the file.
    """

    def __init__(self, patterns: Sequence[Pattern], waivers: Sequence[Waiver] = ()) -> None:
        self.waivers = tuple(waivers)
        self._patterns = tuple(patterns)
        self._spec = _compiled([pattern.text for pattern in self._patterns])

    def decisive(self, name: str, *, is_folder: bool) -> Pattern | None:
        """Return the pattern that decides on a path; None when none fits.

        A folder's contents are asked about only where the folder itself is not left out.
        """
        index = self._spec.check_file(f"{name}/" if is_folder else name).index
        return None if index is None else self._patterns[index]


def read_ignore(project: Path, defaults: Sequence[Pattern]) -> Ignore:
    """Return the patterns of a project, behind those that every project has.

    Raises:
        IgnoreInvalid: `.aperioignore` is longer than 64 KiB, no UTF-8, or has a line that is no
            pattern, or no waiver but begins like one; names the line.
        FileNotRegular: a link, a folder, a pipe or a device stands in its place.
    """
    with Beneath(project) as files:
        try:
            data = files.read(FILE_NAME, limit_bytes=MAX_BYTES)
        except FileNotFoundError:
            return Ignore(defaults)
        except FileTooLarge as error:
            raise _invalid(project, error.why) from error
    try:
        text = text_of(data)
    except Unreadable as error:
        raise _invalid(project, str(error)) from error
    own: list[Pattern] = []
    waivers: list[Waiver] = []
    for number, line in enumerate(text.split("\n"), start=1):
        _read_line(line.removesuffix("\r"), f"line {number}", project, (own, waivers))
    if len(own) > _MAX_PATTERNS:
        raise _invalid(project, f"{len(own)} patterns; at most {_MAX_PATTERNS} are allowed")
    return Ignore((*defaults, *own), waivers)


def _read_line(
    line: str, place: str, project: Path, into: tuple[list[Pattern], list[Waiver]]
) -> None:
    patterns, waivers = into
    if _MEANT_AS_WAIVER.match(line):
        found = _WAIVER.fullmatch(line.rstrip())
        if not found:
            shown = clean(line, limit=120)
            raise _invalid(project, f"{place}: expected `{WAIVER_FORM}`\nreceived {shown}")
        waivers.append(Waiver(*found.groups()))
    elif line.strip() and not line.startswith("#"):
        # Both leave out what is in a folder; as pathspec reads `**`, the folder itself as well.
        text = re.sub(r"/\*\* *$", "/*", line)
        if fault := _fault(text):
            raise _invalid(project, f"{place}: {fault}\nreceived {clean(line, limit=120)}")
        patterns.append(Pattern(text, f"named in {FILE_NAME}, {place}"))


def _fault(line: str) -> str:
    """Return what is wrong with a pattern; empty: nothing."""
    if len(line) > _MAX_PATTERN_CHARACTERS:
        return f"a pattern has at most {_MAX_PATTERN_CHARACTERS} characters"
    if not line.isprintable():
        return "a pattern has no control characters"
    parts = line.rstrip().split("/")
    double = parts.count("**")
    if double > _MAX_DOUBLE_STARS or sum(part.count("*") for part in parts) > (
        _MAX_STARS + 2 * double
    ):
        return f"a pattern has at most {_MAX_STARS} `*` and {_MAX_DOUBLE_STARS} `**`"
    try:
        compiled = _compiled([line])
    except (ValueError, re.error, Warning, OverflowError, RecursionError):
        return "it is no pattern of gitignore"
    if not compiled.patterns or compiled.patterns[0].include is None:
        return "it is no pattern of gitignore"
    return ""


def _compiled(lines: Sequence[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of `re`, for a set such as [[:alpha:]]
        return GitIgnoreSpec.from_lines(lines)


def _invalid(project: Path, why: str) -> IgnoreInvalid:
    return IgnoreInvalid(
        f"`{project / FILE_NAME}` cannot be used; the project was not used",
        why=why,
        next=[
            "write patterns as in .gitignore, one a line, and waivers as the refusal prints them",
        ],
    )
