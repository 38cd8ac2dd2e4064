"""What a build of aperio-cli requires: a checkout's names the SDK beside it, a release's a version.

The SDK may be on no package index, and a checkout must not take another version from one. So
`pip install ./aperio` and its like get the folder `sdk/python`; what `make dist` builds is for
other machines and states versions only. A build from an sdist keeps what the sdist says:
hatchling reads its PKG-INFO.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

RELEASE_VARIABLE = "APERIO_RELEASE"
"""Set to 1 by `make dist`, and for editable installs, which name the SDK's folder themselves."""

SDK = "aperio-plugin-sdk"
SDK_OF_RELEASE = f"{SDK}>=0.1,<0.2"  # same minor version as the CLI

_GIT_TIMEOUT_S = 10


class Dependencies(MetadataHookInterface):
    """States `dependencies`: those of pyproject.toml's section for this hook, and the SDK."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the dependencies."""
        sdk = SDK_OF_RELEASE if _is_release() else sdk_beside(Path(self.root))
        metadata["dependencies"] = [sdk, *self.config["dependencies"]]


class SourceDistribution(BuildHookInterface[Any]):
    """Keeps folders of this machine out of source distributions."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Refuse to build one that would lead to this folder.

        Raises:
            ValueError: it is not being built by `make dist`, nor from another one.
        """
        if any(text.startswith(f"{SDK} @ ") for text in self.metadata.core.dependencies):
            raise ValueError(
                "an sdist built here would require the SDK from this folder, which no other "
                f"machine has; `make dist` builds it, with {RELEASE_VARIABLE}=1"
            )


def sdk_beside(root: Path) -> str:
    """Return the requirement on the SDK of the same checkout.

    In pip's own clone of a `git+…` address it is that address again, at the same commit: pip
    removes the clone when it ends, but keeps the wheel built from it for the next install.
    """
    if any(part.startswith("pip-") for part in root.parts[-2:]) and (root / ".git").exists():
        origin = urlsplit(_git(root, "remote", "get-url", "origin"))
        commit = _git(root, "rev-parse", "HEAD")
        if commit and _may_be_written(origin):
            address = origin._replace(path=quote(origin.path, safe="/%")).geturl()
            return f"{SDK} @ git+{address}@{commit}#subdirectory=sdk/python"
    # Not hatchling's `{root:uri}`, which leaves `%` and `#` of a path as they are.
    return f"{SDK} @ {(root.absolute() / 'sdk/python').as_uri()}"


def _may_be_written(origin: SplitResult) -> bool:
    """Return whether it is an address that pip takes, without anything that looks like a secret."""
    has_secret = origin.password is not None or (origin.scheme == "https" and origin.username)
    return origin.scheme in {"https", "ssh", "file"} and not has_secret


def _git(root: Path, *words: str) -> str:
    """Return what git says, or nothing when it says no."""
    command = ["git", "-C", str(root), *words]
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""


def _is_release() -> bool:
    return os.environ.get(RELEASE_VARIABLE) == "1"
