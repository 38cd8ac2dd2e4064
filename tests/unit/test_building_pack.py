from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from aperio_cli.archive import reading, unpacking
from aperio_cli.building import (
    BuildRequest,
    build,
    build_and_tell,
    check_reproducible,
    load_project,
)
from aperio_cli.errors import NOT_DONE
from aperio_cli.errors.building import (
    BuildDependencyUnavailable,
    BuildNotReproducible,
    DependencyDigestMismatch,
    LockInvalid,
    RuntimeUnsupported,
)
from aperio_cli.errors.files import DiskFull
from aperio_cli.errors.usage import UsageError
from aperio_cli.models.digest import Digest
from aperio_cli.models.manifest import Manifest
from aperio_cli.models.platform import Platform
from tests.forking import forked_pip
from tests.projects import HERE, NO_INDEX, TAG, VERSION, make_project, make_wheel, snapshot, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aperio_cli.models.artifact import Artifact

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


@pytest.fixture(scope="module", autouse=True)
def _forked_pip() -> Iterator[None]:
    """Fork pip: its start is most of a build, and tests/security/test_executions.py has it."""
    with forked_pip():
        yield


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A project without a dependency: pip is not run for it, which is most of a build."""
    return make_project(tmp_path / "bare")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one dependency in vendor/, which has what must not be packed."""
    return project_with_dependency(tmp_path / "project")


def project_with_dependency(place: Path) -> Path:
    folder = make_project(place)
    library = {
        "one/__init__.py": "NAME = 'one'\n",
        "one/stale.pyc": "bytecode",
        "one-1.0.data/scripts/tool": "#!python\n",
    }
    write(folder, "requirements.lock", make_wheel(folder / "vendor", "one", library))
    return folder


@dataclass(frozen=True)
class Built:
    """What came of a build that many tests look at; none of them changes it.

    Attributes:
        project: a project with one dependency, that was built.
        before: its files, before that.
        artifact: what was made of it.
        unpacked: what is in it.
    """

    project: Path
    before: dict[str, bytes]
    artifact: Artifact
    unpacked: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    root = tmp_path_factory.mktemp("built")
    project = project_with_dependency(root / "project")
    write(project, "plugin.py", "import one\nprint(one.NAME)\n")
    write(project, "client.py", "")
    write(project, "test_client.py", "")
    before = snapshot(project)
    (artifact,) = build(request_for(project, root / "out"))
    read_member(artifact, "manifest.yaml", root / "unpacked")
    return Built(project, before, artifact, root / "unpacked")


def request_for(project: Path, out: Path, **environment: str) -> BuildRequest:
    return BuildRequest(
        load_project(project), (HERE,), out, environment={**NO_INDEX, **environment}
    )


def members(artifact: Artifact) -> dict[str, int]:
    with artifact.path.open("rb") as file:
        return {record.path: record.mode for record in reading.walk(file)}


def read_member(artifact: Artifact, name: str, scratch: Path) -> bytes:
    with artifact.path.open("rb") as file:
        unpacking.unpack(file, scratch)
    return (scratch / name).read_bytes()


def test_build_packs_the_documented_members_and_no_others(built: Built) -> None:
    assert members(built.artifact) == {
        "LICENSE": 0o644,
        "README.md": 0o644,
        "bin/box-connector": 0o755,
        "bin/box-connector.py": 0o644,
        "lib/app/client.py": 0o644,
        "lib/app/plugin.py": 0o644,
        f"lib/{TAG}/one-1.0.dist-info/METADATA": 0o644,
        f"lib/{TAG}/one-1.0.dist-info/WHEEL": 0o644,
        f"lib/{TAG}/one/__init__.py": 0o644,
        "manifest.yaml": 0o644,
        "sbom.cdx.json": 0o644,
    }


def test_build_names_and_describes_the_artifact(built: Built) -> None:
    artifact = built.artifact
    data = artifact.path.read_bytes()
    assert artifact.path == built.project.parent / f"out/box-connector_1.2.3_{HERE.slug}.tar.gz"
    assert (artifact.digest, artifact.size) == (Digest.of(data), len(data))
    assert artifact.platform == HERE
    with artifact.path.open("rb") as file:
        assert reading.read_manifest(file) == (built.project / "manifest.yaml").read_bytes()


def test_a_built_artifact_runs_where_it_is_unpacked(built: Built) -> None:
    ran = subprocess.run(
        [sys.executable, "-I", "-B", built.unpacked / "bin/box-connector.py"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert ran.stdout == "one\n"


# ── programs of dependencies ──────────────────────────────────────────────────────────────────────

HELPER = "#!/bin/sh\necho helped\n"


def test_build_keeps_the_modes_of_a_wheel(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    files = {"one/__init__.py": "", "one/data.sh": HELPER, "one/libexec/helper": HELPER}
    entry = make_wheel(project / "vendor", "one", files, executable=("one/libexec/helper",))
    write(project, "requirements.lock", entry)
    write(
        project,
        "plugin.py",
        "import one, os.path, subprocess\n"
        "subprocess.run([os.path.join(one.__path__[0], 'libexec', 'helper')], check=True)\n",
    )
    (artifact,) = build(request_for(project, tmp_path / "out"))
    assert members(artifact)[f"lib/{TAG}/one/libexec/helper"] == 0o755
    assert members(artifact)[f"lib/{TAG}/one/data.sh"] == 0o644
    read_member(artifact, "bin/box-connector.py", tmp_path / "unpacked")
    ran = subprocess.run(
        [sys.executable, "-I", "-B", tmp_path / "unpacked/bin/box-connector.py"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (ran.stdout, ran.stderr) == ("helped\n", "")


SCRIPTS = {
    "one.py": "",
    "one-1.0.data/scripts/native": HELPER,
    "one-1.0.data/scripts/tool": "#!python\n",
    "one-1.0.dist-info/entry_points.txt": "[console_scripts]\ncommand = one:main\n",
}


def test_build_keeps_a_wheels_programs_and_tells_what_it_drops(tmp_path: Path) -> None:
    """Scripts that pip wrote its own interpreter into would differ from machine to machine."""
    project = make_project(tmp_path / "project")
    write(project, "requirements.lock", make_wheel(project / "vendor", "one", SCRIPTS))
    built = build_and_tell(request_for(project, tmp_path / "out"))
    found = members(built.artifacts[0])
    assert {name: mode for name, mode in found.items() if "/bin/" in name} == {
        f"lib/{TAG}/bin/native": 0o755
    }
    told = [(each.dependency, each.path) for each in built.left_out if each.dependency]
    assert told == [("one==1.0", "bin/command"), ("one==1.0", "bin/tool")]


@pytest.mark.parametrize("has_scripts", [False, True])
def test_build_packs_a_package_that_is_called_bin(tmp_path: Path, *, has_scripts: bool) -> None:
    project = make_project(tmp_path / "project")
    package = {"bin/__init__.py": "", "bin/tool": "", "bin/data/x.json": "{}"}
    lock = make_wheel(project / "vendor", "two", package)
    lock += make_wheel(project / "vendor", "one", SCRIPTS) if has_scripts else ""
    write(project, "requirements.lock", lock)
    built = build_and_tell(request_for(project, tmp_path / "out"))
    found = {name for name in members(built.artifacts[0]) if "/bin/" in name}
    assert found == {f"lib/{TAG}/{name}" for name in package}
    told = [each.path for each in built.left_out if each.dependency]
    assert told == ["bin/command", "bin/native", "bin/tool"] * has_scripts


def test_build_leaves_the_project_as_it_was(built: Built) -> None:
    assert snapshot(built.project) == built.before


@pytest.fixture
def other_circumstances(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another umask, time zone, locale, hash seed and temporary folder's name."""
    before = os.umask(0o077)
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    time.tzset()
    yield
    os.umask(before)
    monkeypatch.undo()
    time.tzset()


def test_build_gives_the_same_bytes_from_another_folder(
    built: Built, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("other_circumstances")
    moved = tmp_path / "another place" / "project"
    shutil.copytree(built.project, moved)
    for path in moved.rglob("*"):
        os.utime(path, (1, 1))
    (moved / "plugin.py").chmod(0o755)
    (second,) = build(request_for(moved, tmp_path / "other out"))
    assert built.artifact.path.read_bytes() == second.path.read_bytes()


def test_build_makes_one_artifact_for_each_platform(bare: Path, tmp_path: Path) -> None:
    request = replace(request_for(bare, tmp_path / "out"), platforms=(AMD64, ARM64, AMD64))
    artifacts = build(request)
    assert [artifact.platform for artifact in artifacts] == [AMD64, ARM64]
    assert [artifact.path.name for artifact in artifacts] == [
        "box-connector_1.2.3_linux_amd64.tar.gz",
        "box-connector_1.2.3_linux_arm64.tar.gz",
    ]


def test_build_carries_every_declared_interpreter(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", tags=("cp311", "cp312"))
    write(project, "requirements.lock", make_wheel(project / "vendor", "one"))
    (artifact,) = build(request_for(project, tmp_path / "out"))
    assert {"lib/cp311/one.py", "lib/cp312/one.py"} <= members(artifact).keys()


def test_build_for_one_interpreter_says_so_in_the_manifest(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", tags=("cp311", "cp312"))
    write(project, "requirements.lock", make_wheel(project / "vendor", "one"))
    request = replace(request_for(project, tmp_path / "out"), pythons=("3.12",))
    (artifact,) = build(request)
    assert artifact.manifest.runtime.tags == ("cp312",)
    assert "lib/cp311/one.py" not in members(artifact)
    with artifact.path.open("rb") as file:
        assert Manifest.parse(reading.read_manifest(file)) == artifact.manifest


@pytest.mark.parametrize("version", ["3.99", "3", "cp311", "2.7", "3.11.2", "../3"])
def test_build_refuses_an_interpreter_that_is_not_declared(
    project: Path, tmp_path: Path, version: str
) -> None:
    request = replace(request_for(project, tmp_path / "out"), pythons=(version,))
    with pytest.raises(UsageError) as caught:
        build(request)
    assert TAG in caught.value.why
    assert not (tmp_path / "out").exists()


def test_build_refuses_a_platform_without_wheels(project: Path, tmp_path: Path) -> None:
    request = replace(
        request_for(project, tmp_path / "out"), platforms=(AMD64, Platform("windows", "amd64"))
    )
    with pytest.raises(RuntimeUnsupported, match="windows/amd64"):
        build(request)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("epoch", ["0", "86400", "1700000000"])
def test_build_takes_the_stated_time(bare: Path, tmp_path: Path, epoch: str) -> None:
    (artifact,) = build(request_for(bare, tmp_path / "out", SOURCE_DATE_EPOCH=epoch))
    assert times(artifact) == {int(epoch)}


@pytest.mark.parametrize("epoch", ["now", "-1", "1e9", "99999999999", " 1"])
def test_build_refuses_a_time_that_is_none(bare: Path, tmp_path: Path, epoch: str) -> None:
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        build(request_for(bare, tmp_path / "out", SOURCE_DATE_EPOCH=epoch))
    assert not (tmp_path / "out").exists()


def test_build_takes_the_beginning_of_time_when_none_is_stated(built: Built) -> None:
    assert times(built.artifact) == {0}


def times(artifact: Artifact) -> set[int]:
    import tarfile

    with tarfile.open(artifact.path) as tar:
        return {int(member.mtime) for member in tar}


def test_build_refuses_a_wheel_that_is_not_the_locked_one(project: Path, tmp_path: Path) -> None:
    make_wheel(project / "vendor", "one", {"one.py": "changed\n"})
    with pytest.raises(DependencyDigestMismatch) as caught:
        build(request_for(project, tmp_path / "out"))
    assert "one==1.0" in caught.value.what
    assert not (tmp_path / "out").exists()


def test_build_names_a_dependency_that_has_no_wheel(tmp_path: Path) -> None:
    project = project_with_wheel(tmp_path / "project", "cp312-cp312-manylinux_2_17_x86_64")
    request = replace(request_for(project, tmp_path / "out"), platforms=(AMD64,))
    with pytest.raises(BuildDependencyUnavailable) as caught:
        build(request)
    assert caught.value.what.startswith("one==1.0 has no wheel for cp311 on linux/amd64")
    assert not (tmp_path / "out").exists()


def project_with_wheel(folder: Path, tag: str) -> Path:
    project = make_project(folder, tags=("cp311",))
    write(project, "requirements.lock", make_wheel(project / "vendor", "one", tag=tag))
    return project


def test_build_takes_wheels_for_glibc_2_28_and_older(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", tags=("cp311",))
    tags = {
        "newest": "cp311-cp311-manylinux_2_28_x86_64",
        "named": "cp311-cp311-manylinux2014_x86_64",
        "oldest": "cp311-cp311-manylinux1_x86_64",
        "stable": "cp39-abi3-manylinux_2_5_x86_64",
        "pure": "py3-none-any",
    }
    entries = [make_wheel(project / "vendor", name, tag=tag) for name, tag in tags.items()]
    write(project, "requirements.lock", "".join(entries))
    request = replace(request_for(project, tmp_path / "out"), platforms=(AMD64,))
    assert {f"lib/cp311/{name}.py" for name in tags} <= members(build(request)[0]).keys()


@pytest.mark.parametrize(
    "tag",
    [
        "cp311-cp311-manylinux_2_29_x86_64",
        "cp311-cp311-musllinux_1_2_x86_64",
        "cp311-cp311-linux_x86_64",
        "cp311-cp311-manylinux_2_28_aarch64",
        "cp312-abi3-manylinux_2_28_x86_64",
        "cp311-cp311t-manylinux_2_28_x86_64",
    ],
)
def test_build_refuses_wheels_that_do_not_run_everywhere(tmp_path: Path, tag: str) -> None:
    project = project_with_wheel(tmp_path / "project", tag)
    request = replace(request_for(project, tmp_path / "out"), platforms=(AMD64,))
    with pytest.raises(BuildDependencyUnavailable):
        build(request)
    assert not (tmp_path / "out").exists()


def test_build_takes_macos_wheels_for_darwin(tmp_path: Path) -> None:
    project = project_with_wheel(tmp_path / "project", "cp311-cp311-macosx_11_0_universal2")
    platforms = (Platform("darwin", "arm64"), Platform("darwin", "amd64"))
    request = replace(request_for(project, tmp_path / "out"), platforms=platforms)
    for artifact in build(request):
        assert "lib/cp311/one.py" in members(artifact)


def test_build_keeps_earlier_artifacts_when_a_later_one_fails(
    project: Path, tmp_path: Path
) -> None:
    request = request_for(project, tmp_path / "out")
    (artifact,) = build(request)
    before = artifact.path.read_bytes()
    make_wheel(project / "vendor", "one", {"one.py": "changed\n"})
    with pytest.raises(DependencyDigestMismatch):
        build(request)
    assert snapshot(tmp_path / "out") == {artifact.path.name: before}


def test_build_says_that_the_disk_is_full_and_leaves_no_half_artifact(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DiskFull) as caught:
        build(request_for(bare, tmp_path / "out"))
    assert caught.value.exit_status == NOT_DONE
    assert list((tmp_path / "out").iterdir()) == []


def test_build_refuses_a_project_without_a_lock(project: Path, tmp_path: Path) -> None:
    (project / "requirements.lock").unlink()
    with pytest.raises(LockInvalid):
        build(request_for(project, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_check_passes_a_project_that_builds_the_same_twice(project: Path) -> None:
    request = request_for(project, project / "dist")
    artifacts = build(request)
    check_reproducible(request, artifacts)
    assert artifacts[0].path.is_file()


def test_check_copies_what_a_build_takes_and_no_more(bare: Path) -> None:
    for name in ("data/map.json", "vendor/own/__init__.py", ".hidden", "logs/1.log", "notes.log"):
        write(bare, name, "")
    write(bare, ".aperioignore", "*.log\n")
    write(bare, "helper", "#!/bin/sh\n").chmod(0o755)
    (bare / "notes").symlink_to("/etc")
    with (bare / "dump.sql").open("wb") as dump:
        dump.truncate(200_000_000)
    request = request_for(bare, bare / "dist")
    artifacts = build(request)
    check_reproducible(request, artifacts)
    assert members(artifacts[0])["lib/app/helper"] == 0o755
    assert build(request)[0].digest == artifacts[0].digest


def test_check_names_the_member_that_differs(bare: Path, tmp_path: Path) -> None:
    request = request_for(bare, tmp_path / "out")
    artifacts = build(request)
    write(bare, "plugin.py", "changed = 1\n")
    write(bare, "added.py", "")
    with pytest.raises(BuildNotReproducible) as caught:
        check_reproducible(request, artifacts)
    named = caught.value.why.splitlines()[3:]
    assert named == ["lib/app/added.py", "lib/app/plugin.py"]
    assert artifacts[0].path.is_file()


def test_declared_version_of_this_interpreter_can_be_asked_for(bare: Path, tmp_path: Path) -> None:
    request = replace(request_for(bare, tmp_path / "out"), pythons=(VERSION, VERSION))
    assert build(request)[0].manifest.runtime.tags == (TAG,)
