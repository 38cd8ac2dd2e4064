"""Valid things for tests: manifests, artifacts, signatures, machines, indexes. Change one part.

Whatever is built here is accepted everywhere, so that a test that changes one thing and is refused
knows why.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import stat
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from aperio_cli import clock
from aperio_cli.archive import writing
from aperio_cli.files import removing
from aperio_cli.installing import InstallReport, InstallRequest, install
from aperio_cli.models.artifact import ATTESTATIONS_SUFFIX, BUNDLE_SUFFIX, artifact_name
from aperio_cli.models.digest import Digest
from aperio_cli.models.evidence import Verified
from aperio_cli.models.grant import Grant
from aperio_cli.models.manifest import Manifest
from aperio_cli.models.offer import Offer
from aperio_cli.models.platform import Platform
from aperio_cli.models.policy import Policy
from aperio_cli.models.proof import (
    PROVENANCE_TYPE,
    Attestation,
    LogEntry,
    Proof,
    Provenance,
    RootFacts,
)
from aperio_cli.models.publisher import (
    CI_SERVICES,
    LOCAL_DOMAIN,
    LOCAL_ISSUER,
    CiIdentity,
    PublisherRule,
    Signer,
)
from aperio_cli.models.reading import Table
from aperio_cli.models.receipt import Receipt
from aperio_cli.paths import Paths
from aperio_cli.store.installed import Store
from aperio_cli.verifying import VerifyRequest, verify_artifact
from tests.trust import (
    IDENTITY,
    REPOSITORY,
    WORKFLOW,
    Forge,
    attestations,
    new_domain,
    root_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aperio_cli.models.evidence import ExceptionGranted
    from aperio_cli.proving.trusted_root import TrustedRootSource
    from aperio_cli.signing.local import LocalDomain
    from aperio_cli.signing.local.authority import LeafIdentity
    from aperio_cli.verifying.decide import AdmittedArtifact

LINUX = Platform("linux", "amd64")
ARM = Platform("linux", "arm64")
PLUGIN = "acme/box-connector"
VERSION = "1.2.3"
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # thousands are written: in C where it is
TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}"


# ── manifests and artifacts ───────────────────────────────────────────────────────────────────────


def manifest_document(**changes: Any) -> dict[str, Any]:
    """A manifest as a mapping; a change of None leaves its key out."""
    document: dict[str, Any] = {
        "schema": "aperio.plugin.manifest/v1",
        "id": PLUGIN,
        "version": VERSION,
        "kind": "connector",
        "provider": "BOX",
        "name": "Box",
        "description": "Reads audit events from Box",
        "license": "MIT",
        "protocol": "1.0",
        "runtime": {"language": "go"},
        "entrypoint": "box-connector",
        "scopes": ["manage_enterprise_properties"],
        "permissions": {"egress": ["api.box.com:443"]},
    }
    document |= changes
    return {key: value for key, value in document.items() if value is not None}


def manifest_bytes(**changes: Any) -> bytes:
    """The contents of a manifest.yaml."""
    return yaml.dump(manifest_document(**changes), Dumper=_DUMPER, sort_keys=False).encode()


def manifest(**changes: Any) -> Manifest:
    """A manifest that was read."""
    return _parsed(manifest_bytes(**changes))


@functools.cache
def _parsed(data: bytes) -> Manifest:
    return Manifest.parse(data)


def go_members(**changes: Any) -> list[writing.Member]:
    """The members of an artifact for a binary; the binary is a few bytes."""
    return [
        writing.Member("manifest.yaml", manifest_bytes(**changes)),
        writing.Member("LICENSE", b"MIT\n"),
        writing.Member("bin/box-connector", b"\x7fELF not really\n", executable=True),
    ]


def python_members(tag: str = TAG, **changes: Any) -> list[writing.Member]:
    """The members of an artifact for Python: launcher, script, its own code, one dependency."""
    runtime = {"language": "python", "tags": [tag]}
    return [
        writing.Member("manifest.yaml", manifest_bytes(runtime=runtime, **changes)),
        writing.Member("bin/box-connector", b"#!/bin/sh\nexit 0\n", executable=True),
        writing.Member("bin/box-connector.py", b"import connector\n"),
        writing.Member("lib/app/connector.py", b"import dependency\nVALUE = dependency.VALUE\n"),
        writing.Member(f"lib/{tag}/dependency/__init__.py", b"VALUE = 42\n"),
        writing.Member("lib/cp399/dependency/__init__.py", b"VALUE = 43\n"),
    ]


def write_artifact(
    folder: Path, members: list[writing.Member] | None = None, *, platform: Platform = LINUX
) -> Path:
    """An artifact file, named as `plugin build` names it; its manifest has to be valid."""
    members = go_members() if members is None else members
    source = next(member.source for member in members if member.path == "manifest.yaml")
    assert isinstance(source, bytes)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / artifact_name(_parsed(source), platform)
    writing.write(path, members, mtime=0)
    return path


# ── signers and rules ─────────────────────────────────────────────────────────────────────────────


def signer(**changes: Any) -> Signer:
    """Somebody of the local trust domain."""
    someone = Signer(LOCAL_DOMAIN, IDENTITY, LOCAL_ISSUER, "2026-01-02T03:04:05Z", "ab" * 32)
    return replace(someone, **changes)


def rule(**changes: Any) -> PublisherRule:
    """The rule that `trust local init` writes."""
    stated = PublisherRule("*", LOCAL_DOMAIN, IDENTITY, LOCAL_ISSUER, "config.toml")
    return replace(stated, **changes)


def build_signer(version: str = VERSION, **claims: str) -> Signer:
    """A release of a version by a GitHub workflow; claims, or `identity`, as changed."""
    ref = f"refs/tags/v{version}"
    config = f"{REPOSITORY}/{WORKFLOW}@{ref}"
    stated = {
        "runner_environment": "github-hosted",
        "source_repository_uri": REPOSITORY,
        "source_repository_ref": ref,
        "source_repository_identifier": "123456",
        "source_repository_owner_identifier": "789",
        "build_config_uri": config,
    }
    identity = claims.pop("identity", config)
    issuer = CI_SERVICES["github"].issuer
    told = tuple((stated | claims).items())
    return signer(domain="public", identity=identity, issuer=issuer, claims=told)


def build_rule(*, signer_workflow: str = "", **changes: Any) -> PublisherRule:
    """The rule that names that workflow."""
    ci = CiIdentity(
        service="github",
        repository=REPOSITORY,
        repository_id="123456",
        owner_id="789",
        workflow=WORKFLOW,
        ref="refs/tags/v{version}",
        runner="github-hosted",
        signer_workflow=signer_workflow,
    )
    issuer = CI_SERVICES["github"].issuer
    stated = PublisherRule("acme", "public", "", issuer, "config.toml", ci=ci)
    return replace(stated, **changes)


def provenance(**changes: Any) -> Provenance:
    """How GitHub's hosted runners say that the go artifact was built."""
    said = Provenance(
        builder="https://github.com/actions/runner/github-hosted",
        build_type="https://actions.github.io/buildtypes/workflow/v1",
        source_repository=REPOSITORY,
        source_digest="a" * 40,
        invocation=f"{REPOSITORY}/actions/runs/1/attempts/1",
    )
    return replace(said, **changes)


def attestation(**changes: Any) -> Attestation:
    """The provenance, attested by whoever signed."""
    return replace(Attestation(PROVENANCE_TYPE, signer(), provenance()), **changes)


def proof(**changes: Any) -> Proof:
    """What a bundle of the local trust domain proves."""
    root = RootFacts(LOCAL_DOMAIN, "cd" * 32, "local", "2026-01-01T00:00:00Z")
    return replace(Proof(signer(), root, LogEntry("log.local", 3, 5)), **changes)


def offer(**changes: Any) -> Offer:
    """What a registry might say of the go artifact."""
    stated = Offer(
        id=manifest().id,
        version=VERSION,
        kind="connector",
        platform=LINUX,
        location="/registry/box.tar.gz",
        digest=Digest.of(b"artifact"),
        size_bytes=None,
        bundle=b"{}",
        source="/registry (unchecked index)",
    )
    return replace(stated, **changes)


def table(document: Mapping[str, Any]) -> Table:
    """A table of a record; what is wrong with it is a ValueError that names the key."""

    def fail(key: str, why: str) -> NoReturn:
        raise ValueError(f"{key}: {why}")

    return Table(document, fail)


def receipt(**changes: Any) -> Receipt:
    """The record of the go artifact, signed, on a machine where nothing of it is on disk."""
    asked = changes.get("manifest", manifest())
    recorded = Receipt(
        manifest=asked,
        platform=str(LINUX),
        artifact_digest=Digest.of(b"artifact"),
        tree_digest=f"t1:{'0' * 64}",
        installed_at="2026-01-02T03:04:05Z",
        badge="local",
        evidence=Verified(proof(), rule(stated_in="")),
        source="/registry/box.tar.gz",
        interpreter=None,
        folder=Path("/nonexistent/plugins/acme/box-connector/1.2.3"),
        state_owner=f"{PLUGIN} who signs it",
        grant=Grant(asked),
    )
    return replace(recorded, **changes)


# ── a machine with a trust domain ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Machine:
    """An operator's machine: a home, a policy, and a trust domain that really signs.

    Attributes:
        root: everything of it is below here.
        domain: the local trust domain.
        policy: the operator's rules.
    """

    root: Path
    domain: LocalDomain
    policy: Policy = Policy((rule(),))  # noqa: RUF009 - frozen all through

    @property
    def paths(self) -> Paths:
        """The places of this operator."""
        home = self.root / "home"
        return Paths(home, home / "config.toml", home / "cache")

    @property
    def store(self) -> Store:
        """What is installed."""
        return Store(self.paths)

    def but(self, **changes: Any) -> Machine:
        """The same machine with one thing different."""
        return replace(self, **changes)

    def copied(self, root: Path) -> Machine:
        """The same in another folder, whose records say that it was always there."""
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        for record in (root / "home").rglob("*"):
            if record.name in {"aperio.lock", "receipt.json"}:
                record.write_text(record.read_text().replace(str(self.root), str(root)))
        return replace(self, root=root)

    def forge(self, identity: str | LeafIdentity = IDENTITY) -> Forge:
        """Signs for this trust domain as whom a certificate names."""
        forge = Forge.of(self.domain)
        if isinstance(identity, str):
            identity = replace(forge.identity, subject=identity)
        return forge.but(identity=identity)

    def sign(self, artifact: Path, *, identity: str | LeafIdentity = IDENTITY) -> Path:
        """Puts a bundle beside an artifact, and gives the artifact."""
        bundle = self.forge(identity).bundle_json(Digest.of(artifact.read_bytes()))
        artifact.with_name(artifact.name + BUNDLE_SUFFIX).write_bytes(bundle)
        return artifact

    def attest(
        self, artifact: Path, *, identity: str | LeafIdentity = IDENTITY, **changes: Any
    ) -> Path:
        """Puts a statement, usually provenance, beside an artifact, and gives the artifact."""
        statement = self.forge(identity).statement(Digest.of(artifact.read_bytes()), **changes)
        beside = artifact.with_name(artifact.name + ATTESTATIONS_SUFFIX)
        beside.write_bytes(attestations([statement]))
        return artifact

    def signed(self, members: list[writing.Member] | None = None, **changes: Any) -> Path:
        """A signed artifact; with changes, of the go manifest."""
        folder = self.root / "dist"
        return self.sign(write_artifact(folder, members or go_members(**changes)))

    def roots(self) -> list[TrustedRootSource]:
        """The trusted roots of this machine: its own domain's."""
        return [root_of(self.domain)]

    def request(self, source: Offer | Path, **changes: Any) -> VerifyRequest:
        """A request to verify by this machine's rules."""
        request = VerifyRequest(
            source=source,
            policy=self.policy,
            roots=self.roots,
            machine=LINUX,
            today=clock.now().date(),
        )
        return replace(request, **changes)

    def verify(self, source: Offer | Path, **changes: Any) -> AdmittedArtifact:
        """What verification makes of a source."""
        return verify_artifact(self.request(source, **changes))

    def install(
        self,
        source: Path,
        request: InstallRequest | None = None,
        *,
        exception: ExceptionGranted | None = None,
    ) -> InstallReport:
        """Verifies and installs."""
        with self.verify(source, exception=exception) as admitted:
            return install(admitted, self.store, request or InstallRequest())


def new_machine(root: Path) -> Machine:
    """A machine with a fresh trust domain and an empty store."""
    return Machine(root, new_domain(root / "trust-home"))


# ── indexes ───────────────────────────────────────────────────────────────────────────────────────


def index_version(**changes: Any) -> dict[str, Any]:
    """One version of an index entry, with the keys of the seed schema only."""
    version: dict[str, Any] = {
        "version": VERSION,
        "download_url": "artifacts/box.tar.gz",
        "sha256": "a" * 64,
        "sigstore_bundle": "{}",
        "publisher": {"name": "acme", "verified": False},
    }
    return version | changes


def index_entry(*versions: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """One entry of an index."""
    entry: dict[str, Any] = {
        "id": PLUGIN,
        "kind": "connector",
        "versions": list(versions) or [index_version()],
    }
    return entry | changes


def index_bytes(*entries: dict[str, Any], **changes: Any) -> bytes:
    """The contents of a plugins.json."""
    document: dict[str, Any] = {
        "version": 1,
        "updated_at": "2026-01-02T03:04:05Z",
        "plugins": list(entries) or [index_entry()],
    }
    return json.dumps(document | changes).encode()


def registry_folder(folder: Path, index: bytes | None = None) -> Path:
    """A folder with an index in it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plugins.json").write_bytes(index_bytes() if index is None else index)
    return folder


# ── nothing changed ───────────────────────────────────────────────────────────────────────────────


Known = dict[tuple[int, ...], bytes]
"""Contents of files, by what the system says of each: no change of them leaves that as it was."""
_TICK_NS = 20_000_000  # no clock of a file system is coarser


def snapshot(*roots: Path, known: Known | None = None) -> dict[str, tuple[int, bytes]]:
    """Mode and contents of everything below some folders, folders and links included.

    Args:
        roots: the folders.
        known: what an earlier look at them has read; what is still that is not read again.
    """
    found: dict[str, tuple[int, bytes]] = {}
    for root in map(str, roots):
        for path in (root, *_paths_below(root)):
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(path)
                found[path] = (status.st_mode, _contents(path, status, known))
    return found


def _paths_below(root: str) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            yield os.path.join(folder, name)  # noqa: PTH118 - of ten thousands


def _contents(path: str, status: os.stat_result, known: Known | None) -> bytes:
    if stat.S_ISLNK(status.st_mode):
        return os.fsencode(os.readlink(path))  # noqa: PTH115 - a text
    if not stat.S_ISREG(status.st_mode):
        return b""
    # A database is written through memory, which the system may be told of later.
    is_told = known is not None and ".db" not in path
    told = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if known is not None and is_told and told in known:
        return known[told]
    began_ns = time.time_ns()
    contents = Path(path).read_bytes()
    # What changed just now may change again without a sign of it.
    if known is not None and is_told and status.st_ctime_ns < began_ns - _TICK_NS:
        known[told] = contents
    return contents


@contextlib.contextmanager
def unchanged(*roots: Path) -> Iterator[None]:
    """The block leaves everything below some folders as it was, however it ends.

    The lock of a store is no part of what it holds.
    """
    known: Known = {}
    before = snapshot(*roots, known=known)
    try:
        yield
    finally:
        after = {
            path: state
            for path, state in snapshot(*roots, known=known).items()
            if not path.endswith("store.lock")
        }
        before = {path: state for path, state in before.items() if not path.endswith("store.lock")}
        assert after == before


def nest(folder: Path, levels: int) -> None:
    """Make folders in folders, each with a file: 3,000 are deeper than one path can name."""
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=below))
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)


@contextlib.contextmanager
def nested(folder: Path, levels: int) -> Iterator[None]:
    """Have folders nested in a folder for the block; pytest's own removal is ended by them."""
    nest(folder, levels)
    try:
        yield
    finally:
        removing.remove_tree(folder / "d")
