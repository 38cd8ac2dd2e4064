"""`aperio plugin test`: the acceptance suite, for authors, CI and registries alike."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING, Annotated

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import installed
from aperio_cli.commands.options import (
    Action,
    Facts,
    Parameters,
    PluginConfig,
    Settings,
    Target,
    TargetType,
    argument,
    option,
)
from aperio_cli.context import Context
from aperio_cli.files.temporary import temporary_folder
from aperio_cli.output import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.accepting import AcceptanceReport, AcceptanceRequest, Verdict
    from aperio_cli.models.artifact import DevelopmentBuild
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.store.installed import Store


@command(
    plugin, "plugin", "test", examples=["aperio plugin test aperio-plugin-hello"], is_for_linux=True
)
def plugin_test(  # noqa: PLR0913 - one parameter for each option
    context: Context,
    target: Annotated[
        str,
        argument(
            metavar="PROJECT|ARTIFACT|PLUGIN|URL",
            help="A project's folder, an artifact or its https address, or an installed plugin.",
            values=installed,
        ),
    ] = ".",
    *,
    settings: Settings = None,
    plugin_config: PluginConfig = "",
    action: Action = "",
    target_id: Target = "",
    target_type: TargetType = "",
    parameter: Parameters = None,
    facts: Facts = None,
    approve: Annotated[
        bool, option("--approve", help="remediation: do the action, not only a dry run.")
    ] = False,
) -> Report:
    """Run the acceptance suite that every plugin must pass; exit 1 when a check fails.

    Without settings it needs no network and leaves the service alone. Settings, best those of a
    stub or a recording of the service, let it read, deliver and execute as well.
    """
    from aperio_cli.accepting import AcceptanceRequest
    from aperio_cli.commands.plugin.cleaning import clean_builds
    from aperio_cli.commands.plugin.settings import read_settings

    request = AcceptanceRequest(
        settings=read_settings(settings or (), plugin_config),
        action=action,
        target=target_id,
        parameters=read_settings(parameter or (), "", option="--parameter"),
        approved=approve,
        target_type=target_type,
        facts=read_settings(facts or (), "", option="--context"),
    )
    with _found(context, target) as (found, store):
        report = _accept(context, found, store, request)
    clean_builds(context)
    return _shown(report)


@contextlib.contextmanager
def _found(context: Context, text: str) -> Iterator[tuple[Receipt | DevelopmentBuild, Store]]:
    """Give what to test; an artifact is verified and installed, in a home that lasts for the block.

    Raises:
        AperioError: it is not there, does not build, or is refused as `install` would refuse it.
    """
    from aperio_cli.commands.plugin.arguments import find_source, verify_source
    from aperio_cli.files.naming import as_path, names_path
    from aperio_cli.installing import InstallRequest, install
    from aperio_cli.models.address import is_address
    from aperio_cli.paths import find_paths
    from aperio_cli.running import find_target
    from aperio_cli.running.containing import unfit_for
    from aperio_cli.store.installed import Store

    is_here = names_path(text, context.is_installed)
    is_artifact = is_address(text) or (is_here and as_path(text).is_file())
    if not is_artifact:
        yield find_target(context.collaborators, text), context.store
        return
    with temporary_folder("aperio-test-") as home:
        store = Store(find_paths({}, home=home))
        unfit = unfit_for(context.collaborators)
        request = InstallRequest(context.config.python_interpreters, unfit=unfit)
        with verify_source(context, find_source(context, text)) as admitted:
            receipt = install(admitted, store, request).receipt
        yield receipt, store


def _accept(
    context: Context,
    target: Receipt | DevelopmentBuild,
    store: Store,
    request: AcceptanceRequest,
) -> AcceptanceReport:
    from aperio_cli.accepting import accept
    from aperio_cli.commands.loop import on_loop
    from aperio_cli.commands.plugin.showing import tell_left_out
    from aperio_cli.host.launch import LaunchOptions
    from aperio_cli.host.lifecycle import Patience
    from aperio_cli.host.way_out import Egress, stubs_of
    from aperio_cli.paths import runtime_base
    from aperio_cli.running import clear_target
    from aperio_cli.running.containing import given_folders, sandbox_of
    from aperio_cli.running.targets import manifest_of

    sandbox = sandbox_of(context.collaborators)
    options = LaunchOptions(
        runtime_base(os.environ),
        store=store,
        patience=Patience.stated(context.config.handshake_timeout_s),
        mtls=context.config.mtls,
        sandbox=sandbox,
        writable=given_folders(manifest_of(target), request.settings, sandbox),
        egress=Egress(settings=request.settings, opened=stubs_of(request.settings)),
    )

    def observe(verdict: Verdict) -> None:
        context.output.detail(f"{verdict.outcome.value:<8}{verdict.key}")

    tell_left_out(context.output, target)
    clear = functools.partial(clear_target, context.collaborators, target)
    for notice in clear().notices:  # told once, not at each of the suite's starts
        context.output.warn(notice)
    return on_loop(accept(clear, options, request, observe))


def _shown(report: AcceptanceReport) -> Report:
    """Return a line for each verdict; of a failure what was seen, and the fix."""
    from aperio_cli.accepting import Outcome
    from aperio_cli.errors import DONE, NOT_DONE

    lines: list[str] = []
    for verdict in report.verdicts:
        lines.append(f"{verdict.outcome.value:<8}{verdict.title} ({verdict.key})")
        if verdict.outcome is Outcome.FAILED:
            lines += [f"  seen  {line}" for line in verdict.evidence.splitlines()]
            lines.append(f"  fix   {verdict.fix}")
    skipped = {v.evidence for v in report.verdicts if v.outcome is Outcome.SKIPPED}
    counts = ", ".join(f"{report.count(outcome)} {outcome.value}" for outcome in Outcome)
    return Report(
        report.to_json(),
        "\n".join([*lines, f"{report.program.subject}: {counts}"]),
        notes=tuple(f"skipped: {reason}" for reason in sorted(skipped)),
        exit_status=DONE if report.passed else NOT_DONE,
    )
