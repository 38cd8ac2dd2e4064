"""What the acceptance suite says: a verdict for each check. No effects."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any


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
        """Return the verdict as an entry of the report."""
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


def expect(condition: object, evidence: str) -> None:
    """Require a condition.

    Raises:
        CheckFailed: it does not.
    """
    if not condition:
        raise CheckFailed(evidence)
