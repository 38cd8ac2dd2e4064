"""Stage 6, install: an admitted artifact becomes an installed version, and its receipt.

What is there is read once, whether the artifact may follow it is decided (`succession`), and the
version is prepared aside (`preparing`). Then, under the store's lock, what is there is read and
decided once more, one rename gives the version its place and one more makes it current, which is
the moment it counts as installed. Nothing of the plugin is executed.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aperio_cli.errors.files import FilesChanged, LockHeld
from aperio_cli.errors.installing import ReceiptInvalid
from aperio_cli.files import writing
from aperio_cli.installing.granting import Asking, asking_again, asking_of
from aperio_cli.installing.keeping import Kept, check_kept
from aperio_cli.installing.preparing import Terms, prepare, record
from aperio_cli.installing.succession import (
    NOT_INSTALLED,
    WOULD_NOT,
    Follows,
    Same,
    decide_succession,
    find_same,
)
from aperio_cli.machine.interpreters import choose_interpreter, fits_all
from aperio_cli.models.evidence import evidence_to_json
from aperio_cli.models.ownership import is_installed_owner
from aperio_cli.models.plugin_id import PluginRef

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aperio_cli.installing.preparing import Prepared
    from aperio_cli.models.artifact import Interpreter
    from aperio_cli.models.grant import Grant
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.store.installed import Standing, Store
    from aperio_cli.verifying.decide import AdmittedArtifact

__all__ = [
    "Asking",
    "InstallReport",
    "InstallRequest",
    "check_replacement",
    "install",
    "use_again",
]


@dataclass(frozen=True, slots=True)
class InstallRequest:
    """The operator's word on this installation.

    Attributes:
        interpreters: `[python] interpreters` of the configuration.
        accept_new_signer: who may follow the installed version's signer: an identity, of a CI
            build with its ref or without, or `unsigned`; empty accepts no change. Who is accepted
            gets the stored state of whom they follow.
        consent: is asked for what a version asks beyond the grant that it goes on with, before
            anything is changed; what it raises stops the installation.
        kept_owners: gives the owners of what is stored under a plugin's id, the latest first; asked
            only when a new signer is accepted, and before anything is changed.
        unfit: says why plugins cannot run on an interpreter; empty: they can.
    """

    interpreters: tuple[str, ...] = ()
    accept_new_signer: str = ""
    consent: Callable[[Asking], None] = lambda _asking: None
    kept_owners: Callable[[PluginId], Sequence[str]] = lambda _plugin: ()
    unfit: Callable[[Interpreter], str] = fits_all


@dataclass(frozen=True, slots=True)
class InstallReport:
    """The outcome of an installation.

    Attributes:
        receipt: of the installed version, which is now the current one.
        replaced: the version that was current before; None when there was none, or the same.
        was_installed: whether the version was there already and nothing had to be unpacked.
        repaired: whether the same version was there already, and its files or its record damaged.
    """

    receipt: Receipt
    replaced: str | None
    was_installed: bool
    repaired: bool

    def to_json(self) -> dict[str, Any]:
        """Return the report as the `data` of the JSON envelope."""
        receipt = self.receipt
        evidence, manifest = evidence_to_json(receipt.evidence), receipt.manifest.to_json()
        return {
            "id": str(receipt.id),
            "version": receipt.version,
            "kind": receipt.kind,
            "badge": receipt.badge,
            "signer": evidence["signer"],
            "exception": evidence["exception"],
            "exceptions": [each.to_json() for each in receipt.exceptions],
            "proof": evidence["proof"],
            "artifact_sha256": receipt.artifact_digest.hex,
            "tree_digest": receipt.tree_digest,
            "permissions": manifest["permissions"],
            "scopes": manifest["scopes"],
            "grant": receipt.grant.to_json(),
            "folder": str(receipt.folder),
            "state_owner": receipt.state_owner,
            "replaced": self.replaced,
            "was_installed": self.was_installed,
            "repaired": self.repaired,
        }


def install(admitted: AdmittedArtifact, store: Store, request: InstallRequest) -> InstallReport:
    """Install an admitted artifact and make it the current version of its plugin.

    After any failure, an interrupt included, the store is as it was before.

    Raises:
        LockFileDiffers: the lock file has this version with other contents, or of another signer.
        LockFileOutdated: the lock file would have to change, and must not.
        VersionChanged: this version is installed with other contents.
        SignerChanged: the installed version has another signer, and the change is not accepted.
        ProvenanceMissing: the installed version has provenance and this one has none, and the
            change is not accepted.
        ReceiptInvalid: the installed version's record is damaged, so neither can be known.
        InterpreterMissing: no Python on this machine fits.
        BytecodeFailed: its Python files could not be compiled within limits.
        ArchiveRefused: the artifact cannot be unpacked.
        PluginInUse: the same version is running, and had to be repaired.
        NotInstalled: the same version was installed, and somebody removed it at this moment.
        LockHeld: another process keeps the store locked.
        FolderNotPrivate: the home is a link or somebody else's.
        FileTooLarge: its record would be longer than a record may be.
        DiskFull: there is no space.
        AperioError: what `request.consent` raises.
    """
    what = f"{admitted.subject} was not installed"
    with writing.disk_full_guard(what), contextlib.ExitStack() as cleanup:
        before = _standing(admitted, store)
        step = _decide(before, admitted, store, request)
        _check_kept(before, admitted, store, request)
        prepared, asking = None, None
        if isinstance(step, Follows):
            asking = asking_of(admitted, before, store)
            if asking.added:
                request.consent(asking)
            interpreter = _interpreter(admitted, request)
            aside = cleanup.enter_context(store.aside(what))
            folder = aside / "version"
            terms = Terms(interpreter, step.state_owner, asking.grant)
            prepared = prepare(admitted, folder, before.place, terms)
        elif (again := asking_again(step.receipt, before.current, store)).added:
            request.consent(again)
        cleanup.enter_context(store.lock(what))
        now = _standing(admitted, store)
        if now != before:
            # Once more, as nobody else can change the answer now: another process may have
            # installed the same meanwhile, and somebody may be running it.
            step = _decide(now, admitted, store, request)
        _check_kept(now, admitted, store, request)
        grant = _grant_now(asking, asking_of(admitted, now, store), what)
        receipt = _commit(step, prepared, admitted, store, grant)
    return InstallReport(
        receipt,
        replaced=now.current if now.current != receipt.version else None,
        was_installed=isinstance(step, Same),
        repaired=isinstance(step, Follows) and step.repairs,
    )


def use_again(receipt: Receipt, store: Store, request: InstallRequest) -> InstallReport:
    """Use a version that is installed already, once the operator agrees to what it may do.

    Raises:
        NotInstalled, ReceiptInvalid: it has gone meanwhile, or is damaged.
        LockHeld: another process keeps the store locked.
        RecordNewer, LockFileInvalid, DiskFull, OSError: as `Store.use`.
        AperioError: what `request.consent` raises.
    """
    ref = PluginRef(receipt.id, receipt.version)
    used = store.used_version(receipt.id)
    asking = asking_again(receipt, used, store)
    if asking.added:
        request.consent(asking)
    with store.lock(f"`{receipt.id}` {receipt.version} was not installed"):
        found = store.get(ref)
        store.use(receipt.id, receipt.version)
    replaced = used if used != receipt.version else None
    return InstallReport(found, replaced, was_installed=True, repaired=False)


def _check_kept(
    before: Standing, admitted: AdmittedArtifact, store: Store, request: InstallRequest
) -> None:
    """Check that it is what the lock file says; whom an installed version allows, that allows."""
    entry = store.locked(admitted.offer.id)
    kept = Kept(store.lock_file.path, entry, store.is_frozen, is_known=before.same is not None)
    check_kept(kept, admitted, request.accept_new_signer)


def check_replacement(admitted: AdmittedArtifact, store: Store) -> None:
    """Check that `install` would put the artifact in the place of what is installed.

    Raises:
        VersionChanged, SignerChanged, ProvenanceMissing, ReceiptInvalid: as `install`.
    """
    _decide(_standing(admitted, store), admitted, store, InstallRequest(), WOULD_NOT)


def _standing(admitted: AdmittedArtifact, store: Store) -> Standing:
    return store.standing(admitted.offer.id, admitted.offer.version)


def _decide(
    before: Standing,
    admitted: AdmittedArtifact,
    store: Store,
    request: InstallRequest,
    outcome: str = NOT_INSTALLED,
) -> Same | Follows:
    """Return what is decided of what is there; files count that are those of their installation."""
    same = find_same(before, admitted)
    if same and not _is_whole(same, store):
        before = before.damaged()
    accepted = request.accept_new_signer
    kept = request.kept_owners(admitted.offer.id) if accepted else ()
    of_installed = tuple(filter(is_installed_owner, kept))
    return decide_succession(before, admitted, accepted, of_installed, outcome)


def _is_whole(installed: Receipt, store: Store) -> bool:
    try:
        store.check(installed)
    except (FilesChanged, ReceiptInvalid):
        return False
    return True


def _interpreter(admitted: AdmittedArtifact, request: InstallRequest) -> Interpreter | None:
    runtime = admitted.artifact.manifest.runtime
    if runtime.language != "python":
        return None
    return choose_interpreter(
        runtime.tags, request.interpreters, subject=admitted.subject, unfit=request.unfit
    )


def _grant_now(agreed: Asking | None, now: Asking, what: str) -> Grant:
    """Return what is granted by what is there now, when no more was to be agreed to than was.

    Raises:
        LockHeld: somebody has taken permissions meanwhile.
    """
    if agreed and not set(now.added) <= set(agreed.added):
        raise LockHeld(
            f"{what}: what is granted to its plugin was changed at this moment",
            next=["run the same command again"],
        )
    return now.grant


def _commit(
    step: Same | Follows,
    prepared: Prepared | None,
    admitted: AdmittedArtifact,
    store: Store,
    grant: Grant,
) -> Receipt:
    """Make it so, and return the receipt of the version that is the current one now.

    Raises:
        NotInstalled: nothing was prepared, as it was there, and somebody removed it since.
    """
    plugin, version = admitted.offer.id, admitted.offer.version
    if isinstance(step, Same):
        store.use(plugin, version)
        return step.receipt
    if prepared is None:
        raise store.not_installed(PluginRef(plugin, version))
    receipt = replace(prepared.receipt, state_owner=step.state_owner, grant=grant)
    if receipt != prepared.receipt:  # something was installed or granted meanwhile
        prepared = record(admitted, prepared.folder, receipt)
    store.commit(prepared.folder, plugin, version)
    return prepared.receipt
