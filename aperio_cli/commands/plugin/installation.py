"""Installing one plugin from a command: what is shown, asked and said of it."""

from __future__ import annotations

import contextlib
import functools
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from aperio_cli.commands.host.releasing import done_despite_host
from aperio_cli.commands.plugin import granting
from aperio_cli.commands.plugin.arguments import verify_source
from aperio_cli.errors import AperioError
from aperio_cli.installing import InstallRequest, install
from aperio_cli.models.evidence import proof_of
from aperio_cli.models.offer import Offer
from aperio_cli.models.ownership import describe, is_installed_owner
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.models.policy import UNSIGNED
from aperio_cli.text import clean, counted
from aperio_cli.verifying import KeptArtifacts
from aperio_cli.verifying.downloading import Source
from aperio_cli.verifying.prefetching import Meter, prefetch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from aperio_cli.context import Context
    from aperio_cli.installing import Asking, InstallReport
    from aperio_cli.models.artifact import Interpreter
    from aperio_cli.models.evidence import ExceptionGranted
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.verifying import RemoteArtifact
    from aperio_cli.verifying.decide import AdmittedArtifact

_SHOWN_VERSIONS: Final = 5


@dataclass(frozen=True, slots=True)
class Stated:
    """What is stated about an artifact that is to be installed.

    Attributes:
        bundle: where its bundle is; empty for beside it.
        attestations: where statements about it are; empty for beside it.
        exception: what the operator granted for this one artifact.
    """

    bundle: str = ""
    attestations: str = ""
    exception: ExceptionGranted | None = None


def request_for(context: Context, accept_new_signer: str = "") -> InstallRequest:
    """Return the operator's word on an installation."""

    def unfit(interpreter: Interpreter) -> str:
        from aperio_cli.running.containing import unfit_for

        return unfit_for(context.collaborators)(interpreter)

    return InstallRequest(
        interpreters=context.config.python_interpreters,
        accept_new_signer=accept_new_signer,
        consent=functools.partial(_ask, context),
        kept_owners=functools.partial(_kept_owners, context),
        unfit=unfit,
    )


def install_found(
    context: Context,
    found: Offer | Path | RemoteArtifact,
    request: InstallRequest,
    stated: Stated = Stated(),
    check: Callable[[AdmittedArtifact], object] = lambda _admitted: None,
) -> InstallReport:
    """Verify and install what was found, and say what people have to know of it.

    A damaged version that a host runs is ended by it first, in good order.

    Args:
        context: gives everything.
        found: what is to be installed.
        request: the operator's word on it.
        stated: what is stated about it.
        check: is told what was admitted, before anything is shown or changed; what it raises
            stops the installation.

    Raises:
        AperioError: as `verify_source`, `install` and `check`.
    """
    named = f"{found.id}@{found.version}" if isinstance(found, Offer) else found
    with contextlib.ExitStack() as held:
        with context.output.working(f"verifying `{named}`"):
            admitted = held.enter_context(
                verify_source(
                    context,
                    found,
                    bundle=stated.bundle,
                    attestations=stated.attestations,
                    exception=stated.exception,
                )
            )
        check(admitted)
        if isinstance(found, Offer):
            _say_what_was_chosen(context, found)
        for lifted in admitted.judgement.lifted:
            context.output.note(f"an exception of yours lifts `{lifted.rule}` until {lifted.until}")
        context.output.note(f"{admitted.subject} asks for")
        for line in granting.asked(admitted.artifact.manifest):
            context.output.note(f"  {line}")
        report = _install(context, admitted, request)
    _say_whose_state_is_left(context, report)
    return report


def _install(
    context: Context, admitted: AdmittedArtifact, request: InstallRequest
) -> InstallReport:
    """Install it, and once more when a host has let go of what had to be repaired.

    Raises:
        PluginInUse: something else runs that.
        AperioError: as `install`.
    """
    agreed: set[str] = set()

    def consent(asking: Asking) -> None:
        if not set(asking.added) <= agreed:  # else it was agreed to before the host let go
            request.consent(asking)
            agreed.update(asking.added)

    def deed() -> InstallReport:
        with context.output.working(f"installing {admitted.subject}"):
            return install(admitted, context.store, replace(request, consent=consent))

    ref = PluginRef(admitted.offer.id, admitted.offer.version)
    return done_despite_host(context, ref, deed)


def download_together(context: Context, finders: Sequence[Callable[[], object]]) -> None:
    """Download the artifacts of several plugins at once; each is verified by itself afterwards.

    Args:
        context: gives where artifacts are kept.
        finders: find what is to be installed, each as it will be found again; what one raises is
            left to that time.
    """
    if len(finders) < 2 or context.settings.offline:  # noqa: PLR2004 - one is no several
        return
    offers: list[Offer] = []
    with context.output.working("looking for them"):
        for find in finders:
            with contextlib.suppress(AperioError, OSError):
                found = find()
                offers += [found] if isinstance(found, Offer) else []
    doing = f"downloading {counted(len(offers), 'artifact')}"
    with context.output.working(doing):
        meter, kept = Meter(context.output.retell, doing), KeptArtifacts(context.paths.artifacts)
        prefetch([Source(offer, kept, on_arrival=meter.of(offer.location)) for offer in offers])


def offered(offer: Offer | None) -> dict[str, object]:
    """Return whose offer was taken, and why this version; nothing of an artifact."""
    edition, choice = (offer.edition, offer.choice) if offer else (None, None)
    return {
        "registry": edition.to_json() if edition else None,
        "choice": choice.to_json() if choice else None,
    }


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


def sentence(report: InstallReport) -> str:
    """Return what was done, for people."""
    receipt = report.receipt
    proof = proof_of(receipt.evidence)
    signer = proof.signer.identity if proof else "nobody: an exception of yours"
    done = "was installed already" if report.was_installed else "installed"
    if report.repaired:
        done = "was damaged, and is repaired"
    replaced = f", in place of {report.replaced}" if report.replaced else ""
    return f"`{receipt.id}` {receipt.version} {done}{replaced} (signed by {signer})"
