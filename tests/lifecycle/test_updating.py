"""Newer versions and the way back, as an operator types it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

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
