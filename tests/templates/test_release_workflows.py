"""Every step of the scaffolds' release workflows, executed on services of this test."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from aperio_cli import __version__
from aperio_cli.models.digest import Digest
from aperio_cli.proving.attestations import verify_attestations
from aperio_cli.proving.signature import verify_signature
from aperio_cli.scaffolding import ScaffoldRequest, scaffold
from tests.go_projects import CACHE, COMPILED, require_go
from tests.lifecycle.test_installing_aperio import copy_checkout, make_dist
from tests.projects import TAG, WHEELS
from tests.simulators.ci import github
from tests.simulators.ci.instance import Instance, instance
from tests.templates.runner import Service, StepFailed, commit, install_programs, run_steps
from tests.wheels import repack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TAG_NAME = "v1.2.3"
WORKFLOW = (
    "https://github.com/acme/aperio-plugin-box/.github/workflows/release.yml@refs/tags/v1.2.3"
)
WHEEL = f"aperio_cli-{__version__}-py3-none-any.whl"
PLATFORMS = {"python": ["linux_amd64", "linux_arm64"], "go": ["linux_amd64"]}


@dataclass(frozen=True, slots=True)
class Index:
    """A package index: what a release of aperio put there, and what it depends on."""

    folder: Path
    sha256: str


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("index") / "wheels"
    checkout = copy_checkout(tmp_path_factory.mktemp("source") / "there")
    made = make_dist(checkout, folder)
    for wheel in WHEELS.glob("*.whl"):
        (folder / wheel.name).symlink_to(wheel)
    for name in ("pytest", "iniconfig"):
        repack(name, folder)
    return Index(folder, Digest.of(made[WHEEL].read_bytes()).hex)


@pytest.fixture(name="private")
def _private(tmp_path: Path) -> Iterator[Instance]:
    with instance(tmp_path / "instance") as answering:
        yield answering


@contextlib.contextmanager
def service(project: Path, folder: Path, index: Path, private: Instance) -> Iterator[Service]:
    """A CI service to whose repository the project's tag was pushed."""
    manifest = project / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace("version: 0.1.0", "version: 1.2.3"))
    stated = project / "pyproject.toml"
    if stated.exists():
        stated.write_text(stated.read_text().replace('version = "0.1.0"', 'version = "1.2.3"'))
    commit(project, TAG_NAME)
    install_programs(folder, private.file)
    environment = {
        "GOPROXY": (CACHE / "go/cache/download").as_uri(),
        "GOSUMDB": "off",
        "GOFLAGS": "-modcacherw",
        "GOMODCACHE": str(CACHE / "go"),
        "GOCACHE": str(COMPILED),
        "GOTOOLCHAIN": "local",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    with github.endpoint(private) as endpoint:
        yield Service(project, TAG_NAME, folder, endpoint.environment, environment, index)


def workflow_of(project: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(
        (project / ".github/workflows/release.yml").read_text()
    )
    return document


def build_for_one_platform(workflow: dict[str, Any]) -> None:
    """Leave the other platforms out: compiling gRPC for each, four times, takes half an hour."""
    for step in workflow["jobs"]["build"]["steps"]:
        step["run"] = re.sub(r"--platform (?!linux/amd64)\S+", "", step.get("run", ""))
        if not step["run"]:
            del step["run"]


def verify_release(folder: Path, private: Instance, expected: list[str]) -> None:
    """Every artifact is there with a bundle and statements of this workflow, and nothing else."""
    artifacts = [f"box-connector_1.2.3_{platform}.tar.gz" for platform in expected]
    ends = ("", ".sigstore.json", ".intoto.jsonl")
    names = {f"{artifact}{end}" for artifact in artifacts for end in ends}
    assert {path.name for path in folder.iterdir()} == names
    for name in artifacts:
        digest = Digest.of((folder / name).read_bytes())
        proof = verify_signature(
            digest, (folder / f"{name}.sigstore.json").read_bytes(), [private.root]
        )
        assert proof.signer.identity == WORKFLOW
        lines = (folder / f"{name}.intoto.jsonl").read_bytes()
        assert len(verify_attestations(digest, lines, [private.root])) == 2


@pytest.mark.slow
@pytest.mark.timeout(4800)  # each job installs fifty packages, and the whole is run twice
@pytest.mark.parametrize("language", ["python", "go"])
def test_every_step_of_a_release_passes_and_passes_again(
    language: str, index: Index, private: Instance, tmp_path: Path
) -> None:
    if language == "go":
        require_go(with_modules=True)
    elif not list(WHEELS.glob(f"grpcio-*-{TAG}-*aarch64.whl")):
        pytest.skip("the wheel cache has no wheels for another architecture")
    place = f"aperio-cli=={__version__}#sha256={index.sha256}"
    request = ScaffoldRequest(
        "github.com/acme/aperio-plugin-box", language=language, output=tmp_path / "box",
        aperio_from=place,
    )  # fmt: skip
    project = scaffold(request).path
    workflow = workflow_of(project)
    if language == "go":
        build_for_one_platform(workflow)
    with service(project, tmp_path / "ci", index.folder, private) as ci:
        releases = tmp_path / "ci/releases" / TAG_NAME
        ci.run(workflow)
        assert ci.executed == run_steps(workflow)
        verify_release(releases, private, PLATFORMS[language])
        before = {path.name: path.read_bytes() for path in releases.iterdir()}
        ci.run(workflow)
        assert ci.executed == run_steps(workflow) * 2
        # What is published stays, whatever is signed anew.
        assert {path.name: path.read_bytes() for path in releases.iterdir()} == before


def only(workflow: dict[str, Any], job: str, *steps: str) -> dict[str, Any]:
    """One job of a workflow, with its actions, and with these of its `run:` steps only."""
    stated = workflow["jobs"][job]
    kept = [step for step in stated["steps"] if "uses" in step or step["name"] in steps]
    alone = {key: value for key, value in stated.items() if key not in {"needs", "outputs"}}
    return {**workflow, "jobs": {job: {**alone, "steps": kept}}}


def upload_built(ci: Service, contents: bytes = b"built") -> None:
    folder = ci.folder / "artifacts" / "dist"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "box-connector_1.2.3_linux_amd64.tar.gz").write_bytes(contents)


@pytest.mark.slow
@pytest.mark.timeout(600)  # it installs fifty packages
def test_commit_is_installed_with_nothing_but_what_is_locked(
    private: Instance, tmp_path: Path
) -> None:
    """pip fetches no build backend, and the SDK is the project's own."""
    checkout = copy_checkout(tmp_path / "source")
    commit(checkout, "made")
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=checkout, text=True).strip()
    there = "https://git.example.com/acme/aperio.git"
    request = ScaffoldRequest(
        "github.com/acme/aperio-plugin-box", output=tmp_path / "box",
        aperio_from=f"git+{there}@{head}",
    )  # fmt: skip
    project = scaffold(request).path
    workflow = only(workflow_of(project), "build", "Install aperio")
    workflow["jobs"]["build"]["steps"] = [
        *(step for step in workflow["jobs"]["build"]["steps"] if "upload" not in str(step)),
        {"name": "Ask", "run": "aperio --version; python -m pip check"},
    ]
    with service(project, tmp_path / "ci", WHEELS, private) as ci:
        ci.environment = {
            **ci.environment,
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{checkout.as_uri()}.insteadOf",
            "GIT_CONFIG_VALUE_0": there,
        }
        ci.run(workflow)
        assert ci.executed == [("build", "Install aperio"), ("build", "Ask")]


HANDED_OVER = "What came is what was built, no more and no less"


@pytest.mark.parametrize(
    ("change", "passes"), [("nothing", True), ("an artifact", False), ("one more", False)]
)
def test_signing_job_takes_exactly_what_the_build_made(
    change: str, private: Instance, tmp_path: Path, *, passes: bool
) -> None:
    """Every job of a run may write to the store of artifacts; the tests' job may, too."""
    project = scaffold(ScaffoldRequest("github.com/acme/aperio-plugin-box", output=tmp_path / "b"))
    workflow = workflow_of(project.path)
    with service(project.path, tmp_path / "ci", WHEELS, private) as ci:
        upload_built(ci)
        shutil.copytree(ci.folder / "artifacts/dist", tmp_path / "handed/dist")
        build, sign = only(workflow, "build", "Digests"), only(workflow, "sign", HANDED_OVER)
        # Built by hand: the job's machine begins with the artifact, and ends with its digest.
        steps = build["jobs"]["build"]["steps"]
        build["jobs"]["build"]["steps"] = [
            {"uses": "actions/download-artifact@x", "with": {"name": "dist", "path": "dist"}},
            *(step for step in steps if "run" in step or "upload-artifact" in step["uses"]),
        ]
        build["jobs"]["build"]["outputs"] = workflow["jobs"]["build"]["outputs"]
        both = {**workflow, "jobs": {**build["jobs"], **sign["jobs"]}}
        both["jobs"]["sign"]["steps"] = [
            step
            for step in both["jobs"]["sign"]["steps"]
            if "run" in step or "download-artifact" in step["uses"]
        ]
        if change != "nothing":
            both["jobs"] = {
                "build": both["jobs"]["build"],
                "thief": {
                    "permissions": {},
                    "steps": [
                        {"name": "Steal", "run": STEAL[change]},
                        {
                            "uses": "actions/upload-artifact@x",
                            "with": {"name": "dist", "path": "dist/*", "overwrite": True},
                        },
                    ],
                },
                "sign": both["jobs"]["sign"],
            }
        if passes:
            ci.run(both)
            return
        with pytest.raises(StepFailed) as caught:
            ci.run(both)
    assert (caught.value.job, caught.value.step) == ("sign", HANDED_OVER)


NAME = "box-connector_1.2.3_linux_amd64.tar.gz"
STEAL = {
    "an artifact": f"mkdir dist; echo other > dist/{NAME}",
    "one more": f"mkdir dist; printf built > dist/{NAME}; echo more > dist/more_1.2.3.tar.gz",
}
