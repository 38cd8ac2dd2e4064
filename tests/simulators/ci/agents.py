"""Stand-ins for the programs that give jobs of Buildkite and CircleCI their identity tokens."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_BUILDKITE = ["oidc", "request-token", "--audience", "sigstore"]
_CIRCLECI = ["run", "oidc", "get", "--claims", '{"aud": "sigstore"}', "--root-issuer"]

_PROGRAM = """#!{python} -I
import sys
if sys.argv[1:] != {expected!r}:
    sys.exit("unexpected arguments: " + repr(sys.argv[1:]))
{body}
"""


def _write(path: Path, expected: list[str], body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_PROGRAM.format(python=sys.executable, expected=expected, body=body))
    path.chmod(0o755)


def buildkite_agent(folder: Path, token: str) -> None:
    """`buildkite-agent oidc request-token --audience sigstore` that prints the token."""
    _write(folder / "buildkite-agent", _BUILDKITE, f"print({token!r})")


def failing_buildkite_agent(folder: Path, text: str) -> None:
    """The same, of an agent that refuses; it says so on stdout, as sigstore shows it."""
    _write(folder / "buildkite-agent", _BUILDKITE, f"print({text!r}); sys.exit(1)")


def circleci(folder: Path, token: str) -> None:
    """`circleci run oidc get` that prints the token."""
    _write(folder / "circleci", _CIRCLECI, f"print({token!r})")


def failing_circleci(folder: Path, text: str) -> None:
    """The same, of one that refuses."""
    _write(folder / "circleci", _CIRCLECI, f"sys.exit({text!r})")
