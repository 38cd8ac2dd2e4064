from __future__ import annotations

import gc
import os
import shutil
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli import verifying
from aperio_cli.archive import reading, writing
from aperio_cli.errors import AperioError, Refusal
from aperio_cli.errors.building import ManifestInvalid
from aperio_cli.errors.files import (
    DigestMismatch,
    DiskFull,
    FileNotRegular,
    FileTooLarge,
    Offline,
    ResponseNotFound,
    ResponseTooLarge,
)
from aperio_cli.errors.installing import BytecodeInArtifact, ManifestMismatch
from aperio_cli.errors.trust import (
    AttestationMalformed,
    ProvenanceMismatch,
    ProvenanceMissing,
    PublisherUnknown,
    SignatureDigestMismatch,
    SignatureIdentityMismatch,
    SignatureMissing,
    TrustRootMissing,
    VerifierCrashed,
)
from aperio_cli.errors.usage import NotFound
from aperio_cli.files import reading as files_reading
from aperio_cli.installing import InstallRequest, install
from aperio_cli.models.artifact import (
    ATTESTATIONS_SUFFIX,
    BUNDLE_SUFFIX,
    MAX_ATTESTATIONS_BYTES,
)
from aperio_cli.models.digest import Digest
from aperio_cli.models.evidence import ExceptionGranted, Verified, proof_of
from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.models.policy import Policy
from aperio_cli.models.proof import PROVENANCE_TYPE, SBOM_TYPE
from aperio_cli.proving import signature
from aperio_cli.proving.trusted_root import TrustedRootSource
from aperio_cli.publishing import serving
from aperio_cli.verifying import KeptArtifacts, verify_artifact
from aperio_cli.verifying.downloading import Source
from aperio_cli.verifying.prefetching import Meter, prefetch
from tests.builders import (
    ARM,
    LINUX,
    Machine,
    go_members,
    manifest_bytes,
    offer,
    python_members,
    rule,
    unchanged,
    write_artifact,
)
from tests.trust import new_domain, root_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aperio_cli.models.offer import Offer
    from aperio_cli.signing.local import LocalDomain

DEMANDING = Policy((rule(),), require_provenance=True)
GRANTED = ExceptionGranted("unsigned", "2099-01-01", "trying it out")


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> LocalDomain:
    return new_domain(tmp_path_factory.mktemp("trust"))


@pytest.fixture
def machine(tmp_path: Path, domain: LocalDomain) -> Machine:
    return Machine(tmp_path, domain)


def offered(path: Path) -> Offer:
    """What a registry would say of a signed artifact."""
    return offer(
        location=str(path),
        digest=Digest.of(path.read_bytes()),
        size_bytes=path.stat().st_size,
        bundle=path.with_name(path.name + BUNDLE_SUFFIX).read_bytes(),
    )


def attestations_of(path: Path) -> Path:
    """Where the attestations of an artifact are."""
    return path.with_name(path.name + ATTESTATIONS_SUFFIX)


# ── admitted ──────────────────────────────────────────────────────────────────────────────────────


def test_verify_admits_a_signed_local_artifact(machine: Machine) -> None:
    path = machine.signed()
    with machine.verify(path) as admitted:
        assert isinstance(admitted.evidence, Verified)
        assert admitted.artifact.digest == Digest.of(path.read_bytes())
        assert admitted.offer.platform == LINUX


@pytest.mark.parametrize("names", [("local", "mirror"), ("mirror", "local")])
@pytest.mark.parametrize("named", ["local", "mirror"])
def test_verify_admits_by_a_rule_for_any_domain_with_the_root(
    machine: Machine, names: tuple[str, ...], named: str
) -> None:
    document = machine.roots()[0].document
    roots = [TrustedRootSource(name, document) for name in names]
    path = machine.attest(machine.signed())
    ruled = machine.but(policy=Policy((rule(domain=named),)))
    with ruled.verify(path, roots=lambda: roots) as admitted:
        assert isinstance(admitted.evidence, Verified)
        assert admitted.evidence.rule.domain == named
        install(admitted, machine.store, InstallRequest())
    # The policy is asked again before every start, of what was recorded.
    kept = proof_of(machine.store.get(PluginRef(offer().id, None)).evidence)
    assert kept
    assert kept.signer.domains == names
    assert [each.signer.domains for each in kept.attestations] == [names]


def test_verify_refuses_by_a_rule_for_a_domain_with_another_root(
    machine: Machine, tmp_path: Path
) -> None:
    other = TrustedRootSource("other", root_of(new_domain(tmp_path / "other")).document)
    ruled = machine.but(policy=Policy((rule(domain="other"),)))
    with pytest.raises(SignatureIdentityMismatch):
        ruled.verify(machine.signed(), roots=lambda: [*machine.roots(), other])


def test_verify_admits_what_a_registry_offers(machine: Machine) -> None:
    with machine.verify(offered(machine.signed())) as admitted:
        assert admitted.artifact.manifest.id == offer().id


def test_verify_admits_what_is_downloaded(machine: Machine) -> None:
    path = machine.signed()
    with (
        serving(path.parent) as url,
        machine.verify(replace(offered(path), location=url + path.name)) as admitted,
    ):
        assert admitted.artifact.size == path.stat().st_size


def test_verify_admits_a_bundle_that_is_elsewhere(machine: Machine, tmp_path: Path) -> None:
    path = machine.signed()
    elsewhere = tmp_path / "elsewhere.json"
    path.with_name(path.name + BUNDLE_SUFFIX).rename(elsewhere)
    with machine.verify(path, bundle=elsewhere) as admitted:
        assert admitted.bundle == elsewhere.read_bytes()


def test_verify_admits_an_unsigned_artifact_by_exception(machine: Machine, tmp_path: Path) -> None:
    with machine.verify(write_artifact(tmp_path / "dist"), exception=GRANTED) as admitted:
        assert admitted.evidence == GRANTED


def test_verify_takes_this_machine_for_a_name_without_a_platform(
    machine: Machine, tmp_path: Path
) -> None:
    renamed = tmp_path / "box.tar.gz"
    shutil.copy(write_artifact(tmp_path / "dist"), renamed)
    with machine.verify(renamed, exception=GRANTED) as admitted:
        assert admitted.offer.platform == LINUX


def test_verify_needs_no_home(machine: Machine) -> None:
    with machine.verify(machine.signed()):
        assert not machine.paths.home.exists()


def test_verify_holds_bytes_that_nobody_can_change(machine: Machine) -> None:
    path = machine.signed()
    before = path.read_bytes()
    with machine.verify(path) as admitted:
        path.write_bytes(b"something else")
        admitted.content.seek(0)
        assert admitted.content.read() == before
        assert os.fstat(admitted.content.fileno()).st_nlink == 0


def test_verify_reads_a_local_artifact_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = machine.signed()
    opened: list[Path] = []
    open_regular = files_reading.open_regular

    def counting(target: Path, *, follow_links: bool = False) -> object:
        opened.append(target)
        return open_regular(target, follow_links=follow_links)

    monkeypatch.setattr(files_reading, "open_regular", counting)
    with machine.verify(path):
        assert opened.count(path) == 1


# ── attestations ──────────────────────────────────────────────────────────────────────────────────


def test_verify_believes_attestations_that_stand_beside_the_artifact(machine: Machine) -> None:
    path = machine.attest(machine.signed())
    with machine.but(policy=DEMANDING).verify(path) as admitted:
        assert isinstance(admitted.evidence, Verified)
        [found] = admitted.evidence.proof.attestations
        assert (found.predicate_type, found.signer.identity) == (PROVENANCE_TYPE, "alice@local")
        assert admitted.attestations == attestations_of(path).read_bytes()


def test_verify_believes_attestations_that_are_elsewhere(machine: Machine, tmp_path: Path) -> None:
    path = machine.attest(machine.signed())
    elsewhere = attestations_of(path).rename(tmp_path / "elsewhere.jsonl")
    with machine.but(policy=DEMANDING).verify(path, attestations=elsewhere) as admitted:
        assert admitted.badge == "local"


def test_verify_believes_attestations_that_a_registry_offers(machine: Machine) -> None:
    path = machine.attest(machine.signed())
    stated = replace(offered(path), attestations=attestations_of(path).read_bytes())
    attestations_of(path).unlink()
    with machine.but(policy=DEMANDING).verify(stated) as admitted:
        assert admitted.attestations == stated.attestations


def test_verify_looks_for_no_attestations_beside_what_a_registry_offers(machine: Machine) -> None:
    path = machine.attest(machine.signed())
    with pytest.raises(ProvenanceMissing):
        machine.but(policy=DEMANDING).verify(offered(path))


def test_verify_refuses_named_attestations_that_are_missing(
    machine: Machine, tmp_path: Path
) -> None:
    with pytest.raises(NotFound, match="it was not installed"):
        machine.verify(machine.signed(), attestations=tmp_path / "none")


def test_verify_refuses_without_provenance_that_is_demanded(machine: Machine) -> None:
    path = machine.attest(machine.signed(), predicateType=SBOM_TYPE, predicate={})
    with unchanged(machine.root), pytest.raises(ProvenanceMissing) as caught:
        machine.but(policy=DEMANDING).verify(path)
    assert caught.value.what.startswith("`acme/box-connector` 1.2.3 was refused")


@pytest.mark.parametrize("contents", [b"", b"\n", b"{}\n", b"not json\n", b"\xff\n"])
def test_verify_refuses_broken_attestations_though_none_are_demanded(
    machine: Machine, contents: bytes
) -> None:
    path = machine.signed()
    attestations_of(path).write_bytes(contents)
    with unchanged(machine.root), pytest.raises(Refusal) as caught:
        machine.verify(path)
    assert caught.value.what.startswith(f"`{path}` was refused")


def test_verify_refuses_attestations_that_are_too_long(machine: Machine) -> None:
    path = machine.signed()
    with attestations_of(path).open("wb") as file:
        file.truncate(MAX_ATTESTATIONS_BYTES + 1)
    with pytest.raises(AttestationMalformed):
        machine.verify(path)


def test_verify_refuses_attestations_of_another_file(machine: Machine) -> None:
    path, other = machine.signed(), machine.attest(machine.signed(version="2.0.0"))
    shutil.copy(attestations_of(other), attestations_of(path))
    with pytest.raises(SignatureDigestMismatch) as caught:
        machine.verify(path)
    assert caught.value.what.startswith(f"`{path}` was refused: ")


def test_verify_refuses_attestations_of_somebody_whom_no_rule_names(machine: Machine) -> None:
    path = machine.attest(machine.signed(), identity="mallory@local")
    with pytest.raises(ProvenanceMismatch) as caught:
        machine.verify(path)
    assert "mallory@local" in caught.value.why


def test_verify_believes_nothing_that_stands_beside_an_unsigned_artifact(
    machine: Machine, tmp_path: Path
) -> None:
    path = machine.attest(write_artifact(tmp_path / "dist"))
    with machine.verify(path, exception=GRANTED) as admitted:
        assert (admitted.bundle, admitted.attestations) == (None, None)
    with pytest.raises(ProvenanceMissing):
        machine.but(policy=DEMANDING).verify(path, exception=GRANTED)


# ── the verifier ──────────────────────────────────────────────────────────────────────────────────


def test_verify_loads_the_verifier_while_it_copies(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_loading, copied = threading.Event(), []
    copy_local = verifying._copy_local

    def waiting(*arguments: Any) -> Digest:
        copied.append(is_loading.wait(timeout=30))
        return copy_local(*arguments)

    monkeypatch.setattr(signature, "load", is_loading.set)
    monkeypatch.setattr(verifying, "_copy_local", waiting)
    with machine.verify(machine.signed()):
        assert copied == [True]


def test_verify_loads_no_verifier_and_asks_for_no_root_without_a_bundle(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []

    def roots() -> list[TrustedRootSource]:
        asked.append("roots")
        return []

    monkeypatch.setattr(signature, "load", lambda: asked.append("verifier"))
    with machine.verify(write_artifact(tmp_path / "dist"), exception=GRANTED, roots=roots):
        assert asked == []


def test_verify_leaves_no_thread_when_the_artifact_cannot_be_had(machine: Machine) -> None:
    path = machine.signed()
    path.unlink()
    before = threading.active_count()
    with pytest.raises(NotFound):
        machine.verify(path)
    assert threading.active_count() == before


@pytest.mark.parametrize("is_enabled", [True, False])
def test_verify_leaves_the_collector_as_it_was(machine: Machine, *, is_enabled: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if is_enabled else gc.disable)()
        with machine.verify(machine.signed()):
            assert gc.isenabled() == is_enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_verify_refuses_when_the_verifier_cannot_be_loaded(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("no module named sigstore")

    monkeypatch.setattr(signature, "load", missing)
    monkeypatch.setattr(signature, "verify_signature", missing)
    with pytest.raises(VerifierCrashed) as caught:
        machine.verify(machine.signed())
    assert "no module named sigstore" in caught.value.why


def test_verify_refuses_when_the_roots_cannot_be_read(machine: Machine) -> None:
    def roots() -> list[TrustedRootSource]:
        raise RuntimeError("bug")

    with pytest.raises(VerifierCrashed):
        machine.verify(machine.signed(), roots=roots)


# ── refused ───────────────────────────────────────────────────────────────────────────────────────


def test_verify_refuses_a_missing_artifact(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        machine.verify(tmp_path / "none.tar.gz")
    assert caught.value.exit_status == 1


def test_verify_refuses_a_folder(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(FileNotRegular):
        machine.verify(tmp_path)


def test_verify_refuses_a_missing_bundle_that_was_named(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="it was not installed"):
        machine.verify(machine.signed(), bundle=tmp_path / "none")


def test_verify_refuses_an_unsigned_artifact(machine: Machine, tmp_path: Path) -> None:
    path = write_artifact(tmp_path / "dist")
    with unchanged(tmp_path), pytest.raises(SignatureMissing) as caught:
        machine.verify(path)
    assert caught.value.exit_status == 3


def test_verify_refuses_an_unsigned_offer_even_with_an_exception(machine: Machine) -> None:
    with pytest.raises(SignatureMissing):
        machine.verify(replace(offered(machine.signed()), bundle=None), exception=GRANTED)


def test_verify_refuses_a_bundle_of_another_file(machine: Machine) -> None:
    path, other = machine.signed(), machine.signed(version="2.0.0")
    shutil.copy(
        other.with_name(other.name + BUNDLE_SUFFIX), path.with_name(path.name + BUNDLE_SUFFIX)
    )
    with pytest.raises(SignatureDigestMismatch) as caught:
        machine.verify(path, exception=GRANTED)
    assert caught.value.what.startswith(f"`{path}` was refused: ")


def test_verify_refuses_other_bytes_before_it_looks_at_anything_else(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = offered(machine.signed())

    def never(*_: object, **__: object) -> None:
        pytest.fail("looked at an archive that was not verified")

    monkeypatch.setattr(reading, "Reader", never)
    with pytest.raises(DigestMismatch):
        machine.verify(replace(stated, digest=Digest("0" * 64)))


def test_verify_does_not_walk_the_archive_of_an_unknown_publisher(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = machine.signed()
    monkeypatch.setattr(reading, "list_members", lambda *_, **__: pytest.fail("walked it"))
    with pytest.raises(PublisherUnknown):
        machine.but(policy=Policy()).verify(path)


def test_verify_stops_a_download_at_the_length_that_was_offered(machine: Machine) -> None:
    path = machine.signed()
    with serving(path.parent) as url, pytest.raises(ResponseTooLarge):
        machine.verify(replace(offered(path), location=url + path.name, size_bytes=10))


def test_verify_downloads_nothing_offline(machine: Machine) -> None:
    stated = replace(offered(machine.signed()), location="http://127.0.0.1:9/x.tar.gz")
    with pytest.raises(Offline):
        machine.verify(stated, offline=True)


def test_verify_refuses_a_local_file_over_the_limit(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "MAX_ARTIFACT_BYTES", 10)
    with pytest.raises(FileTooLarge):
        machine.verify(machine.signed())


def test_verify_refuses_without_a_trusted_root(machine: Machine) -> None:
    with pytest.raises(TrustRootMissing):
        machine.verify(machine.signed(), roots=list)


def test_verify_refuses_an_offer_of_another_name(machine: Machine) -> None:
    with pytest.raises(ManifestMismatch, match=r"1\.2\.4"):
        machine.verify(replace(offered(machine.signed()), version="1.2.4"))


@pytest.mark.parametrize(
    "path", ["lib/app/__pycache__/x.cpython-311.pyc", "lib/app/x.pyc", "lib/app/x.pyo"]
)
def test_verify_refuses_bytecode(machine: Machine, path: str) -> None:
    members = [*python_members(), writing.Member(path, b"compiled")]
    with pytest.raises(BytecodeInArtifact) as caught:
        machine.verify(machine.signed(members))
    assert caught.value.why == path


def test_verify_refuses_a_manifest_that_cannot_be_read(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "box_1.2.3_linux_amd64.tar.gz"
    writing.write(path, [writing.Member("manifest.yaml", b"a: [")], mtime=0)
    with pytest.raises(ManifestInvalid):
        machine.verify(path, exception=GRANTED)


def test_verify_turns_an_unforeseen_error_into_a_refusal(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("bug\x1b[31m")

    path = machine.signed()
    monkeypatch.setattr(reading, "list_members", crash)
    with pytest.raises(VerifierCrashed) as caught:
        machine.verify(path)
    assert (caught.value.code, caught.value.exit_status) == ("verifier-crashed", 3)
    assert "RuntimeError: bug" in caught.value.why
    assert "\x1b" not in caught.value.why


def test_verify_passes_an_interrupt_through_and_leaves_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    path = machine.signed()

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reading, "list_members", interrupt)
    with pytest.raises(KeyboardInterrupt):
        machine.verify(path)
    assert list(scratch.iterdir()) == []


def test_verify_tells_a_full_disk(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    path = machine.signed()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(DiskFull) as caught:
        machine.verify(path)
    assert caught.value.exit_status == 1


@pytest.mark.parametrize("platform", [LINUX, ARM])
def test_verify_reads_the_platform_from_the_name(
    machine: Machine, tmp_path: Path, platform: object
) -> None:
    assert platform in {LINUX, ARM}
    path = write_artifact(tmp_path / "dist", platform=ARM if platform == ARM else LINUX)
    request = machine.request(path, exception=GRANTED, is_to_run_here=False)
    with verify_artifact(request) as admitted:
        assert admitted.artifact.platform == platform


def test_verify_names_the_file_in_every_refusal(machine: Machine, tmp_path: Path) -> None:
    path = write_artifact(tmp_path / "dist", go_members())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(AperioError) as caught:
        machine.verify(path, exception=GRANTED)
    assert caught.value.what.startswith(f"`{path}`")


def test_manifest_bytes_of_the_builders_are_valid() -> None:
    assert manifest_bytes().startswith(b"schema: aperio.plugin.manifest/v1")


# ── downloads ─────────────────────────────────────────────────────────────────────────────────────


def test_verify_goes_on_with_what_an_earlier_process_has_received(
    machine: Machine, tmp_path: Path
) -> None:
    artifact = machine.signed()
    data, kept = artifact.read_bytes(), KeptArtifacts(tmp_path / "kept")
    digest = Digest.of(data)
    bundle = artifact.with_name(artifact.name + BUNDLE_SUFFIX).read_bytes()
    part = tmp_path / "kept" / f"{digest.hex}.tar.gz.part"
    for found in (data[:1000], data, b"x" * 1000, b""):
        part.parent.mkdir(exist_ok=True)
        part.write_bytes(found)
        with serving(artifact.parent) as url:
            stated = offer(
                location=f"{url}{artifact.name}",
                digest=digest,
                size_bytes=len(data),
                bundle=bundle,
            )
            with machine.verify(stated, kept=kept) as admitted:
                assert admitted.artifact.digest == digest
        assert [path.name for path in part.parent.iterdir()] == [f"{digest.hex}.tar.gz"]
        (part.parent / f"{digest.hex}.tar.gz").unlink()


def test_verify_asks_the_mirrors_of_an_offer_in_turn_and_trusts_none(machine: Machine) -> None:
    artifact = machine.signed()
    bundle = artifact.with_name(artifact.name + BUNDLE_SUFFIX).read_bytes()
    digest, size = Digest.of(artifact.read_bytes()), artifact.stat().st_size
    (artifact.parent / "other").write_bytes(b"x" * size)
    with serving(artifact.parent) as url:
        stated = offer(location=f"{url}gone", digest=digest, size_bytes=size, bundle=bundle)
        good = replace(stated, mirrors=(f"{url}gone-too", f"{url}{artifact.name}"))
        with machine.verify(good) as admitted:
            assert admitted.artifact.digest == digest
        # What one place gives, another need not: other bytes, more of them, an unsafe address.
        (artifact.parent / "long").write_bytes(b"x" * (size + 1))
        kept = KeptArtifacts(machine.root / "kept")
        for number, wrong in enumerate((f"{url}other", f"{url}long", "http://elsewhere.example/x")):
            bad = replace(good, location=wrong)
            with machine.verify(bad, kept=kept if number else None) as admitted:
                assert admitted.artifact.digest == digest
            for path in machine.root.glob("kept/*"):
                path.unlink()
        with pytest.raises(DigestMismatch):
            machine.verify(replace(stated, mirrors=(f"{url}other", f"{url}gone-too")))
        with pytest.raises(ResponseNotFound) as caught:
            machine.verify(replace(stated, mirrors=(f"{url}gone-too",)))
    assert "gone-too" in caught.value.why


def test_several_artifacts_are_downloaded_at_once_and_told_as_one(
    machine: Machine, tmp_path: Path
) -> None:
    artifacts = [machine.signed(version=version) for version in ("1.0.0", "1.1.0", "1.2.0")]
    kept, told = KeptArtifacts(tmp_path / "kept"), list[str]()
    meter = Meter(told.append, "downloading")
    arriving = threading.Barrier(len(artifacts), timeout=30)

    def sources(url: str) -> list[Source]:
        made = []
        for artifact in artifacts:
            stated = offer(
                location=f"{url}{artifact.name}",
                digest=Digest.of(artifact.read_bytes()),
                size_bytes=artifact.stat().st_size,
            )
            made.append(Source(stated, kept, on_arrival=waiting(meter.of(artifact.name))))
        return made

    def waiting(tell: Callable[[int, int | None], None]) -> Callable[[int, int | None], None]:
        def arrived(count: int, total: int | None) -> None:
            arriving.wait()  # no download goes on before all of them have begun
            tell(count, total)

        return arrived

    with serving(machine.root / "dist") as url:
        gone = Source(offer(location=f"{url}gone"), kept)
        prefetch([*sources(url), gone])
    digests = sorted(Digest.of(each.read_bytes()).hex for each in artifacts)
    assert sorted(path.name for path in kept.folder.iterdir()) == [
        f"{digest}.tar.gz" for digest in digests
    ]
    total = sum(each.stat().st_size for each in artifacts) / 1e6
    assert told[-1] == f"downloading: {total:.1f} MB of {total:.1f} MB"
