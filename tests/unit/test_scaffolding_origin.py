"""Where a project's workflows get aperio from, and the lock they install it by."""

from __future__ import annotations

import re
import subprocess
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement

from aperio_cli import __version__, scaffolding
from aperio_cli.__main__ import main
from aperio_cli.building.lock import Pin, parse_lock
from aperio_cli.errors.usage import UsageError
from aperio_cli.models.digest import Digest
from aperio_cli.scaffolding import ScaffoldRequest, scaffold
from aperio_cli.scaffolding.origin import (
    APERIO_LOCK,
    BUILD_LOCK,
    DEFAULT,
    FOLDER,
    LOCK_NAME,
    lock_text,
    parse_origin,
)
from aperio_cli.scaffolding.wheel import Wheel, sdk_wheel
from tests.forking import ForkedPip
from tests.projects import ROOT, WHEELS
from tests.rows import each_row, for_each
from tests.simulators.ci import web

if TYPE_CHECKING:
    from pathlib import Path

HEX = "ab" * 32
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WHEEL = f"aperio_cli-{__version__}-py3-none-any.whl"
ADDRESS = f"https://wheels.example.com/a/{WHEEL}"
GIT = f"git+https://git.example.com/acme/aperio.git@{COMMIT}"
GOOD = [f"{DEFAULT}#sha256={HEX}", f"{ADDRESS}#sha256={HEX}", GIT]
BAD = {
    "nothing": "",
    "no version": "aperio-cli",
    "a range": "aperio-cli>=0.1",
    "another version": f"aperio-cli==9.9.9#sha256={HEX}",
    "another distribution": f"aperio-clj=={__version__}#sha256={HEX}",
    "half a hash": f"{DEFAULT}#sha256=ab",
    "a weak hash": f"{DEFAULT}#md5={HEX[:32]}",
    "an address without its hash": ADDRESS,
    "no wheel": f"https://wheels.example.com/aperio.tar.gz#sha256={HEX}",
    "the wheel of another version": f"https://a.example.com/aperio_cli-9-py3-none-any.whl#sha256={HEX}",
    "plain http": f"http://wheels.example.com/{WHEEL}#sha256={HEX}",
    "a branch": "git+https://git.example.com/acme/aperio.git@main",
    "half a commit": f"git+https://git.example.com/acme/aperio.git@{COMMIT[:7]}",
    "a secret": f"git+https://token@git.example.com/acme/aperio.git@{COMMIT}",
    "ssh": f"git+ssh://git@git.example.com/acme/aperio.git@{COMMIT}",
    "a folder": "./aperio",
    "another line": f"{GIT}\n  OTHER: value",
    "an option of pip's": f"{DEFAULT}#sha256={HEX} --index-url=https://a.example.com",
    "an expression": f"git+https://git.example.com/${{{{github.token}}}}@{COMMIT}",
    "a variable": f"git+https://git.example.com/$HOME@{COMMIT}",
    "a quote": f"git+https://git.example.com/a'b@{COMMIT}",
}


def pins(text: str) -> dict[str, Pin]:
    return {pin.name: pin for pin in parse_lock(text.encode(), APERIO_LOCK).pins}


@each_row("text", GOOD)
def test_place_that_pins_aperio_is_taken(text: str) -> None:
    origin = parse_origin(text)
    assert (origin.stated, origin.is_locked) == (text, True)
    assert bool(origin.commit) is text.startswith("git+")
    assert bool(origin.requirement) is not text.startswith("git+")


@for_each(BAD)
def test_place_that_pins_nothing_is_refused(case: str) -> None:
    with pytest.raises(UsageError, match="no place to get aperio from; nothing was made"):
        parse_origin(BAD[case])


def test_project_is_not_made_with_a_place_that_is_refused(tmp_path: Path) -> None:
    request = ScaffoldRequest(
        "github.com/acme/aperio-plugin-box", output=tmp_path / "box", aperio_from="aperio-cli"
    )
    with pytest.raises(UsageError):
        scaffold(request)
    assert not (tmp_path / "box").exists()


@pytest.mark.parametrize("language", scaffolding.LANGUAGES)
@pytest.mark.parametrize("text", [DEFAULT, *GOOD])
def test_project_states_once_where_aperio_comes_from(
    language: str, text: str, tmp_path: Path
) -> None:
    project = scaffold(
        ScaffoldRequest(
            "github.com/acme/aperio-plugin-box", language=language, output=tmp_path / "box",
            aperio_from=text,
        )
    ).path  # fmt: skip
    place = text.partition("#")[0]
    lock = (project / FOLDER / LOCK_NAME).read_text()
    workflow = (project / ".github/workflows/release.yml").read_text()
    assert (lock + workflow).count(place) == 1
    assert ("--no-deps --no-build-isolation" in workflow) is text.startswith("git+")
    assert ("hatchling==" in lock) is text.startswith("git+")


def test_lock_has_the_sdk_of_the_project_by_its_hash(tmp_path: Path) -> None:
    project = scaffold(
        ScaffoldRequest("github.com/acme/aperio-plugin-box", output=tmp_path / "box")
    ).path
    (wheel,) = (project / FOLDER).glob("*.whl")
    lock = (project / FOLDER / LOCK_NAME).read_text()
    assert f"./{FOLDER}/{wheel.name} \\\n    --hash={Digest.of(wheel.read_bytes())}\n" in lock


@pytest.mark.parametrize("text", ["", *GOOD])
def test_init_says_so_while_the_lock_lacks_the_hash(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["plugin", "init", "github.com/acme/aperio-plugin-box", "--output", str(tmp_path / "b")]
    assert main([*words, *(["--aperio-from", text] if text else [])]) == 0
    assert ("before a release: " in capsys.readouterr().err) is (not text)


# ── the locks that ship with aperio ───────────────────────────────────────────────────────────────


def test_locks_have_what_aperio_its_sdk_and_its_build_state() -> None:
    cli, sdk = (
        tomllib.loads((ROOT / path).read_text())
        for path in ("pyproject.toml", "sdk/python/pyproject.toml")
    )
    run = pins(APERIO_LOCK.read_text())
    built = {**run, **pins(BUILD_LOCK.read_text())}
    stated = cli["tool"]["hatch"]["metadata"]["hooks"]["custom"]["dependencies"]
    for text in (*stated, *sdk["project"]["dependencies"]):
        requirement = Requirement(text)
        assert requirement.specifier.contains(run[requirement.name.lower()].version), text
    for text in cli["build-system"]["requires"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(built[requirement.name.lower()].version), text
    assert not set(run) & set(pins(BUILD_LOCK.read_text()))


def test_lock_has_wheels_of_every_interpreter_and_architecture() -> None:
    compiled = pins(APERIO_LOCK.read_text())
    # No stable interface: a wheel each.
    assert len(compiled["grpcio"].digests) == 2 * len(scaffolding.LOCKED_TAGS)
    assert len(compiled["pydantic-core"].digests) == 2 * len(scaffolding.LOCKED_TAGS)


# ── as pip reads them ─────────────────────────────────────────────────────────────────────────────


def install(folder: Path, text: str, index: Path) -> subprocess.CompletedProcess[str]:
    """What pip would do in a project's folder, as the workflow has it install."""
    wheel = sdk_wheel()
    (folder / FOLDER).mkdir(parents=True)
    (folder / FOLDER / LOCK_NAME).write_text(text)
    (folder / FOLDER / wheel.file_name).write_bytes(wheel.data)
    words = [
        *("install", "--dry-run", "--ignore-installed"),
        *("--require-hashes", "--only-binary", ":all:", "-r", f"{FOLDER}/{LOCK_NAME}"),
    ]
    environment = {
        "HOME": str(folder), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": f"{WHEELS} {index}",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }  # fmt: skip
    streams: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    with ForkedPip(words, cwd=folder, env=environment, **streams) as process:
        out, err = process.communicate(timeout=100)
    return subprocess.CompletedProcess(words, process.returncode, out.decode(), err.decode())


def small_release(folder: Path) -> str:
    """Put a wheel with aperio's name and dependencies into a folder; return its hash."""
    from tests.wheels import repack

    made = repack("aperio-cli", folder)
    return Digest.of(made.read_bytes()).hex


def test_pip_takes_a_complete_lock_and_nothing_beside_it(tmp_path: Path) -> None:
    index = tmp_path / "index"
    index.mkdir()
    text = lock_text(parse_origin(f"{DEFAULT}#sha256={small_release(index)}"), sdk_wheel())
    done = install(tmp_path / "box", text, index)
    assert done.returncode == 0, done.stdout + done.stderr
    (said,) = re.findall(r"Would install (.*)", done.stdout)
    locked = set(pins(APERIO_LOCK.read_text())) | {"aperio-cli", "aperio-plugin-sdk"}
    assert {
        re.sub(r"[-_.]+", "-", word.rsplit("-", 1)[0]).lower() for word in said.split()
    } == locked


CHANGES = {
    "no hash yet": (DEFAULT, "Hashes are required in --require-hashes mode"),
    "another file": (f"{DEFAULT}#sha256={HEX}", "DO NOT MATCH THE HASHES"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_pip_refuses_what_the_lock_does_not_pin(case: str, tmp_path: Path) -> None:
    index = tmp_path / "index"
    index.mkdir()
    small_release(index)
    place, said = CHANGES[case]
    done = install(tmp_path / "box", lock_text(parse_origin(place), sdk_wheel()), index)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr


def test_pip_refuses_an_sdk_that_is_not_the_projects(tmp_path: Path) -> None:
    index = tmp_path / "index"
    index.mkdir()
    real = sdk_wheel()
    other = Wheel(real.distribution, real.version, real.data + b"changed")
    text = lock_text(parse_origin(f"{DEFAULT}#sha256={small_release(index)}"), other)
    done = install(tmp_path / "box", text, index)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stdout + done.stderr


@pytest.mark.parametrize("is_right", [True, False])
def test_pip_takes_the_wheel_at_an_address_when_it_is_the_right_one(
    tmp_path: Path, *, is_right: bool
) -> None:
    index = tmp_path / "index"
    index.mkdir()
    sha256 = small_release(index)
    wheel = (index / WHEEL).read_bytes()
    (index / WHEEL).unlink()
    text = lock_text(parse_origin(f"{ADDRESS}#sha256={sha256}"), sdk_wheel())
    with web.serving(lambda _: web.Answer(body=wheel if is_right else wheel + b"more")) as site:
        there = text.replace("https://wheels.example.com", site.url)
        done = install(tmp_path / "box", there, index)
    assert (done.returncode == 0) is is_right, done.stdout + done.stderr
    assert [asked.path for asked in site.asked] == [f"/a/{WHEEL}"]
    assert is_right or "DO NOT MATCH THE HASHES" in done.stdout + done.stderr
