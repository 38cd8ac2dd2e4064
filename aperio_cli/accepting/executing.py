"""Checks of a remediation with an action of its author's choice: dry run and idempotency."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.accepting.checks import Check
from aperio_cli.accepting.verdicts import CheckFailed, CheckSkipped, expect
from aperio_cli.errors.running import PluginReportedError
from aperio_cli.errors.usage import UsageError
from aperio_cli.host.answers import word
from aperio_cli.host.calls.configuration import check_config
from aperio_cli.host.calls.remediation import Approval, Execution
from aperio_cli.host.wire.channel import describe
from aperio_cli.text import nearest

if TYPE_CHECKING:
    from aperio_cli.accepting.bench import Bench


def _wanted(bench: Bench) -> tuple[Any, Execution]:
    """Return the declared action that was named, and its execution with a new key.

    Raises:
        CheckSkipped: none was named.
        UsageError: the plugin has no such action.
        PluginConfigInvalid: a parameter does not fit.
    """
    request = bench.request
    if not request.action or not request.target:
        raise CheckSkipped("name an action and what to do it on: `--action A --target T`")
    actions = {action.key: action for action in bench.declaration.remediation.actions}
    if request.action not in actions:
        raise UsageError(
            f"`--action {request.action}` is none of the plugin's",
            why=f"expected {', '.join(actions)}",
            next=nearest(request.action, actions) or ["name one that it has, as `--action`"],
        )
    declared = actions[request.action]
    subject = f"action `{request.action}`"
    parameters = check_config(
        declared.parameters,
        request.parameters,
        subject=subject,
        option="--parameter",
        declaring="capabilities",
    )
    key = f"aperio-test-{secrets.token_hex(16)}"
    execution = Execution(
        request.action,
        request.target,
        key,
        parameters.plugin_json,
        target_type=request.target_type or next(iter(declared.target_types), ""),
        context_json=json.dumps(dict(request.facts)).encode(),
    )
    return declared, execution


async def _execute(bench: Bench, execution: Execution) -> Any:
    may_write = not execution.dry_run
    if may_write:
        execution = execution.approved("aperio plugin test")
    invocation = await bench.invocation(may_write=may_write)
    answer = await (await bench.plugin()).remediation.execute(invocation, execution)
    said = "; ".join(describe(item) for item in answer.diagnostics)
    expect(answer.outcome != answer.OUTCOME_FAILED, f"it failed: {said or 'and no diagnostic'}")
    return answer


def _name(answer: Any) -> str:
    return word(answer.Outcome, answer.outcome).upper()


async def _dry_run(bench: Bench) -> str:
    """Make two dry runs: what the first changed, the second would not find to change any more."""
    declared, execution = _wanted(bench)
    if not declared.supports_dry_run:
        raise CheckSkipped("the action declares no dry run; declare one if the service can tell")
    answers = []
    for _ in range(2):
        key = f"aperio-test-{secrets.token_hex(16)}"
        answer = await _execute(bench, replace(execution, idempotency_key=key, dry_run=True))
        allowed = {answer.OUTCOME_WOULD_CHANGE, answer.OUTCOME_UNCHANGED}
        expect(answer.outcome in allowed, f"a dry run answered {_name(answer)}")
        answers.append(answer)
    first, second = answers
    expect(first == second, f"two dry runs: {_name(first)}, then {_name(second)}")
    return f"{_name(first)} with {len(first.changes)} changes, twice the same"


async def _approval(bench: Bench) -> str:
    """Execute with the approval of something else: it has to be refused."""
    _, execution = _wanted(bench)
    if _APPROVAL_FEATURE not in bench.declaration.interface.features:
        raise CheckSkipped("the plugin checks no approvals; an SDK of today does")
    if not bench.request.approved:
        raise CheckSkipped("one that checks nothing would act; consent with `--approve`")
    foreign = replace(execution, approval=Approval("aperio plugin test", "0" * 64))
    plugin, invocation = await bench.plugin(), await bench.invocation(may_write=True)
    try:
        answer = await plugin.remediation.execute(invocation, foreign)
    except PluginReportedError as error:
        expect(error.status == "PERMISSION_DENIED", f"Execute ended with {error.status}")
        return "PERMISSION_DENIED for the approval of something else"
    raise CheckFailed(f"{_name(answer)} with the approval of something else")


async def _same_key(bench: Bench) -> str:
    _, execution = _wanted(bench)
    if not bench.request.approved:
        raise CheckSkipped("the action would be done; consent with `--approve`")
    first = await _execute(bench, execution)
    done = {first.OUTCOME_CHANGED, first.OUTCOME_UNCHANGED}
    expect(first.outcome in done, f"Execute answered {_name(first)}")
    again = await _execute(bench, execution)
    expect(
        again == first or again.outcome == again.OUTCOME_UNCHANGED,
        f"{_name(first)}, then {_name(again)} with other changes under the same key",
    )
    return f"{_name(first)}, and {_name(again)} for the same key"


_REMEDIATION: Final = frozenset({"remediation"})
_APPROVAL_FEATURE: Final = "approval"

EXECUTING: Final = (
    Check(
        "dry-run",
        "changes nothing in a dry run",
        "in a dry run only read; answer WOULD_CHANGE or UNCHANGED",
        _dry_run,
        _REMEDIATION,
        needs_settings=True,
        after="fields",
    ),
    Check(
        "approval",
        "refuses an action that was not approved",
        "compare Approval.sha256 with action, target and parameters, and answer PERMISSION_DENIED",
        _approval,
        _REMEDIATION,
        needs_settings=True,
        after="fields",
    ),
    Check(
        "same-key",
        "does not act twice for one idempotency key",
        "answer a repeat of the key with what the first call answered, or UNCHANGED",
        _same_key,
        _REMEDIATION,
        needs_settings=True,
        after="fields",
    ),
)
