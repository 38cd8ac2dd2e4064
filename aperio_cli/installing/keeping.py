"""Decides whether what is to be installed is what the lock file says; pure.

A lock file is memory: the digest of every platform's artifact, and who signed it. What differs from
it under the same version was changed by somebody, and nobody here knows by whom. Another version
may be taken, unless the lock file has to stay as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.errors.installing import LockFileDiffers, LockFileOutdated
from aperio_cli.models.evidence import proof_of
from aperio_cli.models.origin import Build
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from aperio_cli.models.lock_file import Locked
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.publisher import Signer
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.verifying.decide import AdmittedArtifact


@dataclass(frozen=True, slots=True)
class Kept:
    """What a lock file says of a plugin, and whether that may change.

    Attributes:
        path: the lock file, for messages.
        entry: what it says; None when that is nothing.
        is_frozen: whether it has to stay as it is (`--locked`).
        is_known: whether the version is installed, so that its record says who may follow.
    """

    path: Path
    entry: Locked | None
    is_frozen: bool = False
    is_known: bool = False


def check_kept(kept: Kept, admitted: AdmittedArtifact, accepted_signer: str = "") -> None:
    """Check that an artifact is what the lock file says, where that says something of its version.

    Args:
        kept: what it says.
        admitted: the artifact.
        accepted_signer: who may follow another signer, by the operator's word.

    Raises:
        LockFileDiffers: the bytes of a platform, or their signer, are others.
        LockFileOutdated: the lock file would have to change, and must not.
    """
    own = Build(admitted.artifact.platform, admitted.artifact.digest, admitted.artifact.size)
    check_builds(kept, admitted.offer.id, admitted.offer.version, (own, *admitted.offer.builds))
    entry = kept.entry
    proof = proof_of(admitted.evidence)
    signer = proof.signer if proof else None
    if entry is None or entry.version != admitted.offer.version or kept.is_known:
        return
    if entry.is_signed_by(signer) or (entry.signer is None and not kept.is_frozen):
        return  # proof may come where there was none
    accepted = {signer.name, signer.identity} if signer else {"unsigned"}
    if accepted_signer in accepted and not kept.is_frozen:
        return
    raise LockFileDiffers(
        f"{admitted.subject} was not installed: somebody else signed it than the lock file says",
        why=f"locked  {_shown(entry.signer)}, in {kept.path}\noffered {_shown(signer)}",
        next=[
            "ask its publisher, by another way, whether this is meant",
            "if it is: install it with `--accept-new-signer ID`",
        ],
    )


def check_builds(kept: Kept, plugin: PluginId, version: str, builds: Iterable[Build]) -> None:
    """Check that artifacts of a version have the digests that the lock file has.

    Args:
        kept: what it says.
        plugin: the plugin.
        version: the version.
        builds: what is offered of it; that of this machine is the first.

    Raises:
        LockFileDiffers: one has another.
        LockFileOutdated: the lock file would have to change, and must not.
    """
    entry, offered = kept.entry, list(builds)
    subject = f"`{plugin}` {version}"
    if entry is None or entry.version != version:
        if kept.is_frozen:
            locked = entry.version if entry else "no version of it"
            raise _outdated(subject, f"it names {locked}", kept, f"{plugin}@{version}")
        return
    for build in offered:
        locked_build = entry.build(build.platform)
        if locked_build and locked_build.digest != build.digest:
            raise _differs(subject, kept, locked_build, build)
    if kept.is_frozen and offered and entry.build(offered[0].platform) is None:
        why = f"it has no digest of its artifact for {offered[0].platform}"
        raise _outdated(subject, why, kept, f"{plugin}@{version}")


def frozen_ref(ref: PluginRef, kept: Kept) -> PluginRef:
    """Return which version the lock file names of a plugin that is to be installed by it.

    Raises:
        LockFileOutdated: none, or another than was asked for.
    """
    entry = kept.entry
    if entry and ref.version in {None, entry.version}:
        return PluginRef(ref.id, entry.version)
    stated = f"it names {entry.version if entry else 'no version of it'}"
    raise _outdated(f"`{ref}`", stated, kept, str(ref))


def is_locked(receipt: Receipt, kept: Kept, platform: Platform) -> bool:
    """Return whether an installed version is the one of the lock file, byte for byte.

    Raises:
        LockFileDiffers: it is that version with other contents, or of another signer.
    """
    entry = kept.entry
    if entry is None or receipt.version != entry.version:
        return False
    subject = f"`{receipt.id}` {receipt.version}"
    build = entry.build(platform)
    if build is None:
        return False
    found = Build(platform, receipt.artifact_digest)
    if build.digest != found.digest:
        raise _differs(subject, kept, build, found, installed=True)
    proof = proof_of(receipt.evidence)
    return entry.is_signed_by(proof.signer if proof else None)


def _outdated(subject: str, stated: str, kept: Kept, named: str) -> LockFileOutdated:
    return LockFileOutdated(
        f"{subject} was not installed: the lock file would have to change",
        why=f"{kept.path}: {stated}; `--locked` keeps it as it is",
        next=[f"`aperio plugin install {named}` without `--locked`, and keep what it writes"],
    )


def _differs(
    subject: str, kept: Kept, locked: Build, found: Build, *, installed: bool = False
) -> LockFileDiffers:
    side = "installed" if installed else "offered  "
    whose = subject.replace("`", "").replace(" ", "@")
    removing = f"`aperio plugin remove {whose}`, then run the same command again"
    return LockFileDiffers(
        f"{subject} was not installed: the lock file has other contents of this version",
        why=f"locked    {locked.digest} for {locked.platform}, in {kept.path}"
        f"\n{side} {found.digest}",
        next=[
            removing if installed else "ask its publisher why a released version was changed",
            "see in version control who changed the lock file, and when",
        ],
    )


def _shown(signer: Signer | None) -> str:
    return clean(f"{signer.name} of {signer.issuer} ({signer.domain})") if signer else "nobody"
