"""Acceptance: what every plugin must do, examined from outside, one verdict for each point.

One code for the author, for CI and for a registry. A plugin is launched as the host always does
it, so what passes here runs; how it was made does not matter.
"""

from aperio_cli.accepting.bench import AcceptanceRequest
from aperio_cli.accepting.checks import Check
from aperio_cli.accepting.suite import CHECKS, ONCE, AcceptanceReport, accept
from aperio_cli.accepting.verdicts import Outcome, Verdict

__all__ = [
    "CHECKS",
    "ONCE",
    "AcceptanceReport",
    "AcceptanceRequest",
    "Check",
    "Outcome",
    "Verdict",
    "accept",
]
