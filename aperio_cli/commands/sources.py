"""What `verify` and `install` were given: a plugin of a registry, or an artifact file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli import clock
from aperio_cli.errors import NotFound, clean
from aperio_cli.models.plugin_id import PluginRef, is_path
from aperio_cli.verifying import VerifyRequest, verify_artifact

if TYPE_CHECKING:
    from aperio_cli.context import Context
    from aperio_cli.models.offer import Offer
    from aperio_cli.verifying.decide import AdmittedArtifact, ExceptionGranted


def find_source(context: Context, argument: str) -> Offer | Path:
    """The offer that the registry makes for an id, or the path of a local artifact.

    Raises:
        NotFound: a folder is there.
        AperioError: the id is none, or the registry does not offer it.
    """
    if not is_path(argument):
        reference = PluginRef.parse(argument)  # before a registry is asked for
        return context.registry.resolve(reference, context.platform)
    path = Path(argument).expanduser()
    if path.is_dir():
        raise NotFound(
            f"`{clean(argument)}` is a folder; nothing was verified",
            why="expected an artifact, <name>_<version>_<os>_<arch>.tar.gz",
            next=["name the artifact in it", "`aperio plugin build` makes one of a project"],
        )
    return path


def verify_source(
    context: Context,
    source: Offer | Path,
    *,
    bundle: str = "",
    exception: ExceptionGranted | None = None,
) -> AdmittedArtifact:
    """The artifact behind a source, admitted by the operator's policy; the caller closes it.

    Raises:
        AperioError: as `verifying.verify_artifact`.
    """
    request = VerifyRequest(
        source=source,
        policy=context.policy,
        roots=lambda: context.trusted_roots,
        machine=context.platform,
        today=clock.now().date(),
        exception=exception,
        offline=context.settings.offline,
    )
    if bundle:
        request = replace(request, bundle=Path(bundle).expanduser())
    return verify_artifact(request)
