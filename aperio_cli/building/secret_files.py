"""Files of a project that look like credentials, found before anything is built.

The rules catch what gives itself away: names that only credentials have, and tokens with a fixed
beginning or frame. They are a seat belt, no proof that a project is free of secrets. What is
found is named by file, line and rule; the secret itself is never shown.

The files are somebody's, and may have been made to keep us busy: every repeat in a rule has a
bound, no rule takes more than a few passes over a file, and the scan as a whole has a deadline.

Sources of the forms: RFC 7468 (PEM), RFC 7517 (JWK), RFC 7519 (JWT), and the providers' own
descriptions of their tokens' prefixes.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aperio_cli.building.contents import MAX_FILE_BYTES
from aperio_cli.building.ignoring import FILE_NAME as IGNORE_FILE
from aperio_cli.building.report import Waived
from aperio_cli.errors.building import SecretInProject, SecretScanTooLong
from aperio_cli.errors.files import FileTooLarge
from aperio_cli.files.reading import open_regular
from aperio_cli.text import show_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aperio_cli.building.contents import ProjectFile
    from aperio_cli.building.ignoring import Waiver

DEADLINE_S = 120.0
"""How long looking through all files may take: some hundred times what a large project needs."""

_SHOWN_AT_MOST = 20
_FINGERPRINT_DIGITS = 16
_MAX_BLOCK_BYTES = 64 * 1024

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
class Rule:
    """What a secret looks like: all of the patterns occur in one file, the secret in the last.

    Attributes:
        words: what it is, for messages.
        signs: bytes of which at least one stands in every match; looking for them is quick.
        patterns: each takes a few passes over a file at most, whatever is in it.
        end: what a secret of several lines ends with.
    """

    words: str
    signs: tuple[bytes, ...]
    patterns: tuple[re.Pattern[bytes], ...]
    end: bytes = b""

    def matches(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the number of each line in which a secret begins, and its lines."""
        if not any(sign in data for sign in self.signs):
            return
        *others, last = self.patterns
        if not all(pattern.search(data) for pattern in others):
            return
        number, counted, position = 1, 0, 0
        while found := last.search(data, position):
            number += data.count(b"\n", counted, found.start())
            counted = found.start()
            position = self._end_of(data, found.end())
            yield number, data[data.rfind(b"\n", 0, counted) + 1 : position]

    def _end_of(self, data: bytes, position: int) -> int:
        """Return where the last line of a match ends: of a block, with the block."""
        if self.end:
            limit = min(position + _MAX_BLOCK_BYTES, len(data))
            found = data.find(self.end, position, limit)
            position = limit if found < 0 else found
        line_end = data.find(b"\n", position)
        return len(data) if line_end < 0 else line_end


def _rule(words: str, signs: tuple[bytes, ...], *patterns: bytes, end: bytes = b"") -> Rule:
    return Rule(words, signs, tuple(re.compile(pattern) for pattern in patterns), end)


# A token's characters are taken once, from where they begin: a search that began anew at each of
# them would take the square of their number.
_JWT = (
    rb"(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]{0,200}?\beyJ[A-Za-z0-9_-]{15})[A-Za-z0-9_-]{18,8192}+"
    rb"\.eyJ[A-Za-z0-9_-]{15,8192}+\.[A-Za-z0-9_-]{20}"
)

RULES = (
    _rule(
        "a private key in PEM form",
        (b"PRIVATE KEY",),
        rb"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----",
        end=b"-----END ",
    ),
    _rule(
        "a private JSON Web Key",
        (b'"kty"',),
        rb'"kty"\s{0,64}:\s{0,64}"(?:RSA|EC|OKP)"',
        rb'"d"\s{0,64}:\s{0,64}"[A-Za-z0-9_-]{32}',
    ),
    _rule("a signed JSON Web Token", (b".eyJ",), _JWT),
    # Amazon's documentation uses key ids that end in EXAMPLE.
    _rule(
        "an AWS access key id",
        (b"AKIA", b"ASIA"),
        rb"\b(?:AKIA|ASIA)(?![0-9A-Z]{9}EXAMPLE)[0-9A-Z]{16}\b",
    ),
    _rule(
        "a GitHub token",
        (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_"),
        rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60})",
    ),
    _rule("a GitLab token", (b"glpat-",), rb"\bglpat-[A-Za-z0-9_-]{20}"),
    _rule("a Slack token", (b"xox",), rb"\bxox[abeoprs]-[0-9A-Za-z-]{20}"),
    _rule("a Stripe key", (b"k_live_",), rb"\b[rs]k_live_[0-9A-Za-z]{24}"),
    _rule(
        "an npm token",
        (b"npm_", b":_authToken"),
        rb"\bnpm_[A-Za-z0-9]{36}|:_authToken[ \t]{0,64}=[ \t]{0,64}[^\s$]",
    ),
    _rule("a Python index token", (b"pypi-AgE",), rb"\bpypi-AgE[A-Za-z0-9_-]{50}"),
    _rule(
        "a Google service account",
        (b'"service_account"',),
        rb'"type"\s{0,64}:\s{0,64}"service_account"',
        rb'"private_key(?:_id)?"\s{0,64}:\s{0,64}"[^"]',
    ),
)
PYPIRC = _rule(
    "a password for a Python index",
    (b"password",),
    rb"(?m)^[ \t]{0,64}password[ \t]{0,64}[=:][ \t]{0,64}\S",
)


@dataclass(frozen=True, slots=True)
class _Finding:
    """A file that looks like a secret, or a line of one that does; a name's line is 0."""

    path: str
    words: str
    line: int
    fingerprint: str

    def __str__(self) -> str:
        has = f"contains {self.words}, line {self.line}"
        if not self.line:
            has = f"has the name of {self.words}"
        return f"{show_path(self.path)}  {has} ({self.fingerprint})"


def refuse_secrets(
    root: object,
    files: Iterable[ProjectFile],
    waivers: Sequence[Waiver] = (),
    *,
    deadline_s: float = DEADLINE_S,
) -> tuple[Waived, ...]:
    """Check that no file looks like a credential; return what a waiver says is none.

    Args:
        root: what to call the project in the message.
        files: what is packed.
        waivers: from `.aperioignore`.
        deadline_s: how long it may take.

    Raises:
        SecretInProject: names the files and the rule each one met.
        SecretScanTooLong: not all could be looked through in time.
        FileTooLarge: a file is longer than 64 MiB.
        FileNotRegular: a file became a link while the project was read.
        OSError: a file may not be read.
    """
    until = time.monotonic() + deadline_s
    reasons = {(waiver.path, waiver.fingerprint): waiver.reason for waiver in waivers}
    waived: list[Waived] = []
    found: list[_Finding] = []
    for finding in _findings(root, files, until):
        reason = reasons.get((finding.path, finding.fingerprint))
        if reason is None:
            found.append(finding)
        else:
            waived.append(Waived(finding.path, finding.line, finding.words, reason))
    if found:
        raise _refusal(root, found)
    return tuple(waived)


def _refusal(root: object, found: Sequence[_Finding]) -> SecretInProject:
    shown = [str(finding) for finding in found[:_SHOWN_AT_MOST]]
    if len(found) > _SHOWN_AT_MOST:
        shown.append(f"and {len(found) - _SHOWN_AT_MOST} more")
    waiver = f"# waive {found[0].fingerprint} {show_path(found[0].path)}: REASON"
    return SecretInProject(
        f"`{root}` holds what looks like a secret; nothing was built",
        why="\n".join(shown),
        next=[
            f"name the file in {IGNORE_FILE}, or move it out: the host gives plugins their secrets",
            "if it was ever committed or shared, replace it at the service it belongs to",
            f"if it is no secret, say why in {IGNORE_FILE}, for each finding: `{waiver}`",
        ],
    )


def _findings(root: object, files: Iterable[ProjectFile], until: float) -> Iterator[_Finding]:
    for file in files:
        data = _contents(root, file)
        if words := _by_name(file.path.name.lower()):
            yield _Finding(file.name, words, 0, _fingerprint(data))
        for rule in (*RULES, PYPIRC) if file.path.name == ".pypirc" else RULES:
            for line, lines in rule.matches(data):
                yield _Finding(file.name, rule.words, line, _fingerprint(lines))
            if time.monotonic() > until:
                raise _too_long(root, file)


def _fingerprint(data: bytes) -> str:
    """Return what a waiver names: it changes with what was found, not with the file around it."""
    return hashlib.sha256(data.strip()).hexdigest()[:_FINGERPRINT_DIGITS]


def _by_name(name: str) -> str:
    if name in _HARMLESS_NAMES:
        return ""
    return next((words for form, words in _NAMES.items() if fnmatch.fnmatchcase(name, form)), "")


def _contents(root: object, file: ProjectFile) -> bytes:
    with open_regular(file.path) as opened:
        data = opened.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise FileTooLarge(
            f"`{root}` was not built: {show_path(file.name)} is too long to be looked through",
            why=f"expected at most {MAX_FILE_BYTES:,} bytes",
            next=[f"name it in {IGNORE_FILE}, or cut it into parts"],
        )
    return data


def _too_long(root: object, file: ProjectFile) -> SecretScanTooLong:
    return SecretScanTooLong(
        f"`{root}` could not be looked through for secrets in time; nothing was built",
        why=f"the time was over in {show_path(file.name)}",
        next=[
            f"name large data that is no part of the plugin in {IGNORE_FILE}, as in .gitignore",
            "run the same command again on a machine that is less busy",
        ],
    )
