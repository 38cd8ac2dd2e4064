"""Executing: what is asked of a remediation, as it declares it and as it was approved."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aperio_cli.errors.running import ApprovalMismatch, PluginReportedError
from aperio_cli.errors.usage import UsageError
from aperio_cli.host.calls.configuration import check_config
from aperio_cli.host.calls.remediation import Execution
from aperio_cli.text import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aperio_plugin.wire import remediation_pb2

    from aperio_cli.host.calls.session import Session


@dataclass(frozen=True, slots=True)
class Execute:
    """What `execute` is asked to do.

    Attributes:
        action: key of the action.
        target: on what.
        parameters: of the action, by key, already resolved; may hold secrets.
        idempotency_key: repeats with the same key do not act twice; empty: a new one.
        dry_run: only say what would change.
        approved: somebody has consented to it.
        target_type: one of the action's; empty: its only one.
        facts: what the action asks for of the finding, by key.
        reference: where the approval is recorded; empty: it was given here.
        approval_sha256: what was approved elsewhere; empty: this.
    """

    action: str = ""
    target: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict, repr=False)
    idempotency_key: str = ""
    dry_run: bool = False
    approved: bool = False
    target_type: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
    reference: str = ""
    approval_sha256: str = ""


def declared_action(session: Session, wanted: Execute) -> Any:
    """Return what a plugin declares of the action that is asked for.

    Raises:
        UsageError: it has no such action, or the action knows no dry run.
    """
    actions = {action.key: action for action in session.declaration.remediation.actions}
    if wanted.action not in actions:
        raise UsageError(
            f"`{wanted.action}` was not executed: the plugin has no such action",
            why=f"expected {', '.join(actions)}",
            next=nearest(wanted.action, actions) or ["name one that it has, as `--action`"],
        )
    declared = actions[wanted.action]
    if wanted.dry_run and not declared.supports_dry_run:
        raise UsageError(
            f"`{wanted.action}` was not executed: it knows no dry run",
            why="the plugin does not declare one",
            next=["look at its target in the service, and execute it without a dry run"],
        )
    return declared


def execution_of(declared: Any, wanted: Execute, *, option: str = "--parameter") -> Execution:
    """Return what is sent to the plugin, without an approval.

    Args:
        declared: the action, as `declared_action` gives it.
        wanted: what is asked for.
        option: how a parameter is given, for messages.

    Raises:
        PluginConfigInvalid: the parameters do not fit the action.
    """
    parameters = check_config(
        declared.parameters,
        wanted.parameters,
        subject=f"action `{wanted.action}`",
        option=option,
        declaring="capabilities",
    )
    return Execution(
        action=wanted.action,
        target=wanted.target,
        idempotency_key=wanted.idempotency_key or secrets.token_hex(16),
        parameters_json=parameters.plugin_json,
        dry_run=wanted.dry_run,
        target_type=wanted.target_type,
        context_json=json.dumps(dict(wanted.facts), ensure_ascii=False).encode(),
    )


def approved(execution: Execution, wanted: Execute) -> Execution:
    """Return the execution with the approval that it has.

    Raises:
        ApprovalMismatch: something else was approved.
    """
    if wanted.approval_sha256 and wanted.approval_sha256 != execution.sha256:
        raise ApprovalMismatch(
            f"`{execution.action}` was not executed: something else was approved",
            why=f"expected {execution.sha256}, which stands for this action, target and parameters"
            f"\nreceived {wanted.approval_sha256}",
            next=["see with `--dry-run` what would change, and have exactly that approved"],
        )
    return execution.approved(wanted.reference or f"aperio:{execution.idempotency_key}"[:256])


async def execute(session: Session, execution: Execution) -> remediation_pb2.ExecuteResponse:
    """Perform an action, or have it said what would change.

    That it was asked for is stored before: whatever becomes of the plugin, or of this process, a
    repeat of the idempotency key tells the plugin to look first.

    Raises:
        UsageError: the key was used for another action, target or parameters; nothing was asked.
        StateUnreadable: it cannot be stored; nothing was asked.
        PluginFault: as `Remediation.execute`.
    """
    invocation = await session.invocation(may_write=not execution.dry_run)
    plugin = session.plugin
    kept, of, key = plugin.kept, session.slice, execution.idempotency_key
    if kept is None or execution.dry_run:
        return await plugin.remediation.execute(invocation, execution)
    intent, version = execution.sha256, plugin.program.version
    noting = kept.submit(lambda: kept.note_execution(of, key, intent, version=version))
    before = await asyncio.wrap_future(noting)
    if before not in {None, intent}:
        raise UsageError(
            f"`{execution.action}` was not executed: its key was used for something else",
            why=f"expected {before}, which stands for that action, target and parameters"
            f"\nreceived {intent}",
            next=["ask with an idempotency key of its own"],
        )
    was_asked = before is not None
    asked = replace(execution, after_unknown=was_asked)
    try:
        answer = await plugin.remediation.execute(invocation, asked)
    except PluginReportedError:  # it says that nothing was done
        if not was_asked:
            await asyncio.wrap_future(kept.submit(lambda: kept.drop_execution(of, key)))
        raise
    if answer.outcome == answer.OUTCOME_FAILED and not was_asked:
        await asyncio.wrap_future(kept.submit(lambda: kept.drop_execution(of, key)))
    return answer
