"""What go's words stand for when it fails: an error with its cause, true of this run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aperio_cli.building.go_environment import not_counted
from aperio_cli.errors.building import (
    DependencyDigestMismatch,
    GoBuildFailed,
    GoModuleDenied,
    GoModuleMissing,
    GoModulesUnpinned,
    GoToolchainMissing,
    GoTransportRefused,
)
from aperio_cli.errors.files import DiskFull, NetworkUnavailable
from aperio_cli.files.writing import disk_full, size_limited
from aperio_cli.machine.reach import say_not_counted
from aperio_cli.text import page

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_cli.building.go_tool import GoRun
    from aperio_cli.errors import AperioError

OLDEST = (1, 21)
"""The first Go that knows GOTOOLCHAIN, and says so when a go.mod asks for a newer one."""

_SHOWN_LINES = 40
_TOO_OLD = re.compile(r"requires go >= (?P<wanted>\S+) \(running go (?P<running>[^;\s]+)")
_MISMATCH = re.compile(
    r"verifying (?P<module>\S+): checksum mismatch\s+"
    r"downloaded: (?P<received>\S+)\s+(?P<source>go\.sum|\S+):\s+(?P<expected>\S+)"
)
_FULL = re.compile(r"no space left on device|disk quota exceeded")
_TOO_LONG = re.compile(r": file too large|signal: file size limit exceeded")
_UNPINNED = re.compile(
    r"missing go\.sum entry|updates to go\.(?:mod|sum) needed|no required module provides"
    r"|is replaced but not required|inconsistent vendoring"
)
_REFUSED = re.compile(
    r"GOVCS disallows using|fatal: transport '[^']*' not allowed|no secure protocol found"
)
_DENIED = re.compile(
    r"reading https?://\S+: (?:401|403|407) |could not read (?:Username|Password) for"
    r"|Authentication failed for|Permission denied \(|Host key verification failed"
    r"|The requested URL returned error: 40[13]|invalid credentials",
    re.IGNORECASE,
)
_MISSING = re.compile(
    r"reading https?://\S+: (?:404|410) |unknown revision|repository '[^']*' not found"
    r'|Repository not found|invalid version(?!: (?:git |Get "))|reading file://\S+: no such file'
    r'|unrecognized import path "[^"]*"(?!: https fetch: Get )'
    r"|The requested URL returned error: 404",
    re.IGNORECASE,
)
_UNTRUSTED = re.compile(
    r"x509: |failed to verify certificate|certificate verification failed|SSL certificate problem"
)
_SWITCHED_OFF = re.compile(r"lookup disabled by GOPROXY=off")
_UNUSABLE = re.compile(
    r'refusing to pass credentials to insecure URL|: parse "[^"]*": |invalid (?:proxy URL|GOPROXY)'
)
_UNREACHABLE = re.compile(
    r"dial tcp|no such host|i/o timeout|TLS handshake|connection refused|proxyconnect"
    r"|reading https?://|unable to access 'https?://|Could not resolve host|ssh: connect to host"
    r"|connection reset by peer|Could not read from remote repository|https fetch: Get ",
    re.IGNORECASE,
)
_OF_THE_SOURCE = re.compile(
    r"^(?:\S+\.go:\d+(?::\d+)?: |# |go: errors parsing go\.mod|package |imports )", re.MULTILINE
)
_DOWNLOADING = re.compile(r"^go: (?:downloading|finding) .*\n", re.MULTILINE)
_USER = re.compile(r"(?<=://)[^/@\s'\"]+@")
_VENDORED = "`go mod vendor` in the project's folder makes it build without a network"


def explain(run: GoRun, output: str) -> AperioError:
    """Return the error that go's output stands for."""
    shown = _shown(output)
    unused = say_not_counted(not_counted(run.environment, run.project))
    if old := _TOO_OLD.search(output):
        running = f"go{old['running']} in {run.toolchain.executable}"
        return too_old(f"`{run.project}` was not built", old["wanted"], running)
    if mismatch := _MISMATCH.search(output):
        return _mismatch(mismatch)
    for pattern, make in _CAUSES:
        if pattern.search(output):
            return make(f"`{run.project}` was not built", f"{shown}\n{unused}".strip())
    return failed(run, shown)


def failed(run: GoRun, why: str) -> GoBuildFailed:
    """Return the error for everything else.

    That the author's own `go build` shows the same is said of what is wrong in the source: what
    comes of the environment or of a deadline it would not show.
    """
    target = f"GOOS={run.platform.os} GOARCH={run.platform.arch} CGO_ENABLED=0"
    alone = f"GOENV=off GOFLAGS= GOWORK=off GOTOOLCHAIN=local {target}"
    step = (
        f"`{alone} go build -buildvcs=false .` in the project's folder shows the same"
        if _OF_THE_SOURCE.search(why)
        else "go has an environment of its own here:"
        f" {page('docs/reference/configuration.md')}#environment-variables"
    )
    return GoBuildFailed(
        f"`{run.project}` was not built for {run.platform}: go gave errors", why=why, next=[step]
    )


def no_toolchain(subject: str, why: str) -> GoToolchainMissing:
    """Return the error for a machine without a Go that can be used."""
    return GoToolchainMissing(
        f"{subject}: it is written in Go, and there is no usable Go here",
        why=why,
        next=[
            f"install Go {OLDEST[0]}.{OLDEST[1]} or newer, or put its `bin` folder on PATH",
            "`go version` shows whether it is found",
        ],
    )


def too_old(subject: str, wanted: str, running: str) -> GoToolchainMissing:
    """Return the error for a Go that is older than what is asked for."""
    return GoToolchainMissing(
        f"{subject}: the Go here is too old",
        why=f"expected Go {wanted} or newer\nreceived {running}",
        next=[
            f"install Go {wanted} or newer; aperio lets go download no other Go by itself",
            "put a newer one first on PATH",
        ],
    )


def _shown(output: str) -> str:
    """Return what people are shown: without progress, and without passwords in addresses."""
    lines = _DOWNLOADING.sub("", output).strip().splitlines()[:_SHOWN_LINES]
    return _USER.sub("", "\n".join(lines))


def _mismatch(found: re.Match[str]) -> DependencyDigestMismatch:
    return DependencyDigestMismatch(
        f"{found['module']} is not the module that {found['source']} names;"
        " it was not used and nothing was built",
        why=f"expected {found['expected']}\nreceived {found['received']}",
        next=[
            "check where your modules come from: GOPROXY, a mirror, a replaced tag",
            "if the change is wanted, `go mod tidy` and review the difference in go.sum",
        ],
    )


def _full(subject: str, why: str) -> DiskFull:
    return disk_full(subject, why)


def _too_long(subject: str, why: str) -> DiskFull:
    return size_limited(subject, why)


def _unpinned(subject: str, why: str) -> GoModulesUnpinned:
    return GoModulesUnpinned(
        f"{subject}: go.mod and go.sum do not pin all that it imports",
        why=why,
        next=["`go mod tidy` in the project's folder, then review what it changed"],
    )


def _refused(subject: str, why: str) -> GoTransportRefused:
    return GoTransportRefused(
        f"{subject}: a module would have to be fetched in a way that aperio does not let go use",
        why=why,
        next=[
            "have git find it over https or ssh: `insteadOf` in your own git configuration",
            "have a module proxy serve it: GOPROXY",
            _VENDORED,
        ],
    )


def _denied(subject: str, why: str) -> GoModuleDenied:
    return GoModuleDenied(
        f"{subject}: a module's server did not accept who asks",
        why=why,
        next=[
            "give go your access: ~/.netrc or NETRC, GOAUTH, or git's credential helper or ssh key",
            "for a private module, name its host in GOPRIVATE, so that no public proxy is asked",
            _VENDORED,
        ],
    )


def _not_there(subject: str, why: str) -> GoModuleMissing:
    return GoModuleMissing(
        f"{subject}: a module, or its version, is not where go looked for it",
        why=why,
        next=[
            "check path and version in go.mod; `go list -m -versions MODULE` shows what there is",
            "servers say that to strangers, too: for a private module, give go your access",
            _VENDORED,
        ],
    )


def _untrusted(subject: str, why: str) -> NetworkUnavailable:
    return NetworkUnavailable(
        f"{subject}: the certificate of a module's server is not trusted",
        why=why,
        next=[
            "name your authority's certificate: SSL_CERT_FILE for go, `http.sslCAInfo` for git",
            _VENDORED,
        ],
    )


def _switched_off(subject: str, why: str) -> NetworkUnavailable:
    return NetworkUnavailable(
        f"{subject}: a module is not in the module cache, and GOPROXY=off allows no download",
        why=why,
        next=["`unset GOPROXY`, or name a proxy in it", _VENDORED],
    )


def _unusable(subject: str, why: str) -> NetworkUnavailable:
    return NetworkUnavailable(
        f"{subject}: a module could not be asked for where GOPROXY says",
        why=why,
        next=[
            "correct GOPROXY: https, where a user and a password stand in it",
            "give go your access by ~/.netrc, NETRC or GOAUTH, and take them out of GOPROXY",
            _VENDORED,
        ],
    )


def _unreachable(subject: str, why: str) -> NetworkUnavailable:
    return NetworkUnavailable(
        f"{subject}: a module could not be downloaded",
        why=why,
        next=[
            "check the network, the proxy settings and GOPROXY, then run the command again",
            _VENDORED,
        ],
    )


_CAUSES: tuple[tuple[re.Pattern[str], Callable[[str, str], AperioError]], ...] = (
    (_FULL, _full),
    (_TOO_LONG, _too_long),
    (_UNPINNED, _unpinned),
    (_REFUSED, _refused),
    (_DENIED, _denied),
    (_UNUSABLE, _unusable),
    (_UNTRUSTED, _untrusted),
    (_SWITCHED_OFF, _switched_off),
    (_MISSING, _not_there),
    (_UNREACHABLE, _unreachable),
)
"""Causes in the order in which they are looked for: git says less of the later ones."""
