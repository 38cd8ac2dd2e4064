"""`aperio plugin update`: newer versions, and what changes before it changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from aperio_cli.commands.app import plugin
from aperio_cli.commands.common import command
from aperio_cli.commands.completing import installed
from aperio_cli.commands.options import argument, option
from aperio_cli.context import Context
from aperio_cli.errors import DONE, AperioError
from aperio_cli.errors.usage import Interrupted, UsageError
from aperio_cli.output import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.comparing import Difference
    from aperio_cli.models.offer import Offer
    from aperio_cli.models.plugin_id import PluginId, PluginRef
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.verifying.decide import AdmittedArtifact

_SENTENCES = {
    "updated": "updated to {after}, from {before}, which stays installed",
    "would_update": "would be updated to {after}, from {before}",
    "current": "is up to date at {before}",
    "left": "was left at {before}: it was installed from an artifact, not from a registry",
    "failed": "was left at {before}",
}


@dataclass(frozen=True, slots=True)
class _Wish:
    """What was asked for: of all, only to be shown, and who may follow another signer."""

    is_all: bool
    is_dry: bool
    accept_new_signer: str


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of one plugin.

    Attributes:
        id: which.
        before: the version that was used before; None when that is not known.
        outcome: a key of `_SENTENCES`.
        version: that is used now, or would be; None when that is not known.
        difference: between the two; None when nothing was to be changed.
        error: why not; None when there was no reason.
    """

    id: PluginId
    before: str | None
    outcome: str
    version: str | None
    difference: Difference | None = None
    error: AperioError | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "id": str(self.id),
            "before": self.before,
            "version": self.version,
            "outcome": self.outcome,
            "difference": self.difference.to_json() if self.difference else None,
            "error": self.error.to_json() if self.error else None,
        }

    def __str__(self) -> str:
        if self.before is None:
            return f"`{self.id}` was not updated"
        sentence = _SENTENCES[self.outcome].format(before=self.before, after=self.version)
        return f"`{self.id}` {sentence}"


@command(
    plugin,
    "plugin",
    "update",
    examples=[
        "aperio plugin update --all --dry-run",
        "aperio plugin update -y acme/hello-connector",
    ],
    is_for_linux=True,
)
def plugin_update(
    context: Context,
    plugins: Annotated[
        list[str] | None,
        argument(
            metavar="PLUGIN",
            help="Installed plugins; id@VERSION names a version.",
            values=installed,
        ),
    ] = None,
    *,
    every: Annotated[
        bool, option("--all", help="Every installed plugin that came from a registry.")
    ] = False,
    dry_run: Annotated[
        bool, option("--dry-run", help="Show what would change, and change nothing.")
    ] = False,
    accept_new_signer: Annotated[
        str, option(help="This identity may follow the installed version's signer.", metavar="ID")
    ] = "",
) -> Report:
    """Install newer versions; what changes is shown before, and more permissions are asked for.

    The version before stays installed: `plugin rollback` goes back to it. What runs goes on with
    the version that it was started with.
    """
    from aperio_cli.commands.plugin.cleaning import clean_cache
    from aperio_cli.models.plugin_id import PluginRef

    named = [PluginRef.parse(text) for text in plugins or ()]
    if bool(named) == every:
        raise UsageError(
            "nothing was updated: name plugins, or all of them with `--all`",
            next=["`aperio plugin update --all --dry-run` shows what there is"],
        )
    if accept_new_signer and len(named) != 1:
        raise UsageError(
            "`--accept-new-signer` goes with one plugin; nothing was updated",
            why="whom one plugin may change to is not asked of the others",
            next=["update them one by one"],
        )
    refs = list(_installed(context)) if every else named
    wish = _Wish(every, dry_run, accept_new_signer)
    if len(named) == 1:
        done = [_update(context, context.store.get(PluginRef(refs[0].id)), refs[0], wish)]
    else:
        done = [_one(context, ref, wish) for ref in refs]
    if not dry_run:
        clean_cache(context)
    errors = [each.error for each in done if each.error]
    text = [str(each) for each in done] or ["nothing is installed"]
    text += [context.output.format_finding(error) for error in errors]
    status = errors[0].exit_status if errors else DONE
    return Report({"plugins": [each.to_json() for each in done]}, "\n".join(text), (), status)


def _installed(context: Context) -> Iterator[PluginRef]:
    """Yield the plugins that are used here, of this store."""
    from aperio_cli.models.plugin_id import PluginRef

    seen = dict.fromkeys(plugin_id for plugin_id, _ in context.store.installed())
    for plugin_id in seen:
        try:
            is_used = context.store.used_version(plugin_id) in context.store.versions(plugin_id)
        except AperioError:  # whoever updates it says what is wrong, and goes on with the others
            is_used = True
        if is_used:
            yield PluginRef(plugin_id)


def _one(context: Context, ref: PluginRef, wish: _Wish) -> _Done:
    """Update one of several plugins; if it cannot be, that keeps nobody else from it."""
    from aperio_cli.models.origin import REGISTRY
    from aperio_cli.models.plugin_id import PluginRef

    before = None
    try:
        receipt = context.store.get(PluginRef(ref.id))
        before = receipt.version
        if wish.is_all and receipt.origin and receipt.origin.kind != REGISTRY:
            return _Done(ref.id, before, "left", before)
        return _update(context, receipt, ref, wish)
    except Interrupted:
        raise
    except AperioError as error:
        return _Done(ref.id, before, "failed", before, error=error)


def _update(context: Context, receipt: Receipt, ref: PluginRef, wish: _Wish) -> _Done:
    from aperio_cli.commands.plugin import installation, locking
    from aperio_cli.commands.plugin.arguments import verify_source

    with context.output.working(f"looking for a newer `{ref.id}`"):
        offer = locking.find_offer(context, ref)
    if not _is_newer(offer, receipt, ref):
        return _Done(ref.id, receipt.version, "current", receipt.version)
    seen: list[Difference] = []

    def show(admitted: AdmittedArtifact) -> None:
        seen.append(_shown(context, receipt, admitted))

    if wish.is_dry:
        with verify_source(context, offer) as admitted:
            show(admitted)
        return _Done(ref.id, receipt.version, "would_update", offer.version, seen[0])
    request = installation.request_for(context, wish.accept_new_signer)
    report = installation.install_found(context, offer, request, check=show)
    return _Done(ref.id, receipt.version, "updated", report.receipt.version, seen[0])


def _is_newer(offer: Offer, receipt: Receipt, ref: PluginRef) -> bool:
    """Return whether an offer is to be taken: the version that is named, or a higher one."""
    from aperio_cli.models.plugin_id import version_key

    if ref.version:
        return offer.version != receipt.version
    return version_key(offer.version) > version_key(receipt.version)


def _shown(context: Context, receipt: Receipt, admitted: AdmittedArtifact) -> Difference:
    """Return what changes, once it was shown."""
    from aperio_cli.commands.plugin.looking import told
    from aperio_cli.comparing import compare, look_at_admitted, look_at_installed

    before = look_at_installed(context.store, receipt)
    difference = compare(before, look_at_admitted(admitted, "registry"))
    for line in told(difference):
        context.output.note(line)
    return difference
