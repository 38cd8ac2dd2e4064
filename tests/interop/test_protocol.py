"""The plugin interface and the control API keep to buf's rules, and to what they were."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PROTO: Final = ROOT / "proto"
DESCRIBED: Final = PROTO / "interface-1.0.binpb"
HOST: Final = PROTO / "host-1.0.binpb"
TIMEOUT_S: Final = 60.0
_SET_LINE: Final = re.compile(
    r"descriptor set of (interface|host API) (\d+\.\d+): `([0-9a-f]{64})`"
)

pytestmark = pytest.mark.go


def buf(*arguments: str, folder: Path = PROTO) -> subprocess.CompletedProcess[str]:
    places = f"{ROOT / '.cache' / 'bin'}:/usr/local/bin:/usr/bin:/bin"
    program = shutil.which("buf", path=places)
    if program is None:
        pytest.skip("buf is not there; `make setup` builds it")
    return subprocess.run(
        [program, *arguments], cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S,
        check=False, env={"PATH": places, "HOME": str(folder)},
    )  # fmt: skip


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """Return a copy of the interface that a test may change."""
    shutil.copytree(PROTO, tmp_path / "proto")
    return tmp_path / "proto"


def change(folder: Path, before: str, after: str, file: str = "plugin/v1/connector.proto") -> None:
    path = folder / "aperio" / file
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


def test_buf_finds_nothing_against_its_standard_rules() -> None:
    done = buf("lint")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_buf_finds_a_name_against_the_rules(changed: Path) -> None:
    change(changed, "AVAILABILITY_PREVIEW", "PREVIEW")
    done = buf("lint", folder=changed)
    assert done.returncode != 0
    assert "PREVIEW" in done.stdout


@pytest.mark.parametrize("described", [DESCRIBED, HOST], ids=["interface", "host"])
def test_nothing_of_what_was_described_is_broken(described: Path) -> None:
    done = buf("breaking", "--against", str(described))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("bytes cursor = 2;", "string cursor = 2;"),
        ("string origin = 5;", "string origin = 9;"),
        ("string origin = 5;", "string source = 5;"),
        ("AVAILABILITY_PREVIEW = 2;", "AVAILABILITY_BETA = 2;"),
        ("rpc TestConnection(TestRequest)", "rpc Test(TestRequest)"),
    ],
)
def test_a_change_that_breaks_a_plugin_is_found(changed: Path, before: str, after: str) -> None:
    change(changed, before, after)
    done = buf("breaking", "--against", str(DESCRIBED), folder=changed)
    assert done.returncode != 0
    assert "connector.proto" in done.stdout


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("bytes cursor = 2;", "string cursor = 2;"),
        ("string idempotency_key = 7;", "string key = 7;"),
        ("rpc Deliver(", "rpc HandOver("),
        ("STATE_FAILED = 7;", "STATE_BROKEN = 7;"),
    ],
)
def test_a_change_that_breaks_a_caller_of_the_host_is_found(
    changed: Path, before: str, after: str
) -> None:
    change(changed, before, after, "host/v1/host.proto")
    done = buf("breaking", "--against", str(HOST), folder=changed)
    assert done.returncode != 0
    assert "host.proto" in done.stdout


def test_a_new_field_breaks_nothing(changed: Path) -> None:
    change(changed, "string origin = 5;", "string origin = 5;\n  string further = 99;")
    further = "bytes cursor = 2;", "bytes cursor = 2;\n  string further = 99;"
    change(changed, *further, "host/v1/host.proto")
    for described in (DESCRIBED, HOST):
        done = buf("breaking", "--against", str(described), folder=changed)
        assert (done.returncode, done.stdout) == (0, "")


def test_the_changelog_names_each_descriptor_set_once_and_a_released_one_does_not_change() -> None:
    """A change of the interface needs a line of the changelog; a released set is never another."""
    sections = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]
    named = [
        (f"{what.split()[0]}-{version}.binpb", digest, section.splitlines()[0])
        for section in sections
        for what, version, digest in _SET_LINE.findall(section)
    ]
    assert {file for file, _digest, _title in named} == {DESCRIBED.name, HOST.name}
    assert len({file for file, _digest, _title in named}) == len(named)
    for file, digest, title in named:
        described = PROTO / file
        why = f"`make generate` made another descriptor set than {title!r} names"
        assert hashlib.sha256(described.read_bytes()).hexdigest() == digest, why


def test_the_descriptor_sets_are_what_the_protos_say(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate_proto", PROTO / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    for described in (DESCRIBED, HOST):
        generator.describe(described.name, tmp_path / described.name)
        fresh = (tmp_path / described.name).read_bytes()
        assert fresh == described.read_bytes(), "run `make generate`"
