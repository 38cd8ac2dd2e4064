"""The go command as a child process: which one, its environment, and errors with a cause.

The environment is built from nothing. Of the caller's only what `PASSED_ON` names is given on:
where modules come from, which go.sum pins anyway. `GOFLAGS`, `GOOS`, `GOEXPERIMENT`, a `go env -w`
file and a `go.work` above the project would change what is built, so they have no effect. There
is no HOME, so that go keeps no telemetry; credentials for private modules come with NETRC.

Nothing that a project names is executed: no C compiler, no go command of another version, and to
fetch a module from where it is developed git alone, over https or ssh, without the configuration of
a repository that the project is or stands in.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aperio_cli.errors.building import (
    DependencyDigestMismatch,
    GoBuildFailed,
    GoModulesUnpinned,
    GoToolchainMissing,
)
from aperio_cli.errors.files import DiskFull, NetworkUnavailable
from aperio_cli.machine.children import WAY_OUT, read_end, run_child
from aperio_cli.paths import find_program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aperio_cli.errors import AperioError
    from aperio_cli.models.platform import Platform

DEADLINE_S = 900.0
"""How long one run of go may take, downloads included."""

PASSED_ON = (
    "GIT_SSH_COMMAND",
    "GOINSECURE",
    "GONOPROXY",
    "GONOSUMDB",
    "GOPRIVATE",
    "GOPROXY",
    "GOSUMDB",
    "NETRC",
    "SSH_AUTH_SOCK",
    *WAY_OUT,
)
"""Environment variables that go is given when the caller has them; GOVCS is, narrowed."""

OLDEST = (1, 21)
"""The first Go that knows GOTOOLCHAIN, and says so when a go.mod asks for a newer one."""

_VERSION_DEADLINE_S = 20.0
_VERSION = re.compile(r"go version (?P<name>go(?P<major>\d+)\.(?P<minor>\d+)\S*) ")
_USUAL_PLACE = "/usr/local/go/bin"  # where Go's own archive is unpacked to (go.dev/doc/install)
_SHOWN_LINES = 40
_MAX_ANSWER_BYTES = 32 * 1024 * 1024
_TOO_OLD = re.compile(r"requires go >= (?P<wanted>\S+) \(running go (?P<running>[^;\s]+)")
_MISMATCH = re.compile(
    r"verifying (?P<module>\S+): checksum mismatch\s+"
    r"downloaded: (?P<received>\S+)\s+(?P<source>go\.sum|\S+):\s+(?P<expected>\S+)"
)
_UNPINNED = re.compile(
    r"missing go\.sum entry|updates to go\.(?:mod|sum) needed|no required module provides"
    r"|is replaced but not required|inconsistent vendoring"
)
_UNREACHABLE = re.compile(
    r"dial tcp|no such host|i/o timeout|TLS handshake|connection refused|proxyconnect"
    r"|lookup disabled by GOPROXY=off|reading (?:https?|file)://"
)
_FULL = re.compile(r"no space left on device|disk quota exceeded")
_DOWNLOADING = re.compile(r"^go: (?:downloading|finding) .*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A Go installation that was asked for its version.

    Attributes:
        executable: the go command, absolute.
        version: as it names itself, such as `go1.26.8`.
    """

    executable: Path
    version: str


@dataclass(frozen=True, slots=True)
class GoRun:
    """Runs of go for one project.

    Attributes:
        toolchain: from `find_toolchain`.
        project: the folder with go.mod; what go calls its paths by.
        scratch: an empty folder of these runs' own: temporary files, output.
        modules: the module cache; made when it is missing.
        compiled: the cache of compiled packages; made when it is missing.
        environment: the caller's; see `PASSED_ON`.
        platform: what is built for.
    """

    toolchain: Toolchain
    project: Path
    scratch: Path
    modules: Path
    compiled: Path
    environment: Mapping[str, str]
    platform: Platform


def find_toolchain(environment: Mapping[str, str], subject: str) -> Toolchain:
    """Return the Go on the caller's PATH, else the one in Go's usual place.

    Args:
        environment: the caller's.
        subject: what wants it, with its state: "`box` was not built".

    Raises:
        GoToolchainMissing: there is none, it does not start, or it is older than `OLDEST`.
    """
    path = environment.get("PATH", os.defpath)
    found = find_program("go", f"{path}{os.pathsep}{_USUAL_PLACE}")
    if not found:
        raise _missing(subject, f"no `go` on PATH, nor in {_USUAL_PLACE}")
    executable = Path(found)
    answer = _ask_version(executable)
    match = _VERSION.match(answer)
    if not match:
        raise _missing(subject, f"`{executable} version` answered: {answer.strip() or 'nothing'}")
    if (int(match["major"]), int(match["minor"])) < OLDEST:
        raise _too_old(subject, f"{OLDEST[0]}.{OLDEST[1]}", f"{match['name']} in {executable}")
    return Toolchain(executable, match["name"])


def _ask_version(executable: Path) -> str:
    """Return what `go version` prints; when it cannot, what went wrong."""
    with tempfile.TemporaryDirectory(prefix="aperio-go-") as folder:
        scratch = Path(folder)
        environment = {"GOTOOLCHAIN": "local", "GOENV": "off", "PATH": os.defpath}
        output = scratch / "version"
        command = [str(executable), "version"]
        try:
            status = run_child(command, scratch, environment, output, _VERSION_DEADLINE_S)
        except OSError as error:
            return str(error)
        return f"nothing in {_VERSION_DEADLINE_S:g} s" if status is None else read_end(output)


def run_go(run: GoRun, arguments: Sequence[str], *, deadline_s: float = DEADLINE_S) -> str:
    """Run go in the project to its end and give what it printed; no process of it is left.

    Args:
        run: where and with what.
        arguments: what comes after `go`.
        deadline_s: after so many seconds it is stopped.

    Raises:
        GoToolchainMissing: go.mod asks for a newer Go.
        GoModulesUnpinned: go.mod and go.sum do not name everything that is imported.
        DependencyDigestMismatch: a module is not the one that go.sum names.
        NetworkUnavailable: a module could not be downloaded.
        DiskFull: there is no space.
        GoBuildFailed: the compiler refuses the source, or go failed or took too long.
        OSError: go cannot be started.
    """
    output = run.scratch / "go.log"
    command = [str(run.toolchain.executable), *arguments]
    status = run_child(command, run.project, _environment(run), output, deadline_s)
    if status is None:
        why = f"go {arguments[0]} was stopped after {deadline_s:g} s\n{read_end(output)}"
        raise _failed(run, why)
    if status:
        raise _explain(run, read_end(output))
    return read_end(output, _MAX_ANSWER_BYTES)


def _environment(run: GoRun) -> dict[str, str]:
    passed = {name: run.environment[name] for name in PASSED_ON if name in run.environment}
    return {
        **passed,
        "PATH": f"{run.toolchain.executable.parent}{os.pathsep}{os.defpath}",
        "TMPDIR": str(run.scratch),
        "LC_ALL": "C",
        "CGO_ENABLED": "0",
        "GOOS": run.platform.os,
        "GOARCH": run.platform.arch,
        "GOAMD64": "v1",
        "GOARM64": "v8.0",
        "GO111MODULE": "on",
        "GOENV": "off",
        # Modules are checked by their digests; this lets the cache be removed like other folders.
        # -buildvcs=false: else go asks git, and git the repository that the project is.
        "GOFLAGS": "-modcacherw -buildvcs=false",
        "GOPATH": str(run.scratch / "gopath"),
        "GOMODCACHE": str(run.modules),
        "GOCACHE": str(run.compiled),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOVCS": _narrowed(run.environment.get("GOVCS", "")),
        "GIT_ALLOW_PROTOCOL": "https:ssh",
        # go runs git in the module cache, where git looks for a repository in the folders above.
        "GIT_CEILING_DIRECTORIES": str(run.modules.parent),
        "GIT_TERMINAL_PROMPT": "0",
    }


def _narrowed(stated: str) -> str:
    """Return the rules of a GOVCS, none of which allows more than git.

    They are `pattern:name|name` separated by commas, and the first that fits counts (Go modules
    reference, "Controlling version control tools with GOVCS").
    """
    rules = []
    for rule in stated.split(",") if stated else []:
        pattern, _, allowed = rule.partition(":")
        names = {name.strip() for name in allowed.split("|")}
        rules.append(f"{pattern.strip()}:{'git' if names & {'git', 'all'} else 'off'}")
    return ",".join([*rules, *([] if any(r.startswith("*:") for r in rules) else ["*:git"])])


def _explain(run: GoRun, output: str) -> AperioError:
    """Return the error that go's output stands for."""
    subject = f"`{run.project}` was not built"
    shown = "\n".join(_DOWNLOADING.sub("", output).strip().splitlines()[:_SHOWN_LINES])
    if old := _TOO_OLD.search(output):
        return _too_old(subject, old["wanted"], f"go{old['running']} in {run.toolchain.executable}")
    if mismatch := _MISMATCH.search(output):
        return DependencyDigestMismatch(
            f"{mismatch['module']} is not the module that {mismatch['source']} names;"
            " it was not used and nothing was built",
            why=f"expected {mismatch['expected']}\nreceived {mismatch['received']}",
            next=[
                "check where your modules come from: GOPROXY, a mirror, a replaced tag",
                "if the change is wanted, `go mod tidy` and review the difference in go.sum",
            ],
        )
    if _FULL.search(output):
        return DiskFull(
            f"{subject}: the disk is full",
            next=["free some space, then run the same command again"],
        )
    if _UNPINNED.search(output):
        return GoModulesUnpinned(
            f"{subject}: go.mod and go.sum do not pin all that it imports",
            why=shown,
            next=["`go mod tidy` in the project's folder, then review what it changed"],
        )
    if _UNREACHABLE.search(output):
        return NetworkUnavailable(
            f"{subject}: a module could not be downloaded",
            why=shown,
            next=[
                "check the network, the proxy settings and GOPROXY, then run the command again",
                "`go mod vendor` in the project's folder makes it build without a network",
            ],
        )
    return _failed(run, shown)


def _failed(run: GoRun, why: str) -> GoBuildFailed:
    target = f"GOOS={run.platform.os} GOARCH={run.platform.arch} CGO_ENABLED=0"
    return GoBuildFailed(
        f"`{run.project}` was not built for {run.platform}: go gave errors",
        why=why,
        next=[f"`{target} go build -buildvcs=false .` in the project's folder shows the same"],
    )


def _missing(subject: str, why: str) -> GoToolchainMissing:
    return GoToolchainMissing(
        f"{subject}: it is written in Go, and there is no usable Go here",
        why=why,
        next=[
            f"install Go {OLDEST[0]}.{OLDEST[1]} or newer, or put its `bin` folder on PATH",
            "`go version` shows whether it is found",
        ],
    )


def _too_old(subject: str, wanted: str, running: str) -> GoToolchainMissing:
    return GoToolchainMissing(
        f"{subject}: the Go here is too old",
        why=f"expected Go {wanted} or newer\nreceived {running}",
        next=[
            f"install Go {wanted} or newer; aperio lets go download no other Go by itself",
            "or put a newer one first on PATH",
        ],
    )
