"""Adds artifacts to a registry's source, after verifying them as an operator's machine would."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aperio_cli import clock
from aperio_cli.archive import reading
from aperio_cli.errors.installing import ManifestMismatch
from aperio_cli.errors.registries import PublishedVersionChanged
from aperio_cli.errors.trust import SignatureMissing
from aperio_cli.errors.usage import NotFound, UsageError
from aperio_cli.files import tree, writing
from aperio_cli.files.beneath import require_files
from aperio_cli.files.naming import as_path
from aperio_cli.models.address import is_address, shown
from aperio_cli.models.artifact import (
    ATTESTATIONS_SUFFIX,
    BUNDLE_SUFFIX,
    SUFFIX,
    artifact_name,
)
from aperio_cli.models.digest import Digest
from aperio_cli.models.evidence import Verified, proof_of
from aperio_cli.publishing.edition import stamp
from aperio_cli.publishing.pointing import IN_ONE_NETWORK, place_problem
from aperio_cli.publishing.record import PublishedArtifact, PublishedVersion, Record
from aperio_cli.publishing.recording import who_signed
from aperio_cli.publishing.source import RegistryFolder, open_source, version_folder
from aperio_cli.text import clean
from aperio_cli.verifying import (
    ADD,
    RemoteArtifact,
    VerifyRequest,
    verify_artifact,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from aperio_cli.models.artifact import Artifact
    from aperio_cli.models.manifest import Manifest
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.policy import Policy
    from aperio_cli.models.publisher import Signer
    from aperio_cli.proving.trusted_root import TrustedRootSource
    from aperio_cli.verifying.decide import AdmittedArtifact


@dataclass(frozen=True, slots=True)
class AddRequest:
    """What to add, and by which rules it is verified.

    Attributes:
        directory: the registry's source.
        what: an artifact, a folder of artifacts, or the https address of an artifact.
        policy: the maintainer's rules.
        roots: gives the trusted roots, in the order in which they are tried.
        machine: this machine's platform; artifacts for others can be added all the same.
        offline: whether nothing may be downloaded.
        is_left: whether the artifact stays at its address, which the record then states.
    """

    directory: Path
    what: str
    policy: Policy
    roots: Callable[[], Sequence[TrustedRootSource]]
    machine: Platform
    offline: bool = False
    is_left: bool = False


@dataclass(frozen=True, slots=True)
class Added:
    """One artifact that the registry has now.

    Attributes:
        id: the plugin.
        version: the version.
        artifact: as the record has it.
        was_there: whether it was there before, with the same bytes.
    """

    id: PluginId
    version: str
    artifact: PublishedArtifact
    was_there: bool

    def to_json(self) -> dict[str, object]:
        """Return the artifact as reports carry it."""
        return {
            "id": str(self.id),
            "version": self.version,
            "platform": str(self.artifact.platform),
            "sha256": self.artifact.digest.hex,
            "size": self.artifact.size_bytes,
            "was_there": self.was_there,
        }


def add(request: AddRequest) -> list[Added]:
    """Copy artifacts and their bundles into the registry, and record what was verified.

    All of them are verified before the first is copied.

    Raises:
        RegistrySourceInvalid: the folder is no registry, or a record is damaged.
        NotFound: there is no artifact.
        UsageError: it is to stay where it is, and that is nowhere that readers may be sent to.
        PublishedVersionChanged: the registry has the version with other contents; or artifacts of
            one version differ in what they declare, or in who signed them.
        ManifestMismatch: the file's name or the plugin's kind is not what it should be.
        SignatureMissing: an artifact has no bundle.
        AperioError: an artifact was not admitted (`verify_artifact` and its errors).
        FileNotRegular: a link stands in the registry where something is read or written, in the
            named folder in an artifact's place, or beside an artifact in its bundle's.
        DiskFull: there is no space.
    """
    with (
        open_source(request.directory) as registry,
        contextlib.ExitStack() as opened,
    ):
        place = _place_left(request, registry) if request.is_left else ""
        admitted = [opened.enter_context(_verified(each, request)) for each in _artifacts(request)]
        with registry.lock(), writing.disk_full_guard(f"nothing was added to `{registry.path}`"):
            for each in admitted:
                _refuse_change(registry, each)
            _refuse_mixture(registry, admitted)
            return [_add(registry, each, place) for each in admitted]


def _verified(source: Path | RemoteArtifact, request: AddRequest) -> AdmittedArtifact:
    admitted = verify_artifact(
        VerifyRequest(
            source=source,
            policy=request.policy,
            roots=request.roots,
            machine=request.machine,
            today=clock.now().date(),
            is_to_run_here=False,
            offline=request.offline,
            deed=ADD,
        )
    )
    try:
        _check_name(source, admitted)
    except ManifestMismatch:
        admitted.close()
        raise
    return admitted


def _check_name(source: Path | RemoteArtifact, admitted: AdmittedArtifact) -> None:
    expected = artifact_name(admitted.artifact.manifest, admitted.artifact.platform)
    if source.name != expected:
        raise ManifestMismatch(
            f"`{source}` was not added: its name is not what its manifest says",
            why=f"expected {expected}\nfound    {clean(source.name)}",
            next=["give it the name that `aperio plugin build` gave it"],
        )


# ── where artifacts come from ─────────────────────────────────────────────────────────────────────


def _artifacts(request: AddRequest) -> Sequence[Path | RemoteArtifact]:
    if is_address(request.what):
        return [RemoteArtifact.parse(request.what)]
    path = as_path(request.what)
    if not path.is_dir():
        return [path]
    found = sorted(path.glob(f"[!.]*{SUFFIX}"))
    if not found:
        raise NotFound(
            f"`{path}` holds no artifacts; nothing was added",
            why=f"looked for files that end in {SUFFIX}",
            next=["`aperio plugin build`", "name the folder it wrote to, usually dist"],
        )
    require_files(path, [each.name for each in found])
    return found


def _place_left(request: AddRequest, registry: RegistryFolder) -> str:
    """Return the address that an artifact stays at, as a record states it.

    Raises:
        UsageError: it is a file, or readers of the registry may not be sent there.
    """
    what = request.what
    is_plain = is_address(what) and "?" not in what and "#" not in what
    if not is_plain:
        problem = "expected the address of an artifact, without a query, which everybody reads"
    else:
        problem = place_problem(what, is_private=registry.edition().is_private)
    if problem:
        raise UsageError(
            f"`{shown(what)}` was not added: it cannot stay there",
            why=problem,
            next=[
                "leave `--by-url` out, which copies the artifact into the registry",
                "give it an https address that everybody reaches",
                IN_ONE_NETWORK,
            ],
        )
    return what


# ── writing ───────────────────────────────────────────────────────────────────────────────────────


def _refuse_change(registry: RegistryFolder, admitted: AdmittedArtifact) -> None:
    """Refuse what the registry has otherwise, and a link where the artifact would be written."""
    manifest, artifact = admitted.artifact.manifest, admitted.artifact
    for parts in _places(artifact):
        registry.root.mode(*parts)
    record = registry.record(manifest.id)
    if record and record.kind != manifest.kind:
        raise ManifestMismatch(
            f"{admitted.subject} was not added: a plugin does not change its kind",
            why=f"in the registry {record.kind}\noffered         {manifest.kind}",
            next=["publish it under another id"],
        )
    known = _known(record, admitted)
    if known and known.digest != artifact.digest:
        raise PublishedVersionChanged(
            f"{admitted.subject} was not added: the registry has this version with other contents",
            why=f"in the registry {known.digest}\noffered         {artifact.digest}",
            next=["give the new contents a new version"],
        )


def _refuse_mixture(registry: RegistryFolder, admitted: Sequence[AdmittedArtifact]) -> None:
    """Refuse artifacts of one version that do not declare the same, or are not of one signer.

    A record, and the registry's log, say both once for all platforms of a version: what one of them
    asks for beyond the others, nobody would be shown.
    """
    first: dict[tuple[PluginId, str], tuple[Manifest, Signer]] = {}
    for each in admitted:
        manifest, proof = each.artifact.manifest, proof_of(each.evidence)
        if proof is None:
            raise _unsigned(each)
        key = manifest.id, manifest.version
        if key not in first:
            record = registry.record(manifest.id)
            version = record.version(manifest.version) if record else None
            stated = (version.manifest, version.signer) if version else (manifest, proof.signer)
            first[key] = stated
        _refuse_another(each, *first[key], proof.signer)


def _refuse_another(
    admitted: AdmittedArtifact, manifest: Manifest, known: Signer, signer: Signer
) -> None:
    was, now = manifest.to_json(), admitted.artifact.manifest.to_json()
    lines = [
        f"{key}: {clean(was.get(key), limit=120)}, and here {clean(now.get(key), limit=120)}"
        for key in now
        if was.get(key) != now.get(key)
    ]
    if who_signed(known) != who_signed(signer):
        lines.append(f"signed by {clean(known.name)}, and this by {clean(signer.name)}")
    if lines:
        raise PublishedVersionChanged(
            f"{admitted.subject} was not added for {admitted.artifact.platform}:"
            " it differs from the version's other artifacts",
            why="\n".join(lines),
            next=["build and sign all artifacts of a version at once"],
        )


def _known(record: Record | None, admitted: AdmittedArtifact) -> PublishedArtifact | None:
    version = record.version(admitted.artifact.manifest.version) if record else None
    artifacts = version.artifacts if version else ()
    return next((a for a in artifacts if a.platform == admitted.artifact.platform), None)


def _add(registry: RegistryFolder, admitted: AdmittedArtifact, place: str) -> Added:
    manifest = admitted.artifact.manifest
    record = registry.record(manifest.id)
    known = _known(record, admitted)
    if known:
        return Added(manifest.id, manifest.version, known, was_there=True)
    published = _copy_in(registry, admitted, place)
    version = record.version(manifest.version) if record else None
    changed = _with_artifact(version, admitted, published)
    others = tuple(v for v in record.versions if v is not version) if record else ()
    registry.write_record(Record(manifest.id, manifest.kind, (changed, *others)))
    return Added(manifest.id, manifest.version, published, was_there=False)


def _copy_in(registry: RegistryFolder, admitted: AdmittedArtifact, place: str) -> PublishedArtifact:
    """Copy the very bytes that were verified, their bundle and their attestations.

    Args:
        registry: where to.
        admitted: what was verified.
        place: the address that the artifact stays at; it is not copied then.
    """
    artifact = admitted.artifact
    path, bundle, attestations_path = _places(artifact)
    registry.root.make_folders(*path[:-1])
    if not place:
        admitted.content.seek(0)
        with registry.root.aside_file(*path) as aside:
            shutil.copyfileobj(admitted.content, aside.file)
            aside.commit()
    registry.root.write_atomic(*bundle, data=_bundle(admitted))
    attestations = admitted.attestations
    if attestations is not None:
        registry.root.write_atomic(*attestations_path, data=attestations)
    return PublishedArtifact(
        artifact.platform,
        path[-1],
        artifact.digest,
        artifact.size,
        None if attestations is None else Digest.of(attestations),
        url=place,
        bundle=Digest.of(_bundle(admitted)),
        tree=_tree(admitted),
    )


def _tree(admitted: AdmittedArtifact) -> str:
    """Return the digest of the tree that the artifact unpacks to."""
    files = reading.walk(admitted.content, subject=admitted.subject)
    return tree.tree_digest(tree.format_tree(files))


def _places(artifact: Artifact) -> list[tuple[str, ...]]:
    """Return where the artifact, its bundle and its attestations are in the registry."""
    folder = version_folder(artifact.manifest.id, artifact.manifest.version)
    name = artifact_name(artifact.manifest, artifact.platform)
    return [(*folder, name + suffix) for suffix in ("", BUNDLE_SUFFIX, ATTESTATIONS_SUFFIX)]


def _bundle(admitted: AdmittedArtifact) -> bytes:
    if admitted.bundle is None:
        raise _unsigned(admitted)
    return admitted.bundle


def _unsigned(admitted: AdmittedArtifact) -> SignatureMissing:
    return SignatureMissing(
        f"{admitted.subject} was not added: it is not signed",
        next=["sign it: `aperio plugin sign ARTIFACT`"],
    )


def _with_artifact(
    version: PublishedVersion | None, admitted: AdmittedArtifact, published: PublishedArtifact
) -> PublishedVersion:
    if version:
        artifacts = sorted((*version.artifacts, published), key=lambda each: each.platform)
        return replace(version, artifacts=tuple(artifacts))
    if not isinstance(admitted.evidence, Verified):
        raise _unsigned(admitted)
    return PublishedVersion(
        version=admitted.artifact.manifest.version,
        added_at=stamp(),
        signer=admitted.evidence.signer,
        manifest=admitted.artifact.manifest,
        artifacts=(published,),
    )
