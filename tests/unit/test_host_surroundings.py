"""Private folders: what a killed host leaves of them is swept, and nothing else."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.host.process.surroundings import PrivateFolder, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def base() -> Iterator[Path]:
    """A short path: sockets are made below it."""
    folder = Path(tempfile.mkdtemp(prefix="rt", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def abandon(folder: PrivateFolder) -> None:
    """Let go of it as the kernel does when a host is killed."""
    for descriptor in (folder.own_descriptor, folder.descriptor, folder.base_descriptor):
        os.close(descriptor)


def test_what_a_killed_host_left_is_swept_and_what_is_in_use_is_not(base: Path) -> None:
    used, left = (PrivateFolder.make(base, subject="a plugin") for _ in range(2))
    (left.own / "closed").mkdir()
    (left.own / "closed" / "file").touch()
    (left.own / "closed").chmod(0)
    abandon(left)

    sweep(base, older_than_s=0)
    assert list(base.iterdir()) == [used.path]

    used.remove()
    assert list(base.iterdir()) == []


def test_what_is_new_or_not_ours_is_left(base: Path) -> None:
    young = PrivateFolder.make(base, subject="a plugin")
    abandon(young)
    (base / "aperio-0123abcd").touch()
    (base / "aperio-host-0123abcd").mkdir()
    (base / "aperio-89abcdef").mkdir()
    (base / "aperio-89abcdef" / "letters").touch()
    (base / "aperio-deadbeef").symlink_to(base / "aperio-89abcdef")
    before = {path.name for path in base.iterdir()}

    sweep(base)
    assert {path.name for path in base.iterdir()} == before
    sweep(base, older_than_s=0)
    assert {path.name for path in base.iterdir()} == before - {young.path.name}


def test_a_base_that_is_not_there_has_nothing_to_sweep(tmp_path: Path) -> None:
    sweep(tmp_path / "nowhere")
