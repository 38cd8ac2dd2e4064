from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aperio_cli.errors.usage import NotFound
from aperio_cli.scaffolding.go_sdk import FOLDER, go_sdk
from tests.projects import ROOT, snapshot, write
from tests.rows import each_row

if TYPE_CHECKING:
    from pathlib import Path

GO_MOD = """\
module example.com/sdk

go 1.25.0

require example.com/one v1.0.0

require (
\texample.com/two/v2 v2.3.4
\texample.com/a v0.0.0-20260101000000-abcdefabcdef // indirect
)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "sdk"
    write(folder, "go.mod", GO_MOD)
    write(folder, "go.sum", "example.com/one v1.0.0 h1:x=\n")
    write(folder, "LICENSE", "MIT\n")
    write(folder, "doc.go", "package sdk\n")
    write(folder, "inner/inner.go", "package inner\n")
    for name in ("doc_test.go", "testdata/x.go", "inner/testdata/y.json", ".hidden/z.go", "notes"):
        write(folder, name, "package x\n")
    return folder


def test_sdk_says_what_it_requires(source: Path) -> None:
    sdk = go_sdk(source)
    assert (sdk.module, sdk.go_version) == ("example.com/sdk", "1.25.0")
    assert sdk.requirements == (
        "example.com/a v0.0.0-20260101000000-abcdefabcdef",
        "example.com/one v1.0.0",
        "example.com/two/v2 v2.3.4",
    )
    assert sdk.sums == "example.com/one v1.0.0 h1:x=\n"


def test_sdk_leaves_tests_and_what_they_read_behind(source: Path) -> None:
    assert sorted(go_sdk(source).files) == [
        "LICENSE",
        "doc.go",
        "go.mod",
        "go.sum",
        "inner/inner.go",
    ]


def test_sdk_takes_the_place_of_what_was_there(source: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    write(project, f"{FOLDER}/stale.go", "package stale\n")
    write(project, "third_party/other/kept.go", "package kept\n")
    go_sdk(source).put_into(project)
    assert set(snapshot(project)) == {
        "third_party/other/kept.go",
        *(f"{FOLDER}/{name}" for name in ("LICENSE", "doc.go", "go.mod", "go.sum")),
        f"{FOLDER}/inner/inner.go",
    }


def test_sdk_refuses_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        go_sdk(tmp_path)


@each_row("plugin", ["jsonl-file", "nats-jetstream", "aperio-postgres"])
def test_destination_of_ours_requires_what_the_sdk_requires(plugin: str) -> None:
    sdk = go_sdk()
    folder = ROOT / "plugins" / plugin
    required = (folder / "go.mod").read_text()
    for requirement in sdk.requirements:
        assert requirement in required
    assert set(sdk.sums.splitlines()) <= set((folder / "go.sum").read_text().splitlines())
