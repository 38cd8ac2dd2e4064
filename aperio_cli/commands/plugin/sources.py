"""What `verify` and `install` were given: a plugin of a registry, or an artifact file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli import clock
from aperio_cli.errors.usage import NotFound, UsageError
from aperio_cli.models.plugin_id import PluginRef, is_path
from aperio_cli.text import clean
from aperio_cli.verifying import VerifyRequest, verify_artifact

if TYPE_CHECKING:
    from aperio_cli.context import Context
    from aperio_cli.models.evidence import ExceptionGranted
    from aperio_cli.models.offer import Offer
    from aperio_cli.verifying.decide import AdmittedArtifact


def find_source(context: Context, argument: str) -> Offer | Path:
    """Return the offer that the registry makes for an id, or the path of a local artifact.

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
    attestations: str = "",
    exception: ExceptionGranted | None = None,
) -> AdmittedArtifact:
    """Return the artifact behind a source, admitted by the operator's policy; the caller closes it.

    Args:
        context: gives policy, roots and this machine.
        source: as `find_source` gives it.
        bundle: where a local artifact's bundle is; empty for beside it.
        attestations: where statements about it are; empty for beside it.
        exception: what the operator granted for this one local artifact.

    Raises:
        UsageError: a registry's offer brings its own bundle and attestations.
        AperioError: as `verifying.verify_artifact`.
    """
    if (bundle or attestations) and not isinstance(source, Path):
        raise UsageError(
            "`--bundle` and `--attestations` go with an artifact file; nothing was verified",
            why=f"`{source.id}` is offered with its own by {source.source}",
        )
    request = VerifyRequest(
        source=source,
        policy=context.policy,
        roots=lambda: context.trusted_roots,
        machine=context.platform,
        today=clock.now().date(),
        bundle=Path(bundle).expanduser() if bundle else None,
        attestations=Path(attestations).expanduser() if attestations else None,
        exception=exception,
        offline=context.settings.offline,
    )
    return verify_artifact(request)
