"""Typed calls to a remediation (proto/aperio/plugin/v1/remediation.proto)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from aperio_cli.errors.running import OutcomeUnknown, PluginFault, PluginReportedError
from aperio_cli.host.calls.declaration import capabilities
from aperio_cli.host.calls.envelopes import netstrings

if TYPE_CHECKING:
    from aperio_plugin.wire import capabilities_pb2, remediation_pb2

    from aperio_cli.host.calls.invocation import Invocation, OpenInvocations
    from aperio_cli.host.wire.channel import Calls

EXECUTE_TIMEOUT_S: Final = 300.0

_SERVICE: Final = "/aperio.plugin.v1.RemediationPlugin/"
# With any other status a plugin says what hindered it, and that nothing was done.
_OPEN_STATUSES: Final = frozenset(
    {"CANCELLED", "DATA_LOSS", "DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN"}
)


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's word for one execution.

    Attributes:
        reference: where that is recorded, 1 to 256 bytes.
        sha256: of action, target and parameters, in lower-case hex.
    """

    reference: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Execution:
    """One action to perform.

    Attributes:
        action: key of one of the declared actions.
        target: id of the target in the service.
        idempotency_key: unique for the intent, 1 to 256 bytes; a repeat does not act twice.
        parameters_json: parameters of the action, a JSON object.
        dry_run: say what would change; change nothing.
        target_type: one of the action's; empty: its only one.
        context_json: facts of the finding that the action asks for, a JSON object; empty: none.
        approval: who allowed it; None for a dry run.
        after_unknown: it was asked for before under this key, and may have been done.
    """

    action: str
    target: str
    idempotency_key: str
    parameters_json: bytes = b"{}"
    dry_run: bool = False
    target_type: str = ""
    context_json: bytes = b""
    approval: Approval | None = None
    after_unknown: bool = False

    @property
    def sha256(self) -> str:
        """What an approval is bound to (proto/aperio/plugin/v1/remediation.proto)."""
        bound = netstrings(self.action, self.target, self.parameters_json.decode())
        return hashlib.sha256(bound).hexdigest()

    def approved(self, reference: str) -> Execution:
        """Return it with an approval of exactly this."""
        return replace(self, approval=Approval(reference, self.sha256))


class Remediation:
    """A running remediation. Every method may raise the errors of `Calls.unary`."""

    def __init__(self, calls: Calls, invocations: OpenInvocations, provider: str) -> None:
        self._calls = calls
        self._invocations = invocations
        self._provider = provider

    async def capabilities(self, invocation: Invocation) -> capabilities_pb2.CapabilitiesResponse:
        """Return the actions and what they need.

        Raises:
            PluginContractBroken: as `declaration.settle`.
        """
        with self._invocations.open(invocation) as context:
            return await capabilities(self._calls, _SERVICE, context, self._provider)

    async def execute(
        self, invocation: Invocation, execution: Execution
    ) -> remediation_pb2.ExecuteResponse:
        """Return what came of one action; that it was not done is an answer, not an error.

        Raises:
            OutcomeUnknown: it was asked for, and whether it was done is not known: the plugin
                crashed, was too late, or failed in a way that it did not foresee.
        """
        from aperio_plugin.wire import remediation_pb2

        with self._invocations.open(invocation) as context:
            request = remediation_pb2.ExecuteRequest(
                context=context,
                action=execution.action,
                target=execution.target,
                parameters_json=execution.parameters_json,
                idempotency_key=execution.idempotency_key,
                dry_run=execution.dry_run,
                target_type=execution.target_type,
                context_json=execution.context_json,
                after_unknown=execution.after_unknown,
            )
            if execution.approval:
                request.approval.reference = execution.approval.reference
                request.approval.sha256 = execution.approval.sha256
            try:
                response: remediation_pb2.ExecuteResponse = await self._calls.unary(
                    _SERVICE + "Execute",
                    request,
                    remediation_pb2.ExecuteResponse,
                    timeout_s=EXECUTE_TIMEOUT_S,
                )
            except PluginFault as fault:
                if execution.dry_run or not _leaves_open(fault):
                    raise
                raise OutcomeUnknown.of(
                    fault, execution.action, execution.target, execution.idempotency_key
                ) from fault
        return response


def _leaves_open(fault: PluginFault) -> bool:
    """Return whether a fault says nothing about what was done."""
    return not isinstance(fault, PluginReportedError) or fault.status in _OPEN_STATUSES
