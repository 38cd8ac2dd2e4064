"""aperio's own release workflow: what each job may do, and every step of it, executed."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from aperio_cli import __version__
from aperio_cli.scaffolding.wheel import sdk_wheel
from tests.contract.test_generated_files import load
from tests.lifecycle.test_installing_aperio import copy_checkout
from tests.projects import ROOT, WHEELS
from tests.simulators.ci import github
from tests.simulators.ci.instance import instance
from tests.templates.runner import REPOSITORY, Service, commit, install_programs, run_steps

if TYPE_CHECKING:
    from pathlib import Path

TAG = f"v{__version__}"
FILES = [
    f"{stem}-{__version__}{end}"
    for stem in ("aperio_cli", "aperio_plugin_sdk")
    for end in ("-py3-none-any.whl", ".tar.gz")
]
PINNED_ACTION = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
PATH = ROOT / ".github/workflows/release.yml"


@pytest.fixture(name="workflow")
def _workflow() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(PATH.read_text())
    return document


def test_every_action_is_pinned_by_its_commit() -> None:
    uses = re.findall(r"uses: (.*)", PATH.read_text())
    assert len(uses) == 12
    assert all(PINNED_ACTION.fullmatch(action) for action in uses)


def test_no_job_may_more_than_it_needs(workflow: dict[str, Any]) -> None:
    assert workflow["permissions"] == {}
    assert {name: job["permissions"] for name, job in workflow["jobs"].items()} == {
        "build": {"contents": "read"},
        "sign": {"contents": "read", "id-token": "write"},
        "index": {"id-token": "write"},
        "publish": {"contents": "write"},
        "verify": {"contents": "read"},
    }
    assert "secrets" not in PATH.read_text()


def test_packages_are_installed_by_their_hashes_only(workflow: dict[str, Any]) -> None:
    """But for the two that were compared with what was signed."""
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            script = step.get("run", "").replace("\\\n", " ")
            assert "${{" not in script
            for line in script.splitlines():
                if "install" in line:
                    assert "--require-hashes" in line or "--no-deps fetched/*.whl" in line


CHANGES = {"nothing": 0, "a file": 1, "the statements": 1}


@pytest.mark.parametrize("change", CHANGES)
def test_signed_files_verify_for_this_workflow_only(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = load(ROOT / ".ci/release.py")
    files = release.released(tmp_path)
    for path in files:
        path.write_text(path.name)
    with instance(tmp_path / "instance") as private, github.endpoint(private) as endpoint:
        for name, value in endpoint.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("RELEASE_TRUST", str(private.file))
        assert release.main(["sign", str(tmp_path)]) == 0
    bill = json.loads(files[0].with_name(f"{files[0].name}.cdx.json").read_text())
    needed = {one["name"] for one in bill["components"]}
    assert {"aperio-plugin-sdk", "sigstore", "grpcio"} <= needed
    other = files[1].with_name(f"{files[1].name}.intoto.jsonl")
    if change == "a file":
        files[1].write_text("other")
    if change == "the statements":
        other.write_bytes(files[0].with_name(f"{files[0].name}.intoto.jsonl").read_bytes())
    identity = f"https://github.com/{REPOSITORY}/.github/workflows/release.yml@refs/tags/v1.2.3"
    assert release.main(["verify", str(tmp_path), identity]) == CHANGES[change]
    with pytest.raises(SystemExit, match="signed by"):
        release.main(["verify", str(tmp_path), identity.replace("v1.2.3", "v1.2.4")])


@pytest.mark.slow
@pytest.mark.timeout(4800)  # five environments of fifty packages each, and the whole twice
def test_every_step_passes_and_passes_again(workflow: dict[str, Any], tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "source")
    commit(checkout, TAG)
    index, ci = tmp_path / "index", tmp_path / "ci"
    index.mkdir()
    for wheel in WHEELS.glob("*.whl"):
        (index / wheel.name).symlink_to(wheel)
    ref = f"{REPOSITORY}/.github/workflows/release.yml@refs/tags/{TAG}"
    with (
        instance(tmp_path / "instance") as private,
        github.endpoint(
            private, workflow_ref=ref, job_workflow_ref=ref, ref=f"refs/tags/{TAG}"
        ) as endpoint,
    ):
        releases = install_programs(ci, private.file) / TAG
        environment = {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(index),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "RELEASE_TRUST": str(private.file),
        }
        service = Service(checkout, TAG, ci, endpoint.environment, environment, index)
        service.run(workflow)
        assert service.executed == run_steps(workflow)
        ends = ("", ".sigstore.json", ".intoto.jsonl", ".cdx.json")
        names = {f"{name}{end}" for name in FILES for end in ends}
        assert {path.name for path in releases.iterdir()} == names | {"SHA256SUMS"}
        assert (index / sdk_wheel().file_name).read_bytes() == sdk_wheel().data
        before = {path.name: path.read_bytes() for path in releases.iterdir()}
        service.run(workflow)
        assert service.executed == run_steps(workflow) * 2
        assert {path.name: path.read_bytes() for path in releases.iterdir()} == before
