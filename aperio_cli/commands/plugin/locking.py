"""What a lock file names, found and installed: by the store, by its registry, by its file."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli import clock
from aperio_cli.commands.plugin.arguments import find_source
from aperio_cli.commands.plugin.installation import install_found
from aperio_cli.errors.files import FilesChanged, InsecureUrl
from aperio_cli.errors.installing import LockFileDiffers, LockFileMissing, ReceiptInvalid
from aperio_cli.files.naming import names_path, parse_ref
from aperio_cli.installing import use_again
from aperio_cli.installing.keeping import Kept, check_builds, frozen_ref, is_locked
from aperio_cli.models.address import Place, is_address, shown
from aperio_cli.models.offer import Offer
from aperio_cli.models.origin import FILE, REGISTRY, Build
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.net.fetch import place_of_url
from aperio_cli.verifying import RemoteArtifact
from aperio_cli.verifying.decide import check_receipt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aperio_cli.commands.plugin.installation import Stated
    from aperio_cli.context import Context
    from aperio_cli.installing import InstallReport, InstallRequest
    from aperio_cli.models.lock_file import Locked
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.verifying.decide import AdmittedArtifact


def locked_entries(context: Context) -> tuple[Locked, ...]:
    """Return what the lock file in force names.

    Raises:
        LockFileMissing: there is none.
        LockFileInvalid, RecordNewer: it cannot be read.
    """
    place = context.store.lock_file
    found = place.read()
    if found is None:
        raise LockFileMissing(
            "nothing was installed: there is no lock file",
            why=f"looked for {place.path}",
            next=[
                "name a plugin, an artifact or its address: `aperio plugin install PLUGIN`",
                "stand in the folder whose lock file is meant, or name it with `--lock FILE`",
            ],
        )
    return found.entries


def install_named(
    context: Context, source: str, request: InstallRequest, stated: Stated
) -> tuple[InstallReport, Offer | None]:
    """Install what is named; of an id, with `--locked`, what the lock file has of it.

    Returns:
        The offer that was taken, too; None for an artifact, and for what was there.
    """
    if entry := find_frozen(context, source):
        return restore(context, entry, request)
    with context.output.working(f"looking for `{source}`"):
        found = find(context, source)
    report = install_found(context, found, request, stated)
    return report, found if isinstance(found, Offer) else None


def finders(context: Context, sources: Sequence[str]) -> list[Callable[[], object]]:
    """Return what finds each plugin that has to be downloaded, as it is found when installed.

    Args:
        context: gives lock file and registries.
        sources: what was named; nothing for what the lock file names.
    """
    if sources:
        ids = [each for each in sources if not (is_address(each) or _is_path(context, each))]
        return [] if context.is_frozen else [functools.partial(find, context, each) for each in ids]
    versions = context.store.versions
    return [
        functools.partial(find_locked, context, entry)
        for entry in locked_entries(context)
        if entry.origin.kind == REGISTRY and entry.version not in versions(entry.id)
    ]


def restore(
    context: Context, entry: Locked, request: InstallRequest
) -> tuple[InstallReport, Offer | None]:
    """Use what a lock file names: what is installed, without any network, else from its origin."""
    if report := reuse(context, entry, request):
        return report, None
    with context.output.working(f"looking for `{entry.id}` {entry.version}"):
        found = find_locked(context, entry)
    check = functools.partial(require_named, entry)
    report = install_found(context, found, request, check=check)
    return report, found if isinstance(found, Offer) else None


def kept_of(context: Context, plugin: PluginId) -> Kept:
    """Return what the lock file in force says of a plugin."""
    store = context.store
    return Kept(store.lock_file.path, store.locked(plugin), store.is_frozen)


def find_frozen(context: Context, source: str) -> Locked | None:
    """Return what the lock file has of an id, where nothing else may be installed.

    Raises:
        LockFileMissing: there is none.
        LockFileOutdated: it names another version of it, or none.
    """
    if not context.is_frozen:
        return None
    locked_entries(context)
    if is_address(source) or _is_path(context, source):
        return None
    ref = parse_ref(source)
    kept = kept_of(context, ref.id)
    frozen_ref(ref, kept)
    return kept.entry


def find(context: Context, source: str) -> Offer | Path | RemoteArtifact:
    """Return what was named, as `find_source` does; of an id by what the lock file says of it.

    Raises:
        LockFileDiffers: its registry offers something else under the version that is locked.
        AperioError: as `find_source`.
    """
    if is_address(source) or _is_path(context, source):
        return find_source(context, source)
    return find_offer(context, parse_ref(source))


def _is_path(context: Context, source: str) -> bool:
    return names_path(source, context.is_installed)


def find_offer(context: Context, ref: PluginRef) -> Offer:
    """Return what the registry offers under a reference, by what the lock file says of it.

    Raises:
        LockFileDiffers: it is something else than what is locked of that version.
        AperioError: as `Registry.resolve`.
    """
    if ref.version is None:  # the newest: `installing` asks in time whether that is locked
        return context.registry.resolve(ref, context.situation)
    return _offer(context, ref, kept_of(context, ref.id))


def _offer(context: Context, ref: PluginRef, kept: Kept) -> Offer:
    is_pinned = kept.entry is not None and ref.version == kept.entry.version
    situation = replace(context.situation, is_pinned=is_pinned)
    offer = context.registry.resolve(ref, situation)
    if offer.digest and offer.version not in context.store.versions(offer.id):
        own = Build(offer.platform, offer.digest)
        check_builds(kept, offer.id, offer.version, (own, *offer.builds))  # before it is downloaded
    return offer


def find_locked(context: Context, entry: Locked) -> Offer | Path | RemoteArtifact:
    """Return where a lock file says that a version comes from.

    Raises:
        LockFileDiffers: its registry offers something else under this version.
        InsecureUrl: a lock file that was found here leads to this machine.
        AperioError: it is not there any more.
    """
    if entry.origin.kind == REGISTRY:
        ref = PluginRef(entry.id, entry.version)
        return _offer(context, ref, kept_of(context, entry.id))
    if entry.origin.kind == FILE:
        return Path(entry.origin.place)
    _refuse_leading_here(context, entry)
    return RemoteArtifact.parse(entry.origin.place)


def _refuse_leading_here(context: Context, entry: Locked) -> None:
    """Refuse a folder's lock file, which came with the folder, that has this machine ask itself.

    Raises:
        InsecureUrl: it does, or does not say plainly whom to ask.
    """
    place = context.store.lock_file
    if not place.is_found or place_of_url(entry.origin.place) is Place.ELSEWHERE:
        return
    raise InsecureUrl(
        f"`{entry.id}` {entry.version} was not fetched: the lock file here leads to this machine",
        why=f"{place.path} names {shown(entry.origin.place)}\n"
        "a lock file that was found in a folder may have come with it",
        next=[
            "see in version control who wrote that",
            f"if it is yours, say so: `aperio plugin install --lock {place.path}`",
        ],
    )


def reuse(context: Context, entry: Locked, request: InstallRequest) -> InstallReport | None:
    """Use what is installed when it is what the lock file names; None when it has to be had.

    Raises:
        Refusal: the policy does not allow it any more, or a registry has revoked it.
        LockFileDiffers: it is installed with other contents.
        AperioError: as `installing.use_again`.
    """
    receipt = _installed(context, entry)
    if receipt is None or not is_locked(receipt, kept_of(context, entry.id), context.platform):
        return None
    check_receipt(
        receipt, context.policy, today=clock.now().date(), outcome="was not installed"
    )  # it may have been revoked since, which the machine may know
    try:
        context.store.check(receipt)
    except (FilesChanged, ReceiptInvalid):
        return None
    return use_again(receipt, context.store, request)


def _installed(context: Context, entry: Locked) -> Receipt | None:
    """Return the record of the locked version in this store, not in the system's."""
    if entry.version not in context.store.versions(entry.id):
        return None
    with contextlib.suppress(ReceiptInvalid):  # it has to be had again
        return context.store.find(PluginRef(entry.id, entry.version))
    return None


def require_named(entry: Locked, admitted: AdmittedArtifact) -> None:
    """Require that a file, or an address, still holds what a lock file names.

    Raises:
        LockFileDiffers: it holds something else.
    """
    found = admitted.offer
    if (found.id, found.version) != (entry.id, entry.version):
        raise LockFileDiffers(
            f"`{entry.id}` {entry.version} was not installed: something else is where it was",
            why=f"locked {entry.id} {entry.version}"
            f"\nfound  {found.id} {found.version} in {found.source}",
            next=["put the artifact of that version back, or install what is there by its name"],
        )
