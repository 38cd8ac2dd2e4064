"""An operator's machine, a publisher who builds in CI, and attackers: for the attack table.

The operator trusts one private Sigstore instance by name, and in it one GitHub workflow of one
repository, by numeric ids. Everything is signed for real; only GitHub itself is played.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aperio_cli import clock
from aperio_cli.config import Config
from aperio_cli.installing import InstallReport, InstallRequest, install
from aperio_cli.models.artifact import ATTESTATIONS_SUFFIX, BUNDLE_SUFFIX
from aperio_cli.models.digest import Digest
from aperio_cli.models.plugin_id import PluginId, PluginRef
from aperio_cli.models.policy import Policy
from aperio_cli.proving.trusted_root import TrustedRootSource
from aperio_cli.registry import open_registry
from aperio_cli.verifying import VerifyRequest, clear, verify_artifact
from tests.builders import (
    LINUX,
    PLUGIN,
    VERSION,
    Machine,
    build_rule,
    go_members,
    index_bytes,
    index_entry,
    index_version,
    registry_folder,
    write_artifact,
)
from tests.clearances import machine_for
from tests.trust import Forge, github_identity

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.archive import writing
    from aperio_cli.models.evidence import ExceptionGranted
    from aperio_cli.models.offer import Offer
    from aperio_cli.models.publisher import PublisherRule
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.signing.local import LocalDomain
    from aperio_cli.verifying.decide import AdmittedArtifact

DOMAIN = "acme-sigstore"
BOX = PluginId.parse(PLUGIN)


def rule(**changes: Any) -> PublisherRule:
    """What the operator wrote about the publisher."""
    return build_rule(**{"domain": DOMAIN, "tier": "verified", **changes})


@dataclass(frozen=True)
class World:
    """The operator's machine and what there is to attack it with.

    Attributes:
        root: everything is below here.
        instance: the Sigstore instance that the operator trusts.
        elsewhere: another one, which the operator never heard of.
        policy: the operator's rules.
        trusted_root: what the operator configured for the instance; empty for the truth.
    """

    root: Path
    instance: LocalDomain
    elsewhere: LocalDomain
    policy: Policy = field(default_factory=lambda: Policy((rule(),)))
    trusted_root: str = ""

    @property
    def machine(self) -> Machine:
        """The operator's places."""
        return Machine(self.root, self.instance, self.policy)

    def but(self, **changes: Any) -> World:
        """The same world with one thing different."""
        return replace(self, **changes)

    def copied(self, root: Path) -> World:
        """The same in another folder, whose records say that it was always there."""
        self.machine.copied(root)
        return self.but(root=root)

    def roots(self) -> list[TrustedRootSource]:
        """What the operator configured."""
        document = self.trusted_root or self.instance.trusted_root_json()
        return [TrustedRootSource(DOMAIN, document.encode(), "file", "2026-01-01T00:00:00Z")]

    # ── the publisher, and whoever pretends to be ─────────────────────────────────────────────────

    def forge(self, version: str = VERSION, **changes: str) -> Forge:
        """Signs as a GitHub build, by default the publisher's own release of the version."""
        identity = github_identity(changes.pop("ref", f"refs/tags/v{version}"), **changes)
        return Forge.of(self.instance).but(identity=identity)

    def artifact(self, members: list[writing.Member] | None = None, **changes: Any) -> Path:
        """An artifact without a bundle, in a folder of its own."""
        folder = self.root / "dist" / str(len(list((self.root / "dist").glob("*"))))
        return write_artifact(folder, members or go_members(**changes))

    def signed(
        self,
        members: list[writing.Member] | None = None,
        *,
        forge: Forge | None = None,
        **changes: Any,
    ) -> Path:
        """An artifact with a bundle beside it; with changes, of the manifest."""
        path = self.artifact(members, **changes)
        return sign(path, forge or self.forge(changes.get("version", VERSION)))

    def offered(self, artifact: Path, **lies: Any) -> Offer:
        """What a registry offers that has this artifact, truthfully but for the lies."""
        folder = self.root / "registry"
        folder.mkdir(exist_ok=True)
        (folder / artifact.name).write_bytes(artifact.read_bytes())
        bundle = beside(artifact, BUNDLE_SUFFIX)
        truth = {
            "download_url": artifact.name,
            "sha256": digest_of(artifact).hex,
            "sigstore_bundle": bundle.read_text() if bundle.exists() else "",
        }
        if beside(artifact, ATTESTATIONS_SUFFIX).exists():
            name = artifact.name + ATTESTATIONS_SUFFIX
            shutil.copy(beside(artifact, ATTESTATIONS_SUFFIX), folder / name)
            truth["attestations"] = name
        index = index_bytes(index_entry(index_version(**truth | lies)))
        registry = open_registry(
            str(registry_folder(folder, index)), Config(), self.machine.paths, offline=True
        )
        return registry.resolve(PluginRef(BOX, lies.get("version")), LINUX)

    # ── the operator ──────────────────────────────────────────────────────────────────────────────

    def verify(
        self, source: Offer | Path, *, exception: ExceptionGranted | None = None
    ) -> AdmittedArtifact:
        """What verification makes of a source."""
        request = VerifyRequest(
            source=source,
            policy=self.policy,
            roots=self.roots,
            machine=LINUX,
            exception=exception,
            today=clock.now().date(),
        )
        return verify_artifact(request)

    def install(
        self,
        source: Offer | Path,
        *,
        accept: str = "",
        exception: ExceptionGranted | None = None,
    ) -> InstallReport:
        """Verifies and installs."""
        with self.verify(source, exception=exception) as admitted:
            request = InstallRequest(accept_new_signer=accept)
            return install(admitted, self.machine.store, request)

    def start(self, *, organization: str = "") -> Receipt:
        """All that is asked before the installed plugin would be executed."""
        store = self.machine.store
        receipt = store.get(PluginRef(BOX, None))
        today = clock.now().date()
        clear(receipt, self.policy, machine_for(receipt), today, organization)
        store.check(receipt)
        return receipt


def sign(artifact: Path, forge: Forge) -> Path:
    """Puts a bundle beside an artifact; gives the artifact."""
    bundle = forge.bundle_json(digest_of(artifact))
    beside(artifact, BUNDLE_SUFFIX).write_bytes(bundle)
    return artifact


def digest_of(artifact: Path) -> Digest:
    """The digest of a file."""
    return Digest.of(artifact.read_bytes())


def beside(artifact: Path, suffix: str) -> Path:
    """The file of this suffix beside an artifact."""
    return artifact.with_name(artifact.name + suffix)


def change_bundle(artifact: Path, change: Any) -> Path:
    """Applies a change to the bundle's JSON document; gives the artifact."""
    path = beside(artifact, BUNDLE_SUFFIX)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return artifact


def attest(artifact: Path, *lines: bytes) -> Path:
    """Puts attestations beside an artifact, one bundle a line; gives the artifact."""
    beside(artifact, ATTESTATIONS_SUFFIX).write_bytes(b"".join(line + b"\n" for line in lines))
    return artifact
