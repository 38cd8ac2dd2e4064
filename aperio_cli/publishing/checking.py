"""Checks that a built registry is whole: every document, bundle and artifact is what is stated."""

from __future__ import annotations

import contextlib
import hashlib
import stat
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from aperio_cli import clock
from aperio_cli.errors import AperioError, Refusal
from aperio_cli.errors.registries import RegistryDamaged
from aperio_cli.files.beneath import Beneath
from aperio_cli.models.artifact import MAX_ATTESTATIONS_BYTES, MAX_BUNDLE_BYTES
from aperio_cli.models.digest import Digest
from aperio_cli.models.publisher import RESERVED_DOMAINS
from aperio_cli.models.registry.advisories import parse_advisories
from aperio_cli.models.registry.catalogue import parse_catalogue
from aperio_cli.models.registry.documents import (
    ADVISORIES_FILE,
    CATALOGUE_FILE,
    PUBLISHERS_FILE,
    ROOT_BOUNDS,
    ROOT_FILE,
    SCHEMAS_FOLDER,
    FileRef,
    mirrored_path,
    plugin_path,
    shard_path,
)
from aperio_cli.models.registry.log_entry import artifact_entry
from aperio_cli.models.registry.plugin_file import (
    PluginArtifact,
    PluginFile,
    PluginVersion,
    parse_plugin_file,
)
from aperio_cli.models.registry.publishers import parse_publishers
from aperio_cli.models.registry.root import parse_root
from aperio_cli.models.registry.shard import parse_shard
from aperio_cli.models.registry_index import FILE_NAME, RegistryIndex
from aperio_cli.models.tlog.merkle import ProofInvalid
from aperio_cli.models.tlog.note import NoteInvalid
from aperio_cli.models.tlog.proof import MAX_PROOF_BYTES, LogProof
from aperio_cli.models.tlog.proof import SUFFIX as PROOF_SUFFIX
from aperio_cli.proving.moments import is_ahead
from aperio_cli.proving.signature import check_bundle, verify_signature
from aperio_cli.publishing.output import BUILT, ROOT_BUNDLE
from aperio_cli.publishing.rendering import signer_stated
from aperio_cli.publishing.serving import built_folder
from aperio_cli.publishing.source import is_source, typed
from aperio_cli.publishing.steps import sign_step
from aperio_cli.registry.log import LOG
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.publisher import Signer
    from aperio_cli.models.registry.log_entry import ArtifactEntry
    from aperio_cli.models.registry.root import Root
    from aperio_cli.proving.trusted_root import TrustedRootSource

_CHUNK_BYTES: Final = 1024 * 1024
_SHOWN: Final = 20
_NOT_HERE: Final = "://"


@dataclass(frozen=True, slots=True)
class Checked:
    """A registry that is whole.

    Attributes:
        folder: what was checked.
        root: what its root states.
        signer: who signed the root.
        plugins: how many plugins.
        files: how many files were read.
        left_out: how many plugins of the registry a mirror does not have.
    """

    folder: Path
    root: Root
    signer: Signer
    plugins: int
    files: int
    left_out: int = 0


def check_registry(
    directory: Path, roots: Sequence[TrustedRootSource], *, is_mirror: bool = False
) -> Checked:
    """Return what was checked of a built registry, when all of it is as it has to be.

    Args:
        directory: a built registry, or a source whose `public` folder is one.
        roots: the trusted roots of this machine, for the root's signature.
        is_mirror: whether plugins and artifacts may be missing, as those that were not chosen.

    Raises:
        RegistrySourceInvalid: there is no built registry in the folder.
        RegistryDamaged: something is missing, or not what is stated; or the root has ended, or is
            not signed.
        IndexUnreadable, IndexVersionUnknown: its registry.json is none.
        FileNotRegular: a link stands in the place of something.
        OSError: something may not be read.
    """
    folder = directory.joinpath(*built_folder(directory, "was not verified"))
    with Beneath(folder) as built:
        try:
            data = built.read(ROOT_FILE, limit_bytes=ROOT_BOUNDS.size_bytes)
        except FileNotFoundError as error:
            missing = [f"{ROOT_FILE}: it is not there"]
            raise _damaged(directory, folder, missing, roots) from error
        root = parse_root(data, where=str(folder / ROOT_FILE))
        checking = _Checking(built, root, roots, is_mirror)
        signer = checking.check_root(data)
        plugins = checking.check_plugins()
        checking.check_views(plugins)
        checking.check_others()
    if checking.findings or signer is None:
        raise _damaged(directory, folder, checking.findings, roots)
    left_out = checking.left_out
    return Checked(folder, root, signer, len(plugins) - left_out, checking.files, left_out)


@dataclass(slots=True)
class _Checking:
    """One check on its way.

    Attributes:
        built: the registry.
        root: its root.
        roots: the trusted roots of this machine.
        is_mirror: whether it has some plugins only.
        left_out: how many plugins it does not have.
        findings: what is wrong, one line each.
        files: how many files were read.
        named: paths that something states.
    """

    built: Beneath
    root: Root
    roots: Sequence[TrustedRootSource]
    is_mirror: bool
    left_out: int = 0
    findings: list[str] = field(default_factory=list)
    files: int = 0
    named: set[str] = field(default_factory=set)

    def check_root(self, data: bytes) -> Signer | None:
        """Return who signed the root."""
        if clock.format_timestamp(clock.now()) > self.root.expires_at:
            self._find(ROOT_FILE, f"it ended on {self.root.expires_at}")
        if is_ahead(datetime.fromisoformat(self.root.updated_at), clock.now()):
            # Whoever dates an edition ahead moves its end as far, and that of all that follow.
            self._find(ROOT_FILE, f"it was made on {self.root.updated_at}, which is yet to come")
        bundle = self._read(ROOT_BUNDLE, MAX_BUNDLE_BYTES)
        if bundle is None:
            return None
        try:
            return verify_signature(Digest.of(data), bundle, self.roots, subject=ROOT_FILE).signer
        except Refusal as refusal:
            self._find(ROOT_BUNDLE, f"{refusal.what}; {refusal.why}")
            return None

    def check_plugins(self) -> dict[PluginId, FileRef]:
        """Return what the shards state, after looking at every plugin's file."""
        found: dict[PluginId, FileRef] = {}
        for number, ref in enumerate(self.root.shards):
            path = shard_path(number)
            data = self._stated(path, ref)
            with self._reading():
                if data is not None:
                    found |= parse_shard(data, number=number, where=path).plugins
        for plugin, ref in found.items():
            path = plugin_path(plugin)
            if self.is_mirror and not self._has(path):
                self.left_out += 1
                continue
            data = self._stated(path, ref)
            with self._reading():
                if data is not None:
                    self._check_plugin(path, plugin, parse_plugin_file(data, where=path))
        return found

    def check_views(self, plugins: dict[PluginId, FileRef]) -> None:
        """Check the fixed files, and that the views show the plugins that the shards state."""
        data = {path: self._stated(path, ref) for path, ref in self.root.files.items()}
        known = set(plugins)
        with self._reading():
            if (catalogue := data[CATALOGUE_FILE]) is not None:
                rows = parse_catalogue(catalogue, where=CATALOGUE_FILE).rows
                self._compare(CATALOGUE_FILE, {row.id for row in rows}, known)
        with self._reading():
            if (index := data[FILE_NAME]) is not None:
                entries = RegistryIndex.parse(index, where=FILE_NAME).entries
                self._compare(FILE_NAME, {entry.id for entry in entries}, known)
        with self._reading():
            if (publishers := data[PUBLISHERS_FILE]) is not None:
                parse_publishers(publishers, where=PUBLISHERS_FILE)
        with self._reading():
            if (advisories := data[ADVISORIES_FILE]) is not None:
                parse_advisories(advisories, where=ADVISORIES_FILE)

    def check_others(self) -> None:
        """Check that there is nothing else: what is published is read by whoever follows links.

        The log is `registry verify --log`'s; here it only holds files.
        """
        for name in self.built.names():
            if name not in BUILT:
                self._find(name, "nothing states it")
        with self._reading():
            if self.built.mode(LOG) is not None:
                for _ in self.built.walk(LOG):
                    pass
        for folder in ("plugins", "shards", SCHEMAS_FOLDER, "bundles", "artifacts", "mirrored"):
            with self._reading():
                found = self.built.walk(folder) if self.built.mode(folder) is not None else ()
                for parts, status in found:
                    path = "/".join(parts)
                    if path not in self.named and not stat.S_ISDIR(status.st_mode):
                        self._find(path, "nothing states it")

    def _check_plugin(self, path: str, plugin: PluginId, file: PluginFile) -> None:
        if file.id != plugin:
            self._find(path, f"it speaks for {file.id}")
        for version in file.versions:
            for artifact in version.artifacts:
                with self._reading():
                    self._check_artifact(path, plugin, version, artifact)

    def _check_artifact(
        self, path: str, plugin: PluginId, version: PluginVersion, artifact: PluginArtifact
    ) -> None:
        place = self._place(artifact)
        if self.is_mirror and not (place and self._has(place)):
            return  # of another version or platform than those that were chosen
        if place:
            self._hash(place, FileRef(artifact.digest, artifact.size_bytes))
            self._check_proof(place + PROOF_SUFFIX, artifact_entry(plugin, version, artifact))
        bundle = self._digested(artifact.bundle, artifact.bundle_digest, MAX_BUNDLE_BYTES)
        if bundle is not None:
            try:
                check_bundle(artifact.digest, bundle, subject=artifact.bundle)
                self._check_signer(path, version, artifact.digest, bundle)
            except Refusal as refusal:
                self._find(artifact.bundle, f"{refusal.what}; {refusal.why}")
        attestations, expected = artifact.attestations, artifact.attestations_digest
        if attestations:
            self._digested(attestations, expected, MAX_ATTESTATIONS_BYTES)

    def _place(self, artifact: PluginArtifact) -> str:
        """Return where an artifact is here: of one that lies elsewhere, where a mirror keeps it."""
        if _NOT_HERE not in artifact.url:
            return artifact.url
        path = mirrored_path(artifact.digest)
        return path if self._has(path) else ""

    def _check_proof(self, path: str, entry: ArtifactEntry) -> None:
        """Check what a mirror has beside an artifact: that the log of this root holds its entry."""
        if not self._has(path):
            return
        data = self._read(path, MAX_PROOF_BYTES)
        if data is None:
            return
        try:
            checkpoint = LogProof.parse(data).check(entry.to_bytes())
        except (NoteInvalid, ProofInvalid) as error:
            self._find(path, f"it does not prove that the log has the artifact: {error}")
            return
        if checkpoint != self.root.log:
            self._find(path, "it leads to another checkpoint than the root states")

    def _check_signer(
        self, path: str, version: PluginVersion, digest: Digest, bundle: bytes
    ) -> None:
        """Check that whoever is said to have signed has: lists call publishers verified by that."""
        proof = verify_signature(digest, bundle, self.roots, subject=f"{path} {version.version}")
        found = signer_stated(proof.signer)
        for key, stated in version.signer:
            # Which name a trust domain has is each machine's own, but for those that aperio knows.
            domains = proof.signer.domains if stated in RESERVED_DOMAINS else (stated,)
            known = domains if key == "type" else (found.get(key, "not said"),)
            if stated not in known:
                said = f"{version.version} says that its signer's {key} is {stated}"
                self._find(path, f"{said}, and it is {clean(', '.join(known))}")

    # ── reading ───────────────────────────────────────────────────────────────────────────────────

    def _find(self, path: str, why: str) -> None:
        self.findings.append(f"{path}: {' '.join(why.split())}")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Note what cannot be read, and go on."""
        try:
            yield
        except AperioError as error:
            self.findings.append(f"{error.what}; {' '.join(error.why.split())}")

    def _has(self, path: str) -> bool:
        return self.built.has_file(*path.split("/"))

    def _read(self, path: str, limit_bytes: int) -> bytes | None:
        self.named.add(path)
        self.files += 1
        try:
            return self.built.read(*path.split("/"), limit_bytes=limit_bytes)
        except (FileNotFoundError, NotADirectoryError):
            self._find(path, "it is not there")
        except AperioError as error:
            self._find(path, f"{error.what}; {error.why}")
        return None

    def _stated(self, path: str, ref: FileRef) -> bytes | None:
        data = self._read(path, ref.size_bytes)
        if data is None or (len(data), Digest.of(data)) == (ref.size_bytes, ref.digest):
            return data
        self._find(path, f"expected {ref.digest}, found {Digest.of(data)}")
        return None

    def _digested(self, path: str, expected: Digest | None, limit_bytes: int) -> bytes | None:
        if not path or _NOT_HERE in path:
            return None
        data = self._read(path, limit_bytes)
        if data is not None and expected and Digest.of(data) != expected:
            self._find(path, f"expected {expected}, found {Digest.of(data)}")
            return None
        return data

    def _hash(self, path: str, expected: FileRef) -> None:
        self.named.add(path)
        self.files += 1
        digest, length = hashlib.sha256(), 0
        try:
            with self.built.open_file(*path.split("/")) as file:
                while length <= expected.size_bytes and (chunk := file.read(_CHUNK_BYTES)):
                    digest.update(chunk)
                    length += len(chunk)
        except (FileNotFoundError, NotADirectoryError):
            self._find(path, "it is not there")
            return
        if (length, digest.hexdigest()) != (expected.size_bytes, expected.digest.hex):
            self._find(path, f"expected {expected.digest}, {expected.size_bytes} bytes")

    def _compare(self, path: str, shown: set[PluginId], known: set[PluginId]) -> None:
        for plugin in sorted(shown - known):
            self._find(path, f"no shard states {plugin}")
        for plugin in sorted(known - shown):
            self._find(path, f"it leaves {plugin} out")


def _damaged(
    directory: Path, folder: Path, findings: Sequence[str], roots: Sequence[TrustedRootSource]
) -> RegistryDamaged:
    step = "bring a whole copy from where it is built; a mirror of some is checked with `--mirror`"
    if is_source(directory):
        signing = sign_step(directory, lambda: roots)
        step = f"build and sign it: {typed('build', directory)}, {signing}"
    more = len(findings) - _SHOWN
    shown = [*findings[:_SHOWN], *([f"and {more} more"] if more > 0 else [])]
    return RegistryDamaged(
        f"`{folder}` is not whole: do not publish it",
        why="\n".join(shown),
        next=[
            "take away what is too much, and look who put it there",
            step,
        ],
    )
