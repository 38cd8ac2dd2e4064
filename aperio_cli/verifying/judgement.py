"""The parts of a judgement, and its outcome; pure, as is everything that judges.

A `Case` is one version of a plugin before the operator's policy. It is judged when the version is
installed, and again before each launch, from what the receipt kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.models.evidence import ExceptionGranted
from aperio_cli.models.policy import UNSIGNED
from aperio_cli.models.publisher import LOCAL_DOMAIN

if TYPE_CHECKING:
    from datetime import date

    from aperio_cli.models.evidence import Evidence
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.policy import Policy, PolicyException
    from aperio_cli.models.proof import Proof


@dataclass(frozen=True, slots=True)
class Deed:
    """What was asked for, for messages: a refusal says what did not come of it.

    Attributes:
        refused: what a refusal comes to, behind the name of an artifact.
        undone: the same behind a name that is no artifact's; others may have come first.
    """

    refused: str
    undone: str


INSTALL: Final = Deed("was refused and nothing of it was installed", "it was not installed")
VERIFY: Final = Deed("was not verified", "it was not verified")
ADD: Final = Deed("was not added", "it was not added")


@dataclass(frozen=True, slots=True)
class Judgement:
    """Why a version may be installed, or started.

    Attributes:
        evidence: the proof and the rule, or the exception from having to be signed.
        lifted: further exceptions that it took, such as from having a verified publisher.
    """

    evidence: Evidence
    lifted: tuple[PolicyException, ...] = ()

    @property
    def badge(self) -> str:
        """`unsigned`, `local`, or the tier of the rule that admitted it; `list` shows it."""
        if isinstance(self.evidence, ExceptionGranted):
            return UNSIGNED
        is_local = LOCAL_DOMAIN in self.evidence.signer.domains
        return LOCAL_DOMAIN if is_local else self.evidence.rule.tier


@dataclass(frozen=True, slots=True)
class Case:
    """One version of a plugin before the operator's policy.

    Attributes:
        plugin: the plugin.
        version: the version.
        proof: what its bundle proves; None when there is no bundle.
        exception: what the operator granted on the command line for this one artifact; counts
            only without a bundle.
        is_local: whether it is, or came from, a file of the operator's: for others nobody can
            lift that they have to be signed.
        policy: the operator's rules.
        today: the day on which exceptions have to hold.
        location: where the artifact is or was, for messages.
        bundle_name: what `trust publisher add --from-bundle` reads: a bundle's path, or the
            plugin's id when a registry holds the bundle.
        outcome: what a refusal comes to, for messages.
        organization: for whom it is started; empty for the requirements of the whole machine.
    """

    plugin: PluginId
    version: str
    proof: Proof | None
    exception: ExceptionGranted | None
    is_local: bool
    policy: Policy
    today: date
    location: str
    bundle_name: str
    outcome: str = INSTALL.refused
    organization: str = ""

    @property
    def subject(self) -> str:
        """Its name in messages: "`acme/box` 1.2.0"."""
        return f"`{self.plugin}` {self.version}"

    @property
    def refused(self) -> str:
        """How the message of a refusal begins."""
        return f"{self.subject} {self.outcome}"

    def lifting(self, rule: str) -> PolicyException | None:
        """Return the configuration's exception that lifts a rule from it today, if there is one."""
        today = self.today.isoformat()
        return self.policy.exception(self.plugin, self.version, rule, today=today)

    def ended(self, rule: str) -> PolicyException | None:
        """Return the configuration's last exception that would lift a rule, had it not ended."""
        about = (e for e in self.policy.exceptions if e.plugin == self.plugin and e.rule == rule)
        ended = (e for e in about if e.version in {"", self.version})
        return max(ended, key=lambda exception: exception.until, default=None)
