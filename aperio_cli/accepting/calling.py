"""Checks of how a plugin takes bad calls: wrong settings, and callers that do not wait."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.accepting.bench import CALL_S, in_time, status_of
from aperio_cli.accepting.checks import Check
from aperio_cli.accepting.delivering import sample
from aperio_cli.accepting.verdicts import CheckFailed, expect
from aperio_cli.errors.running import PluginCrashed, PluginFault, PluginReportedError
from aperio_cli.host.calls.invocation import AccessToken, Invocation
from aperio_cli.host.calls.remediation import Execution

if TYPE_CHECKING:
    from aperio_cli.accepting.bench import Bench
    from aperio_cli.host.launch import RunningPlugin

HURRIED_CALLS: Final = 16
_HURRY_S: Final = 0.05
_NEXT_S: Final = 5.0
_OWN_FAULTS: Final = {"INTERNAL", "UNKNOWN"}


async def _wrong_settings(bench: Bench) -> str:
    """Call with settings whose every value is a list with a made-up secret, as no type allows."""
    plugin = await bench.plugin()
    invocation = _wrong_invocation(bench)
    late = f"the call with wrong settings had no answer within {CALL_S:g} s"
    try:
        said = await in_time(_call(bench, plugin, invocation), CALL_S, late)
    except PluginReportedError as error:
        name, has_diagnostics = status_of(error)
        expect(
            name not in _OWN_FAULTS, f"it answered {name}, which says that it is at fault itself"
        )
        expect(has_diagnostics, f"it answered {name} without a diagnostic that says what is wrong")
        said = f"it answered {name} with a diagnostic"
    except PluginCrashed as error:
        raise CheckFailed(f"{error.what}\n{error.why}") from error
    await bench.declare(await bench.shared())
    return f"{said}, and went on"


def _wrong_invocation(bench: Bench) -> Invocation:
    token = f"aperio-token-{secrets.token_hex(8)}"
    setting = f"aperio-secret-{secrets.token_hex(8)}"
    bench.secrets |= {"a made-up token": (token,), "a made-up setting": (setting,)}
    shared = [field.key for field in bench.declaration.fields if not field.host_only]
    config = json.dumps({key: [setting] for key in shared}).encode()
    return Invocation(config_json=config, token=AccessToken(token))


async def _call(bench: Bench, plugin: RunningPlugin, invocation: Invocation) -> str:
    """Make one call of the kind and return what it answered.

    Raises:
        CheckFailed: it said no, and not why.
        PluginFault: the call failed.
    """
    match bench.program.kind:
        case "connector":
            answer: Any = await plugin.connector.test_connection(invocation)
            expect(answer.ok or answer.diagnostics, "TestConnection: not ok, and no diagnostic")
            return (
                "TestConnection answered ok" if answer.ok else "TestConnection said what is wrong"
            )
        case "remediation":
            unknown = Execution(
                "aperio.no_such_action", "nothing", secrets.token_hex(16), dry_run=True
            )
            answer = await plugin.remediation.execute(invocation, unknown)
            expect(answer.outcome == answer.OUTCOME_FAILED, "an action that is not there was done")
            expect(answer.diagnostics, "Execute: failed, and no diagnostic")
            return "Execute of an unknown action said what is wrong"
        case _:
            envelope = sample(bench)
            answer = await plugin.destination.deliver(invocation, [envelope])
            expect(
                all(
                    r.status == r.STATUS_ACCEPTED or r.HasField("diagnostic")
                    for r in answer.results
                ),
                "Deliver: not accepted, and no diagnostic",
            )
            return "Deliver answered for the envelope"


async def _hurried(bench: Bench) -> str:
    run = await bench.shared()
    calls = [bench.declare(run, timeout_s=_HURRY_S) for _ in range(HURRIED_CALLS)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    missed = sum(isinstance(result, PluginFault) for result in results)
    late = f"after {HURRIED_CALLS} calls of {_HURRY_S:g} s the next had no answer in {_NEXT_S:g} s"
    await in_time(_declared(bench), _NEXT_S + 1, late)
    return f"{missed} of {HURRIED_CALLS} calls ran out of {_HURRY_S:g} s; the next was answered"


async def _declared(bench: Bench) -> None:
    await bench.declare(await bench.shared(), timeout_s=_NEXT_S)


CALLING: Final = (
    Check(
        "wrong-settings",
        "answers wrong settings with a diagnostic",
        "check settings before use; answer INVALID_ARGUMENT with a diagnostic (SDK: InvalidConfig)",
        _wrong_settings,
        after="declaration",
    ),
    Check(
        "deadline",
        "lets go of calls whose deadline has passed",
        "stop working on a call when its deadline has passed, and give its worker back",
        _hurried,
        after="declaration",
    ),
)
