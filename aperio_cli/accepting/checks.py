"""What a check of the acceptance suite is. No effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.accepting.verdicts import Outcome, Verdict
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aperio_cli.accepting.bench import Bench

KINDS: Final = frozenset({"connector", "remediation", "destination"})
_MAX_EVIDENCE: Final = 2000


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
        """Return the verdict of this check."""
        fix = self.fix if outcome is Outcome.FAILED else ""
        return Verdict(self.key, self.title, outcome, clean(evidence, limit=_MAX_EVIDENCE), fix)
