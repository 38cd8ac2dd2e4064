"""`aperio plugin test` as a person calls it: on a folder, an artifact, an installed plugin."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aperio_cli.scaffolding.go_sdk import go_sdk
from tests.commands import typed
from tests.forking import forked_pip
from tests.go_projects import CACHE, COMPILED, require_go
from tests.lifecycle.conftest import Workshop, workshop
from tests.projects import ROOT, SDK, make_project, snapshot, write
from tests.simulators import box

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["workshop"]

pytestmark = pytest.mark.usefixtures("forked_plugins")
BOX = ROOT / "plugins" / "box"
BROKEN = ROOT / "tests" / "simulators" / "broken_plugins"
NEEDS_SERVICE = {"connection", "events", "same-events", "resume", "parts", "cancel"}


@pytest.fixture(scope="module", autouse=True)
def _forked_pip() -> Iterator[None]:
    """Fork pip, which puts a folder's dependencies in place; builds have tests of their own."""
    with forked_pip():
        yield


@dataclass(frozen=True)
class Author:
    """Somebody with a home and a folder, who types commands."""

    folder: Path
    home: Path

    def run(self, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{SDK}",
            "APERIO_HOME": str(self.home),
        }
        if environment["APERIO_SANDBOX"] == "none":
            words = ["plugin", *arguments]
            return typed(words, environment, folder=folder or self.folder)
        return subprocess.run(
            [sys.executable, "-m", "aperio_cli", "plugin", *arguments],
            cwd=folder or self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=200,
            check=False,
            text=True,
        )

    def test(
        self, *arguments: str, status: int = 0, folder: Path | None = None
    ) -> dict[str, dict[str, Any]]:
        """The verdicts by key."""
        done = self.run("test", *arguments, "--json", folder=folder)
        assert done.returncode == status, done.stdout + done.stderr
        assert json.loads(done.stdout)["data"]["passed"] is (status == 0)
        return verdicts_of(done.stdout)


def verdicts_of(document: str) -> dict[str, dict[str, Any]]:
    """The verdicts of a JSON document by key."""
    return {verdict["key"]: verdict for verdict in json.loads(document)["data"]["verdicts"]}


@pytest.fixture
def author(tmp_path: Path) -> Author:
    return Author(tmp_path, tmp_path / "aperio-home")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a folder under development is all that is tested: its dependencies are there once."""
    return tmp_path_factory.mktemp("development") / "aperio-home"


@pytest.fixture
def developer(tmp_path: Path, home: Path) -> Author:
    """Somebody who has tested a folder before."""
    return Author(tmp_path, home)


@pytest.fixture
def settings() -> Iterator[list[str]]:
    """Those of a stub of Box's API with some events."""
    with box.BoxSimulator(box.make_events(60), box.BoxOptions(max_chunk=10)) as simulator:
        pairs = {
            "base_url": simulator.url,
            "enterprise_id": box.ENTERPRISE_ID,
            "client_id": box.CLIENT_ID,
            "client_secret": box.CLIENT_SECRET,
        }
        yield [word for key, value in pairs.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture
def artifact(workshop: Workshop, tmp_path: Path) -> Path:
    """The reference connector as an artifact, unsigned."""
    (built,) = workshop.box.glob("*.tar.gz")
    return Path(shutil.copy(built, tmp_path))


@pytest.fixture
def signed(workshop: Workshop, author: Author) -> Path:
    """The same, signed in the local domain that the author's home trusts."""
    shutil.copytree(workshop.home, author.home, symlinks=True)
    author.home.chmod(0o700)
    shutil.copytree(workshop.box, author.folder / "box")
    (built,) = (author.folder / "box").glob("*.tar.gz")
    return built


def outcomes(verdicts: dict[str, dict[str, Any]], outcome: str) -> set[str]:
    return {key for key, verdict in verdicts.items() if verdict["outcome"] == outcome}


def test_the_reference_connector_passes_against_a_stub_of_its_service(
    developer: Author, settings: list[str]
) -> None:
    done = developer.run("test", str(BOX), *settings, "--json", "--verbose")

    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = verdicts_of(done.stdout)
    assert outcomes(verdicts, "passed") == set(verdicts)
    assert "60 events" in verdicts["events"]["evidence"]
    assert "nothing was lost" in verdicts["resume"]["evidence"]
    assert box.CLIENT_SECRET not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["connector", "remediation", "destination"])
def test_a_scaffold_passes_in_one_line(author: Author, kind: str) -> None:
    module = f"github.com/acme/aperio-plugin-{kind}"
    made = author.run("init", module, "--kind", kind, "--output", f"./{kind}", "--no-input")
    assert made.returncode == 0, made.stderr

    verdicts = author.test(folder=author.folder / kind)

    assert outcomes(verdicts, "failed") == set()
    assert len(outcomes(verdicts, "passed")) == len(verdicts) - len(outcomes(verdicts, "skipped"))
    assert len(outcomes(verdicts, "passed")) >= 15


@pytest.mark.go
@pytest.mark.timeout(300)
def test_the_reference_destination_in_go_passes(
    author: Author, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_go(with_modules=True)
    monkeypatch.setenv("GOPROXY", f"file://{CACHE}/go/cache/download")
    monkeypatch.setenv("GOSUMDB", "off")
    COMPILED.mkdir(parents=True, exist_ok=True)
    (author.home / "cache").mkdir(parents=True)
    (author.home / "cache" / "go-build").symlink_to(COMPILED)
    project = shutil.copytree(
        ROOT / "plugins" / "jsonl-file",
        tmp_path / "jsonl-file",
        ignore=shutil.ignore_patterns("third_party", "dist"),
    )
    go_sdk().put_into(project)
    # In a sandbox, where there is one: the folder is made for whoever the plugin runs as.
    monkeypatch.setenv("APERIO_SANDBOX", "auto")

    verdicts = author.test("./jsonl-file", "--set", f"folder={tmp_path / 'out'}")

    assert outcomes(verdicts, "skipped") == {"checkpoints"}  # a file keeps none
    assert outcomes(verdicts, "passed") == set(verdicts) - {"checkpoints"}
    lines = (tmp_path / "out" / "aperio.jsonl").read_text().splitlines()
    # The product's own envelopes, two of them, have no id.
    assert len({json.loads(line).get("id", line) for line in lines}) == len(lines) == 260


def test_the_folder_one_is_in_is_tested_when_nothing_is_named(developer: Author) -> None:
    verdicts = developer.test(folder=BOX)

    assert outcomes(verdicts, "skipped") == NEEDS_SERVICE
    assert outcomes(verdicts, "failed") == set()


def test_an_unsigned_artifact_is_refused_and_not_run(author: Author, artifact: Path) -> None:
    done = author.run("test", str(artifact), "--json")

    assert done.returncode == 3, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["data"] == {}
    assert document["errors"]
    assert not (author.home / "plugins").exists()


def test_a_signed_artifact_is_tested_without_being_installed(
    author: Author, signed: Path, settings: list[str]
) -> None:
    before = snapshot(author.home)

    verdicts = author.test(str(signed), *settings)

    assert outcomes(verdicts, "passed") == set(verdicts)
    assert snapshot(author.home) == before

    installed = author.run("install", str(signed), "--yes")
    assert installed.returncode == 0, installed.stderr
    verdicts = author.test("aperio/box-connector", *settings)
    assert outcomes(verdicts, "passed") == set(verdicts)
    assert not (author.home / "state.db").exists()


def test_a_failure_is_told_with_what_was_seen_and_the_fix(author: Author, tmp_path: Path) -> None:
    project = make_project(tmp_path / "broken")
    code = f"import sys\nsys.path[:0] = {[str(SDK), str(BROKEN), *sys.path]!r}\n"
    write(project, "plugin.py", f"{code}import twin_fields\n")

    done = author.run("test", "./broken")

    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    place = lines.index("failed  declares well-formed settings and auth (fields)")
    assert lines[place + 1] == "  seen  `key` is declared 2 times"
    assert lines[place + 2].startswith("  fix   ")
    assert ", 1 failed, 6 skipped" in lines[-1]
    assert "skipped: no settings were given" in done.stderr


def test_a_failure_is_told_to_a_script_with_its_fix(author: Author, tmp_path: Path) -> None:
    project = make_project(tmp_path / "broken")
    code = f"import sys\nsys.path[:0] = {[str(SDK), str(BROKEN), *sys.path]!r}\n"
    write(project, "plugin.py", f"{code}import ends_before_handshake\n")

    assert author.test("./broken", status=1)["start"]["fix"]


def test_a_setting_that_the_plugin_does_not_have_is_a_usage_error(developer: Author) -> None:
    done = developer.run("test", str(BOX), "--set", "enterprise=1")

    assert done.returncode == 2, done.stderr
    assert "enterprise" in done.stderr


@pytest.mark.slow
def test_a_secret_setting_is_nowhere_in_what_is_told(
    developer: Author, settings: list[str]
) -> None:
    """Read what a person is told; the quick test of the reference connector has the script's."""
    done = developer.run("test", str(BOX), *settings, "--verbose")

    assert done.returncode == 0, done.stdout
    assert box.CLIENT_SECRET not in done.stdout + done.stderr
