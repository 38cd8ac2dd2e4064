"""Folders that somebody exchanges for a link while aperio works in them: nothing elsewhere changes.

The exchange is made where it matters: between the look at a folder and what is done in it. As
another user could, where the folder above is theirs; such places are refused where they are stated.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aperio_cli.archive import writing as packing
from aperio_cli.errors.files import FolderNotPrivate, PathShared
from aperio_cli.errors.usage import PlaceUnusable
from aperio_cli.files import owning, removing, temporary, writing
from aperio_cli.files.beneath import Beneath
from tests.projects import make_project
from tests.rows import each_row

from .test_project_links import build

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(name="elsewhere")
def _elsewhere(tmp_path: Path) -> Path:
    """What a link leads to: folders of the names that are worked with, open to all."""
    folder = tmp_path / "elsewhere"
    for name in ("view", "plugin", "host", "dist", "linux_amd64"):
        (folder / name).mkdir(parents=True)
        (folder / name).chmod(0o755)
        (folder / name / "kept").write_text("kept")
    folder.chmod(0o755)
    return folder


def everything(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that is below a folder: its mode, when it was changed last, its contents."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        data = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(path)] = (status.st_mode, status.st_ctime_ns, data)
    return found


def exchange(folder: Path, target: Path) -> None:
    """Put a link in the place of a folder."""
    folder.rename(folder.with_name(f"{folder.name}.away"))
    folder.symlink_to(target)


@pytest.mark.parametrize("out", ["dist", "deep/dist", "beside"])
def test_an_output_folder_that_becomes_a_link_gets_the_artifact_where_it_was(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    """Inside of the project, and elsewhere, where what the operator names may be anything."""
    project = make_project(tmp_path / "project")
    place = tmp_path / "out" if out == "beside" else project / out
    before, write = everything(elsewhere), packing.write

    def late(*arguments: object, **named: object) -> object:
        exchange(place, elsewhere)
        return write(*arguments, **named)  # type: ignore[arg-type] # as they came

    monkeypatch.setattr(packing, "write", late)
    assert build(project, "--out", str(place)) == 0

    assert everything(elsewhere) == before
    assert len(list(place.with_name(f"{place.name}.away").glob("*.tar.gz"))) == 1


@pytest.mark.parametrize("moment", ["scandir", "fchmod", "unlink", "rmdir", "open"])
def test_a_temporary_folder_that_becomes_a_link_is_removed_as_a_link(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before, real = everything(elsewhere), getattr(os, moment)
    with temporary.temporary_folder("aperio-build-") as name:
        folder = Path(name)
        for each in ("view", "plugin"):
            (folder / each / "inner").mkdir(parents=True)
            (folder / each / "file").touch()
        (folder / "view").chmod(0o500)

        def late(*arguments: object, **named: object) -> object:
            if not folder.is_symlink() and folder.exists():
                exchange(folder, elsewhere)
            return real(*arguments, **named)

        monkeypatch.setattr(os, moment, late)
    monkeypatch.undo()

    assert folder.with_name(f"{folder.name}.away").exists(), "it was exchanged"
    assert everything(elsewhere) == before


@pytest.mark.parametrize("part", ["view", "plugin"])
def test_a_folder_in_a_temporary_one_that_becomes_a_link_is_removed_as_a_link(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    before, real = everything(elsewhere), os.open
    folder = tmp_path / "folder"
    (folder / part / "inner").mkdir(parents=True)

    def late(path: object, *arguments: object, **named: object) -> object:
        if path == part and not (folder / part).is_symlink():
            exchange(folder / part, elsewhere)
        return real(path, *arguments, **named)  # type: ignore[arg-type] # as they came

    monkeypatch.setattr(os, "open", late)
    with pytest.raises(OSError, match=part):
        removing.remove_tree(folder)
    monkeypatch.undo()

    assert everything(elsewhere) == before


@pytest.mark.parametrize("is_removed", [True, False])
def test_a_temporary_folder_that_goes_away_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_removed: bool
) -> None:
    """By whoever cleans up such places, say; an error in one that is there is what it was."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def work() -> None:
        with temporary.temporary_folder("aperio-build-") as name:
            if is_removed:
                removing.remove_tree(Path(name))
            (Path(name) / "sub/file").write_text("")

    with pytest.raises(PlaceUnusable if is_removed else FileNotFoundError) as caught:
        work()
    if is_removed:
        assert "was moved away, or removed" in str(caught.value)
    assert not list(tmp_path.glob("aperio-*"))


def shared(folder: Path) -> Path:
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def sticky(folder: Path) -> Path:
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def own(folder: Path) -> Path:
    folder.mkdir()
    return folder


@each_row("deep", ["", "below"])
@each_row(("make", "is_taken"), [(own, True), (sticky, True), (shared, False)])
def test_a_stated_temporary_place_is_one_where_nobody_exchanges_anything(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], Path],
    deep: str,
    *,
    is_taken: bool,
) -> None:
    place = make(tmp_path / "place") / deep
    place.mkdir(exist_ok=True)
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    if is_taken:
        with temporary.temporary_folder("aperio-x-") as name:
            assert name.startswith(str(place))
        return
    with (
        pytest.raises(PathShared, match="which TMPDIR names, somebody else") as caught,
        temporary.temporary_folder("aperio-x-"),
    ):
        pass
    assert "name a folder of your own in TMPDIR, or /tmp" in caught.value.next
    assert not list(place.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who may give a folder away")
def test_root_works_in_no_temporary_place_of_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = own(tmp_path / "place")
    os.chown(place, 4711, 4711)
    monkeypatch.setenv("TMPDIR", str(place))
    with pytest.raises(PathShared) as caught, temporary.temporary_folder("aperio-x-"):
        pass
    assert "it belongs to uid 4711" in caught.value.why


@each_row(("make", "is_made"), [(own, True), (sticky, True), (shared, False)])
def test_a_private_folder_is_made_where_nobody_exchanges_it(
    tmp_path: Path, make: Callable[[Path], Path], *, is_made: bool
) -> None:
    """Such as the cache that projects are run from, and a host's own."""
    owning.forget()
    place = make(tmp_path / "place")
    if is_made:
        writing.ensure_own(place / "cache/development")
        assert stat.S_IMODE((place / "cache/development").stat().st_mode) == 0o700
        return
    with pytest.raises(PathShared):
        writing.ensure_own(place / "cache/development")
    assert not list(place.iterdir())
    writing.ensure_own(place / "rejects", is_read_again=False)
    assert stat.S_IMODE((place / "rejects").stat().st_mode) == 0o700
    place.chmod(0o755)
    owning.forget()
    (place / "cache").symlink_to(tmp_path)
    with pytest.raises(FolderNotPrivate):
        writing.ensure_own(place / "cache")


def test_a_folder_held_open_is_the_one_that_was_opened(tmp_path: Path, elsewhere: Path) -> None:
    before = everything(elsewhere)
    own(tmp_path / "held")
    with Beneath(tmp_path / "held") as held:
        exchange(tmp_path / "held", elsewhere)
        held.write_atomic("file", data=b"x")
        held.make_folders("dist")
        held.remove_tree("dist")
    assert everything(elsewhere) == before
    assert (tmp_path / "held.away/file").read_bytes() == b"x"
