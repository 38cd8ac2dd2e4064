"""The source of the bundled Go SDK as a nested module, so that a new project needs no proxy for it.

A project's go.mod says `replace <module> => ./third_party/aperio-plugin-go` until the SDK is
published; `go mod edit -dropreplace=<module>` takes it from there again. What the SDK requires
stands in the project's go.mod and go.sum, too, as the go command wants it (Go modules reference,
"Module graph pruning").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli import __version__
from aperio_cli.errors.usage import NotFound
from aperio_cli.files.reading import read_capped
from aperio_cli.files.removing import remove_tree
from aperio_cli.paths import bundled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FOLDER = "third_party/aperio-plugin-go"
"""Where the SDK stands in a project."""

_MAX_FILE_BYTES = 4 * 1024 * 1024
_KEPT = ("go.mod", "go.sum", "LICENSE", "README.md")
_MODULE = re.compile(r"^module (\S+)$", re.MULTILINE)
_GO_VERSION = re.compile(r"^go (\d+\.\d+(?:\.\d+)?)$", re.MULTILINE)
_REQUIREMENT = re.compile(
    r"^(?:require )?\s*([\w.-]+\.[\w./-]+ v\S+)(?: // indirect)?$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class GoSdk:
    """The Go SDK in memory.

    Attributes:
        module: its module path.
        version: the version to require, with its `v`.
        go_version: the oldest Go that it compiles with.
        requirements: what it requires, `path version`, in the order of the paths.
        sums: contents of its go.sum.
        files: contents by path, without tests and what they read.
    """

    module: str
    version: str
    go_version: str
    requirements: tuple[str, ...]
    sums: str
    files: Mapping[str, bytes]

    def put_into(self, project: Path) -> None:
        """Put the source into a project's `third_party/`, in place of what was there.

        Raises:
            OSError: a file cannot be written or removed.
        """
        folder = project / FOLDER
        remove_tree(folder)
        for name in sorted(self.files):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.files[name])


def go_sdk(source: Path | None = None) -> GoSdk:
    """Return the Go SDK.

    Args:
        source: its folder with go.mod; None means the one that ships with aperio.

    Raises:
        NotFound: this installation of aperio lacks the SDK, or its go.mod says nothing usable.
        OSError: a file may not be read.
    """
    root = bundled("sdk/go") if source is None else source
    files = _sources(root)
    text = files.get("go.mod", b"").decode()
    module, go_version = _MODULE.search(text), _GO_VERSION.search(text)
    if not module or not go_version:
        raise NotFound(f"`{root}` is not the Go SDK", next=["install aperio-cli again"])
    return GoSdk(
        module=module[1],
        version=f"v{__version__}",
        go_version=go_version[1],
        requirements=tuple(sorted(_REQUIREMENT.findall(text))),
        sums=files.get("go.sum", b"").decode(),
        files=files,
    )


def _sources(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): read_capped(path, _MAX_FILE_BYTES)
        for path in root.rglob("*")
        if path.is_file() and _is_source(path.relative_to(root))
    }


def _is_source(path: Path) -> bool:
    """Return whether a file of the SDK is more than a test, or data that only tests read."""
    if "testdata" in path.parts or any(part.startswith((".", "_")) for part in path.parts):
        return False
    is_code = path.suffix == ".go" and not path.name.endswith("_test.go")
    return is_code or path.as_posix() in _KEPT
