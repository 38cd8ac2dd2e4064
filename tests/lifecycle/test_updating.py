"""Newer versions and the way back, as an operator types it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from aperio_cli.models.plugin_id import PluginRef
from aperio_cli.paths import find_paths
from aperio_cli.store.installed import Store
from tests.lifecycle.plugins import PLUGIN, artifact_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lifecycle.cli import Aperio

OLD, NEW = "1.0.0", "2.0.0"


def made(aperio: Aperio, version: str, **changes: object) -> Path:
    """A signed artifact of a version."""
    artifact = artifact_of(aperio.folder / "dist", "print()\n", version=version, **changes)
    aperio("plugin", "sign", artifact, "--trust", "local")
    return artifact


def used(aperio: Aperio) -> str:
    rows = aperio("plugin", "list", "--json").data["plugins"]
    [version] = [row["version"] for row in rows if row["current"]]
    return str(version)


@pytest.fixture
def updated(aperio: Aperio) -> Aperio:
    """Two versions are installed, one after the other."""
    for version in (OLD, NEW):
        aperio("plugin", "install", made(aperio, version))
    return aperio


# ── back ──────────────────────────────────────────────────────────────────────────────────────────


def test_rollback_uses_the_version_before_again_and_says_so(updated: Aperio) -> None:
    done = updated("plugin", "rollback", PLUGIN, "--offline")
    assert done.out == f"`{PLUGIN}` rolled back to {OLD}, from {NEW}, which stays installed\n"
    assert used(updated) == OLD
    assert f'version = "{OLD}"' in (updated.home / "aperio.lock").read_text()
    refused = updated.refuses("plugin", "rollback", PLUGIN, code="no-previous-version", status=1)
    assert f"no version was used before {OLD}" in refused.what
    assert f"aperio plugin rollback {PLUGIN}@{NEW}" in refused.next[0]
    data = updated("plugin", "rollback", f"{PLUGIN}@{NEW}", "--json").data
    assert (data["version"], data["replaced"], data["was_changed"]) == (NEW, OLD, True)


def test_rollback_refuses_what_the_policy_does_not_start_any_more(updated: Aperio) -> None:
    config = updated.home / "managed.toml"
    mine = config.read_text()
    config.write_text(mine.replace("@local", "@elsewhere"))
    refused = updated.refuses(
        "plugin", "rollback", PLUGIN, code="signature-identity-mismatch", status=3, noted=True
    )
    assert f"`{PLUGIN}` {OLD} was not rolled back to" in refused.what
    config.write_text(mine)
    updated("plugin", "rollback", PLUGIN)


def test_rollback_refuses_files_that_were_changed(updated: Aperio) -> None:
    files = updated.home / "plugins" / PLUGIN / OLD / "files"
    (files / "bin" / "box-connector").write_text("other")
    refused = updated.refuses("plugin", "rollback", PLUGIN, code="files-changed", status=3)
    assert "bin/box-connector" in refused.why
    assert used(updated) == NEW


def test_rollback_asks_before_it_brings_permissions_back(aperio: Aperio) -> None:
    aperio("plugin", "install", made(aperio, OLD))
    aperio("plugin", "install", made(aperio, NEW, permissions={"egress": []}))
    aperio.refuses("plugin", "rollback", PLUGIN, code="consent-missing", status=1)
    done = aperio("plugin", "rollback", PLUGIN, "--yes")
    assert "egress  api.box.com:443" in done.err
    assert used(aperio) == OLD


def test_install_asks_before_it_uses_an_older_version_with_more_permissions(
    aperio: Aperio,
) -> None:
    older = made(aperio, OLD)
    aperio("plugin", "install", older)
    aperio("plugin", "install", made(aperio, NEW, permissions={"egress": []}))
    aperio.agrees = False
    aperio.refuses("plugin", "install", older, code="consent-missing", status=1)
    aperio.agrees = True
    aperio("plugin", "install", older)
    assert used(aperio) == OLD


@pytest.mark.parametrize("damage", ["<<<<<<< ours\n", "schema = 2\n"], ids=["merge", "newer"])
def test_a_lock_file_that_cannot_be_read_keeps_everything_as_it_is(
    updated: Aperio, damage: str
) -> None:
    lock = updated.home / "aperio.lock"
    whole = lock.read_text()
    lock.write_text(damage)
    code, status = ("record-newer", 3) if "schema" in damage else ("lock-file-invalid", 1)
    newer = made(updated, "3.0.0")
    for words in (("rollback", PLUGIN), ("install", newer), ("remove", PLUGIN)):
        refused = updated.refuses("plugin", *words, code=code, status=status)
        assert str(lock) in refused.what
    assert json.loads(updated("plugin", "list", "--json").out)["status"] == "ok"
    lock.write_text(whole)
    updated("plugin", "rollback", PLUGIN)


# ── what differs ──────────────────────────────────────────────────────────────────────────────────


def test_diff_shows_what_an_update_would_change_and_changes_nothing(aperio: Aperio) -> None:
    aperio("plugin", "install", made(aperio, OLD))
    newer = made(aperio, NEW, permissions={"egress": ["api.evil.test:443"]}, license="MIT")
    with aperio.unchanged():
        done = aperio("plugin", "diff", PLUGIN, newer)
        data = aperio("plugin", "diff", PLUGIN, newer, "--json").data
    assert f"`{PLUGIN}` {OLD} (installed) and {NEW} (artifact)\n" in done.out
    assert "  + egress  api.evil.test:443\n" in done.out
    assert "  - egress  api.box.com:443\n" in done.out
    assert data["permissions"]["more"] == ["egress  api.evil.test:443"]
    assert data["files"]["changed"] == ["manifest.yaml"]
    assert data["signer"]["is_same"] is True


def test_diff_of_an_artifact_that_nobody_signed_says_so(aperio: Aperio) -> None:
    signed = made(aperio, OLD)
    unsigned = artifact_of(aperio.folder / "unsigned", "print()\n", version=NEW)
    done = aperio("plugin", "diff", signed, unsigned)
    assert "signer  nobody who counts here (signature-missing)" in done.out
    damaged = unsigned.with_name("x_1_linux_amd64.tar.gz")
    damaged.write_bytes(unsigned.read_bytes()[:-9])
    aperio.refuses("plugin", "diff", signed, damaged, code="archive-truncated", status=3)


# ── forward ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def registry(aperio: Aperio, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry that has the older version, which is installed from there."""
    folder = aperio.folder / "registry"
    aperio("registry", "init", folder)
    monkeypatch.setenv("APERIO_REGISTRY", str(folder / "public"))
    release(aperio, made(aperio, OLD))
    aperio("plugin", "install", PLUGIN)
    return folder


def release(aperio: Aperio, *artifacts: Path) -> None:
    for artifact in artifacts:
        aperio("registry", "add", artifact, "--dir", "registry")
    aperio("registry", "build", "--dir", "registry")


@pytest.mark.usefixtures("registry")
def test_update_shows_what_changes_and_keeps_the_version_before(aperio: Aperio) -> None:
    assert f"`{PLUGIN}` is up to date at {OLD}" in aperio("plugin", "update", PLUGIN).out
    release(aperio, made(aperio, NEW, license="GPL-3.0-only"))
    with aperio.unchanged(noted=True):
        dry = aperio("plugin", "update", PLUGIN, "--dry-run", "--json").data["plugins"]
    assert [(each["outcome"], each["version"]) for each in dry] == [("would_update", NEW)]
    assert dry[0]["difference"]["declared"][0]["key"] == "license"
    done = aperio("plugin", "upgrade", PLUGIN)
    assert f"`{PLUGIN}` updated to {NEW}, from {OLD}, which stays installed" in done.out
    assert "license  GPL-3.0-only, before" in done.err
    assert used(aperio) == NEW
    aperio("plugin", "rollback", PLUGIN, "--offline")
    assert used(aperio) == OLD


@pytest.mark.usefixtures("registry")
def test_update_asks_for_more_permissions_after_it_has_shown_them(aperio: Aperio) -> None:
    release(aperio, made(aperio, NEW, permissions={"egress": ["api.evil.test:443"]}))
    refused = aperio.refuses(
        "plugin", "update", PLUGIN, code="consent-missing", status=1, noted=True
    )
    assert "+ egress  api.evil.test:443" in refused.shown
    assert used(aperio) == OLD
    aperio("plugin", "update", PLUGIN, "--yes")
    assert used(aperio) == NEW


@pytest.mark.usefixtures("registry")
def test_update_of_all_leaves_nobody_behind_for_another(aperio: Aperio) -> None:
    other = artifact_of(aperio.folder / "other", "print()\n", id="acme/other", version=OLD)
    broken = artifact_of(aperio.folder / "other", "print()\n", id="acme/broken", version=OLD)
    local = artifact_of(aperio.folder / "other", "print()\n", id="acme/local", version=OLD)
    aperio("plugin", "sign", other, broken, local, "--trust", "local")
    release(aperio, other, broken)
    aperio("plugin", "install", "acme/other", "acme/broken", local)
    wider = artifact_of(
        aperio.folder / "new", "print()\n", id="acme/broken", version=NEW, state=True
    )
    fine = artifact_of(aperio.folder / "new", "print()\n", id="acme/other", version=NEW)
    aperio("plugin", "sign", wider, fine, "--trust", "local")
    release(aperio, wider, fine)
    done = aperio("plugin", "update", "--all", "--json", status=1)
    outcomes = {each["id"]: each["outcome"] for each in done.data["plugins"]}
    assert outcomes == {
        PLUGIN: "current",
        "acme/other": "updated",
        "acme/broken": "failed",
        "acme/local": "left",
    }
    [failed] = [each["error"] for each in done.data["plugins"] if each["error"]]
    assert failed["code"] == "consent-missing"
    assert "code  consent-missing" in aperio("plugin", "update", "--all", status=1).out


@pytest.mark.usefixtures("registry")
def test_update_of_several_tells_of_each_whatever_became_of_another(aperio: Aperio) -> None:
    release(aperio, made(aperio, NEW))
    named = ("acme/nobody", PLUGIN)
    done = aperio("plugin", "update", *named, "--json", status=1)
    assert [(each["id"], each["before"], each["outcome"]) for each in done.data["plugins"]] == [
        ("acme/nobody", None, "failed"),
        (PLUGIN, OLD, "updated"),
    ]
    assert done.data["plugins"][0]["error"]["code"] == "not-installed"
    again = aperio("plugin", "update", *named, status=1).out
    assert "`acme/nobody` was not updated\n" in again
    assert f"`{PLUGIN}` is up to date at {NEW}\n" in again
    (aperio.home / "plugins" / PLUGIN / "current.json").write_text('{"schema": 2}')
    rest = aperio("plugin", "update", "--all", "--json", status=3).data["plugins"]
    assert [each["error"]["code"] for each in rest] == ["record-newer"]


def test_install_of_several_says_what_was_installed_before_one_is_refused(aperio: Aperio) -> None:
    unsigned = artifact_of(aperio.folder / "unsigned", "print()\n", version=NEW)
    done = aperio("plugin", "install", made(aperio, OLD), unsigned, status=3)
    assert "signature-missing" in done.err
    assert f"`{PLUGIN}` {OLD} installed (signed by" in done.err
    assert used(aperio) == OLD


@pytest.mark.usefixtures("registry")
def test_update_says_what_it_needs(aperio: Aperio) -> None:
    aperio.refuses("plugin", "update", code="usage", status=2)
    aperio.refuses("plugin", "update", PLUGIN, "--all", code="usage", status=2)
    aperio.refuses("plugin", "update", "--all", "--accept-new-signer", "x", code="usage", status=2)
    aperio.refuses("plugin", "update", "acme/absent", code="not-installed", status=1)
    aperio.refuses("plugin", "update", f"{PLUGIN}@9.9.9", code="plugin-not-found", status=1)


@pytest.mark.usefixtures("registry")
def test_update_lets_what_runs_run_on_with_its_own_files(aperio: Aperio) -> None:
    store = Store(find_paths({}, home=str(aperio.home)))
    running = store.get(PluginRef.parse(PLUGIN))
    release(aperio, made(aperio, NEW))
    with store.hold(running):
        aperio("plugin", "update", PLUGIN)
        store.check(running)
    assert used(aperio) == NEW


@pytest.mark.usefixtures("registry")
def test_update_changes_a_folder_s_lock_file_and_nothing_else(aperio: Aperio) -> None:
    aperio("plugin", "install", "--lock", "aperio.lock", PLUGIN)
    release(aperio, made(aperio, NEW))
    current = aperio.home / "plugins" / PLUGIN / "current.json"
    before = current.read_bytes()
    aperio("plugin", "update", "--all")
    assert f'version = "{NEW}"' in (aperio.folder / "aperio.lock").read_text()
    assert current.read_bytes() == before
