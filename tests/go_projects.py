"""Small Go projects, a module proxy made on the spot, and where real modules are in a checkout."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.projects import MANIFEST, ROOT, write

if TYPE_CHECKING:
    from pathlib import Path

CACHE = ROOT / ".cache"
"""`make setup` fills its folder `go` with the modules that the SDK needs."""

COMPILED = CACHE / "go-build"
GO_MANIFEST = MANIFEST.replace("language: python\n  tags: [TAGS]", "language: go")
PLUGIN = 'package main\n\nfunc main() { println("started") }\n'
OFFLINE = {"PATH": os.environ["PATH"], "GOPROXY": "off", "GOSUMDB": "off"}
"""The caller's environment of a build that has every module already."""


def require_go(*, with_modules: bool = False) -> None:
    """Skips the test where Go, or the modules of the SDK, are missing."""
    if not shutil.which("go"):
        pytest.skip("Go is not installed")
    if with_modules and not (CACHE / "go" / "cache" / "download").is_dir():
        pytest.skip("the SDK's modules are not in .cache/go; `make setup` downloads them")


def make_go_project(folder: Path, plugin: str = PLUGIN) -> Path:
    """A Go project without a dependency."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, "manifest.yaml", GO_MANIFEST)
    write(folder, "go.mod", "module example.com/acme/box\n\ngo 1.21\n")
    write(folder, "plugin.go", plugin)
    write(folder, "LICENSE", "MIT\n")
    write(folder, "README.md", "# Box\n")
    return folder


def make_module(proxy: Path, source: str, *, path: str = "example.com/dep") -> str:
    """Version 1.0.0 of a module in a folder that serves as GOPROXY; gives its lines of go.sum.

    Layout: Go modules reference, "GOPROXY protocol"; sums: golang.org/x/mod/sumdb/dirhash, Hash1.
    """
    folder = proxy / path / "@v"
    folder.mkdir(parents=True, exist_ok=True)
    go_mod = f"module {path}\n\ngo 1.21\n"
    (folder / "v1.0.0.info").write_text('{"Version":"v1.0.0","Time":"2026-01-01T00:00:00Z"}')
    (folder / "v1.0.0.mod").write_text(go_mod)
    files = {f"{path}@v1.0.0/dep.go": source, f"{path}@v1.0.0/go.mod": go_mod}
    with zipfile.ZipFile(folder / "v1.0.0.zip", "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    whole, alone = _hash1(files), _hash1({"go.mod": go_mod})
    return f"{path} v1.0.0 {whole}\n{path} v1.0.0/go.mod {alone}\n"


def _hash1(files: dict[str, str]) -> str:
    lines = [f"{hashlib.sha256(files[name].encode()).hexdigest()}  {name}\n" for name in files]
    digest = hashlib.sha256("".join(sorted(lines, key=lambda line: line[66:])).encode()).digest()
    return f"h1:{base64.b64encode(digest).decode()}"


def use_module(project: Path, sums: str) -> None:
    """Makes a project import version 1.0.0 of `example.com/dep`."""
    with (project / "go.mod").open("a") as file:
        file.write("\nrequire example.com/dep v1.0.0\n")
    write(project, "go.sum", sums)
    imports = 'package main\n\nimport "example.com/dep"\n\nfunc main() { println(dep.Name) }\n'
    write(project, "plugin.go", imports)


def make_tool(folder: Path, script: str) -> Path:
    """A `go` that is a shell script; gives the folder to put on PATH."""
    tool = write(folder, "go", f"#!/bin/sh\n{script}")
    tool.chmod(0o755)
    return folder
