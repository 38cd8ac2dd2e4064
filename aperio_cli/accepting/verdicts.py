"""What the acceptance suite says: a verdict for each check, and what a check is. No effects."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aperio_cli.accepting.bench import Bench

KINDS: Final = frozenset({"connector", "remediation", "destination"})
_MAX_EVIDENCE: Final = 2000


class Outcome(enum.Enum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check came to.

    Attributes:
        key: stable kebab-case name of the check.
        title: what a plugin that passes does.
        outcome: how it ended.
        evidence: what was seen; of a skipped check, why, and how to have it made. Safe to print.
        fix: what the plugin's author does about a failure; empty unless it failed.
    """

    key: str
    title: str
    outcome: Outcome
    evidence: str
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        """The verdict as an entry of the report."""
        return {
            "key": self.key,
            "title": self.title,
            "outcome": self.outcome.value,
            "evidence": self.evidence,
            "fix": self.fix,
        }


class CheckFailed(Exception):
    """A plugin does not do what a check asks for; the text is the evidence."""


class CheckSkipped(Exception):
    """A check could not be made; the text says why and how to have it made."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that every plugin of some kinds must do.

    Attributes:
        key: stable kebab-case name.
        title: what a plugin that passes does.
        fix: what to do about a failure.
        run: gives the evidence of having passed, raises CheckFailed or CheckSkipped.
        kinds: of which kinds of plugin.
        needs_settings: whether the plugin has to reach its service, or a stub of it.
        after: key of a check without whose success this one means nothing.
    """

    key: str
    title: str
    fix: str
    run: Callable[[Bench], Awaitable[str]]
    kinds: frozenset[str] = KINDS
    needs_settings: bool = False
    after: str = "start"

    def verdict(self, outcome: Outcome, evidence: str) -> Verdict:
        """The verdict of this check."""
        fix = self.fix if outcome is Outcome.FAILED else ""
        return Verdict(self.key, self.title, outcome, clean(evidence, limit=_MAX_EVIDENCE), fix)


def expect(condition: object, evidence: str) -> None:
    """Nothing, when a condition holds.

    Raises:
        CheckFailed: it does not.
    """
    if not condition:
        raise CheckFailed(evidence)
