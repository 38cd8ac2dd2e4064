"""Files of a project that look like credentials, found before anything is built.

The rules catch what gives itself away: names that only credentials have, and tokens with a fixed
beginning or frame. They are a seat belt, no proof that a project is free of secrets. What is
found is named by file and rule; the secret itself is never shown.

Sources of the forms: RFC 7468 (PEM), RFC 7517 (JWK), RFC 7519 (JWT), and the providers' own
descriptions of their tokens' prefixes.
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.errors.building import SecretInProject
from aperio_cli.files.reading import read_capped
from aperio_cli.text import show_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aperio_cli.building.contents import ProjectFile

_MAX_FILE_BYTES = 64 * 1024 * 1024
_SHOWN_AT_MOST = 20

_NAMES = {
    ".env": "an environment file",
    ".env.*": "an environment file",
    "*.env": "an environment file",
    ".git-credentials": "stored Git passwords",
    ".htpasswd": "stored passwords",
    ".netrc": "stored passwords",
    "id_dsa": "a private SSH key",
    "id_ecdsa": "a private SSH key",
    "id_ed25519": "a private SSH key",
    "id_rsa": "a private SSH key",
    "*.jks": "a key store",
    "*.keystore": "a key store",
    "*.p12": "a key store",
    "*.pfx": "a key store",
}
_HARMLESS_NAMES = (".env.example", ".env.sample", ".env.template")


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a secret looks like: all of the patterns occur in one file."""

    words: str
    patterns: tuple[re.Pattern[bytes], ...]

    def matches(self, data: bytes) -> bool:
        return all(pattern.search(data) for pattern in self.patterns)


def _rule(words: str, *patterns: bytes) -> _Rule:
    return _Rule(words, tuple(re.compile(pattern) for pattern in patterns))


_RULES = (
    _rule("a private key in PEM form", rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    _rule(
        "a private JSON Web Key",
        rb'"kty"\s*:\s*"(?:RSA|EC|OKP)"',
        rb'"d"\s*:\s*"[A-Za-z0-9_-]{32,}"',
    ),
    _rule(
        "a signed JSON Web Token",
        rb"\beyJ[A-Za-z0-9_-]{15,}\.eyJ[A-Za-z0-9_-]{15,}\.[A-Za-z0-9_-]{20,}",
    ),
    # Amazon's documentation uses key ids that end in EXAMPLE.
    _rule("an AWS access key id", rb"\b(?:AKIA|ASIA)(?![0-9A-Z]{9}EXAMPLE)[0-9A-Z]{16}\b"),
    _rule(
        "a GitHub token",
        rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60})",
    ),
    _rule("a GitLab token", rb"\bglpat-[A-Za-z0-9_-]{20}"),
    _rule("a Slack token", rb"\bxox[abeoprs]-[0-9A-Za-z-]{20}"),
    _rule("a Stripe key", rb"\b[rs]k_live_[0-9A-Za-z]{24}"),
    _rule("an npm token", rb"\bnpm_[A-Za-z0-9]{36}|:_authToken\s*=\s*[^\s$]"),
    _rule("a Python index token", rb"\bpypi-AgE[A-Za-z0-9_-]{50}"),
    _rule(
        "a Google service account",
        rb'"type"\s*:\s*"service_account"',
        rb'"private_key(?:_id)?"\s*:\s*"[^"]',
    ),
)
_PYPIRC = _rule("a password for a Python index", rb"(?m)^\s*password\s*[=:]\s*\S")


def refuse_secrets(root: object, files: Iterable[ProjectFile]) -> None:
    """Check that no file looks like a credential.

    Test code is judged by its name only: the credentials in it are made up, and it is not packed.

    Args:
        root: what to call the project in the message.
        files: the project's files.

    Raises:
        SecretInProject: names the files and the rule each one met.
        FileTooLarge: a file is longer than 64 MiB.
        FileNotRegular: a file became a link while the project was read.
        OSError: a file may not be read.
    """
    found = [f"{show_path(file.name)}  {words}" for file, words in _findings(files)]
    if not found:
        return
    shown = found[:_SHOWN_AT_MOST]
    if len(found) > _SHOWN_AT_MOST:
        shown.append(f"and {len(found) - _SHOWN_AT_MOST} more")
    raise SecretInProject(
        f"`{root}` holds what looks like a secret; nothing was built",
        why="\n".join(shown),
        next=[
            "move it out of the project's folder; plugins are given secrets by the host",
            "if it was ever committed or shared, replace it at the service it belongs to",
        ],
    )


def _findings(files: Iterable[ProjectFile]) -> Iterator[tuple[ProjectFile, str]]:
    for file in files:
        if words := _by_name(file.path.name.lower()):
            yield file, f"has the name of {words}"
        elif not file.is_test and (words := _by_contents(file)):
            yield file, f"contains {words}"


def _by_name(name: str) -> str:
    if name in _HARMLESS_NAMES:
        return ""
    return next((words for form, words in _NAMES.items() if fnmatch.fnmatchcase(name, form)), "")


def _by_contents(file: ProjectFile) -> str:
    data = read_capped(file.path, _MAX_FILE_BYTES)
    rules = (*_RULES, _PYPIRC) if file.path.name == ".pypirc" else _RULES
    return next((rule.words for rule in rules if rule.matches(data)), "")
