"""aperio itself installs in one line, from a checkout and from what `make dist` builds, offline."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest
from packaging.requirements import Requirement

from aperio_cli import __version__
from aperio_cli.scaffolding.wheel import sdk_wheel

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).resolve().parents[2]
WHEELS = ROOT / ".cache" / "wheels"
BIN = Path(sys.executable).parent
TIMEOUT_S = 100
MODULE = "github.com/acme/aperio-plugin-box"
STAMPS = (".ready", ".ready-dev", ".ready-go")
NOT_SOURCE = (".git", ".venv", ".cache", ".*_cache", "__pycache__", "dist", "vendor", "third_party")


def run(*words: str | Path, folder: Path, **environment: str) -> str:
    """Run a program to its end, with pip kept to the wheel cache; give its standard output."""
    given = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "APERIO_HOME": str(folder / "aperio-home"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(WHEELS),
        "PIP_CACHE_DIR": str(folder / "pip-cache"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    ran = subprocess.run(
        [str(word) for word in words], cwd=folder, env=given | environment, capture_output=True,
        text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def make_dist(checkout: Path, folder: Path, umask: int = 0o022) -> dict[str, Path]:
    """What `make dist` builds from a checkout, by name; the set-up is not done again."""
    done = [f"--old-file={BIN.parent / stamp}" for stamp in STAMPS]
    make: tuple[str | Path, ...] = (
        "make",
        "--directory",
        checkout,
        *done,
        f"VENV={BIN.parent}",
        f"DIST={folder}",
        "dist",
    )
    before = os.umask(umask)
    try:
        run(*make, folder=checkout.parent)
    finally:
        os.umask(before)
    return {path.name: path for path in folder.iterdir()}


def copy_checkout(folder: Path) -> Path:
    """A checkout of its own, at a path with a space, where building leaves nothing behind."""
    folder.mkdir()
    return shutil.copytree(
        ROOT, folder / "a checkout", ignore=shutil.ignore_patterns(*NOT_SOURCE), symlinks=True
    )


def wheel_of(folder: Path) -> Path:
    (wheel,) = folder.glob("aperio_cli-*.whl")
    return wheel


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


def sdk_requirements(wheel: Path) -> list[Requirement]:
    required = map(Requirement, metadata(wheel).get_all("Requires-Dist") or [])
    return [each for each in required if each.name == "aperio-plugin-sdk"]


def pip_wheel(what: str | Path, folder: Path, *options: str) -> Path:
    """The wheel that pip builds of one requirement, as it does for `pip install`."""
    built = folder / "built"
    run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *options),
        *(f"--wheel-dir={built}", what),
        folder=folder,
    )
    return wheel_of(built)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("from") / "here")


@pytest.fixture(scope="module")
def release(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_dist(checkout, tmp_path_factory.mktemp("release") / "dist")


# ── what is built ─────────────────────────────────────────────────────────────────────────────────


def test_wheel_of_a_checkout_requires_the_sdk_beside_it(checkout: Path, tmp_path: Path) -> None:
    wheel = pip_wheel(checkout, tmp_path)
    assert sdk_requirements(wheel) == [
        Requirement(f"aperio-plugin-sdk @ {checkout.as_uri()}/sdk/python")
    ]


@pytest.mark.parametrize("name", ["plain", "a b", "100%", "a%20b", "c#1", "q?x", "ü", "{root}"])
def test_checkout_may_lie_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    from tests.contract.test_generated_files import load

    required = Requirement(load(ROOT / "hatch_build.py").sdk_beside(tmp_path / name))
    address = urlsplit(str(required.url))
    assert unquote(address.path) == str(tmp_path / name / "sdk/python")
    assert (address.query, address.fragment) == ("", "")


def test_release_is_wheel_and_sdist_of_cli_and_sdk(release: dict[str, Path]) -> None:
    assert sorted(release) == [
        f"aperio_cli-{__version__}-py3-none-any.whl",
        f"aperio_cli-{__version__}.tar.gz",
        f"aperio_plugin_sdk-{__version__}-py3-none-any.whl",
        f"aperio_plugin_sdk-{__version__}.tar.gz",
    ]


def test_wheel_of_a_release_requires_a_version_of_the_sdk_and_no_address(
    release: dict[str, Path],
) -> None:
    wheel = release[f"aperio_cli-{__version__}-py3-none-any.whl"]
    assert sdk_requirements(wheel) == [Requirement("aperio-plugin-sdk>=0.1,<0.2")]
    stated = metadata(wheel)
    assert [text for text in stated.get_all("Requires-Dist") or () if "@" in text] == []
    urls = [text.partition(", ")[2] for text in stated.get_all("Project-URL") or ()]
    assert urls[0] == "https://github.com/writer/aperio"
    assert all(url.startswith(urls[0]) for url in urls)


def test_wheel_built_from_the_sdist_is_that_of_the_release(
    release: dict[str, Path], tmp_path: Path
) -> None:
    """Somebody builds it again, without the variable that `make dist` sets."""
    sdist, wheel = (
        release[f"aperio_cli-{__version__}{end}"] for end in (".tar.gz", "-py3-none-any.whl")
    )
    # What building takes is installed for the checkout's wheel above: the same build-system.
    rebuilt = pip_wheel(sdist, tmp_path, "--no-build-isolation")
    assert metadata(rebuilt).items() == metadata(wheel).items()
    assert names(rebuilt) == names(wheel)


def test_sdk_of_a_release_is_the_file_that_projects_have_locked(release: dict[str, Path]) -> None:
    """With other bytes under this version on an index, pip would take those and refuse them."""
    made = sdk_wheel()
    assert release[made.file_name].read_bytes() == made.data


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_release_is_the_same_bytes_whoever_builds_it(
    release: dict[str, Path], tmp_path: Path
) -> None:
    """Other path, file times, umask; and what a used checkout has lying about."""
    other = copy_checkout(tmp_path / "elsewhere")
    for path in other.rglob("*.py"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    for junk in ("sdk/python/aperio_plugin/__pycache__/x.pyc", "aperio_cli/__pycache__/x.pyc"):
        (other / junk).parent.mkdir(exist_ok=True)
        (other / junk).write_bytes(b"compiled")
    for junk in ("sdk/python/.pytest_cache", "sdk/python/dist", ".venv", ".cache", "dist"):
        (other / junk).mkdir()
        (other / junk / "left").write_text("over")
    again = make_dist(other, tmp_path / "dist", umask=0o077)
    assert digests(again) == digests(release)


def digests(files: dict[str, Path]) -> dict[str, str]:
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def test_wheel_carries_man_page_docs_and_what_projects_are_made_of(
    release: dict[str, Path],
) -> None:
    data = f"aperio_cli-{__version__}.data/data/share"
    bundled = "aperio_cli/_bundled"
    held = names(release[f"aperio_cli-{__version__}-py3-none-any.whl"])
    assert held >= {
        f"{data}/man/man1/aperio.1",
        f"{data}/doc/aperio/how-to/install-aperio.md",
        f"{data}/doc/aperio/reference/commands.md",
        f"{bundled}/proto/aperio/plugin/v1/connector.proto",
        f"{bundled}/sdk/go/go.mod",
        f"{bundled}/sdk/python/pyproject.toml",
        f"{bundled}/plugin_templates/python/cookiecutter.json",
    }


def test_sdist_of_a_checkout_is_refused(checkout: Path, tmp_path: Path) -> None:
    """It would lead every other machine to a folder of this one; a release's is built above."""
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path / "dist"],
        cwd=checkout, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert built.returncode != 0
    assert "`make dist` builds it" in built.stderr
    assert not list((tmp_path / "dist").glob("*.tar.gz"))


# ── from git, whose clone pip removes ─────────────────────────────────────────────────────────────


def commit(checkout: Path) -> str:
    """Make a repository of a folder; give its only commit."""
    git = ("git", "-c", "user.name=Eve", "-c", "user.email=eve@acme.example")
    run(*git, "init", "--quiet", folder=checkout)
    run(*git, "add", "--all", folder=checkout)
    run(*git, "commit", "--quiet", "--message=All", folder=checkout)
    return run("git", "rev-parse", "HEAD", folder=checkout).strip()


@pytest.mark.slow
def test_wheel_of_a_git_address_requires_the_sdk_at_the_same_commit(tmp_path: Path) -> None:
    """Pip keeps a wheel by its commit, and takes it again when its own clone is long gone.

    The test below asks the same of what pip calls, quickly.
    """
    repository = copy_checkout(tmp_path / "there")
    address = f"git+{repository.as_uri()}@{commit(repository)}"
    wheel = pip_wheel(f"aperio-cli @ {address}", tmp_path)
    assert sdk_requirements(wheel) == [
        Requirement(f"aperio-plugin-sdk @ {address}#subdirectory=sdk/python")
    ]


@pytest.mark.parametrize(
    ("folder", "origin", "is_taken"),
    [
        ("pip-req-build-x1", "https://git.example.com/aperio.git", True),
        ("pip-install-x1/aperio-cli_1f", "ssh://git@git.example.com/aperio.git", True),
        ("pip-req-build-x1", "https://token@git.example.com/aperio.git", False),
        ("pip-req-build-x1", "https://user:word@git.example.com/aperio.git", False),
        ("pip-req-build-x1", "git@git.example.com:aperio.git", False),
        ("aperio", "https://git.example.com/aperio.git", False),
    ],
)
def test_a_git_address_is_taken_from_pips_clones_only_and_never_with_a_secret(
    tmp_path: Path, folder: str, origin: str, *, is_taken: bool
) -> None:
    from tests.contract.test_generated_files import load

    clone = tmp_path / folder
    clone.mkdir(parents=True)
    (clone / "file").touch()
    head = commit(clone)
    run("git", "remote", "add", "origin", origin, folder=clone)
    required = load(ROOT / "hatch_build.py").sdk_beside(clone)
    expected = (
        f"git+{origin}@{head}#subdirectory=sdk/python"
        if is_taken
        else f"{clone.as_uri()}/sdk/python"
    )
    assert required == f"aperio-plugin-sdk @ {expected}"


# ── the set-up of a checkout ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("goal", "needs_all"), [("demo", False), ("test", True)])
def test_demo_sets_up_less_than_the_tests(goal: str, tmp_path: Path, *, needs_all: bool) -> None:
    """What make would do where nothing is set up yet: for the demo no development tools, no Go."""
    nowhere = ("--dry-run", "--directory", ROOT, f"VENV={tmp_path / 'venv'}", "GO=/opt/go/bin/go")
    would = run("make", *nowhere, goal, folder=tmp_path)
    assert "--editable 'sdk/python[fast]'" in would
    assert ("--group dev" in would) is needs_all
    assert ("/opt/go/bin/go mod download" in would) is needs_all


# ── what the page says ────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.timeout(300)  # it installs fifty packages, five times
def test_uv_takes_every_line_of_the_page_one_after_the_other(
    checkout: Path, release: dict[str, Path], tmp_path: Path
) -> None:
    """A checkout, itself again, its release over it, nothing, the release: of one version all."""
    page = (ROOT / "docs/how-to/install-aperio.md").read_text()
    lines = dict.fromkeys(re.findall(r"`(uv tool (?:un)?install [^`]+)`", page))
    printed = [line for line in lines if line.endswith(("./aperio", " . aperio-cli"))]
    install, of_release, again, to_release = printed
    (tmp_path / "aperio").symlink_to(checkout)
    settings = tmp_path / "uv.toml"  # with a variable `--find-links .` would not be beside it
    settings.write_text(f'no-index = true\nfind-links = ["{WHEELS}"]\n')
    kept = {"UV_CONFIG_FILE": str(settings), "UV_PYTHON_DOWNLOADS": "never"}
    kept |= {"UV_CACHE_DIR": str(tmp_path / "cache"), "UV_PYTHON": sys.executable}
    kept |= {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin")}
    dist = next(iter(release.values())).parent

    def do(line: str) -> None:
        folder = dist if "--find-links ." in line else tmp_path
        run(BIN / "uv", *shlex.split(line)[1:], folder=folder, **kept)

    for line in (install, again, to_release, "uv tool uninstall aperio-cli", of_release):
        do(line)
        if "uninstall" in line:
            assert line in lines
            assert not (tmp_path / "bin/aperio").exists()
            continue
        assert run(tmp_path / "bin/aperio", "--version", folder=tmp_path) == (
            f"aperio {__version__}\n"
        )
        (stated,) = (tmp_path / "tools").glob("*/lib/*/site-packages/aperio_cli-*.dist-info")
        assert (stated / "direct_url.json").exists() == line.endswith("./aperio")
    assert (tmp_path / "tools/aperio-cli/share/man/man1/aperio.1").is_file()


# ── what is installed ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.timeout(300)  # it installs fifty packages
@pytest.mark.parametrize("source", ["a checkout", "a release"])
def test_installed_aperio_makes_and_builds_a_project(
    source: str, checkout: Path, release: dict[str, Path], tmp_path: Path
) -> None:
    """In an environment of its own, with its checkout out of the way where it was a copy."""
    run(sys.executable, "-m", "venv", tmp_path / "venv", folder=tmp_path)
    where = next(iter(release.values())).parent
    what: tuple[str | Path, ...] = (
        (checkout,) if source == "a checkout" else (f"--find-links={where}", "aperio-cli")
    )
    run(tmp_path / "venv/bin/pip", "install", "--quiet", *what, folder=tmp_path)
    aperio = tmp_path / "venv/bin/aperio"

    assert run(aperio, "--version", folder=tmp_path) == f"aperio {__version__}\n"
    run(aperio, "plugin", "init", MODULE, "--no-input", folder=tmp_path)
    project = tmp_path / "aperio-plugin-box"
    assert (project / f"vendor/aperio_plugin_sdk-{__version__}-py3-none-any.whl").is_file()
    run(aperio, "plugin", "build", project, "--check", folder=tmp_path)
    assert list((project / "dist").glob("*.tar.gz"))
    assert (tmp_path / "venv/share/man/man1/aperio.1").is_file()
    checked = run(tmp_path / "venv/bin/pip", "check", folder=tmp_path)
    assert checked == "No broken requirements found.\n"
