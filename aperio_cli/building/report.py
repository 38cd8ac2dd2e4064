"""What a build has to say of itself besides its artifacts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aperio_cli.building.dependencies import InstalledWheel
    from aperio_cli.models.artifact import Artifact


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that is there, and is not in the artifact.

    Attributes:
        path: in the project, or in the dependency; a folder ends in `/`.
        why: the reason, after "because it is".
        dependency: whose it is, such as `one==1.0`; empty: the project's own.
    """

    path: str
    why: str
    dependency: str = ""

    def to_json(self) -> dict[str, object]:
        """Return it as `plugin build --json` shows it."""
        return {"path": self.path, "why": self.why, "dependency": self.dependency or None}


@dataclass(frozen=True, slots=True)
class Waived:
    """Something that looks like a secret, and that the author says is none.

    Attributes:
        path: of the file in the project.
        line: in which it begins; 0 for the file's name.
        what: what it looks like, such as "an AWS access key id".
        reason: the author's, in `.aperioignore`.
    """

    path: str
    line: int
    what: str
    reason: str

    def to_json(self) -> dict[str, object]:
        """Return it as `plugin build --json` shows it."""
        return {
            "path": self.path,
            "line": self.line or None,
            "what": self.what,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build made.

    Attributes:
        artifacts: in the order of the platforms.
        left_out: each thing once, whatever the number of artifacts.
        waived: the findings that `.aperioignore` waives, likewise.
        unused: paths of waivers that fit nothing which was found.
        not_counted: the author's variables that had no effect, because the project reaches where
            they lead.
    """

    artifacts: tuple[Artifact, ...]
    left_out: tuple[LeftOut, ...]
    waived: tuple[Waived, ...]
    unused: tuple[str, ...]
    not_counted: tuple[str, ...]


def scripts_left_out(wheels: Iterable[InstalledWheel]) -> list[LeftOut]:
    """Return the scripts of dependencies that were dropped, each once."""
    why = "a script that names the Python of this machine, or stands where a package does"
    dropped = {
        (f"{wheel.name}=={wheel.version}", name) for wheel in wheels for name in wheel.dropped
    }
    return [LeftOut(f"bin/{name}", why, dependency) for dependency, name in sorted(dropped)]
