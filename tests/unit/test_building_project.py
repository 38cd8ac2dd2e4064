from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from aperio_cli.building import load_project
from aperio_cli.errors import NOT_DONE
from aperio_cli.errors.building import ManifestInvalid, ManifestKindUnknown, ProjectInvalid
from aperio_cli.errors.files import FileNotRegular
from tests.projects import make_project, snapshot, write
from tests.rows import each_row

if TYPE_CHECKING:
    from pathlib import Path


def test_load_project_gives_folder_and_manifest(tmp_path: Path) -> None:
    project = load_project(make_project(tmp_path / "box"))
    assert project.path == tmp_path / "box"
    assert str(project.manifest.id) == "acme/box-connector"


def test_load_project_gives_an_absolute_path_for_a_relative_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert load_project(tmp_path.relative_to(tmp_path)).path == tmp_path


@each_row("name", ["plugin.py", "LICENSE", "README.md"])
def test_load_project_refuses_a_project_without_a_needed_file(tmp_path: Path, name: str) -> None:
    (make_project(tmp_path) / name).unlink()
    with pytest.raises(ProjectInvalid) as caught:
        load_project(tmp_path)
    assert f"{name} missing" in caught.value.what


def test_load_project_refuses_a_folder_without_a_manifest(tmp_path: Path) -> None:
    write(tmp_path, "plugin.py", "")
    before = snapshot(tmp_path)
    with pytest.raises(ProjectInvalid) as caught:
        load_project(tmp_path)
    assert caught.value.code == "project-invalid"
    assert caught.value.exit_status == NOT_DONE
    assert "it has no manifest.yaml" in caught.value.what
    assert snapshot(tmp_path) == before


def test_load_project_names_the_project_one_level_below(tmp_path: Path) -> None:
    make_project(tmp_path / "box")
    with pytest.raises(ProjectInvalid) as caught:
        load_project(tmp_path)
    assert str(tmp_path / "box") in caught.value.why


def test_load_project_names_the_project_one_level_above(tmp_path: Path) -> None:
    (make_project(tmp_path) / "box_connector").mkdir()
    with pytest.raises(ProjectInvalid) as caught:
        load_project(tmp_path / "box_connector")
    assert f"`{tmp_path}`" in caught.value.why


def test_load_project_points_from_an_artifact_to_install(tmp_path: Path) -> None:
    artifact = write(tmp_path, "box_1.0.0_linux_amd64.tar.gz", "")
    with pytest.raises(ProjectInvalid) as caught:
        load_project(artifact)
    assert f"`aperio plugin install {artifact}`" in caught.value.next[1]


def test_load_project_refuses_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ProjectInvalid, match="there is no such folder"):
        load_project(tmp_path / "missing")


def test_load_project_refuses_a_broken_manifest(tmp_path: Path) -> None:
    write(make_project(tmp_path), "manifest.yaml", "id: [")
    with pytest.raises(ManifestInvalid) as caught:
        load_project(tmp_path)
    assert "not YAML" in caught.value.why


def test_load_project_refuses_an_unknown_kind(tmp_path: Path) -> None:
    path = make_project(tmp_path) / "manifest.yaml"
    path.write_text(path.read_text().replace("kind: connector", "kind: conector"))
    with pytest.raises(ManifestKindUnknown) as caught:
        load_project(tmp_path)
    assert caught.value.next == ("did you mean `connector`?",)


def test_load_project_refuses_a_huge_manifest(tmp_path: Path) -> None:
    write(make_project(tmp_path), "manifest.yaml", "#" * 70_000)
    with pytest.raises(ManifestInvalid) as caught:
        load_project(tmp_path)
    assert "too large" in caught.value.why


def test_load_project_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    (make_project(tmp_path) / "manifest.yaml").unlink()
    os.mkfifo(tmp_path / "manifest.yaml")
    with pytest.raises(FileNotRegular, match="it is a fifo"):
        load_project(tmp_path)
