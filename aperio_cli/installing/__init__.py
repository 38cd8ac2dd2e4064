"""Stage 6, install: an admitted artifact becomes an installed version, and its receipt.

Everything is prepared aside: unpacked, compiled, listed; the receipt is written last. Then, under
the store's lock, one rename gives the version its place and one more makes it current, which is
the moment it counts as installed. Nothing of the plugin is executed.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aperio_cli import clock
from aperio_cli.archive import unpacking
from aperio_cli.errors.files import FilesChanged, FileTooLarge
from aperio_cli.errors.installing import ReceiptInvalid, SignerChanged, VersionChanged
from aperio_cli.errors.trust import ProvenanceMissing
from aperio_cli.files import tree as files_tree
from aperio_cli.files import writing
from aperio_cli.installing.bytecode import compile_tree
from aperio_cli.machine.interpreters import choose_interpreter, find_interpreters
from aperio_cli.models.evidence import ExceptionGranted, Verified, evidence_to_json, proof_of
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.models.policy import UNSIGNED
from aperio_cli.models.publisher import OWNER_ID, REPOSITORY_ID
from aperio_cli.models.receipt import (
    ATTESTATIONS_FILE_NAME,
    BUNDLE_FILE_NAME,
    FILE_NAME,
    FILES_FOLDER,
    MAX_BYTES,
    TREE_FILE_NAME,
    Precedent,
    Receipt,
)
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from aperio_cli.files.tree import FileRecord
    from aperio_cli.models.artifact import Interpreter
    from aperio_cli.models.policy import PolicyException
    from aperio_cli.models.proof import Attestation, Proof
    from aperio_cli.models.publisher import Signer
    from aperio_cli.store.installed import Store
    from aperio_cli.verifying.decide import AdmittedArtifact

__all__ = ["InstallReport", "InstallRequest", "find_interpreters", "install"]


@dataclass(frozen=True, slots=True)
class InstallRequest:
    """What the operator said about this installation.

    Attributes:
        interpreters: `[python] interpreters` of the configuration.
        accept_new_signer: who may follow the installed version's signer: an identity, of a CI
            build with its ref or without, or `unsigned`; empty accepts no change.
    """

    interpreters: tuple[str, ...] = ()
    accept_new_signer: str = ""


@dataclass(frozen=True, slots=True)
class InstallReport:
    """What installing did.

    Attributes:
        receipt: of the installed version, which is now the current one.
        replaced: the version that was current before; None when there was none, or the same.
        was_installed: whether the version was there already and nothing had to be unpacked.
    """

    receipt: Receipt
    replaced: str | None
    was_installed: bool

    def to_json(self) -> dict[str, Any]:
        """The report as the `data` of the JSON envelope."""
        receipt = self.receipt
        evidence, manifest = evidence_to_json(receipt.evidence), receipt.manifest.to_json()
        return {
            "id": str(receipt.id),
            "version": receipt.version,
            "kind": receipt.kind,
            "badge": receipt.badge,
            "signer": evidence["signer"],
            "exception": evidence["exception"],
            "exceptions": _as_json(receipt.exceptions),
            "proof": evidence["proof"],
            "artifact_sha256": receipt.artifact_digest.hex,
            "tree_digest": receipt.tree_digest,
            "permissions": manifest["permissions"],
            "scopes": manifest["scopes"],
            "folder": str(receipt.folder),
            "replaced": self.replaced,
            "was_installed": self.was_installed,
        }


def install(admitted: AdmittedArtifact, store: Store, request: InstallRequest) -> InstallReport:
    """Installs an admitted artifact and makes it the current version of its plugin.

    After any failure, an interrupt included, the store is as it was before.

    Raises:
        VersionChanged: this version is installed with other contents.
        SignerChanged: the installed version has another signer, and the change is not accepted.
        ProvenanceMissing: the installed version has provenance and this one has none, and the
            change is not accepted.
        ReceiptInvalid: the installed version's record is damaged, so neither can be known.
        InterpreterMissing: no Python on this machine fits.
        BytecodeFailed: its Python files could not be compiled within limits.
        ArchiveRefused: the artifact cannot be unpacked.
        PluginInUse: the same version is running, and had to be repaired.
        LockHeld: another process keeps the store locked.
        FolderNotPrivate: the home is a link or somebody else's.
        FileTooLarge: its record would be longer than a record may be.
        DiskFull: there is no space.
    """
    what = f"{admitted.subject} was not installed"
    with writing.disk_full_guard(what):
        installed = _installed(admitted, store, request)
        if installed is None:
            return _install_anew(admitted, store, request)
        before = store.current_version(installed.id)
        with store.lock(what):
            installed = store.get(PluginRef(installed.id, installed.version))
            store.make_current(installed.id, installed.version)
        return _report(installed, before, was_installed=True)


def check_replacement(admitted: AdmittedArtifact, store: Store) -> None:
    """Nothing, when `install` would put the artifact in the place of what is installed.

    Raises:
        VersionChanged, SignerChanged, ProvenanceMissing, ReceiptInvalid: as `install`.
    """
    _installed(admitted, store, InstallRequest())


def _report(receipt: Receipt, before: str | None, *, was_installed: bool) -> InstallReport:
    replaced = before if before != receipt.version else None
    return InstallReport(receipt, replaced, was_installed)


# ── what is installed already ─────────────────────────────────────────────────────────────────────


def _installed(admitted: AdmittedArtifact, store: Store, request: InstallRequest) -> Receipt | None:
    """The receipt of the same artifact, when it is installed and as good; None to go on.

    Raises:
        VersionChanged: this version is installed with other contents.
        SignerChanged: the installed version has another signer, and the change is not accepted.
        ProvenanceMissing: it has provenance, the offered one has none, and that is not accepted.
        ReceiptInvalid: the record of an installed version is damaged.
    """
    same = store.precedent(admitted.offer.id, admitted.offer.version)
    if same:
        _refuse_other_contents(same, admitted)
    current = _predecessor(admitted, store)
    if same and (receipt := _as_good(same, admitted, store)):
        if current and current.version != same.version:
            # It becomes the current version again, on the evidence in its record.
            _check_succession(current, proof_of(same.evidence), admitted, request)
        return receipt
    offered = proof_of(admitted.evidence)
    for before in (same, current):
        _check_succession(before, offered, admitted, request)
    return None


def _refuse_other_contents(same: Precedent, admitted: AdmittedArtifact) -> None:
    """Raise VersionChanged when the version is installed from another artifact."""
    if same.artifact_digest == admitted.artifact.digest:
        return
    raise VersionChanged(
        f"{admitted.subject} was not installed: this version is installed with other contents",
        why=f"installed {same.artifact_digest}\noffered   {admitted.artifact.digest}",
        next=[
            "ask its publisher why a released version was changed",
            f"to take the new contents, first `aperio plugin remove {same.id}@{same.version}`",
        ],
    )


def _as_good(same: Precedent, admitted: AdmittedArtifact, store: Store) -> Receipt | None:
    """Return the record of the installed version, when nothing would be better for being new.

    None when the record, the list of files or a file is damaged: installing repairs them.
    """
    try:
        receipt = store.get(PluginRef(same.id, same.version))
        if not _is_as_good(receipt, admitted):
            return None
        store.check(receipt)
    except (FilesChanged, ReceiptInvalid):
        return None
    return receipt


def _is_as_good(receipt: Receipt, admitted: AdmittedArtifact) -> bool:
    """Whether the installed version rests on the same evidence as the offered one, or better."""
    recorded, evidence = receipt.evidence, admitted.evidence
    if isinstance(evidence, ExceptionGranted):
        return isinstance(recorded, Verified) or recorded == evidence
    if not isinstance(recorded, Verified) or recorded.signer.lineage != evidence.signer.lineage:
        return False
    # As JSON: a record keeps neither the order of claims nor the file that states an exception.
    attested = _as_json(recorded.proof.attestations)
    is_all_attested = all(each in attested for each in _as_json(evidence.proof.attestations))
    # `list` shows these two from the record, so they have to be those of today's policy.
    lifted = _as_json(admitted.judgement.lifted)
    is_shown = receipt.badge == admitted.badge and _as_json(receipt.exceptions) == lifted
    return is_all_attested and is_shown


def _as_json(kept: Sequence[Attestation | PolicyException]) -> list[Mapping[str, object]]:
    return [each.to_json() for each in kept]


def _predecessor(admitted: AdmittedArtifact, store: Store) -> Precedent | None:
    """The installed version whose signer counts: the current one, else the highest."""
    plugin = admitted.offer.id
    version = store.current_version(plugin) or next(iter(store.versions(plugin)[::-1]), None)
    return store.precedent(plugin, version) if version else None


def _check_succession(
    before: Precedent | None,
    after: Proof | None,
    admitted: AdmittedArtifact,
    request: InstallRequest,
) -> None:
    """Provenance can rise, never fall (DESIGN, section 4, item 7)."""
    recorded = proof_of(before.evidence) if before else None
    if before is None or recorded is None:
        return
    accepted = {after.signer.name, after.signer.identity} if after else {UNSIGNED}
    if request.accept_new_signer in accepted:
        return
    if after is None or after.signer.lineage != recorded.signer.lineage:
        raise _signer_changed(before, recorded.signer, admitted, after.signer if after else None)
    if _has_provenance(recorded) and not _has_provenance(after):
        raise _provenance_fell(before, admitted, after.signer)


def _has_provenance(proof: Proof) -> bool:
    return any(attestation.provenance for attestation in proof.attestations)


def _signer_changed(
    before: Precedent, installed: Signer, admitted: AdmittedArtifact, offered: Signer | None
) -> SignerChanged:
    change = "somebody else signed it" if offered else "it is not signed"
    return SignerChanged(
        f"{admitted.subject} was not installed: {change}, unlike the installed {before.version}",
        why=f"installed {_shown(installed)}\noffered   {_shown(offered)}",
        next=[
            "ask its publisher, by another way, whether this is meant",
            f"if it is: {_accepting(offered)}",
        ],
    )


def _provenance_fell(
    before: Precedent, admitted: AdmittedArtifact, signer: Signer
) -> ProvenanceMissing:
    return ProvenanceMissing(
        f"{admitted.subject} was not installed: nothing signed says how it was built, unlike the"
        f" installed {before.version}",
        why=f"installed {before.version}, with SLSA provenance\n"
        f"offered   {admitted.offer.version}, with none",
        next=[
            "get its attestations (.intoto.jsonl) and put them beside the artifact",
            f"if its publisher says that this is meant: {_accepting(signer)}",
        ],
    )


def _accepting(signer: Signer | None) -> str:
    name = clean(signer.name) if signer else UNSIGNED
    return f"install it with `--accept-new-signer {shlex.quote(name)}`"


def _shown(signer: Signer | None) -> str:
    """The signer as messages show it: of a CI build the ids too, which a name does not tell."""
    if signer is None:
        return UNSIGNED
    stated = f"{signer.name} of {signer.issuer} ({signer.domain})"
    ids = [f"{key} {signer.claim(key)}" for key in (OWNER_ID, REPOSITORY_ID) if signer.claim(key)]
    return clean(", ".join([stated, *ids]))


# ── installing ────────────────────────────────────────────────────────────────────────────────────


def _install_anew(
    admitted: AdmittedArtifact, store: Store, request: InstallRequest
) -> InstallReport:
    manifest = admitted.artifact.manifest
    interpreter = None
    if manifest.runtime.language == "python":
        interpreter = choose_interpreter(
            manifest.runtime.tags, request.interpreters, subject=admitted.subject
        )
    what = f"{admitted.subject} was not installed"
    place = store.folder(manifest.id, manifest.version)
    with store.aside(what) as aside:
        prepared = aside / "version"
        prepared.mkdir(mode=0o700)
        tree = _unpack(admitted, prepared / FILES_FOLDER, place, interpreter)
        receipt = _write_records(admitted, prepared, place, (tree, interpreter))
        with store.lock(what):
            # Once more, now that nobody else can change the answer: another process may have
            # installed the same meanwhile, and somebody may be running it.
            there = _installed(admitted, store, request)
            before = store.current_version(manifest.id)
            if there is None:
                store.commit(prepared, manifest.id, manifest.version)
            else:
                receipt = there
                store.make_current(manifest.id, manifest.version)
    return _report(receipt, before, was_installed=there is not None)


def _unpack(
    admitted: AdmittedArtifact, destination: Path, place: Path, interpreter: Interpreter | None
) -> bytes:
    """Unpacks and compiles, and gives the contents of files.sha256."""
    unpacked = unpacking.unpack(admitted.content, destination, subject=admitted.subject)
    if not interpreter:
        return files_tree.format_tree(unpacked)  # they were digested on their way to the disk
    compile_tree(destination, place / FILES_FOLDER, interpreter, subject=admitted.subject)
    records = files_tree.list_tree(destination)
    _check_only_bytecode_is_new(unpacked, records, admitted.subject)
    return files_tree.format_tree(records)


def _check_only_bytecode_is_new(
    unpacked: Sequence[FileRecord], records: Sequence[FileRecord], subject: str
) -> None:
    """What was verified has to be what is installed, whatever the compiler was made to do.

    Raises:
        FilesChanged: names a file that compiling changed, removed or added.
    """
    new = set(records) - set(unpacked)
    odd = [record.path for record in new if not _is_bytecode(record.path)]
    odd += [record.path for record in set(unpacked) - set(records)]
    if odd:
        raise FilesChanged(
            f"{subject} was not installed: its files changed while they were compiled",
            why="\n".join(sorted(odd)[:5]),
            next=["find out who can write to this account"],
        )


def _is_bytecode(path: str) -> bool:
    return path.endswith(".pyc") and "__pycache__" in path.split("/")[:-1]


def _write_records(
    admitted: AdmittedArtifact,
    prepared: Path,
    place: Path,
    made: tuple[bytes, Interpreter | None],
) -> Receipt:
    """Writes files.sha256, bundle and attestations and, last, the receipt."""
    tree, interpreter = made
    writing.write_atomic(prepared / TREE_FILE_NAME, tree)
    if admitted.bundle is not None:
        writing.write_atomic(prepared / BUNDLE_FILE_NAME, admitted.bundle)
    if admitted.attestations is not None:
        writing.write_atomic(prepared / ATTESTATIONS_FILE_NAME, admitted.attestations)
    record = _receipt(admitted, place, files_tree.tree_digest(tree), interpreter).to_bytes()
    if len(record) > MAX_BYTES:
        raise FileTooLarge(
            f"{admitted.subject} was not installed: more is stated about it than a record may hold",
            why=f"expected at most {MAX_BYTES} bytes of manifest and attestations"
            f"\nfound    {len(record)}",
            next=["tell its publisher"],
        )
    writing.write_atomic(prepared / FILE_NAME, record)
    return Receipt.parse(record, place)  # as everybody else is going to read it


def _receipt(
    admitted: AdmittedArtifact, place: Path, tree_digest: str, interpreter: Interpreter | None
) -> Receipt:
    return Receipt(
        manifest=admitted.artifact.manifest,
        platform=str(admitted.artifact.platform),
        artifact_digest=admitted.artifact.digest,
        tree_digest=tree_digest,
        installed_at=clock.timestamp(),
        badge=admitted.badge,
        evidence=admitted.evidence,
        source=admitted.offer.location,
        interpreter=interpreter,
        folder=place,
        exceptions=admitted.judgement.lifted,
        index_serial=admitted.offer.index_serial,
    )
