"""The suite: every check in its order, each with a verdict, whatever goes wrong on the way."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.accepting.bench import AcceptanceRequest, Bench
from aperio_cli.accepting.calling import CALLING
from aperio_cli.accepting.declaring import DECLARING
from aperio_cli.accepting.delivering import DELIVERING
from aperio_cli.accepting.executing import EXECUTING
from aperio_cli.accepting.starting import STARTING, WRITING
from aperio_cli.accepting.syncing import SYNCING
from aperio_cli.accepting.verdicts import CheckFailed, CheckSkipped, Outcome, Verdict
from aperio_cli.data.state import StateDatabase
from aperio_cli.errors import AperioError
from aperio_cli.errors.running import HandshakeTimeout, PluginFault
from aperio_cli.files.temporary import temporary_folder
from aperio_cli.host.launch import checked
from aperio_cli.host.process.masking import mark

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aperio_cli.accepting.checks import Check
    from aperio_cli.host.options import LaunchOptions
    from aperio_cli.host.process.program import Program
    from aperio_cli.verifying.clearing import Cleared

CHECKS: Final = (*STARTING, *DECLARING, *CALLING, *SYNCING, *DELIVERING, *EXECUTING, *WRITING)
"""Every check, in the order in which they are made."""

ONCE: Final = tuple(check for check in CHECKS if check.key in {"start", "declaration", "egress"})
"""What one start shows: it begins, and declares what its manifest says."""

_NO_SETTINGS: Final = (
    "no settings were given; name a stub or a recording of the service with `--set KEY=VALUE`"
    " or `--plugin-config FILE`"
)


@dataclass(frozen=True, slots=True)
class AcceptanceReport:
    """What the suite says about one plugin.

    Attributes:
        program: what was examined.
        verdicts: one for each check of its kind, in order.
    """

    program: Program
    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(verdict.outcome is not Outcome.FAILED for verdict in self.verdicts)

    def count(self, outcome: Outcome) -> int:
        """Return how many checks ended so."""
        return sum(verdict.outcome is outcome for verdict in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """Return the report as the `data` of the JSON envelope."""
        program = self.program
        return {
            "id": program.plugin_id,
            "version": program.version,
            "kind": program.kind,
            "provider": program.provider,
            "passed": self.passed,
            "counts": {outcome.value: self.count(outcome) for outcome in Outcome},
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
        }


async def accept(
    clear: Callable[[], Cleared],
    options: LaunchOptions,
    request: AcceptanceRequest,
    observe: Callable[[Verdict], None] = lambda _verdict: None,
    checks: Sequence[Check] = CHECKS,
) -> AcceptanceReport:
    """Examine a plugin: every check of its kind, each with a verdict.

    The operator's state is left alone: a plugin that keeps state gets an empty store for the time.

    Args:
        clear: gives leave to start the plugin once; asked anew for every start.
        options: how to launch it; `state` is replaced.
        request: settings and more that the author gives.
        observe: hears each verdict as soon as it is there.
        checks: those to make, in the order of `CHECKS`.

    Raises:
        FilesChanged: an installed file differs; nothing was executed.
        PluginConfigInvalid: the author's settings do not fit the plugin.
        UsageError: the named action is not there.
        AperioError: as `clear` and `host.launch.launch`; or as `Session.invocation`,
            when the service gives no token.
    """
    async with contextlib.AsyncExitStack() as held:
        program = await held.enter_async_context(checked(clear(), options.store))
        folder = held.enter_context(temporary_folder("aperio-test-"))
        state = held.enter_context(StateDatabase(Path(folder) / "state.db"))
        bench = Bench(clear, program, replace(options, state=state), request)
        try:
            return AcceptanceReport(program, await _examine(bench, observe, checks))
        finally:
            await bench.close()


async def _examine(
    bench: Bench, observe: Callable[[Verdict], None], checks: Sequence[Check]
) -> tuple[Verdict, ...]:
    verdicts: dict[str, Verdict] = {}
    for check in checks:
        if bench.program.kind not in check.kinds:
            continue
        if check in WRITING:
            await bench.close()  # so that its last words are there
        verdict = await _examine_one(bench, check, verdicts)
        verdicts[check.key] = verdict
        observe(verdict)
        if check.key == "declaration" and bench.declaration is not None:
            await _prepare(bench)
    return tuple(verdicts.values())


async def _prepare(bench: Bench) -> None:
    """Check the author's settings at once: a mistake in them is no verdict on the plugin."""
    fields = bench.declaration.fields
    for field in fields:
        value = bench.request.settings.get(field.key)
        if field.secret and isinstance(value, str) and value:
            bench.secrets[f"the setting `{field.key}`"] = (value, mark(field.key))
    if bench.request.settings:
        with contextlib.suppress(PluginFault):  # the checks that follow say it with a verdict
            await bench.session()


async def _examine_one(bench: Bench, check: Check, before: dict[str, Verdict]) -> Verdict:
    reason = _reason_to_skip(bench, check, before)
    if reason:
        return check.verdict(Outcome.SKIPPED, reason)
    try:
        return check.verdict(Outcome.PASSED, await check.run(bench))
    except CheckSkipped as skipped:
        return check.verdict(Outcome.SKIPPED, str(skipped))
    except CheckFailed as failed:
        evidence = str(failed)
    except PluginFault as fault:
        evidence = f"{fault.what}\n{fault.why}"
        if isinstance(fault, HandshakeTimeout):  # what the operator may state is no fault of its
            evidence += f"\n{fault.next[-1]}"
    except (AperioError, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - a check deals with the plugin's answers only
        evidence = f"its answer cannot be read\n{type(error).__name__}: {error}"
    await bench.close()  # the next check gets a process that this one has not upset
    return check.verdict(Outcome.FAILED, evidence)


def _reason_to_skip(bench: Bench, check: Check, before: dict[str, Verdict]) -> str:
    """Return why a check is not made; empty: it is."""
    has_fields = bench.declaration is not None and bench.declaration.fields
    if check.needs_settings and has_fields and not bench.request.settings:
        return _NO_SETTINGS
    first = before.get(check.after)  # none where that check is not among those to make
    if first and first.outcome is not Outcome.PASSED:
        return f"it means nothing unless `{check.after}` passes"
    return ""
