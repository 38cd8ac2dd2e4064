"""`aperio plugin install`: resolve, download, verify, show what it asks for, install."""

from __future__ import annotations

import contextlib
import functools
import shlex
from typing import TYPE_CHECKING, Annotated, Any

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.options import Attestations, Bundle, Reason, argument, option
from aperio_cli.context import Context
from aperio_cli.errors import AperioError
from aperio_cli.errors.usage import UsageError
from aperio_cli.output import Report
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aperio_cli.installing import Asking, InstallReport
    from aperio_cli.models.evidence import ExceptionGranted
    from aperio_cli.models.offer import Offer
    from aperio_cli.models.plugin_id import PluginId

_SHOWN_VERSIONS = 5


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
        list[str],
        argument(
            metavar="PLUGIN|ARTIFACT|URL",
            help="Ids of a registry, files, or their https addresses.",
        ),
    ],
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
) -> Report:
    """Install plugins, verified before anything is unpacked."""
    from aperio_cli.installing import InstallRequest
    from aperio_cli.running.containing import unfit_for

    exception = _exception(sources, until, reason, allow_unsigned=allow_unsigned)
    given = {"bundle": bundle, "attestations": attestations}
    if any(given.values()) and len(sources) > 1:
        raise UsageError(
            "`--bundle` and `--attestations` go with one artifact; nothing was installed"
        )
    if accept_new_signer and len(sources) > 1:
        raise UsageError(
            "`--accept-new-signer` goes with one plugin; nothing was installed",
            why="whom one plugin may change to is not asked of the others",
            next=["install them one by one"],
        )
    kept = functools.partial(_kept_owners, context)
    consent = functools.partial(_ask, context)
    interpreters = context.config.python_interpreters
    unfit = unfit_for(context.collaborators)
    request = InstallRequest(interpreters, accept_new_signer, consent, kept, unfit)
    done = [
        _install(context, source, given, exception, request)  # each stands on its own
        for source in sources
    ]
    return Report(
        {"installed": [report.to_json() | _offered(offer) for report, offer in done]},
        "\n".join(_sentence(report) for report, _ in done),
    )


def _offered(offer: Offer | None) -> dict[str, object]:
    """Return whose offer was taken, and why this version; nothing of an artifact."""
    edition, choice = (offer.edition, offer.choice) if offer else (None, None)
    return {
        "registry": edition.to_json() if edition else None,
        "choice": choice.to_json() if choice else None,
    }


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
                "`--until` and `--reason` go with `--allow-unsigned`; nothing was installed"
            )
        return None
    if any(is_address(source) or not is_path(source) for source in sources):
        raise UsageError(
            "`--allow-unsigned` is for artifact files only; nothing was installed",
            why="what comes from a registry or an address has to be signed by its publisher",
        )
    return ExceptionGranted.unsigned(until=until, reason=reason, today=clock.now().date())


def _install(
    context: Context,
    source: str,
    given: Mapping[str, str],
    exception: ExceptionGranted | None,
    request: Any,
) -> tuple[InstallReport, Offer | None]:
    from aperio_cli.commands.plugin import granting
    from aperio_cli.commands.plugin.arguments import find_source, verify_source
    from aperio_cli.installing import install
    from aperio_cli.models.offer import Offer

    bundle, attestations = given["bundle"], given["attestations"]
    with contextlib.ExitStack() as held:
        with context.output.working(f"verifying `{source}`"):
            found = find_source(context, source)
            admitted = held.enter_context(
                verify_source(
                    context, found, bundle=bundle, attestations=attestations, exception=exception
                )
            )
        if isinstance(found, Offer):
            _say_what_was_chosen(context, found)
        for lifted in admitted.judgement.lifted:
            context.output.note(f"an exception of yours lifts `{lifted.rule}` until {lifted.until}")
        context.output.note(f"{admitted.subject} asks for")
        for line in granting.asked(admitted.artifact.manifest):
            context.output.note(f"  {line}")
        with context.output.working(f"installing {admitted.subject}"):
            report = install(admitted, context.store, request)
    _say_whose_state_is_left(context, report)
    return report, found if isinstance(found, Offer) else None


def _say_what_was_chosen(context: Context, offer: Offer) -> None:
    """Say whose offer it is, what was passed over for it, and what is said against it."""
    context.output.note(f"offered by {offer.source}")
    if choice := offer.choice:
        for passed in choice.passed_over[:_SHOWN_VERSIONS]:
            context.output.note(f"not {passed.version} ({passed.verdict}): {passed.why}")
        if status := choice.status:
            instead = f"; use {status.replacement}" if status.replacement else ""
            context.output.warn(
                f"its registry says that {offer.version} is {status.state}:"
                f" {clean(status.reason)}{instead}"
            )


def _ask(context: Context, asking: Asking) -> None:
    """Go on only when the operator agrees to what a version asks for.

    Raises:
        ConsentMissing, Interrupted: as `Context.ask`.
    """
    if asking.before:
        context.output.note(f"beyond what {asking.before} is granted:")
        for line in asking.added:
            context.output.note(f"  {line}")
    what = f"{asking.subject} was not installed: nobody agreed to what it asks for"
    context.ask(f"grant {'that' if asking.before else 'it all'} and install?", what=what)


def _kept_owners(context: Context, plugin: PluginId) -> list[str]:
    """Return the owners of what is stored under a plugin's id, the latest first."""
    from aperio_cli.data.state import open_kept

    state = open_kept(context.paths.state_database, deed=f"`{plugin}` was not installed")
    with state or contextlib.nullcontext():
        return state.owners(str(plugin)) if state else []


def _say_whose_state_is_left(context: Context, report: InstallReport) -> None:
    """Say that somebody else of this id left stored state, which the installed one does not get."""
    from aperio_cli.models.evidence import proof_of
    from aperio_cli.models.ownership import describe, is_installed_owner
    from aperio_cli.models.policy import UNSIGNED

    receipt = report.receipt
    try:
        owners = _kept_owners(context, receipt.id)
    except AperioError:  # it is installed; `run` says what is wrong with what is stored
        return
    others = [owner for owner in owners if is_installed_owner(owner)]
    if not others or receipt.state_owner in others:
        return
    proof = proof_of(receipt.evidence)
    name = shlex.quote(clean(proof.signer.name)) if proof else UNSIGNED
    context.output.note(
        f"`{receipt.id}` begins without stored state: what is kept belongs to"
        f" {describe(others[0])}; to hand it over, install it again with"
        f" `--accept-new-signer {name}`, to drop it, `aperio plugin remove {receipt.id} --purge`"
    )


def _sentence(report: InstallReport) -> str:
    from aperio_cli.models.evidence import proof_of

    receipt = report.receipt
    proof = proof_of(receipt.evidence)
    signer = proof.signer.identity if proof else "nobody: an exception of yours"
    done = "was installed already" if report.was_installed else "installed"
    if report.repaired:
        done = "was damaged, and is repaired"
    replaced = f", in place of {report.replaced}" if report.replaced else ""
    return f"`{receipt.id}` {receipt.version} {done}{replaced} (signed by {signer})"
