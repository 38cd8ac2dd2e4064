"""Steps of a scaffolded workflow, executed where the programs that they start are stand-ins."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

from tests.projects import write

if TYPE_CHECKING:
    from pathlib import Path

_DEADLINE_S = 30


def epoch_of_build(workflow: dict[str, Any], folder: Path, committed_at: int) -> str:
    """The SOURCE_DATE_EPOCH that the step `Build` hands to aperio, in a checkout of that time."""
    checkout, programs = folder / "checkout", folder / "programs"
    environment = _commit(checkout, committed_at)
    write(programs, "aperio", '#!/bin/sh\necho "$SOURCE_DATE_EPOCH"\n').chmod(0o755)
    steps = workflow["jobs"]["build"]["steps"]
    (script,) = (step["run"] for step in steps if step.get("name") == "Build")
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=checkout, check=True, capture_output=True, text=True, timeout=_DEADLINE_S,
        env={**environment, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
    )  # fmt: skip
    return done.stdout.strip()


def _commit(checkout: Path, moment: int) -> dict[str, str]:
    """Make a repository with one commit; the environment that git was given."""
    write(checkout, "README.md", "# Box\n")
    stamp = f"{moment} +0300"
    environment = {**os.environ, "GIT_COMMITTER_DATE": stamp, "GIT_AUTHOR_DATE": stamp}
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "one"]):
        subprocess.run(
            ["git", *words], cwd=checkout, env=environment, check=True, timeout=_DEADLINE_S
        )
    return environment
