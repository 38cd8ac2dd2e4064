"""Rows of the attack table about signed registries: those on the way, at the bucket, and inside.

Each row is a function that lies, or, with `lie=False`, does all the rest of it and nothing else:
its benign twin, which has to succeed.
"""

from __future__ import annotations

import copy
import functools
import json
import shutil
import socket
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from aperio_cli import clock, publishing
from aperio_cli.commands.plugin.locking import find_locked
from aperio_cli.config import Config
from aperio_cli.installing import InstallRequest, install
from aperio_cli.installing.keeping import Kept, check_builds, check_kept
from aperio_cli.models.artifact import BUNDLE_SUFFIX
from aperio_cli.models.digest import Digest
from aperio_cli.models.origin import Origin
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.models.policy import Policy
from aperio_cli.models.publisher import LOCAL_ISSUER
from aperio_cli.models.reading import MAX_SAFE_INTEGER
from aperio_cli.models.registry.documents import (
    ROOT_FILE,
    plugin_path,
    shard_number,
    shard_path,
)
from aperio_cli.models.registry.rule import WitnessRule
from aperio_cli.net import transport
from aperio_cli.net.fetch import FetchRequest, fetch_bytes
from aperio_cli.publishing import AddRequest
from aperio_cli.publishing.checking import check_registry
from aperio_cli.publishing.faults import Fault, Faults
from aperio_cli.publishing.recording import RegistryLog
from aperio_cli.publishing.serving import serving
from aperio_cli.registry import Situation, Trust, open_registry
from aperio_cli.signing.local.authority import LeafIdentity
from aperio_cli.store.installed import Store
from aperio_cli.store.lock_place import LockPlace
from tests.builders import LINUX
from tests.registries import Site, artifact_of, plugin_entry, signed_rule, version_entry
from tests.security.table import attack
from tests.security.world import BOX, digest_of, rule, sign
from tests.trust import new_domain, root_of
from tests.writing_registries import record_of, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aperio_cli.context import Context
    from aperio_cli.installing import InstallReport
    from aperio_cli.models.lock_file import Locked
    from aperio_cli.models.offer import Offer
    from aperio_cli.signing.local import LocalDomain
    from tests.security.world import World

TWINS: list[Callable[..., object]] = []

WAY = "the network, and a certificate that the machine believes; or a proxy that opens TLS"
BUCKET = "the bucket that a registry lies in"
MIRROR = "a mirror of a registry"
SIGNER = "what a registry is signed with"
ROOT = "the registry's root, signed by whom the operator states"
SERIAL = "epoch and serial of the root, remembered of its signer wherever it is read"
HASHES = "the root states every document, directly or through another"
LOG = "the registry's log, held to what was seen of it before"
_MOMENT = "2026-06-06T00:00:00Z"


def row(
    *, holds: str, tries: str, stopped_by: str, code: str
) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Adds a row, and its twin."""

    def add(attempt: Callable[..., object]) -> Callable[..., object]:
        TWINS.append(attempt)
        return attack(holds=holds, tries=tries, stopped_by=stopped_by, code=code)(attempt)

    return add


@functools.cache
def _domain(folder: Path) -> LocalDomain:
    """The Sigstore instance that registries are signed with: not the publishers'."""
    return new_domain(folder)


@dataclass
class Signed:
    """A signed registry with a log, and the operator's machine that reads it."""

    world: World
    place: str = "registry-signed"
    log: RegistryLog = field(default_factory=RegistryLog)
    serial: int = 0

    @property
    def site(self) -> Site:
        """Where it is published."""
        return Site(self.world.root / self.place, self.domain)

    @property
    def folder(self) -> Path:
        """What is served."""
        return self.site.folder

    @property
    def domain(self) -> LocalDomain:
        """Who signs it; one for all rows, because making one takes longer than a row."""
        return _domain(self.world.root.parent / "registry-domain")

    def version(self, artifact: Path, version: str = "1.2.3", **changes: Any) -> dict[str, Any]:
        """One version, whose artifact is put into the registry's folder."""
        folder = self.folder / "files" / version
        folder.mkdir(parents=True, exist_ok=True)
        for name in (artifact.name, artifact.name + BUNDLE_SUFFIX):
            shutil.copy(artifact.with_name(name), folder / name)
        stated = artifact_of(folder / artifact.name)
        place = f"files/{version}/"
        stated |= {"url": place + stated["url"], "mirrors": changes.pop("mirrors", [])}
        stated["sigstore_bundle"] = place + stated["sigstore_bundle"]
        return version_entry(version, artifacts=[stated], **changes)

    def publish(self, *versions: dict[str, Any], **root: Any) -> Signed:
        """Publish and sign an edition."""
        self.serial += 1
        stated = {"serial": self.serial} | root
        self.site.publish(plugin_entry(*versions), log=self.log, **stated)
        return self

    def honest(self, **changes: Any) -> Signed:
        """The edition with the publisher's 1.2.3."""
        return self.publish(self.version(self.world.signed(), **changes))

    def kept(self, name: str) -> Path:
        """A copy of the folder as it is now."""
        return shutil.copytree(self.folder, self.world.root / name)

    def change_root(self, **stated: Any) -> None:
        """Sign another root over the same documents."""
        path = self.folder / ROOT_FILE
        path.write_text(json.dumps(json.loads(path.read_text()) | stated))
        self.site.sign()

    # ── the operator ──────────────────────────────────────────────────────────────────────────────

    def offer(
        self, url: str = "", *, ref: str = "", witnesses: WitnessRule | None = None, **policy: Any
    ) -> Offer:
        """What the operator's machine is offered, from the folder or from an address."""
        stated = replace(signed_rule(url or str(self.folder)), witnesses=witnesses or WitnessRule())
        paths = self.world.machine.paths
        trust = Trust(lambda: [root_of(self.domain)], paths.signed_documents)
        registry = open_registry(
            "", Config(registries=(stated,)), paths, offline=False, trust=trust
        )
        situation = Situation(LINUX, replace(self.world.policy, **policy))
        return registry.resolve(PluginRef.parse(ref) if ref else PluginRef(BOX), situation)

    def install(self, url: str = "", **asked: Any) -> InstallReport:
        """Looks up, verifies and installs."""
        return self.world.install(self.offer(url, **asked))

    def install_through(self, fault: str, *, lie: bool, other: Path | None = None) -> None:
        """Installs over http from a server with a fault; without the lie, with none."""
        faults = Faults(Fault.parse(fault), (other, ()) if other else None)
        with serving(self.folder, faults=faults if lie else None) as url:
            self.install(url)


# ── on the way ────────────────────────────────────────────────────────────────────────────────────


@row(
    holds=WAY,
    tries="serves a registry of its own, signed with its own instance",
    stopped_by=ROOT,
    code="registry-signature-invalid",
)
def _registry_of_its_own(world: World, *, lie: bool = True) -> None:
    registry = Signed(world).honest()
    if lie:
        registry.site.sign(world.elsewhere)
    registry.install()


@row(
    holds=WAY,
    tries="leaves out the signature",
    stopped_by="absence refuses",
    code="registry-unsigned",
)
def _registry_without_signature(world: World, *, lie: bool = True) -> None:
    Signed(world).honest().install_through(f"404:{ROOT_FILE}{BUNDLE_SUFFIX}", lie=lie)


@row(
    holds="the network, and nothing else",
    tries="holds back everything newer, so that a withdrawn version stays on offer",
    stopped_by="the end of the root, after which nothing is read",
    code="registry-expired",
)
def _registry_held_still(world: World, *, lie: bool = True) -> None:
    registry = Signed(world).honest()
    end = datetime.now(UTC) + timedelta(days=-1 if lie else 1)
    registry.change_root(expires_at=clock.format_timestamp(end), updated_at=_MOMENT)
    registry.install()


@row(
    holds=WAY,
    tries="trickles answers, so that an installation never ends",
    stopped_by="a deadline on every answer",
    code="network-unavailable",
)
def _registry_that_trickles(world: World, *, lie: bool = True) -> None:
    from aperio_cli.registry import http

    before, http.TIMEOUT_S = http.TIMEOUT_S, 2.0  # type: ignore[misc]
    try:
        Signed(world).honest().install_through(f"slow:{ROOT_FILE}", lie=lie)
    finally:
        http.TIMEOUT_S = before  # type: ignore[misc]


# ── at the bucket ─────────────────────────────────────────────────────────────────────────────────


@row(
    holds=BUCKET,
    tries="serves an older root, which is as well signed as the newer one",
    stopped_by=SERIAL,
    code="registry-outdated",
)
def _older_root(world: World, *, lie: bool = True) -> None:
    registry = Signed(world).honest()
    older = registry.kept("older")
    registry.honest().offer()
    registry.install_through("stale", lie=lie, other=older)


@row(
    holds=BUCKET,
    tries="mixes documents of two editions",
    stopped_by=HASHES,
    code="artifact-digest-mismatch",
)
def _mixed_editions(world: World, *, lie: bool = True) -> None:
    registry = Signed(world).publish(Signed(world).version(world.signed(version="1.1.0"), "1.1.0"))
    older = registry.kept("older")
    registry.honest()
    registry.install_through("mixed", lie=lie, other=older)


@row(
    holds=BUCKET,
    tries="changes a plugin's file",
    stopped_by=HASHES,
    code="artifact-digest-mismatch",
)
def _changed_plugin_file(world: World, *, lie: bool = True) -> None:
    Signed(world).honest().install_through(f"tamper:{plugin_path(BOX)}", lie=lie)


@row(
    holds=BUCKET,
    tries="changes an artifact",
    stopped_by="digest in the offer, and of the file that was signed",
    code="artifact-digest-mismatch",
)
def _changed_artifact(world: World, *, lie: bool = True) -> None:
    Signed(world).honest().install_through("tamper:files/*.tar.gz", lie=lie)


@row(
    holds=BUCKET,
    tries="sends a document without end",
    stopped_by="the length that the root states of each",
    code="index-too-large",
)
def _endless_document(world: World, *, lie: bool = True) -> None:
    Signed(world).honest().install_through(f"endless:{shard_path(shard_number(str(BOX)))}", lie=lie)


@row(
    holds=BUCKET,
    tries="leaves files of the log out, so that nothing can be proved",
    stopped_by="absence refuses",
    code="index-unreadable",
)
def _log_without_files(world: World, *, lie: bool = True) -> None:
    _with_two_versions(world).install_through("404:log/*", lie=lie)


@row(
    holds=BUCKET,
    tries="changes files of the log",
    stopped_by="proofs, which have to lead to the checkpoint that the root states",
    code="registry-log-unproven",
)
def _changed_log(world: World, *, lie: bool = True) -> None:
    _with_two_versions(world).install_through("tamper:log/tile/*", lie=lie)


def _with_two_versions(world: World) -> Signed:
    """A registry whose log is long enough for a proof to need a file."""
    registry = Signed(world)
    older = registry.version(world.signed(version="1.1.0"), "1.1.0")
    return registry.publish(registry.version(world.signed()), older)


@row(
    holds="the keys of the Sigstore instance that publishers use, and the bucket",
    tries="mints the publisher's identity for an artifact of its own",
    stopped_by=HASHES + "; the root is signed with another instance",
    code="artifact-digest-mismatch",
)
def _minted_identity(world: World, *, lie: bool = True) -> None:
    registry = Signed(world).honest()
    evil = world.signed(description="evil")
    for suffix in ("", BUNDLE_SUFFIX) if lie else ():
        (registry.folder / "files/1.2.3" / (evil.name + suffix)).write_bytes(
            evil.with_name(evil.name + suffix).read_bytes()
        )
    registry.install()


# ── mirrors ───────────────────────────────────────────────────────────────────────────────────────


@row(
    holds=MIRROR,
    tries="leaves a plugin out, so that another registry's is taken",
    stopped_by=HASHES,
    code="artifact-digest-mismatch",
)
def _mirror_that_leaves_out(world: World, *, lie: bool = True) -> None:
    registry = Signed(world).honest()
    mirror = registry.kept("mirror")
    path = mirror / shard_path(shard_number(str(BOX)))
    if lie:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"plugins": {}}))
    registry.install(str(mirror))


@row(
    holds=MIRROR,
    tries="lags behind what the registry itself has shown this machine",
    stopped_by=SERIAL,
    code="registry-outdated",
)
def _mirror_that_lags(world: World, *, lie: bool = True) -> None:
    registry = Signed(world).honest()
    lagging = registry.kept("lagging")
    registry.honest().offer()
    registry.install(str(lagging if lie else registry.kept("mirror")))


@row(
    holds="a place that an artifact is mirrored at, while the registry's own is out of reach",
    tries="serves other bytes there",
    stopped_by="digest in the offer: a mirror carries no trust",
    code="artifact-digest-mismatch",
)
def _mirror_of_an_artifact(world: World, *, lie: bool = True) -> None:
    artifact = world.signed()
    with serving(artifact.parent, faults=Faults(Fault("tamper")) if lie else None) as mirror:
        registry = Signed(world)
        version = registry.version(artifact, mirrors=[f"{mirror}{artifact.name}"])
        faults = Faults(Fault("404", "files/*.tar.gz"))
        with serving(registry.publish(version).folder, faults=faults) as url:
            registry.install(url)


# ── publishers ────────────────────────────────────────────────────────────────────────────────────


@row(
    holds="a publisher's release workflow, until it is noticed",
    tries="has a new version chosen at once everywhere",
    stopped_by="[policy] cool_down_days, before a version is chosen by itself",
    code="version-too-new",
)
def _released_an_hour_ago(world: World, *, lie: bool = True) -> None:
    registry = Signed(world)
    at = datetime.now(UTC) - (timedelta(hours=1) if lie else timedelta(days=9))
    version = registry.version(world.signed(), published_at=clock.format_timestamp(at))
    registry.publish(version).install(cool_down_days=3)


@row(
    holds="a publisher's release workflow, after it was noticed",
    tries="has the version installed by name all the same",
    stopped_by="the registry's word: it is revoked",
    code="revoked",
)
def _revoked_by_name(world: World, *, lie: bool = True) -> None:
    registry = Signed(world)
    status = {"state": "revoked", "reason": "it was not the publisher's", "at": _MOMENT}
    changes: dict[str, Any] = {"status": status} if lie else {}
    version = registry.version(world.signed(), **changes)
    registry.publish(version).install(ref=f"{BOX}@1.2.3")


# ── inside ────────────────────────────────────────────────────────────────────────────────────────


@row(
    holds=SIGNER,
    tries="offers an artifact of its own, well described in every document",
    stopped_by="the operator's rule, field by field: a registry's word admits nothing",
    code="signature-identity-mismatch",
)
def _artifact_of_its_own(world: World, *, lie: bool = True) -> None:
    registry = Signed(world)
    forge = world.forge(repository="https://github.com/evil/box") if lie else None
    publisher = {"name": "acme", "verified": True, "tier": "official"}
    version = registry.version(world.signed(forge=forge), publisher=publisher)
    registry.publish(version).install()


@row(
    holds=SIGNER + ", and somebody whom a rule of the operator names, too",
    tries="changes who signs an installed plugin",
    stopped_by="the receipt of the installed version: a new signer has to be named",
    code="signer-changed",
)
def _another_signer(world: World, *, lie: bool = True) -> None:
    someone = LeafIdentity("release@acme.example", LOCAL_ISSUER)
    person = rule(ci=None, identity=someone.subject, issuer=someone.issuer, tier="community")
    both = world.but(policy=Policy((rule(), person)))
    registry = Signed(both)
    forge = world.forge().but(identity=someone) if lie else None
    registry.publish(registry.version(world.signed(forge=forge))).install()


@row(
    holds=SIGNER + ", the publisher's workflow, and a machine that has seen neither before",
    tries="offers other bytes under a version that somebody has locked",
    stopped_by="the lock file, which has the digest of every platform's artifact",
    code="lock-file-differs",
)
def _other_bytes_than_locked(world: World, *, lie: bool = True) -> None:
    genuine = world.signed()
    colleague = world.but(root=world.root / "colleague")
    theirs = Signed(colleague)
    theirs.publish(theirs.version(genuine)).install()
    store = colleague.machine.store
    kept = Kept(store.lock_file.path, store.locked(BOX), is_frozen=True)
    registry = Signed(world)  # nothing came here but the lock file
    other = world.signed(description="evil") if lie else genuine
    offer = registry.publish(registry.version(other)).offer(ref=f"{BOX}@1.2.3")
    check_builds(kept, offer.id, offer.version, offer.builds)  # as `install --locked` does
    world.install(offer)


@row(
    holds="a name that a public registry states as the place of an artifact",
    tries="has it resolve to the cloud's credentials, in the network of whoever installs",
    stopped_by="what a name resolves to, looked at once, and connected to as it was looked at",
    code="insecure-url",
)
def _name_that_leads_inwards(world: World, *, lie: bool = True) -> None:
    name, resolve = "cdn.example.net", socket.getaddrinfo
    address = "169.254.169.254" if lie else "93.184.216.34"

    def resolved(host: str, port: int, *rest: Any, **named: Any) -> Any:
        if host.endswith(".example.net"):
            found = address if host == name else "93.184.216.33"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, port))]
        return resolve(host, port, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolved)
        request = FetchRequest(
            f"https://{name}/a.tar.gz", 1000, named_by="https://plugins.example.net/"
        )
        if lie:
            fetch_bytes(request, sleep=lambda _: None)
        assert transport.outward_addresses(name, 443) == (address,)
    Signed(world).honest().install()


@row(
    holds=SIGNER,
    tries="offers something else under a version that its log has",
    stopped_by=LOG,
    code="registry-log-unproven",
)
def _not_as_logged(world: World, *, lie: bool = True) -> None:
    registry = Signed(world).honest()
    checkpoint = registry.log.checkpoint
    assert checkpoint
    version = registry.version(world.signed(description="evil") if lie else world.signed())
    version["artifacts"][0]["log_index"] = 0
    registry.site.publish(plugin_entry(version), serial=9)
    registry.change_root(log=checkpoint.to_json())
    registry.install()


def _rewritten(registry: Signed, *, lie: bool) -> Signed:
    """Goes on with the log, or begins it anew with something else in it."""
    registry.honest().offer()
    if lie:
        registry.log = RegistryLog(origin=registry.log.origin)
    return registry


@row(
    holds=SIGNER,
    tries="writes the log anew, with another artifact in an old place",
    stopped_by=LOG,
    code="registry-log-forked",
)
def _log_written_anew(world: World, *, lie: bool = True) -> None:
    registry = _rewritten(Signed(world), lie=lie)
    signed = world.signed(version="1.3.0")
    registry.publish(registry.version(signed, "1.3.0"), registry.version(world.signed()))
    registry.install()


@row(
    holds=SIGNER,
    tries="shows a fork to one machine: another log behind the same name",
    stopped_by=LOG,
    code="registry-log-forked",
)
def _forked_log(world: World, *, lie: bool = True) -> None:
    registry = Signed(world).honest()
    fork = Signed(world, "fork", RegistryLog(origin=registry.log.origin), registry.serial)
    if not lie:
        fork.log = copy.deepcopy(registry.log)
    fork.publish(fork.version(world.signed(version="1.4.0"), "1.4.0"))
    with serving(registry.folder, faults=Faults(Fault("fork"), (fork.folder, ()))) as url:
        assert registry.offer(url).version == "1.2.3"
        registry.install(url)


@row(
    holds=SIGNER,
    tries="takes the newest entries of the log back, under a higher serial",
    stopped_by=LOG,
    code="registry-log-forked",
)
def _shorter_log(world: World, *, lie: bool = True) -> None:
    registry = Signed(world).honest()
    before = copy.deepcopy(registry.log)
    newer = world.signed(version="1.3.0")
    registry.publish(registry.version(newer, "1.3.0"), registry.version(world.signed())).offer()
    if lie:
        registry.log = before
        registry.honest()
    registry.install()


@row(
    holds=SIGNER,
    tries="does without the log from now on",
    stopped_by=LOG,
    code="registry-log-forked",
)
def _log_left_out(world: World, *, lie: bool = True) -> None:
    registry = Signed(world).honest()
    registry.offer()
    registry.honest()
    if lie:
        registry.change_root(log=None)
    registry.install()


@row(
    holds=SIGNER + " until it was replaced",
    tries="signs the highest serial there is, and shows that edition after a new epoch has begun",
    stopped_by=SERIAL,
    code="registry-outdated",
)
def _highest_serial(world: World, *, lie: bool = True) -> None:
    registry = Signed(world).honest()
    registry.change_root(serial=MAX_SAFE_INTEGER)
    highest = registry.kept("highest")
    registry.offer()
    registry.change_root(epoch=2, serial=1)
    registry.offer()
    registry.install(str(highest) if lie else "")


@row(
    holds=SIGNER + ", and not the witnesses of its log",
    tries="shows a log that nobody else has seen, to a machine that has seen none",
    stopped_by="the witnesses that the operator's rule asks for",
    code="registry-unwitnessed",
)
def _unwitnessed(world: World, *, lie: bool = True) -> None:
    from tests.unit.test_registry_log import WITNESSES, cosign

    registry = Signed(world).honest()
    checkpoint = registry.log.checkpoint
    assert checkpoint
    signatures = [] if lie else [cosign(checkpoint, 0), cosign(checkpoint, 1)]
    (registry.folder / "log/checkpoint").write_bytes(checkpoint.to_bytes(signatures))
    registry.install(witnesses=WitnessRule(WITNESSES, 2))


@row(
    holds="a bug that leaves a check out",
    tries="offers an artifact without saying where the log has it",
    stopped_by="absence refuses",
    code="registry-log-unproven",
)
def _log_index_left_out(world: World, *, lie: bool = True) -> None:
    registry = Signed(world).honest()
    checkpoint = registry.log.checkpoint
    assert checkpoint
    version = registry.version(world.signed())
    version["artifacts"][0] |= {} if lie else {"log_index": 0}
    registry.site.publish(plugin_entry(version), serial=9)
    registry.change_root(log=checkpoint.to_json())
    registry.install()


# ── a lock file, which came with somebody's folder ────────────────────────────────────────────────

FOLDER = "a pull request to a folder with an aperio.lock"
LOCKED = "the lock file, which is held against what is offered and admits nothing"


def _locked_by_a_colleague(world: World, registry: Signed) -> Locked:
    """What the lock file of somebody says who installed from the same registry, as its text."""
    colleague = world.but(root=world.root / "colleague")
    colleague.install(registry.offer())
    entry = colleague.machine.store.locked(BOX)
    assert entry
    return entry


def _install_locked(world: World, entry: Locked, source: Offer | Path) -> None:
    """As `install --locked` does, by a lock file that says this."""
    with world.verify(source) as admitted:
        check_kept(Kept(world.root / "aperio.lock", entry, is_frozen=True), admitted)
        install(admitted, world.machine.store, InstallRequest())


@row(
    holds=SIGNER + ", and somebody whom a rule of the operator names, too",
    tries="has a locked version signed by that one, on a machine that has never seen it",
    stopped_by="the lock file, which says who signed",
    code="lock-file-differs",
)
def _other_signer_than_locked(world: World, *, lie: bool = True) -> None:
    someone = LeafIdentity("release@acme.example", LOCAL_ISSUER)
    person = rule(ci=None, identity=someone.subject, issuer=someone.issuer, tier="community")
    both = world.but(policy=Policy((rule(), person)))
    genuine = world.signed()
    registry = Signed(both)
    entry = _locked_by_a_colleague(both, registry.publish(registry.version(genuine)))
    if lie:
        sign(genuine, world.forge().but(identity=someone))
        registry.log = RegistryLog()
        (world.machine.paths.signed_documents).unlink(missing_ok=True)
        registry.publish(registry.version(genuine))
    _install_locked(both, entry, registry.offer())


@row(
    holds=FOLDER,
    tries="puts another digest under the version that is locked",
    stopped_by="the lock file, held against what its registry offers",
    code="lock-file-differs",
)
def _digest_in_the_lock_file(world: World, *, lie: bool = True) -> None:
    registry = Signed(world).honest()
    entry = _locked_by_a_colleague(world, registry)
    if lie:
        other = tuple(replace(build, digest=Digest.of(b"evil")) for build in entry.builds)
        entry = replace(entry, builds=other)
    _install_locked(world, entry, registry.offer())


@row(
    holds=FOLDER,
    tries="locks an artifact of its own, with its digest and its signer",
    stopped_by="the operator's rule, field by field: " + LOCKED,
    code="signature-identity-mismatch",
)
def _artifact_in_the_lock_file(world: World, *, lie: bool = True) -> None:
    entry = _locked_by_a_colleague(world, Signed(world).honest())
    artifact = world.signed()
    if lie:
        evil = world.forge(repository="https://github.com/evil/box")
        artifact = world.signed(forge=evil, description="evil")
    digest = digest_of(artifact)
    own = tuple(replace(build, digest=digest, size_bytes=None) for build in entry.builds)
    _install_locked(world, replace(entry, builds=own), artifact)


@row(
    holds=FOLDER,
    tries="has the machine of whoever installs ask itself",
    stopped_by="a lock file that was found leads to no address of this machine",
    code="insecure-url",
)
def _address_in_the_lock_file(world: World, *, lie: bool = True) -> None:
    registry = Signed(world).honest()
    entry = _locked_by_a_colleague(world, registry)
    place = LockPlace(world.root / "aperio.lock", is_home=False, is_found=lie)
    context = cast("Context", SimpleNamespace(store=Store(world.machine.paths, lock_file=place)))
    address = "http://127.0.0.1:1/box.tar.gz"
    find_locked(context, replace(entry, origin=Origin("url", address)))  # nothing is fetched yet
    registry.install()


# ── a pull request to the registry ────────────────────────────────────────────────────────────────

SOURCE = "a pull request to a registry's source"


def _published(world: World, change: Callable[[dict[str, Any]], None], *, was_built: bool) -> None:
    """Publish 1.2.3 from a source whose record somebody changed, verify that, and install it."""
    source, domain = world.root / "source", Signed(world).domain
    publishing.init(source)
    roots = [*world.roots(), root_of(domain)]
    request = AddRequest(source, str(world.signed()), world.policy, world.roots, LINUX)
    publishing.add(request)
    if was_built:
        publishing.build(source)
    record = record_of(source, BOX)
    change(record["versions"][0]["signer"])
    write(source, BOX, record)
    folder = publishing.build(source, is_renewed=True).out
    Site(folder, domain).sign()
    check_registry(source, roots)
    Signed(world, str(folder.relative_to(world.root))).install()


@row(
    holds=SOURCE,
    tries="has a record name the publisher as who signed what another has",
    stopped_by="`registry verify`, by the bundle, before it is published",
    code="registry-damaged",
)
def _signer_in_the_record(world: World, *, lie: bool = True) -> None:
    said = "https://github.com/acme/other" if lie else ""
    _published(
        world, lambda signer: signer.update({"identity": said} if said else {}), was_built=False
    )


@row(
    holds=SOURCE,
    tries="has a record name another signer than was published",
    stopped_by="the registry's log in the source, which says who signed",
    code="registry-log-contradicted",
)
def _signer_after_it_was_logged(world: World, *, lie: bool = True) -> None:
    said = {"identity": "mallory@acme.example"} if lie else {}
    _published(world, lambda signer: signer.update(said), was_built=True)
