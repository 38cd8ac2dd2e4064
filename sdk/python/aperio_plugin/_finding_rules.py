"""What findings and audit log entries of one sync are beside their form, as `_event_rules`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aperio_plugin._event_rules import Flaw, Remembered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aperio_plugin._generated.aperio.plugin.v1 import connector_pb2

__all__ = ["AUDIT_LOG", "FINDINGS", "AuditLogRules", "FindingRules"]

FINDINGS: Final = "findings"
AUDIT_LOG: Final = "audit-log"
"""Names of `Interface.features`: what a connector may send beside events."""


class FindingRules:
    """Looks at the findings of one sync, in their order.

    Args:
        provider: upper-case name of the service, as in the manifest.
        checks: keys of those that the schema declares.
        features: that the schema names.
    """

    def __init__(self, provider: str, checks: Iterable[str], features: Iterable[str]) -> None:
        self._prefix = f"{provider.lower()}."
        self._known_rules = Remembered(checks)
        self._occurrences = Remembered()
        self._is_told = FINDINGS in features

    def restart(self) -> None:
        """Forget what came: the sync goes on from a checkpoint, and repeats what came after it."""
        self._occurrences = Remembered()

    def flaws(self, finding: connector_pb2.Finding) -> Iterator[Flaw]:
        """Return what is wrong with the next finding; an undeclared rule once only."""
        kind = finding.event_type
        if kind and not (kind.startswith(self._prefix) and len(kind) > len(self._prefix)):
            yield Flaw(f"event_type {kind}: expected `{self._prefix}` and a name", is_breach=True)
            return
        if not self._is_told:
            self._is_told = True
            yield Flaw(_undeclared(FINDINGS), is_breach=False)
        if self._known_rules.add(finding.rule_id):
            text = f"rule_id {finding.rule_id}: no check of the schema has this key"
            yield Flaw(text, is_breach=False)
        target = finding.dedupe_target or finding.target
        if not self._occurrences.add(
            (finding.rule_id, target, finding.status, finding.source_event_id)
        ):
            text = "source_event_id: the same finding came with it and the same status before"
            yield Flaw(text, is_breach=False)


class AuditLogRules:
    """Looks at the audit log entries of one sync, in their order.

    Args:
        features: that the schema names.
    """

    def __init__(self, features: Iterable[str]) -> None:
        self._ids = Remembered()
        self._is_told = AUDIT_LOG in features

    def restart(self) -> None:
        """Forget what came: the sync goes on from a checkpoint, and repeats what came after it."""
        self._ids = Remembered()

    def flaws(self, entry: connector_pb2.AuditLogEntry) -> Iterator[Flaw]:
        """Return what is wrong with the next entry."""
        if not self._is_told:
            self._is_told = True
            yield Flaw(_undeclared(AUDIT_LOG), is_breach=False)
        if not self._ids.add(entry.source_event_id):
            yield Flaw("source_event_id: another entry of this sync has it, too", is_breach=False)


def _undeclared(feature: str) -> str:
    return f"the schema's interface does not name the feature `{feature}`"
