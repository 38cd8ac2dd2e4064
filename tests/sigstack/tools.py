"""The programs of a Sigstore instance, built from Go's module proxy at the versions pinned here.

One module for each program, in `go/`: its `go.mod` names the version and its `go.sum` the hash of
every source. One module for all of them would have Go raise their shared dependencies, and so give
programs that nobody released.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULES = Path(__file__).resolve().parent / "go"
PROGRAMS = ROOT / ".cache" / "sigstack" / "bin"
SERVICES = ("tesseract", "rekor-server", "timestamp-server", "fulcio")
COSIGN = "cosign"
BUILD_TIMEOUT_S = 1800.0

_NO_MODULES = ("dial tcp", "no such host", "module lookup disabled")
_GO_TOO_OLD = "requires go >= "
# What Go reads of the caller's environment: where it is, and how it reaches its modules.
_KEPT = ("PATH", "HOME", "GOPROXY", "GOSUMDB", "GOTOOLCHAIN", "HTTPS_PROXY", "https_proxy")


class NotBuilt(Exception):
    """A program cannot be had on this machine; the text says why and what helps."""


class BuildFailed(Exception):
    """Go refused to build a program; the text is what Go says."""


def program(name: str) -> Path:
    """The program of this name, built now unless it is there already.

    The first build of all of them takes some minutes, see README.md.

    Raises:
        NotBuilt: Go, or a module where no network is, is missing, or Go is too old.
        BuildFailed: Go does not compile it, or takes longer than half an hour.
    """
    if not shutil.which("go"):
        raise NotBuilt(f"{name} is a Go program, and Go is not installed")
    path, stamp = PROGRAMS / name, PROGRAMS / f"{name}.stamp"
    wanted = _fingerprint(name)
    if not path.is_file() or not stamp.is_file() or stamp.read_text(encoding="ascii") != wanted:
        PROGRAMS.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{name}.{os.getpid()}")
        try:
            _build(name, aside)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        stamp.write_text(wanted, encoding="ascii")
    return path


def build_all() -> None:
    """Build whatever is missing, and say how long each took.

    Raises:
        NotBuilt, BuildFailed: as `program` does.
    """
    for name in (*SERVICES, COSIGN):
        started = time.monotonic()
        path = program(name)
        print(f"{path.relative_to(ROOT)}  {time.monotonic() - started:.0f} s")  # noqa: T201 - for people


def _fingerprint(name: str) -> str:
    """What a program was built from: the files of its module, and the version of Go."""
    digest = hashlib.sha256(_go("version", folder=MODULES, timeout_s=30).stdout.encode())
    for path in sorted((MODULES / name).iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _build(name: str, output: Path) -> None:
    folder = MODULES / name
    arguments = ("build", "-trimpath", "-buildvcs=false", "-o", str(output), "tool")
    try:
        done = _go(*arguments, folder=folder, timeout_s=BUILD_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise BuildFailed(f"{name}: not built within {BUILD_TIMEOUT_S:.0f} s") from error
    if done.returncode and any(sign in done.stderr for sign in _NO_MODULES):
        raise NotBuilt(f"{name}: its modules are not in .cache/go; `make sigstack` downloads them")
    if _GO_TOO_OLD in done.stderr:
        raise NotBuilt(f"{name}: {done.stderr.strip()}")
    if done.returncode:
        raise BuildFailed(f"{name}: {done.stderr}")


def _go(*arguments: str, folder: Path, timeout_s: float) -> subprocess.CompletedProcess[str]:
    kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
    caches = {
        "GOMODCACHE": str(ROOT / ".cache" / "go"),
        "GOCACHE": str(ROOT / ".cache" / "go-build"),
        "GOFLAGS": "-modcacherw",
        "CGO_ENABLED": "0",
    }
    return subprocess.run(
        ["go", *arguments],
        cwd=folder,
        env=kept | caches,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout_s,
        check=False,
        text=True,
    )
