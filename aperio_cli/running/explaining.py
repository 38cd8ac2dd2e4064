"""Explaining: the trust in one installed version, and whether it would be started now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.host.sandbox.interface import Enforcement, Level
from aperio_cli.host.sandbox.telling import confinement
from aperio_cli.models.evidence import ExceptionGranted, evidence_to_json, proof_of
from aperio_cli.running.containing import sandbox_of
from aperio_cli.running.targets import clear_target
from aperio_cli.trust.roots import root_age

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.models.policy import Policy
    from aperio_cli.models.publisher import PublisherRule
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.models.registry.plugin_file import VersionStatus
    from aperio_cli.proving.signature import TrustedRootSource
    from aperio_cli.running.collaborators import Collaborators
    from aperio_cli.store.checks import LaunchCheck

_OUTCOME = "would not be started"
_REPORTED = Enforcement(
    "egress", Level.NONE, "only reported, as `[sandbox.plugins]` says", "state `enforce` there"
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of one installed version, and what the operator says to it now.

    Attributes:
        receipt: what was found out when it was installed.
        refusal: why it would not be started; None when it would.
        required: what is required of it: one of `REQUIREMENTS`.
        rule: the rule that admits its signer now; None when none does.
        exceptions: what the operator excepts it from: granted at install, or in the configuration.
        root_now: the trusted root of the signer's domain as it is on this machine now.
        last_check: when its files were last hashed before a start, and whether they were as
            installed; None: never.
        sandbox: what it would be started in.
        limits: how each of its limits would be kept.
        status: what its registry was last heard to say against it; None for nothing.
    """

    receipt: Receipt
    refusal: AperioError | None
    required: str
    rule: PublisherRule | None
    exceptions: tuple[dict[str, str], ...]
    root_now: dict[str, Any] | None
    last_check: LaunchCheck | None
    sandbox: str
    limits: tuple[Enforcement, ...]
    status: VersionStatus | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the explanation as reports carry it."""
        receipt = self.receipt
        evidence = evidence_to_json(receipt.evidence)
        return {
            "id": str(receipt.id),
            "version": receipt.version,
            "kind": receipt.kind,
            "platform": receipt.platform,
            "badge": receipt.badge,
            "may_run": self.refusal is None,
            "refusal": self.refusal.to_json() if self.refusal else None,
            "required": self.required,
            "signer": evidence["signer"],
            "proof": evidence["proof"],
            "root_now": self.root_now,
            "rule": self.rule.to_json() if self.rule else None,
            "rule_source": self.rule.stated_in if self.rule else None,
            "rule_at_install": evidence["rule"],
            "exceptions": list(self.exceptions),
            "source": receipt.source,
            "index_serial": receipt.index_serial,
            "registry_status": self.status.report if self.status else None,
            "log_proof": receipt.log_proof.to_json() if receipt.log_proof else None,
            "installed_at": receipt.installed_at,
            "artifact_sha256": receipt.artifact_digest.hex,
            "tree_digest": receipt.tree_digest,
            "last_check": self.last_check.to_json() if self.last_check else None,
            "sandbox": self.sandbox,
            "limits": [limit.to_json() for limit in self.limits],
        }


def explain(
    collaborators: Collaborators,
    receipt: Receipt,
    roots: Sequence[TrustedRootSource],
    organization: str,
) -> Explanation:
    """Explain an installed version; whether it may run is asked as before a start.

    Args:
        collaborators: whose policy and machine are asked.
        receipt: the version.
        roots: the trusted roots of this machine.
        organization: for whom it would be started.

    Raises:
        ConfigurationInvalid, PublisherFileInvalid: the rules cannot be read.
    """
    policy = collaborators.policy()
    stated = [
        exception.to_json()
        for exception in policy.exceptions
        if exception.plugin == receipt.id and exception.version in {"", receipt.version}
    ]
    recorded = receipt.evidence
    granted = [recorded.to_json()] if isinstance(recorded, ExceptionGranted) else []
    sandbox = sandbox_of(collaborators)
    wanted = confinement(receipt.grant.granted)
    is_reported = str(receipt.id) in collaborators.config().reported
    return Explanation(
        receipt=receipt,
        refusal=_refusal(collaborators, receipt, organization),
        required=policy.required(organization),
        rule=_rule(policy, receipt),
        exceptions=(*granted, *stated),
        root_now=_root_now(receipt, roots),
        last_check=collaborators.store.checks.last(receipt),
        sandbox=sandbox.name,
        limits=tuple(
            _REPORTED if is_reported and each.limit == "egress" else each
            for each in sandbox.enforcements(wanted)
        ),
        status=policy.known.status(receipt.id, receipt.version),
    )


def _refusal(
    collaborators: Collaborators, receipt: Receipt, organization: str
) -> AperioError | None:
    try:
        clear_target(collaborators, receipt, organization, outcome=_OUTCOME)
    except AperioError as refusal:
        return refusal
    return None


def _rule(policy: Policy, receipt: Receipt) -> PublisherRule | None:
    """Return the rule that admits the signer, whatever else stands in the way of a start."""
    proof = proof_of(receipt.evidence)
    return policy.admitting(receipt.id, proof.signer, receipt.version) if proof else None


def _root_now(receipt: Receipt, roots: Sequence[TrustedRootSource]) -> dict[str, Any] | None:
    proof = proof_of(receipt.evidence)
    for root in roots if proof else ():
        if proof and root.name == proof.signer.domain:
            return root.facts.to_json() | {"age": root_age(root, clock.now())}
    return None
