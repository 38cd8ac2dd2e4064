"""Which version of a plugin was chosen, and why not another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aperio_cli.models.registry.plugin_file import VersionStatus

CHOSEN: Final = "chosen"
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Considered:
    """What was said about one version.

    Attributes:
        version: the version.
        verdict: `chosen`, or why not, in a word.
        why: the same in a sentence; empty when there is nothing to say.
    """

    version: str
    verdict: str
    why: str = ""

    def to_json(self) -> dict[str, str]:
        """Return it as reports carry it."""
        return {"version": self.version, "verdict": self.verdict, "why": self.why}


@dataclass(frozen=True, slots=True)
class Choice:
    """The version that was chosen.

    Attributes:
        version: the version.
        considered: those above it, the highest first, and it.
        status: what its registry says against it; None for nothing.
    """

    version: str
    considered: tuple[Considered, ...]
    status: VersionStatus | None = None

    @property
    def passed_over(self) -> tuple[Considered, ...]:
        """Those above it."""
        return self.considered[:-1]

    def to_json(self) -> dict[str, object]:
        """Return it as reports carry it."""
        return {
            "version": self.version,
            "status": self.status.report if self.status else None,
            "considered": [each.to_json() for each in self.considered[-_SHOWN:]],
        }
