"""Projects that somebody else has written, with links where files and folders belong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aperio_cli.__main__ import main
from aperio_cli.building import load_project
from aperio_cli.errors.files import FileNotRegular
from tests.go_projects import make_go_project
from tests.projects import make_project

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "AWS_SECRET_ACCESS_KEY=hunter2"
FILES = ["manifest.yaml", "plugin.py", "LICENSE", "README.md", "requirements.lock"]


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


@pytest.fixture(name="outside")
def _outside(tmp_path: Path) -> Path:
    """What a link leads to: a folder with a secret."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text(SECRET)
    return folder


def build(project: Path, *words: str) -> int:
    """Build a project; return the exit status."""
    return main(["plugin", "build", str(project), *words])


def test_project_without_links_is_built_by_a_link_to_it(project: Path, tmp_path: Path) -> None:
    """What the operator names may be a link."""
    (tmp_path / "link").symlink_to(project)
    assert build(tmp_path / "link") == 0
    assert len(list((project / "dist").iterdir())) == 1


@pytest.mark.parametrize("is_same", [True, False], ids=["same contents", "a secret"])
@pytest.mark.parametrize("name", FILES)
def test_file_of_a_project_is_read_through_no_link(
    project: Path, outside: Path, name: str, capsys: pytest.CaptureFixture[str], *, is_same: bool
) -> None:
    kept = outside / "kept"
    (project / name).rename(kept)
    (project / name).symlink_to(kept if is_same else outside / "secret")

    assert build(project) == 3

    told = capsys.readouterr().err
    assert "file-not-regular" in told or "tree-not-plain" in told
    assert name in told
    assert "a symbolic link" in told
    assert "hunter2" not in told
    assert not (project / "dist").exists()


@pytest.mark.parametrize("name", ["manifest.yaml", "plugin.py", "requirements.lock"])
def test_project_with_a_link_is_not_run(
    project: Path, outside: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / name).unlink()
    (project / name).symlink_to(outside / "secret")

    assert main(["plugin", "run", str(project), "schema"]) == 3

    told = capsys.readouterr().err
    assert "file-not-regular" in told
    assert "hunter2" not in told


@pytest.mark.parametrize("name", ["go.mod", "go.sum", "vendor"])
def test_file_of_a_go_project_is_no_link(tmp_path: Path, outside: Path, name: str) -> None:
    """go would follow it, and quote what it cannot read."""
    project = make_go_project(tmp_path / "project")
    load_project(project)
    (project / name).unlink(missing_ok=True)
    (project / name).symlink_to(outside / ("secret" if name != "vendor" else ""))

    with pytest.raises(FileNotRegular, match=f"{name}` was not used: it is a symbolic link"):
        load_project(project)


@pytest.mark.parametrize("out", ["dist", "dist/below", "made/for/it"])
def test_output_inside_of_a_project_is_reached_through_no_link(
    project: Path, outside: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(project, "--out", str(project / out)) == 0
    top = project / out.split("/", maxsplit=1)[0]
    top.rename(outside / "moved")
    top.symlink_to(outside)
    before = sorted(outside.rglob("*"))

    assert build(project, "--out", str(project / out)) == 3

    assert "it is a symbolic link\n" in capsys.readouterr().err
    assert sorted(outside.rglob("*")) == before


def test_default_output_that_is_a_link_is_refused(project: Path, outside: Path) -> None:
    (project / "dist").symlink_to(outside)
    assert build(project) == 3
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_output_elsewhere_may_be_a_link(project: Path, outside: Path, tmp_path: Path) -> None:
    """The operator named it."""
    (tmp_path / "link").symlink_to(outside)
    assert build(project, "--out", str(tmp_path / "link")) == 0
    assert build(project, "--out", str(project / ".." / "link" / "more")) == 0
    assert len(list(outside.rglob("*.tar.gz"))) == 2
