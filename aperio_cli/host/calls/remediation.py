"""Typed calls to a remediation (proto/aperio/plugin/v1/remediation.proto)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli.host.calls.declaration import capabilities

if TYPE_CHECKING:
    from aperio_plugin.wire import capabilities_pb2, remediation_pb2

    from aperio_cli.host.calls.invocation import Invocation, OpenInvocations
    from aperio_cli.host.wire.channel import Calls

EXECUTE_TIMEOUT_S: Final = 300.0

_SERVICE: Final = "/aperio.plugin.v1.RemediationPlugin/"


@dataclass(frozen=True, slots=True)
class Execution:
    """One action to perform.

    Attributes:
        action: key of one of the declared actions.
        target: id of the target in the service.
        idempotency_key: unique for the intent, 1 to 256 bytes; a repeat does not act twice.
        parameters_json: parameters of the action, a JSON object.
        dry_run: say what would change; change nothing.
    """

    action: str
    target: str
    idempotency_key: str
    parameters_json: bytes = b"{}"
    dry_run: bool = False


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
        """Return what came of one action; that it was not done is an answer, not an error."""
        from aperio_plugin.wire import remediation_pb2

        with self._invocations.open(invocation) as context:
            request = remediation_pb2.ExecuteRequest(
                context=context,
                action=execution.action,
                target=execution.target,
                parameters_json=execution.parameters_json,
                idempotency_key=execution.idempotency_key,
                dry_run=execution.dry_run,
            )
            response: remediation_pb2.ExecuteResponse = await self._calls.unary(
                _SERVICE + "Execute",
                request,
                remediation_pb2.ExecuteResponse,
                timeout_s=EXECUTE_TIMEOUT_S,
            )
        return response
