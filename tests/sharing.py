"""What is long to make, made once for all workers of a run."""

from __future__ import annotations

import fcntl
import os
import shutil
from typing import TYPE_CHECKING

from aperio_cli.files.removing import remove_tree
from tests.projects import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that the first worker of a run makes, while the others wait for it.

    Args:
        factory: of this worker; the folders of all workers of a run have one parent.
        name: of the folder, one for each kind.
        make: fills the folder, which is there and empty; an error of it is the test's.
    """
    base = factory.getbasetemp()
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = common / f"shared-{name}", common / f"shared-{name}.done"
    with (common / f"shared-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed; a test's own deadline ends the wait
        if not done.exists():
            remove_tree(folder)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


def linked_once(factory: pytest.TempPathFactory, name: str, link: Callable[[Path], object]) -> Path:
    """Return a folder of Go programs, for all workers of a run; Go may have them from a run before.

    Into the folder of its own in the cache, Go links what is not there as its sources make it now;
    tests have a copy.

    Args:
        factory: as `made_once`.
        name: as `made_once`.
        link: has `go build` write into a folder; an error of it is the test's.
    """
    kept = ROOT / ".cache" / "go-programs" / name

    def make(folder: Path) -> None:
        kept.mkdir(parents=True, exist_ok=True)
        with kept.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # of another run in this checkout
            link(kept)
            shutil.copytree(kept, folder, dirs_exist_ok=True)

    return made_once(factory, name, make)
