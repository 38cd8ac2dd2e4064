"""A private Sigstore instance of real services, in a network namespace of its own.

    .venv/bin/python -m tests.sigstack.stack build     build the programs, once
    .venv/bin/python -m tests.sigstack.stack shell     a shell where the services are reachable

Fulcio certifies, TesseraCT logs certificates, Rekor v2 logs signatures, timestamp-authority says
when; the OIDC issuers are those of `identities.py`. Nothing of it can be reached from outside its
namespace (timestamp-server would listen on every interface), and it reaches nothing outside, so
clients run inside too: `Stack.run`.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.sigstack import layout, tools
from tests.sigstack.forks import RUN_TIMEOUT_S
from tests.sigstack.identities import ALICE, build, person

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.sigstack.identities import Claims, TokenIssuer

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 15.0

_NAMESPACES = ("--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child")
_FIRST_PROCESS = Path(__file__).resolve().parent / "namespace.py"
_LOG_CHARACTERS = 2000


class NotStarted(Exception):
    """The instance did not come up; the text has the end of each service's log."""


class NamespacesMissing(Exception):
    """This machine lets this user make no namespaces."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A running instance.

    Attributes:
        folder: as `layout.py` describes it; also has a log file for each service.
        issuer: makes tokens that its Fulcio accepts.
        process_id: of a process in the instance's user and network namespaces.
    """

    folder: Path
    issuer: TokenIssuer
    process_id: int

    @property
    def trust_config(self) -> Path:
        """ClientTrustConfig v0.1: the trusted root, and where to sign."""
        return self.folder / layout.TRUST_CONFIG

    def token(self, claims: Claims) -> str:
        """An identity token with these claims."""
        return self.issuer.token(claims)

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command that runs another one where the services are reachable."""
        target = ("--target", str(self.process_id), "--user", "--net", "--preserve-credentials")
        return ["nsenter", *target, "--", *argv]

    def run(self, argv: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command inside; as `run_client` does."""
        return run_client(self.inside(argv), env)


def run_client(argv: Sequence[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end.

    Args:
        argv: the command.
        env: its whole environment.

    Raises:
        subprocess.TimeoutExpired: it took longer than 100 s; it was killed.
    """
    return subprocess.run(
        argv,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
        text=True,
    )


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Stack]:
    """An instance in an empty folder while the block runs; afterwards no process of it is left.

    Builds the programs that are missing. Should this process die, the instance ends with it.

    Raises:
        tools.NotBuilt, tools.BuildFailed: a program cannot be had.
        NamespacesMissing: the machine gives this user no namespaces.
        NotStarted: a service ended, or did not answer in time.
    """
    programs = {name: tools.program(name) for name in tools.SERVICES}
    require_namespaces()
    issuer = layout.prepare(folder, programs)
    first = _start(folder)
    try:
        _await_ready(first, folder)
        yield Stack(folder, issuer, first.pid)
    finally:
        _stop(first)


def require_namespaces() -> None:
    """Check that namespaces can be made.

    Raises:
        NamespacesMissing: they cannot; the text is what `unshare` says.
    """
    try:
        argv = ["unshare", *_NAMESPACES, "true"]
        done = subprocess.run(argv, capture_output=True, timeout=10, check=False, text=True)
    except FileNotFoundError as error:
        raise NamespacesMissing("`unshare` (util-linux) is not installed") from error
    if done.returncode:
        raise NamespacesMissing(f"namespaces cannot be made: {done.stderr.strip()}")


def _start(folder: Path) -> subprocess.Popen[bytes]:
    argv = ["unshare", *_NAMESPACES, sys.executable, "-I", "-B", str(_FIRST_PROCESS), str(folder)]
    with (folder / "namespace.log").open("wb") as log:
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # an interruption from the keyboard ends it in order
        )


def _await_ready(first: subprocess.Popen[bytes], folder: Path) -> None:
    assert first.stdout
    answering, _, _ = select.select([first.stdout], [], [], START_TIMEOUT_S)
    line = first.stdout.readline().decode().strip() if answering else "it did not say `ready`"
    if line != "ready":
        raise NotStarted(f"{line}\n{_logs(folder)}")


def _logs(folder: Path) -> str:
    texts = ((path.name, path.read_text(errors="replace")) for path in folder.glob("*.log"))
    return "\n".join(f"{name}:\n{text[-_LOG_CHARACTERS:]}" for name, text in sorted(texts))


def _stop(first: subprocess.Popen[bytes]) -> None:
    """Let go of its standard input, which ends it; `--kill-child` ends one that does not go."""
    assert first.stdin
    assert first.stdout
    first.stdin.close()
    try:
        first.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        first.kill()
        first.wait()
    first.stdout.close()


def _shell() -> int:
    folder = Path(tempfile.mkdtemp(prefix="sigstack-"))
    try:
        started = time.monotonic()
        with running(folder) as stack:
            print(f"ready after {time.monotonic() - started:.1f} s; `exit` ends it")  # noqa: T201 - for people
            environment = os.environ | {
                "TRUST_CONFIG": str(stack.trust_config),
                "TOKEN": stack.token(person(ALICE)),
                "BUILD_TOKEN": stack.token(build()),
            }
            shell = [os.environ.get("SHELL", "/bin/sh")]
            return subprocess.run(stack.inside(shell), env=environment, check=False).returncode
    finally:
        shutil.rmtree(folder)


def main() -> int:
    """The command; see the module."""
    match sys.argv[1:]:
        case ["build"]:
            tools.build_all()
            return 0
        case ["shell"]:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the shell's own affair
            return _shell()
        case _:
            print(__doc__, file=sys.stderr)  # noqa: T201 - for people
            return 2


if __name__ == "__main__":
    sys.exit(main())
