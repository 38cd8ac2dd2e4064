"""An action on behalf of a caller: never without an approval, never cut off in the middle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aperio_cli.errors.running import OutcomeUnknown
from aperio_cli.errors.usage import ConsentMissing
from aperio_cli.host.calls import executing
from aperio_cli.host.calls.executing import approved, declared_action, execution_of

if TYPE_CHECKING:
    from aperio_plugin.wire import remediation_pb2

    from aperio_cli.host.calls.executing import Execute
    from aperio_cli.host.calls.remediation import Execution
    from aperio_cli.host.calls.session import Session


def plan(session: Session, wanted: Execute) -> Execution:
    """Return what is sent to the plugin, with its approval.

    Raises:
        UsageError, PluginConfigInvalid: there is no such action, or its parameters do not fit.
        ConsentMissing: nobody approved it, and somebody has to.
        ApprovalMismatch: something else was approved.
    """
    declared = declared_action(session, wanted)
    execution = execution_of(declared, wanted, option="parameters_json")
    if wanted.dry_run:
        return execution
    if wanted.approved:
        return approved(execution, wanted)
    if not declared.approval_optional:
        raise ConsentMissing(
            f"`{wanted.action}` was not executed: nobody approved it",
            why=f"expected an approval of {execution.sha256}",
            next=["see what would change with `dry_run`, and have exactly that approved"],
        )
    return execution


async def execute(session: Session, execution: Execution) -> remediation_pb2.ExecuteResponse:
    """Return what came of an action; that it is not known is an answer, too.

    Raises:
        PluginFault: as `Remediation.execute`, where nothing was changed.
        StateUnreadable: as `calls.executing.execute`.
    """
    try:
        return await executing.execute(session, execution)
    except OutcomeUnknown as unknown:
        return _unknown(unknown)


def _unknown(unknown: OutcomeUnknown) -> remediation_pb2.ExecuteResponse:
    from aperio_plugin.wire import remediation_pb2

    answer = remediation_pb2.ExecuteResponse(outcome="OUTCOME_UNKNOWN")
    said = answer.diagnostics.add(severity="SEVERITY_ERROR", code=unknown.code)
    said.summary = unknown.what
    said.detail = "\n".join(filter(None, [unknown.why, *unknown.next]))
    return answer
