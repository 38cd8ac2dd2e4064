"""`aperio plugin install`: resolve, download, verify, show what it asks for, install."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.options import Attestations, Bundle, Reason, argument, option
from aperio_cli.context import Context
from aperio_cli.errors.usage import UsageError
from aperio_cli.output import Report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aperio_cli.installing import InstallReport
    from aperio_cli.models.evidence import ExceptionGranted
    from aperio_cli.models.offer import Offer


@command(
    plugin,
    "plugin",
    "install",
    examples=[
        "aperio plugin install -y aperio-plugin-hello/dist/hello-connector_0.1.0_linux_amd64.tar.gz"
    ],
    is_for_linux=True,
)
def plugin_install(  # noqa: PLR0913 - one parameter for each option
    context: Context,
    sources: Annotated[
        list[str] | None,
        argument(
            metavar="PLUGIN|ARTIFACT|URL",
            help="Ids of a registry, files, or their https addresses; without any, what the lock"
            " file names.",
        ),
    ] = None,
    *,
    bundle: Bundle = "",
    attestations: Attestations = "",
    accept_new_signer: Annotated[
        str,
        option(
            help="This identity may follow the installed version's signer, stored state included.",
            metavar="ID",
        ),
    ] = "",
    allow_unsigned: Annotated[
        bool, option("--allow-unsigned", help="Take a local artifact without proof.")
    ] = False,
    until: Annotated[str, option(help="Last day of the exception.", metavar="DATE")] = "",
    reason: Reason = "",
    lock: Annotated[
        str, option(help="Go by this lock file; it is made when missing.", metavar="FILE")
    ] = "",
    locked: Annotated[
        bool, option("--locked", help="Refuse whatever would change the lock file.")
    ] = False,
) -> Report:
    """Install plugins, verified before anything is unpacked; without a name, what is locked.

    The lock file is the one that --lock names, else aperio.lock in the working folder, else the
    home's. It says which version of each plugin is used, and the digest of its artifact for every
    platform; what differs from it is refused.
    """
    from aperio_cli.commands.plugin import installation, locking
    from aperio_cli.commands.plugin.cleaning import clean_cache
    from aperio_cli.files.naming import require_plain

    sources = sources or []
    context.use_lock_file(lock, is_frozen=locked)
    for source in sources:
        require_plain(source, context.is_installed, "nothing was installed")
    _require_fitting(sources, bundle or attestations, accept_new_signer, is_unsigned=allow_unsigned)
    exception = _exception(sources, until, reason, allow_unsigned=allow_unsigned)
    stated = installation.Stated(bundle, attestations, exception)
    request = installation.request_for(context, accept_new_signer)
    installation.download_together(context, locking.finders(context, sources))
    wanted: list[Callable[[], tuple[InstallReport, Offer | None]]]
    if sources:
        wanted = [partial(locking.install_named, context, s, request, stated) for s in sources]
    else:
        locked_there = locking.locked_entries(context)
        wanted = [partial(locking.restore, context, each, request) for each in locked_there]
    done = _installed(context, wanted)
    clean_cache(context)
    return _report(context, done)


def _report(context: Context, done: Sequence[tuple[InstallReport, Offer | None]]) -> Report:
    from aperio_cli.commands.plugin.installation import offered, sentence

    place = context.store.lock_file.path
    installed = [report.to_json() | offered(offer) for report, offer in done]
    text = "\n".join(sentence(report) for report, _ in done)
    data = {"installed": installed, "lock_file": str(place)}
    return Report(data, text or f"{place} names no plugin")


def _installed(
    context: Context, wanted: Sequence[Callable[[], tuple[InstallReport, Offer | None]]]
) -> list[tuple[InstallReport, Offer | None]]:
    """Install one after the other, and say what was installed when a later one is not."""
    from aperio_cli.commands.plugin.installation import sentence

    done: list[tuple[InstallReport, Offer | None]] = []
    try:
        for each in wanted:
            done.append(each())  # noqa: PERF401 - what is done counts when one raises
    except BaseException:
        for report, _ in done:
            context.output.warn(sentence(report))
        raise
    return done


def _require_fitting(
    sources: Sequence[str], evidence: str, accept_new_signer: str, *, is_unsigned: bool
) -> None:
    """Require that options which are about one plugin come with one.

    Raises:
        UsageError: they come with none, or with several.
    """
    if not sources and (evidence or accept_new_signer or is_unsigned):
        raise UsageError(
            "nothing was installed: no plugin was named",
            why="`--bundle`, `--attestations`, `--accept-new-signer` and `--allow-unsigned` go with"
            " one, and without any a lock file says what is installed",
            next=["name the plugin or the artifact that they are about"],
        )
    if evidence and len(sources) > 1:
        raise UsageError(
            "`--bundle` and `--attestations` go with one artifact; nothing was installed",
            why=f"{len(sources)} are named",
            next=["install them one by one"],
        )
    if accept_new_signer and len(sources) > 1:
        raise UsageError(
            "`--accept-new-signer` goes with one plugin; nothing was installed",
            why="whom one plugin may change to is not asked of the others",
            next=["install them one by one"],
        )


def _exception(
    sources: Sequence[str], until: str, reason: str, *, allow_unsigned: bool
) -> ExceptionGranted | None:
    """Return what `--allow-unsigned --until DATE --reason TEXT` grants; None without it.

    Raises:
        UsageError: the three do not go together, or a source is not a local artifact.
    """
    from aperio_cli import clock
    from aperio_cli.files.naming import is_path
    from aperio_cli.models.address import is_address
    from aperio_cli.models.evidence import ExceptionGranted

    if not allow_unsigned:
        if until or reason:
            raise UsageError(
                "`--until` and `--reason` go with `--allow-unsigned`; nothing was installed",
                why="they say how long nobody's signature is asked for, and why",
                next=["leave them out: what is signed needs neither"],
            )
        return None
    if any(is_address(source) or not is_path(source) for source in sources):
        raise UsageError(
            "`--allow-unsigned` is for artifact files only; nothing was installed",
            why="what comes from a registry or an address has to be signed by its publisher",
            next=["leave it out", "download the artifact, look at it, and name its file"],
        )
    return ExceptionGranted.unsigned(until=until, reason=reason, today=clock.now().date())
