"""What `verify` and `install` were given: a plugin of a registry, a file, or an address."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from aperio_cli import clock
from aperio_cli.errors.usage import NotFound, UsageError
from aperio_cli.files.naming import as_path, names_path, parse_ref
from aperio_cli.models.address import is_address
from aperio_cli.models.artifact import SUFFIX
from aperio_cli.models.offer import Offer
from aperio_cli.models.plugin_id import reads_as_id
from aperio_cli.text import clean
from aperio_cli.verifying import (
    INSTALL,
    KeptArtifacts,
    RemoteArtifact,
    VerifyRequest,
    verify_artifact,
)
from aperio_cli.verifying.prefetching import Meter

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.context import Context
    from aperio_cli.models.evidence import ExceptionGranted
    from aperio_cli.verifying import Deed
    from aperio_cli.verifying.decide import AdmittedArtifact

_SHOWN_ARTIFACTS = 3


def find_source(
    context: Context, argument: str, deed: Deed = INSTALL
) -> Offer | Path | RemoteArtifact:
    """Return the offer that the registry makes for an id, or where an artifact was said to be.

    Args:
        context: gives the registry, and this machine.
        argument: what was typed.
        deed: what was asked for, for messages.

    Raises:
        NotFound: a folder is there, or the address is not that of an artifact.
        AperioError: the id is none, or the registry does not offer it.
    """
    if is_address(argument):
        return RemoteArtifact.parse(argument)
    if not names_path(argument, context.is_installed):
        reference = parse_ref(argument)  # before a registry is asked for
        return context.registry.resolve(reference, context.situation)
    path = as_path(argument)
    if path.is_dir():
        raise NotFound(
            f"`{clean(argument)}` is a folder; {deed.undone}",
            why="expected an artifact, <name>_<version>_<os>_<arch>.tar.gz",
            next=[*_artifacts_in(path), *_as_id(argument)],
        )
    return path


def _as_id(argument: str) -> list[str]:
    """Return how a plugin is named where a folder of its name is here."""
    return [f"for the plugin of that id: `{argument}@VERSION`"] if reads_as_id(argument) else []


def _artifacts_in(folder: Path) -> list[str]:
    """Return what to do instead of naming a folder: name an artifact, where it has any."""
    places = (folder, folder / "dist")
    found = [path for place in places for path in sorted(place.glob(f"[!.]*{SUFFIX}"))]
    if not found:
        return ["name an artifact", "`aperio plugin build` makes one of a project"]
    named = (shlex.quote(str(path)) for path in found[:_SHOWN_ARTIFACTS])
    return [f"name an artifact in it: {path}" for path in named]


def verify_source(
    context: Context,
    source: Offer | Path | RemoteArtifact,
    *,
    bundle: str = "",
    attestations: str = "",
    exception: ExceptionGranted | None = None,
    deed: Deed = INSTALL,
) -> AdmittedArtifact:
    """Return the artifact behind a source, admitted by the operator's policy; the caller closes it.

    Args:
        context: gives policy, roots and this machine.
        source: as `find_source` gives it.
        bundle: where an artifact's bundle is; empty for beside it.
        attestations: where statements about it are; empty for beside it.
        exception: what the operator granted for this one local artifact.
        deed: what was asked for. What is to be installed has to be for this machine.

    Raises:
        UsageError: a registry's offer brings its own bundle and attestations.
        AperioError: as `verifying.verify_artifact`.
    """
    if (bundle or attestations) and isinstance(source, Offer):
        raise UsageError(
            "`--bundle` and `--attestations` go with an artifact; nothing was done",
            why=f"`{source.id}` is offered with its own by {source.source}",
            next=["leave them out, or name the artifact's file in the place of the id"],
        )
    named = f"{source.id}@{source.version}" if isinstance(source, Offer) else source
    request = VerifyRequest(
        source=source,
        policy=context.policy,
        roots=lambda: context.trusted_roots,
        machine=context.platform,
        today=clock.now().date(),
        bundle=as_path(bundle) if bundle else None,
        attestations=as_path(attestations) if attestations else None,
        exception=exception,
        is_to_run_here=deed is INSTALL,
        offline=context.settings.offline,
        deed=deed,
        kept=KeptArtifacts(context.paths.artifacts),
        on_arrival=Meter(context.output.retell, f"downloading `{named}`").of(named),
    )
    return verify_artifact(request)
