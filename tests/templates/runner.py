"""A CI service, as far as the release workflows here need one: jobs, permissions, artifacts.

Every `run:` step is executed by bash, as it is written. What the actions do that the workflows
name is done here (their documentation: actions/checkout, setup-python, setup-go, upload-artifact,
download-artifact, pypa/gh-action-pypi-publish); any other action is an error. A job has what its
permissions give it and no more: with `id-token: write` the address of the token's endpoint, with
`contents: write` a token that `gh` may change releases with.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.simulators.ci import github

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEADLINE_S = 1500
REPOSITORY = "acme/aperio-plugin-box"
WRITING_TOKEN = "token-that-may-write-releases"
READING_TOKEN = "token-that-may-read"
_EXPRESSION = re.compile(r"\$\{\{ ([\w.-]+) \}\}")


class StepFailed(AssertionError):
    """A step ended with another status than 0."""

    def __init__(self, job: str, step: str, said: str) -> None:
        super().__init__(f"{job}: {step}\n{said}")
        self.job = job
        self.step = step
        self.said = said


@dataclass(slots=True)
class Service:
    """A CI service with one repository.

    Attributes:
        repository: a git repository with the tag.
        tag: what was pushed.
        folder: for workspaces, artifacts and releases.
        identity: what a job with `id-token: write` has in its environment besides.
        environment: what every step has in its environment.
        index: where packages are uploaded to.
        executed: names of the `run:` steps that passed, by job.
    """

    repository: Path
    tag: str
    folder: Path
    identity: Mapping[str, str]
    environment: Mapping[str, str]
    index: Path
    executed: list[tuple[str, str]] = field(default_factory=list)

    def run(self, workflow: dict[str, Any]) -> None:
        """Run a workflow's jobs, each after those that it needs.

        Raises:
            StepFailed: the first step that failed.
        """
        outputs: dict[str, str] = {}
        for name, job in workflow["jobs"].items():
            needs = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
            assert set(needs) <= set(list(workflow["jobs"])[: list(workflow["jobs"]).index(name)])
            one = _Job(self, name, {**workflow, **job}, dict(outputs))
            outputs |= one.run()


class _Job:
    """A job on a machine of its own: it has nothing of other jobs but artifacts and outputs."""

    def __init__(
        self, service: Service, name: str, stated: dict[str, Any], known: dict[str, str]
    ) -> None:
        self.service, self.name, self.stated = service, name, stated
        self.machine = service.folder / "machines" / name
        shutil.rmtree(self.machine, ignore_errors=True)
        self.workspace = self.machine / "workspace"
        self.workspace.mkdir(parents=True)
        self.permissions: dict[str, str] = stated["permissions"]
        is_writer = self.permissions.get("contents") == "write"
        self.known = known | {
            "github.repository": REPOSITORY,
            "github.server_url": "https://github.com",
            "github.ref": f"refs/tags/{service.tag}",
            "github.token": WRITING_TOKEN if is_writer else READING_TOKEN,
        }
        self.path = [str(service.folder / "programs")]

    def run(self) -> dict[str, str]:
        for step in self.stated["steps"]:
            if "run" in step:
                self._execute(step)
            else:
                self._act(step["uses"].partition("@")[0], step.get("with", {}))
        return {
            f"needs.{self.name}.outputs.{name}": self._filled(text)
            for name, text in self.stated.get("outputs", {}).items()
        }

    def _filled(self, text: str) -> str:
        return _EXPRESSION.sub(lambda found: self.known[found[1]], text)

    def _execute(self, step: dict[str, Any]) -> None:
        output = self.machine / "output"
        output.write_text("")
        stated = {**self.stated.get("env", {}), **step.get("env", {})}
        ran = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]],
            cwd=self.workspace,
            env={
                **self._environment(),
                "GITHUB_OUTPUT": str(output),
                **{name: self._filled(str(text)) for name, text in stated.items()},
            },
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_S,
            check=False,
        )  # fmt: skip
        if ran.returncode:
            raise StepFailed(self.name, step["name"], ran.stdout + ran.stderr)
        for line in output.read_text().splitlines():
            name, _, value = line.partition("=")
            self.known[f"steps.{step['id']}.outputs.{name}"] = value
        self.service.executed.append((self.name, step["name"]))

    def _environment(self) -> dict[str, str]:
        may_sign = self.permissions.get("id-token") == "write"
        return {
            **github.WITHOUT_PERMISSION,
            **(self.service.identity if may_sign else {}),
            "HOME": str(self.machine),
            "PATH": os.pathsep.join([*self.path, os.environ["PATH"]]),
            "APERIO_HOME": str(self.machine / "aperio"),
            "GITHUB_REF_NAME": self.service.tag,
            "MACHINE": str(self.machine),
            **self.service.environment,
        }

    def _act(self, action: str, asked: dict[str, Any]) -> None:
        ways = {
            "actions/checkout": self._check_out,
            "actions/setup-python": self._set_up_python,
            "actions/setup-go": lambda _: None,  # the tests' own
            "actions/upload-artifact": self._upload,
            "actions/download-artifact": self._download,
            "pypa/gh-action-pypi-publish": self._publish,
        }
        ways[action](asked)

    def _check_out(self, asked: dict[str, Any]) -> None:
        assert "contents" in self.permissions
        assert asked["persist-credentials"] is False
        self._git("clone", "--quiet", "--no-checkout", str(self.service.repository), ".")
        if pattern := asked.get("sparse-checkout"):
            assert asked["sparse-checkout-cone-mode"] is False
            self._git("sparse-checkout", "set", "--no-cone", pattern)
        self._git("checkout", "--quiet", self.service.tag)

    def _git(self, *words: str) -> None:
        subprocess.run(["git", *words], cwd=self.workspace, check=True, timeout=DEADLINE_S)

    def _set_up_python(self, asked: dict[str, Any]) -> None:
        assert re.fullmatch(r"3\.1[1-4]", asked["python-version"])
        place = self.machine / "python"
        subprocess.run([sys.executable, "-m", "venv", place], check=True, timeout=DEADLINE_S)
        self.path.append(str(place / "bin"))

    def _upload(self, asked: dict[str, Any]) -> None:
        found = sorted(self.workspace.glob(asked["path"]))
        assert found, asked["path"]
        kept = self.service.folder / "artifacts" / asked["name"]
        assert asked.get("overwrite") is True or not kept.exists(), "the artifact is there already"
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        for path in found:
            shutil.copyfile(path, kept / path.name)

    def _download(self, asked: dict[str, Any]) -> None:
        kept = self.service.folder / "artifacts" / asked["name"]
        shutil.copytree(kept, self.workspace / asked["path"], dirs_exist_ok=True)

    def _publish(self, asked: dict[str, Any]) -> None:
        assert self.permissions.get("id-token") == "write"
        assert not {"user", "password", "repository-url"} & set(asked)
        for path in sorted((self.workspace / asked["packages-dir"]).iterdir()):
            assert path.name.endswith((".whl", ".tar.gz")), path
            there = self.service.index / path.name
            assert asked.get("skip-existing") is True or not there.exists(), "file exists already"
            if not there.exists():
                shutil.copyfile(path, there)
        self.service.executed.append((self.name, "publish"))


def run_steps(workflow: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what `Service.executed` holds after a workflow: job and name of what has an effect."""
    return [
        (name, step.get("name", "publish"))
        for name, job in workflow["jobs"].items()
        for step in job["steps"]
        if "run" in step or "pypi-publish" in step["uses"]
    ]


# Of gh's manual: `release view|create|upload|edit`, as much as the workflows use.
_GH = """#!{python} -I
import json, os, pathlib, shutil, sys

words = sys.argv[1:]
if words[:1] != ["release"]:
    sys.exit("unexpected: " + repr(words))
verb, tag, rest = words[1], words[2], words[3:]
place = pathlib.Path({releases!r}) / tag
options = [word for word in rest if word.startswith("-")]
files = [word for word in rest if not word.startswith("-")]
allowed = {{
    "view": {{"--json", "--jq"}},
    "create": {{"--draft", "--verify-tag", "--generate-notes"}},
    "upload": {{"--clobber"}},
    "edit": {{"--draft=false"}},
    "download": {{"--dir", "--pattern"}},
}}[verb]
if not set(options) <= allowed or not os.environ.get("GH_REPO"):
    sys.exit("unknown flag")
if verb not in ("view", "download") and os.environ.get("GH_TOKEN") != {token!r}:
    sys.exit("HTTP 403: Resource not accessible by integration")
if verb == "create":
    if place.exists():
        sys.exit("HTTP 422: a release with the same tag name already exists")
    place.mkdir(parents=True)
    (place / ".draft").touch()
    sys.exit(0)
if not place.exists():
    sys.exit("release not found")
if verb == "view":
    assert rest == ["--json", "isDraft", "--jq", ".isDraft"]
    print(json.dumps((place / ".draft").exists()))
elif verb == "edit":
    (place / ".draft").unlink()
elif verb == "download":
    for path in place.iterdir():
        if path.name != ".draft":
            shutil.copyfile(path, pathlib.Path(rest[rest.index("--dir") + 1]) / path.name)
for name in files if verb == "upload" else ():
    there = place / pathlib.Path(name).name
    if there.exists() and "--clobber" not in options:
        sys.exit("asset under the same name already exists")
    shutil.copyfile(name, there)
"""
# The private instance instead of the public one: for aperio, and for sigstore's own client.
_APERIO = """#!/bin/sh
aperio="$MACHINE/python/bin/aperio"
[ "$1 $2" = "plugin sign" ] && exec "$aperio" "$@" --trust "{trust}"
exec "$aperio" "$@"
"""
_SIGSTORE = """#!/bin/sh
exec "$MACHINE/python/bin/sigstore" --trust-config "{trust}" "$@"
"""


def install_programs(folder: Path, trust: Path) -> Path:
    """Write what stands in for `gh`, and for the public trust domain; return where releases are."""
    programs, releases = folder / "programs", folder / "releases"
    programs.mkdir(parents=True)
    gh = _GH.format(python=sys.executable, releases=str(releases), token=WRITING_TOKEN)
    texts = {
        "gh": gh,
        "aperio": _APERIO.format(trust=trust),
        "sigstore": _SIGSTORE.format(trust=trust),
    }
    for name, text in texts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return releases


def commit(project: Path, tag: str) -> None:
    """Make a repository of a folder, with one commit and a tag."""
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "one"], ["tag", tag]):
        subprocess.run(["git", *words], cwd=project, check=True, timeout=DEADLINE_S)
