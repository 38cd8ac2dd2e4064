"""`plugin build --check` starts what was built, once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.__main__ import main
from tests.lifecycle.plugins import sdk_program
from tests.projects import make_project, write

if TYPE_CHECKING:
    from pathlib import Path


URL_FIELD = (
    'remediation.Field(key="u", label="U", type=remediation.FieldType.URL,'
    ' default="https://api.acme.io")'
)


def a_project(folder: Path, one: str = "", other: str = "") -> Path:
    """A remediation; a part of its source may be another."""
    project = make_project(folder)
    manifest = (project / "manifest.yaml").read_text().replace("provider: BOX", "provider: STUB")
    write(project, "manifest.yaml", manifest.replace("kind: connector", "kind: remediation"))
    source = sdk_program("remediation")
    assert one in source
    write(project, "plugin.py", source.replace(one, other) if one else source)
    return project


def checked(
    project: Path, capsys: pytest.CaptureFixture[str], *options: str, status: int = 0
) -> dict[str, Any]:
    assert main(["plugin", "build", str(project), "--check", "--json", *options]) == status
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_check_starts_what_was_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = checked(a_project(tmp_path / "project"), capsys)
    assert document["data"]["started"] is True
    assert document["data"]["reproducible"] is True


@pytest.mark.parametrize(
    ("one", "other", "seen"),
    [
        ("import remediation", "import remediation\nimport nowhere", "No module named 'nowhere'"),
        ('provider="STUB"', 'provider="STU" + "B2"', "expected STUB, as in the manifest"),
        ("remediation.serve(Stub())", "", "start: "),
        (
            'provider="STUB",',
            f'provider="STUB", fields=[{URL_FIELD}],',
            "leads to api.acme.io:443, which is not declared",
        ),
    ],
)
def test_check_refuses_what_does_not_start_as_its_manifest_says(
    one: str, other: str, seen: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The artifacts stay, as when two builds differ."""
    project = a_project(tmp_path / "project", one, other)
    document = checked(project, capsys, status=1)
    (error,) = document["errors"]
    assert error["code"] == "artifact-unfit"
    assert seen in error["why"]
    assert list((project / "dist").iterdir())


NESTING = """\
import os
from pathlib import Path
above = os.open(Path(__file__).parent, os.O_RDONLY)
for _ in range(1500):
    os.mkdir("d", dir_fd=above)
    above, before = os.open("d", os.O_RDONLY, dir_fd=above), above
    os.close(before)
"""


def test_what_a_plugin_nests_where_it_is_tried_is_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing confines it, a plugin writes beside its own code."""
    project = a_project(tmp_path / "project")
    write(project, "plugin.py", NESTING + (project / "plugin.py").read_text())
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    assert checked(project, capsys)["data"]["started"] is True
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_is_for_another_machine_is_not_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = a_project(tmp_path / "project", "remediation.serve(Stub())")
    document = checked(project, capsys, "--platform", "darwin/arm64")
    assert document["data"]["started"] is False


def test_where_publishers_have_to_be_verified_nothing_is_started(
    tmp_path: Path, aperio_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(aperio_home, "config.toml", '[policy]\nrequire = "verified"\n')
    document = checked(a_project(tmp_path / "project", "remediation.serve(Stub())"), capsys)
    assert document["data"]["started"] is False
