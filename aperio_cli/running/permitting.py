"""Permitting: the launch verdict, for hosts that are not aperio and start plugins themselves.

The policy is asked, and the files are hashed, as before a start of aperio's own. Only another
host knows what it enforces: a limit that it does not claim counts as not enforced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aperio_cli import clock
from aperio_cli.errors.files import FilesChanged
from aperio_cli.errors.usage import UsageError
from aperio_cli.files import tree
from aperio_cli.host.launch import checked
from aperio_cli.host.sandbox.interface import LIMITS
from aperio_cli.models.evidence import ExceptionGranted, evidence_to_json
from aperio_cli.models.protocol import format_protocol
from aperio_cli.running.targets import clear_target
from aperio_cli.text import nearest

if TYPE_CHECKING:
    from collections.abc import Collection

    from aperio_cli.models.receipt import Receipt
    from aperio_cli.running.collaborators import Collaborators
    from aperio_cli.store.installed import Store
    from aperio_cli.verifying.clearing import Cleared

SCHEMA: Final = "aperio.launch-verdict/v1"
NAMES: Final = tuple(sorted(LIMITS))
"""Names of everything that a host can enforce."""


@dataclass(frozen=True, slots=True)
class LaunchVerdict:
    """The leave to start one installed version once, for a host that is not aperio.

    Attributes:
        receipt: the version, as the record says that the verdict is about.
        cleared: why it may be started.
        organization: for whom.
        required: what is required of it: one of `REQUIREMENTS`.
        judged_at: when that was asked, RFC 3339 in UTC.
        arguments: the argument vector that starts it; the first is an absolute path.
        binary_digest: sha256 of that program, hex; empty for what an interpreter executes.
        enforced: names of the limits that the host claims to enforce.
    """

    receipt: Receipt
    cleared: Cleared
    organization: str
    required: str
    judged_at: str
    arguments: tuple[str, ...]
    binary_digest: str
    enforced: frozenset[str]

    @property
    def exceptions(self) -> tuple[dict[str, str], ...]:
        """The exceptions without which it might not be started."""
        judgement = self.cleared.judgement
        evidence = judgement.evidence if judgement else None
        granted = [evidence.to_json()] if isinstance(evidence, ExceptionGranted) else []
        lifted = (*(judgement.lifted if judgement else ()), *self.cleared.lifted)
        return (*granted, *(exception.to_json() for exception in lifted))

    @property
    def until(self) -> str:
        """The last day on which every one of the exceptions holds; empty when it takes none."""
        return min((exception["until"] for exception in self.exceptions), default="")

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as reports carry it; nothing in it is secret."""
        receipt, judgement = self.receipt, self.cleared.judgement
        assert judgement  # noqa: S101 - an installed version is judged
        evidence = evidence_to_json(judgement.evidence)
        rule = None if isinstance(judgement.evidence, ExceptionGranted) else judgement.evidence.rule
        return {
            "schema": SCHEMA,
            "id": str(receipt.id),
            "version": receipt.version,
            "kind": receipt.kind,
            "platform": receipt.platform,
            "protocol": format_protocol(receipt.protocol),
            "may_run": True,
            "organization": self.organization,
            "judged_at": self.judged_at,
            "until": self.until or None,
            "receipt_sha256": receipt.record_digest.hex if receipt.record_digest else None,
            "artifact_sha256": receipt.artifact_digest.hex,
            "tree_digest": receipt.tree_digest,
            "files_checked": True,
            "badge": judgement.badge,
            "required": self.required,
            "signer": evidence["signer"],
            "rule": evidence["rule"],
            "rule_source": rule.stated_in if rule else None,
            "exceptions": list(self.exceptions),
            "folder": str(receipt.folder),
            "arguments": list(self.arguments),
            "binary_sha256": self.binary_digest or None,
            "interpreter": receipt.interpreter.to_json() if receipt.interpreter else None,
            "state_owner": receipt.state_owner,
            "grant": receipt.grant.to_json(),
            "enforced": sorted(self.enforced),
            "not_enforced": [name for name in NAMES if name not in self.enforced],
        }


async def permit(
    collaborators: Collaborators,
    receipt: Receipt,
    organization: str,
    enforced: Collection[str] = (),
) -> LaunchVerdict:
    """Return the leave to start an installed version once, in another host.

    Every file is hashed, and the outcome is noted as the last launch check.

    Args:
        collaborators: whose policy, machine and store are asked.
        receipt: the version, as it was read from the store.
        organization: for whom it is started.
        enforced: names of the limits that the other host enforces.

    Raises:
        UsageError: there is no limit of such a name.
        AperioError: as `verifying.clear` and `host.launch.checked`.
    """
    if unknown := sorted(set(enforced) - set(NAMES)):
        raise UsageError(
            f"`{receipt.id}` was not judged: `--enforces` names no limit: {', '.join(unknown)}",
            why=f"expected one of {', '.join(NAMES)}",
            next=nearest(unknown[0], NAMES) or ["`--enforces` once for each limit of your host"],
        )
    claimed = frozenset(enforced)
    judged_at = clock.timestamp()
    cleared = clear_target(collaborators, receipt, organization, limits=claimed)
    arguments = await _checked(collaborators.store, cleared, receipt)
    return LaunchVerdict(
        receipt=receipt,
        cleared=cleared,
        organization=organization,
        required=collaborators.policy().required(organization),
        judged_at=judged_at,
        arguments=arguments,
        binary_digest=_binary_digest(collaborators.store, receipt),
        enforced=claimed,
    )


async def _checked(store: Store, cleared: Cleared, receipt: Receipt) -> tuple[str, ...]:
    """Return the arguments that start it, once its files were hashed; the clearance is used up.

    Raises:
        AperioError: as `host.launch.checked`.
    """
    try:
        async with checked(cleared, store) as program:
            arguments = program.arguments
    except FilesChanged:
        store.checks.note(receipt, passed=False)
        raise
    store.checks.note(receipt, passed=True)
    return arguments


def _binary_digest(store: Store, receipt: Receipt) -> str:
    """Return the digest of the single program that it is; empty when an interpreter executes it."""
    name = "" if receipt.interpreter else f"bin/{receipt.entrypoint}"
    listed = tree.parse_tree(store.tree_list(receipt))
    return next((record.sha256 for record in listed if record.path == name), "")
