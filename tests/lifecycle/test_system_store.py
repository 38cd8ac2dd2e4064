"""A store that root keeps for every user, and a home that is for reading only."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import aperio_cli
from tests.lifecycle.cli import SDK
from tests.lifecycle.plugins import PLUGIN, artifact_of, simulating

if TYPE_CHECKING:
    from tests.lifecycle.cli import Aperio

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def system(aperio: Aperio, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's home, as root makes it: for all to read."""
    home = aperio.folder.parent / "system"
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    monkeypatch.setattr(aperio_cli, "SYSTEM_HOME", str(home))
    return home


def install(aperio: Aperio, *words: object, version: str = "1.2.3") -> None:
    """Sign and install the plugin that drips events."""
    artifact = artifact_of(aperio.folder / version, simulating("drips"), version=version)
    aperio("plugin", "sign", artifact, "--trust", "local")
    aperio("plugin", "install", artifact, *words)


def install_in(system: Path, aperio: Aperio, version: str = "1.2.3") -> None:
    """Install as root does, who trusts the same signers."""
    for file in aperio.home.glob("*.toml"):
        (system / file.name).write_bytes(file.read_bytes())
    link = system / "trust"
    if not link.exists():
        link.mkdir(mode=0o700)
        (link / "local").mkdir(mode=0o700)
        root = aperio.home / "trust/local/trusted_root.json"
        (link / "local/trusted_root.json").write_bytes(root.read_bytes())
    install(aperio, "--home", system, version=version)


def test_plugin_of_the_systems_store_is_listed_explained_and_run(
    aperio: Aperio, system: Path
) -> None:
    install_in(system, aperio)
    before = _snapshot(system)

    [row] = aperio("plugin", "list", "--json").data["plugins"]
    aperio("plugin", "list", "--check")
    assert "1.2.3 (system)" in aperio("plugin", "list").out
    assert (row["id"], row["is_system"], row["current"]) == (PLUGIN, True, True)
    assert aperio("plugin", "why", PLUGIN, "--json").data["may_run"]
    synced = aperio("plugin", "run", PLUGIN)

    assert '"type":"event"' in synced.out.replace(" ", "")
    assert _snapshot(system) == before
    assert (aperio.home / "state.db").is_file()
    assert (aperio.home / "checks" / f"{PLUGIN}.json").is_file()


def test_systems_store_is_changed_by_root_only(aperio: Aperio, system: Path) -> None:
    install_in(system, aperio)

    told = aperio.refuses("plugin", "remove", PLUGIN, code="not-installed", status=1)

    assert f"`aperio --home {system} plugin …`" in told.next[1]
    assert "1.2.3" in told.why
    aperio("plugin", "remove", PLUGIN, "--home", system)
    assert aperio("plugin", "list", "--json").data["plugins"] == []


def test_own_version_counts_before_the_systems(aperio: Aperio, system: Path) -> None:
    install_in(system, aperio, version="1.2.4")
    install(aperio, version="1.2.3")

    rows = aperio("plugin", "list", "--json").data["plugins"]

    told = [(row["version"], row["is_system"], row["current"]) for row in rows]
    assert told == [("1.2.3", False, True), ("1.2.4", True, False)]
    assert aperio("plugin", "why", PLUGIN, "--json").data["version"] == "1.2.3"
    assert aperio("plugin", "why", f"{PLUGIN}@1.2.4", "--json").data["version"] == "1.2.4"


def test_others_may_read_what_is_installed_in_a_home_that_they_may_look_into(
    aperio: Aperio, system: Path
) -> None:
    before = os.umask(0o077)
    try:
        install_in(system, aperio)
    finally:
        os.umask(before)

    closed = [
        str(path.relative_to(system))
        for path in sorted((system / "plugins").rglob("*"))
        if not path.stat().st_mode & (0o005 if path.is_dir() else 0o004)
    ]
    assert closed == []
    install(aperio)
    assert stat.S_IMODE((aperio.home / "plugins").stat().st_mode) == 0o700


def test_systems_store_that_others_may_change_is_refused(aperio: Aperio, system: Path) -> None:
    install_in(system, aperio)
    (system / "plugins").chmod(0o777)

    aperio.refuses("plugin", "list", code="path-shared", status=3)
    aperio.refuses("plugin", "run", PLUGIN, "schema", code="path-shared", status=3)


def test_what_keeps_nothing_runs_from_a_home_for_reading_only(aperio: Aperio) -> None:
    """As a process without root's rights, which no mode of a folder stops."""
    install(aperio)
    folders = [aperio.home, *(path for path in aperio.home.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o500)
    ordinary = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]
    before = _snapshot(aperio.home)

    def run(*typed: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(ordinary if os.geteuid() == 0 else ()),
                *(sys.executable, "-m", "aperio_cli", "plugin", "run", PLUGIN, *typed),
            ],
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{SDK}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    done, synced = run("schema", "--json"), run("sync")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "ok"
    assert synced.returncode == 1, synced.stderr
    assert str(aperio.home) in synced.stderr
    assert "internal-error" not in synced.stderr
    assert _snapshot(aperio.home) == before
    for folder in folders:
        folder.chmod(0o700)


def _snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
        if path.name != "store.lock"
    }
