"""`install` and `update` as they are typed: killed at system calls, and by twenty at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.paths import find_paths
from aperio_cli.store.installed import Store
from tests.lifecycle.cli import finish
from tests.lifecycle.plugins import PLUGIN, artifact_of
from tests.unit.test_killing import assert_true

if TYPE_CHECKING:
    from tests.lifecycle.cli import Aperio

OLD, NEW = "1.0.0", "2.0.0"
ROOT = Path(__file__).resolve().parents[2]
STRACE = shutil.which("strace")
DEADLINE_S = 100
CALLS = {
    "rename": 1, "renameat": 1, "renameat2": 1, "unlink": 1, "unlinkat": 3, "mkdir": 1, "rmdir": 1,
    "fsync": 2, "chmod": 1, "fchmod": 2, "ftruncate": 1, "pwrite64": 3, "write": 9,
}  # fmt: skip
"""What writes, and at every which call of it the command is killed."""

pytestmark = pytest.mark.skipif(STRACE is None, reason="strace is not installed")


@pytest.fixture
def registry(aperio: Aperio) -> Path:
    """A registry with two versions; the older one is installed."""
    aperio("registry", "init", "registry")
    for version in (OLD, NEW):
        folder = aperio.folder / f"dist-{version}"
        aperio(
            "plugin", "sign", artifact_of(folder, "print()\n", version=version), "--trust", "local"
        )
        aperio("registry", "add", folder, "--dir", "registry")
        aperio("registry", "build", "--dir", "registry")
        if version == OLD:
            aperio("plugin", "install", PLUGIN, "--registry", "registry/public")
    shutil.copytree(aperio.home, aperio.sandbox / "kept")
    return aperio.folder / "registry" / "public"


def words(verb: str, registry: Path) -> list[str]:
    """The command: an update, or the installation of the newer version by its name."""
    named = PLUGIN if verb == "update" else f"{PLUGIN}@{NEW}"
    return ["plugin", verb, named, "--yes", "--registry", str(registry)]


def killed_at(aperio: Aperio, call: str, number: int, typed: list[str]) -> bool:
    """Type a command that is killed at a system call; say whether it came so far."""
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    killer = [str(STRACE), "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
    ended = subprocess.run(
        [*killer, sys.executable, "-m", "aperio_cli", *typed],
        cwd=aperio.folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/sdk/python"},
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return ended.returncode != 0


def restore(aperio: Aperio) -> None:
    """Have the home as it was; what a killed process left among temporary files is the system's."""
    shutil.rmtree(aperio.home)
    shutil.copytree(aperio.sandbox / "kept", aperio.home)
    shutil.rmtree(aperio.sandbox / "temporary")
    (aperio.sandbox / "temporary").mkdir()


def after_killing(aperio: Aperio, call: str, number: int, typed: list[str]) -> tuple[bool, str]:
    """Kill a command at a call; whether it came so far, and which version is used then.

    The same command, typed once more, succeeds.
    """
    store = Store(find_paths({}, home=str(aperio.home)))
    was_killed = killed_at(aperio, call, number, typed)
    used = str(assert_true(store))
    if was_killed and number % 4 == 0:
        aperio(*typed)
        assert assert_true(store) == NEW
    restore(aperio)
    return was_killed, used


@pytest.mark.timeout(300)
def test_update_killed_at_its_renames_leaves_a_version_that_is_used_wholly(
    aperio: Aperio, registry: Path
) -> None:
    """The sample of every day: where the store, current.json and the lock file take their names."""
    ended = [after_killing(aperio, "renameat", n, words("update", registry)) for n in (4, 6)]
    assert ended == [(True, OLD), (True, OLD)]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("verb", ["install", "update"])
def test_killed_at_any_call_that_writes_a_version_is_used_wholly_or_not_at_all(
    aperio: Aperio, registry: Path, verb: str, call: str
) -> None:
    number, was_killed, used = 0, True, ""
    while was_killed:
        number += CALLS[call]
        was_killed, used = after_killing(aperio, call, number, words(verb, registry))
        assert used in {OLD, NEW}
    assert used == NEW


def race(aperio: Aperio, registry: Path, number: int) -> None:
    """Type so many updates at once: each succeeds, and says what is used now."""
    running = [
        aperio.start(*words("update", registry), "--json", stdout=subprocess.PIPE)
        for _ in range(number)
    ]
    outcomes = []
    for process in running:
        done = finish(process)
        assert done.status == 0, done
        [told] = json.loads(done.out)["data"]["plugins"]
        assert told["version"] == NEW
        outcomes.append(told["outcome"])
    assert "updated" in outcomes
    assert set(outcomes) <= {"updated", "current"}
    assert assert_true(Store(find_paths({}, home=str(aperio.home)))) == NEW


def test_updates_at_once_all_succeed(aperio: Aperio, registry: Path) -> None:
    race(aperio, registry, 4)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_twenty_updates_at_once_all_succeed(aperio: Aperio, registry: Path) -> None:
    race(aperio, registry, 20)
