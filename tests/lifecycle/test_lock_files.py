"""aperio.lock, as teams and CI use it: what it names, on another machine too, and nothing else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from aperio_cli import quick
from aperio_cli.publishing import serving
from tests.builders import ARM, go_members, write_artifact
from tests.lifecycle.plugins import PLUGIN, artifact_of, simulating
from tests.trust import IDENTITY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lifecycle.cli import Aperio

OLD, NEW = "1.0.0", "1.1.0"
OTHER = "acme/other"


def offer(aperio: Aperio, *artifacts: Path, registry: str = "registry") -> Path:
    """A registry with these artifacts, and what it had."""
    folder = aperio.folder / registry
    if not folder.exists():
        aperio("registry", "init", folder)
    for artifact in artifacts:
        aperio("plugin", "sign", artifact, "--trust", "local")
        aperio("registry", "add", artifact, "--dir", folder)
    aperio("registry", "build", "--dir", folder)
    return folder / "public"


def made(aperio: Aperio, version: str = OLD, plugin: str = PLUGIN, code: str = "print()\n") -> Path:
    folder = aperio.folder / f"dist-{len(list(aperio.folder.iterdir()))}"
    return artifact_of(folder, code, id=plugin, version=version)


@pytest.fixture
def registry(aperio: Aperio, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry with one version of two plugins, which commands look in."""
    public = offer(aperio, made(aperio), made(aperio, plugin=OTHER))
    monkeypatch.setenv("APERIO_REGISTRY", str(public))
    return public


def another(aperio: Aperio, monkeypatch: pytest.MonkeyPatch, *, name: str = "another") -> Aperio:
    """Somebody else on another machine, who trusts the same and has nothing installed."""
    home = aperio.sandbox / name
    shutil.copytree(aperio.home, home, symlinks=True)
    for left in ("plugins", "checks", "cache"):
        shutil.rmtree(home / left, ignore_errors=True)
    monkeypatch.setenv("APERIO_HOME", str(home))
    return replace(aperio, home=home)


def used(aperio: Aperio) -> dict[str, str]:
    rows = aperio("plugin", "list", "--json").data["plugins"]
    return {row["id"]: row["version"] for row in rows if row["current"]}


# ── what it names, and nothing else ───────────────────────────────────────────────────────────────


def test_install_without_a_name_installs_exactly_what_is_locked(
    aperio: Aperio, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = aperio("plugin", "install", PLUGIN, OTHER, "--json")
    assert done.data["lock_file"] == str(aperio.home / "aperio.lock")
    offer(aperio, made(aperio, NEW))
    there = another(aperio, monkeypatch)
    done = there("plugin", "install", "--json")
    assert {each["id"]: each["version"] for each in done.data["installed"]} == {
        PLUGIN: OLD,
        OTHER: OLD,
    }
    assert used(there) == {PLUGIN: OLD, OTHER: OLD}
    before = (there.home / "aperio.lock").read_bytes()
    assert before == (aperio.home / "aperio.lock").read_bytes()
    there("plugin", "install", PLUGIN)
    assert used(there) == {PLUGIN: NEW, OTHER: OLD}
    (there.home / "aperio.lock").write_bytes(before)
    shutil.rmtree(registry.parent)  # what is installed takes no registry
    done = there("plugin", "install", "--offline")
    assert "was installed already, in place of 1.1.0" in done.out
    assert used(there) == {PLUGIN: OLD, OTHER: OLD}


@pytest.mark.usefixtures("registry")
def test_install_repairs_what_is_locked_and_was_damaged(aperio: Aperio) -> None:
    aperio("plugin", "install", PLUGIN)
    (aperio.home / "plugins" / PLUGIN / OLD / "files" / "LICENSE").unlink(missing_ok=True)
    (aperio.home / "plugins" / PLUGIN / OLD / "files" / "manifest.yaml").write_text("other")
    assert "was damaged, and is repaired" in aperio("plugin", "install").out


def test_install_without_a_name_and_without_a_lock_file_says_so(aperio: Aperio) -> None:
    refused = aperio.refuses("plugin", "install", code="lock-file-missing", status=1)
    assert str(aperio.home / "aperio.lock") in refused.why
    aperio.refuses("plugin", "install", "--locked", code="lock-file-missing", status=1)
    aperio.refuses("plugin", "install", "--accept-new-signer", "x", code="usage", status=2)


# ── --locked ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("registry")
def test_locked_installs_what_is_locked_and_refuses_what_would_change_it(aperio: Aperio) -> None:
    aperio("plugin", "install", PLUGIN)
    newer = made(aperio, NEW)
    offer(aperio, newer)
    lock = aperio.home / "aperio.lock"
    before = lock.read_bytes()
    for words in (("--locked",), ("--locked", PLUGIN), ("--locked", f"{PLUGIN}@{OLD}")):
        assert f"`{PLUGIN}` {OLD}" in aperio("plugin", "install", *words).out
    for source in (f"{PLUGIN}@{NEW}", OTHER, newer):
        install = ("plugin", "install", source, "--locked")
        refused = aperio.refuses(*install, code="lock-file-outdated", status=1)
        assert str(lock) in refused.why
    assert lock.read_bytes() == before


@pytest.mark.parametrize("is_known", [True, False], ids=["in the lock", "not in it"])
@pytest.mark.usefixtures("registry")
def test_a_lock_file_made_on_another_platform_serves_this_one(
    aperio: Aperio, monkeypatch: pytest.MonkeyPatch, *, is_known: bool
) -> None:
    folder = aperio.folder / "both"
    artifacts = [
        write_artifact(folder, go_members(id="acme/both"), platform=platform)
        for platform in (ARM, replace(ARM, arch="amd64"))
    ]
    aperio("plugin", "sign", *artifacts, "--trust", "local")
    offer(aperio, *artifacts)
    aperio("plugin", "install", "acme/both")
    lock = aperio.home / "aperio.lock"
    whole = lock.read_text()
    assert whole.count("platform = ") == 2
    if not is_known:
        lines = [line for line in whole.splitlines() if "linux/amd64" not in line]
        lock.write_text("\n".join(lines))
    there = another(aperio, monkeypatch)
    locked = there.home / "aperio.lock"
    if is_known:
        there("plugin", "install", "--locked")
        assert locked.read_text() == whole
        return
    refused = there.refuses("plugin", "install", "--locked", code="lock-file-outdated", status=1)
    assert "linux/amd64" in refused.why
    there("plugin", "install")
    assert locked.read_text() == whole


# ── what differs ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("registry")
def test_other_contents_of_a_locked_version_are_refused_with_both_digests(
    aperio: Aperio, monkeypatch: pytest.MonkeyPatch
) -> None:
    aperio("plugin", "install", PLUGIN)
    there = another(aperio, monkeypatch)
    other = offer(there, made(there, code="print(1)\n"), registry="elsewhere")
    words = ("plugin", "install", "--registry", other)
    for more in ((), (PLUGIN,), ("--locked",)):
        refused = there.refuses(*words, *more, code="lock-file-differs", status=3)
        lines = refused.why.splitlines()
        assert lines[0].startswith("locked    sha256:")
        assert lines[1].startswith("offered   sha256:")
        assert lines[0].split()[1] != lines[1].split()[1]
    there("plugin", "install")


@pytest.mark.usefixtures("registry")
def test_another_signer_than_the_locked_one_is_refused_with_both(
    aperio: Aperio, monkeypatch: pytest.MonkeyPatch
) -> None:
    aperio("plugin", "install", PLUGIN)
    there = another(aperio, monkeypatch)
    lock = there.home / "aperio.lock"
    lock.write_text(lock.read_text().replace(IDENTITY, "mallory@local"))
    refused = there.refuses("plugin", "install", code="lock-file-differs", status=3)
    assert "mallory@local" in refused.why
    assert IDENTITY in refused.why
    there("plugin", "install", PLUGIN, "--accept-new-signer", IDENTITY)
    assert IDENTITY in lock.read_text()


@pytest.mark.usefixtures("registry")
def test_a_digest_that_was_edited_is_held_against_what_is_installed(aperio: Aperio) -> None:
    aperio("plugin", "install", PLUGIN)
    lock = aperio.home / "aperio.lock"
    digest = lock.read_text().partition('sha256 = "')[2][:64]
    lock.write_text(lock.read_text().replace(digest, "0" * 64))
    refused = aperio.refuses("plugin", "install", code="lock-file-differs", status=3)
    assert "0" * 64 in refused.why
    assert f"installed sha256:{digest}" in refused.why


# ── a folder's own ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def project(aperio: Aperio, registry: Path) -> Aperio:  # noqa: ARG001 - commands look in it
    """Somebody in a folder whose lock file names the older version; the newer is current."""
    offer(aperio, made(aperio, NEW, code=simulating("bare")))
    folder = aperio.folder / "project"
    folder.mkdir()
    there = replace(aperio, folder=folder)
    there("plugin", "install", f"{PLUGIN}@{OLD}", "--lock", "aperio.lock")
    aperio("plugin", "install", PLUGIN)
    return there


def test_a_folder_s_lock_file_says_which_version_is_listed_and_run_there(
    aperio: Aperio, project: Aperio, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (used(aperio), used(project)) == ({PLUGIN: NEW}, {PLUGIN: OLD})
    assert f"versions are those of {project.folder}/aperio.lock" in project("plugin", "list").err
    monkeypatch.chdir(project.folder)
    assert quick.answer(["plugin", "list"]) is None
    assert f"{PLUGIN} {OLD}" in project("plugin", "why", PLUGIN).out
    assert project.type("plugin", "run", PLUGIN, "schema").status == 5  # it prints, and ends
    aperio("plugin", "run", PLUGIN, "schema")
    project("plugin", "run", f"{PLUGIN}@{NEW}", "schema")  # a version that is named


def test_what_is_done_in_a_folder_leaves_what_is_used_elsewhere(
    aperio: Aperio, project: Aperio
) -> None:
    lock, current = aperio.home / "aperio.lock", aperio.home / "plugins" / PLUGIN / "current.json"
    before = lock.read_bytes(), current.read_bytes()
    project("plugin", "install")
    project("plugin", "install", OTHER)
    assert used(project) == {PLUGIN: OLD, OTHER: OLD}
    project("plugin", "install", PLUGIN)
    assert used(project) == {PLUGIN: NEW, OTHER: OLD}
    assert (lock.read_bytes(), current.read_bytes()) == before
    project.refuses("plugin", "rollback", PLUGIN, code="usage", status=2)
    project("plugin", "remove", OTHER)
    assert OTHER not in (project.folder / "aperio.lock").read_text()


def test_a_folder_s_lock_file_is_followed_on_a_new_machine(
    project: Aperio, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = another(project, monkeypatch)
    (there.home / "aperio.lock").unlink()
    done = there("plugin", "list")
    assert f"`{PLUGIN}` {OLD} is in {there.folder}/aperio.lock, and not installed" in done.err
    refused = there.refuses("plugin", "run", PLUGIN, code="not-installed", status=1)
    assert refused.next[0] == "`aperio plugin install`"
    there("plugin", "install", "--locked")
    assert used(there) == {PLUGIN: OLD}
    assert not (there.home / "plugins" / PLUGIN / "current.json").exists()
    assert not (there.home / "aperio.lock").exists()


def test_a_lock_file_in_a_folder_that_others_write_in_does_not_count(
    aperio: Aperio, project: Aperio
) -> None:
    project.folder.chmod(0o777)
    project.refuses("plugin", "run", PLUGIN, code="path-shared", status=3)
    project("plugin", "install", "--lock", project.folder / "aperio.lock")
    assert used(aperio) == {PLUGIN: NEW}


# ── artifacts that were named ─────────────────────────────────────────────────────────────────────


def test_a_local_artifact_is_locked_as_the_file_that_it_is(
    aperio: Aperio, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = artifact_of(aperio.folder / "dist", "print()\n", version=OLD)
    aperio("plugin", "sign", artifact, "--trust", "local")
    aperio("plugin", "install", artifact, "--lock", "team.lock")
    text = (aperio.folder / "team.lock").read_text()
    assert f'file = "dist/{artifact.name}"' in text
    there = another(aperio, monkeypatch)
    there("plugin", "install", "--lock", "team.lock", "--locked")
    again = another(aperio, monkeypatch, name="third")
    moved = artifact.rename(artifact.with_name("moved.tar.gz"))
    refused = again.refuses("plugin", "install", "--lock", "team.lock", code="not-found", status=1)
    assert str(artifact) in refused.what
    other = made(again, NEW)
    again("plugin", "sign", other, "--trust", "local")
    for path in other.parent.iterdir():
        path.rename(artifact.with_name(path.name.replace(NEW, OLD)))
    refused = again.refuses(
        "plugin", "install", "--lock", "team.lock", code="lock-file-differs", status=3
    )
    assert f"found  {PLUGIN} {NEW}" in refused.why
    assert moved.exists()


def test_a_lock_file_that_was_found_does_not_have_this_machine_ask_itself(
    aperio: Aperio, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = artifact_of(aperio.folder / "dist", "print()\n", version=OLD)
    aperio("plugin", "sign", artifact, "--trust", "local")
    with serving(artifact.parent) as url:
        aperio("plugin", "install", f"{url}{artifact.name}", "--lock", "aperio.lock")
        assert f'url = "{url}{artifact.name}"' in (aperio.folder / "aperio.lock").read_text()
        there = another(aperio, monkeypatch)
        refused = there.refuses("plugin", "install", code="insecure-url", status=3)
        assert "the lock file here leads to this machine" in refused.what
        there("plugin", "install", "--lock", "aperio.lock")
