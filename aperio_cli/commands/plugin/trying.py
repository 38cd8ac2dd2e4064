"""`plugin build --check` starts what was built, once."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aperio_cli.accepting import AcceptanceReport
    from aperio_cli.context import Context
    from aperio_cli.models.artifact import Artifact


def try_start(context: Context, artifacts: Sequence[Artifact]) -> str:
    """Start the artifact for this machine, and compare what it declares with its manifest.

    It runs unpacked in a folder that is removed again, with no settings; nothing is installed.

    Args:
        context: gives policy, interpreters and this machine.
        artifacts: what was built.

    Returns:
        Why it was not started; empty: it was, and all is well.

    Raises:
        ArtifactUnfit: it does not start, or declares something else.
        AperioError: as `accepting.accept`.
    """
    from aperio_cli.errors.installing import InterpreterMissing
    from aperio_cli.errors.running import RequiredLimit
    from aperio_cli.errors.trust import PublisherUnverified
    from aperio_cli.files.temporary import temporary_folder

    artifact = next((each for each in artifacts if each.platform == context.platform), None)
    if artifact is None or sys.platform != "linux":
        return "none of the artifacts is for this machine"
    with temporary_folder("aperio-try-") as folder:
        try:
            report = _examined(context, artifact, Path(folder) / "files")
        except InterpreterMissing:
            return f"no interpreter here is {' or '.join(artifact.manifest.runtime.tags)}"
        except (PublisherUnverified, RequiredLimit) as error:
            return error.why
    _require_passed(artifact, report)
    return ""


def _examined(context: Context, artifact: Artifact, folder: Path) -> AcceptanceReport:
    from aperio_cli.accepting import ONCE, AcceptanceRequest, accept
    from aperio_cli.building import develop_artifact
    from aperio_cli.commands.loop import on_loop
    from aperio_cli.host.launch import LaunchOptions
    from aperio_cli.host.lifecycle import Patience
    from aperio_cli.machine.interpreters import choose_interpreter
    from aperio_cli.paths import runtime_base
    from aperio_cli.running import clear_target
    from aperio_cli.running.containing import sandbox_of, unfit_for

    manifest = artifact.manifest
    interpreter = None
    if manifest.runtime.language == "python":
        configured = context.config.python_interpreters
        interpreter = choose_interpreter(
            manifest.runtime.tags,
            configured,
            subject=f"`{manifest.id}`",
            unfit=unfit_for(context.collaborators),
        )
    built = develop_artifact(artifact, folder, interpreter)
    clear = functools.partial(clear_target, context.collaborators, built)
    patience = Patience.stated(context.config.handshake_timeout_s)
    options = LaunchOptions(
        runtime_base(os.environ),
        patience=patience,
        mtls=context.config.mtls,
        sandbox=sandbox_of(context.collaborators),
    )
    return on_loop(accept(clear, options, AcceptanceRequest(), checks=ONCE))


def _require_passed(artifact: Artifact, report: AcceptanceReport) -> None:
    from aperio_cli.accepting import Outcome
    from aperio_cli.errors.building import ArtifactUnfit

    failed = [verdict for verdict in report.verdicts if verdict.outcome is Outcome.FAILED]
    if failed:
        raise ArtifactUnfit(
            f"`{artifact.path}` was built, and is not what it has to be",
            why="\n".join(f"{verdict.key}: {verdict.evidence}" for verdict in failed),
            next=[*(verdict.fix for verdict in failed), "`aperio plugin test` examines all of it"],
        )
