from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from aperio_cli import archive, files, verifying
from aperio_cli.errors import (
    AperioError,
    BytecodeInArtifact,
    DigestMismatch,
    DiskFull,
    FileNotRegular,
    FileTooLarge,
    ManifestInvalid,
    ManifestMismatch,
    NotFound,
    Offline,
    PublisherUnknown,
    ResponseTooLarge,
    SignatureDigestMismatch,
    SignatureMissing,
    TrustRootMissing,
    VerifierCrashed,
)
from aperio_cli.models.artifact import BUNDLE_SUFFIX
from aperio_cli.models.digest import Digest
from aperio_cli.models.policy import Policy
from aperio_cli.publishing import serving
from aperio_cli.verifying import verify_artifact
from aperio_cli.verifying.decide import ExceptionGranted, Verified
from tests.builders import (
    ARM,
    LINUX,
    Machine,
    go_members,
    manifest_bytes,
    offer,
    python_members,
    unchanged,
    write_artifact,
)
from tests.trust import new_domain

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_cli.models.offer import Offer
    from aperio_cli.signing.local import LocalDomain

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


# ── admitted ──────────────────────────────────────────────────────────────────────────────────────


def test_verify_admits_a_signed_local_artifact(machine: Machine) -> None:
    path = machine.signed()
    with machine.verify(path) as admitted:
        assert isinstance(admitted.evidence, Verified)
        assert admitted.artifact.digest == Digest.of(path.read_bytes())
        assert admitted.offer.platform == LINUX


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
    open_regular = files.open_regular

    def counting(target: Path, *, follow_links: bool = False) -> object:
        opened.append(target)
        return open_regular(target, follow_links=follow_links)

    monkeypatch.setattr(files, "open_regular", counting)
    with machine.verify(path):
        assert opened.count(path) == 1


# ── refused ───────────────────────────────────────────────────────────────────────────────────────


def test_verify_refuses_a_missing_artifact(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        machine.verify(tmp_path / "none.tar.gz")
    assert caught.value.exit_status == 1


def test_verify_refuses_a_folder(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(FileNotRegular):
        machine.verify(tmp_path)


def test_verify_refuses_a_missing_bundle_that_was_named(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nothing was verified"):
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
    with pytest.raises(SignatureDigestMismatch):
        machine.verify(path, exception=GRANTED)


def test_verify_refuses_other_bytes_before_it_looks_at_anything_else(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = offered(machine.signed())

    def never(*_: object, **__: object) -> None:
        pytest.fail("looked at an archive that was not verified")

    monkeypatch.setattr(archive, "Reader", never)
    with pytest.raises(DigestMismatch):
        machine.verify(replace(stated, digest=Digest("0" * 64)))


def test_verify_does_not_walk_the_archive_of_an_unknown_publisher(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = machine.signed()
    monkeypatch.setattr(archive, "walk", lambda *_, **__: pytest.fail("walked it"))
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


def test_verify_refuses_without_a_trusted_root(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(TrustRootMissing):
        machine.verify(machine.signed(), local_root=tmp_path / "none.json")


def test_verify_refuses_an_offer_of_another_name(machine: Machine) -> None:
    with pytest.raises(ManifestMismatch, match=r"1\.2\.4"):
        machine.verify(replace(offered(machine.signed()), version="1.2.4"))


@pytest.mark.parametrize(
    "path", ["lib/app/__pycache__/x.cpython-311.pyc", "lib/app/x.pyc", "lib/app/x.pyo"]
)
def test_verify_refuses_bytecode(machine: Machine, path: str) -> None:
    members = [*python_members(), archive.Member(path, b"compiled")]
    with pytest.raises(BytecodeInArtifact) as caught:
        machine.verify(machine.signed(members))
    assert caught.value.why == path


def test_verify_refuses_a_manifest_that_cannot_be_read(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "box_1.2.3_linux_amd64.tar.gz"
    archive.write(path, [archive.Member("manifest.yaml", b"a: [")], mtime=0)
    with pytest.raises(ManifestInvalid):
        machine.verify(path, exception=GRANTED)


def test_verify_turns_an_unforeseen_error_into_a_refusal(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("bug\x1b[31m")

    path = machine.signed()
    monkeypatch.setattr(archive, "walk", crash)
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

    monkeypatch.setattr(archive, "walk", interrupt)
    with pytest.raises(KeyboardInterrupt):
        machine.verify(path)
    assert list(scratch.iterdir()) == []


def test_verify_tells_a_full_disk(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    path = machine.signed()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
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
