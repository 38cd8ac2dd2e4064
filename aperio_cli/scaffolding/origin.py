"""Where the workflows of a project get aperio from, and the lock that they install it by.

The job that can sign installs what stands in this lock and nothing else. pip checks every file's
SHA-256 (pip documentation, "Secure installs"). A git commit has no such hash: its id names the
source, and everything that its build and its run need is installed from the lock before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aperio_cli import __version__
from aperio_cli.errors.usage import UsageError
from aperio_cli.text import clean

if TYPE_CHECKING:
    from aperio_cli.scaffolding.wheel import Wheel

FOLDER: Final = ".github/aperio"
"""Where the lock stands in a project, with the SDK's wheel beside it."""
LOCK_NAME: Final = "aperio.lock"

_LOCKS = Path(__file__).parent / "locks"
APERIO_LOCK: Final = _LOCKS / "aperio.lock"
"""What aperio needs, pinned with hashes; `make lock` writes it."""
BUILD_LOCK: Final = _LOCKS / "build.lock"
"""What a build of aperio from its source needs besides."""

_DISTRIBUTION = "aperio-cli"
# Addresses get into a workflow, a lock and a shell's variable: characters that mean something to
# none of them, and no user or token before the host.
_ADDRESS = r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/[A-Za-z0-9._~%/+-]+"
_HASH = r"#sha256=(?P<sha256>[0-9a-f]{64})"
_BY_NAME = re.compile(rf"{_DISTRIBUTION}=={re.escape(__version__)}(?:{_HASH})?", re.ASCII)
_WHEEL_NAME = f"aperio_cli-{__version__}-py3-none-any.whl"
_WHEEL = re.compile(rf"(?P<url>{_ADDRESS}/{re.escape(_WHEEL_NAME)}){_HASH}", re.ASCII)
_COMMIT = re.compile(rf"git\+{_ADDRESS}@[0-9a-f]{{40}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where workflows get aperio from.

    Attributes:
        stated: as it was stated.
        requirement: the line of the lock that names aperio; empty for a commit.
        commit: the address of a git commit, as pip takes it; empty for anything else.
        is_locked: whether the lock is complete. A name without a hash installs nothing: pip
            refuses the whole lock until somebody adds the hash.
    """

    stated: str
    requirement: str = ""
    commit: str = ""
    is_locked: bool = True


DEFAULT: Final = f"{_DISTRIBUTION}=={__version__}"
"""This version by name: complete once its hash is known."""


def parse_origin(text: str) -> Origin:
    """Return the origin that `--aperio-from` states.

    Args:
        text: this version by name, with `#sha256=` and the hash of its wheel or without; the
            https address of its wheel with the hash; or `git+https://…@` and a commit's id.

    Raises:
        UsageError: it is none of them.
    """
    if named := _BY_NAME.fullmatch(text):
        digest = named["sha256"]
        line = f"{DEFAULT} \\\n    --hash=sha256:{digest}" if digest else DEFAULT
        return Origin(text, requirement=line, is_locked=bool(digest))
    if wheel := _WHEEL.fullmatch(text):
        line = f"{_DISTRIBUTION} @ {wheel['url']} \\\n    --hash=sha256:{wheel['sha256']}"
        return Origin(text, requirement=line)
    if _COMMIT.fullmatch(text):
        return Origin(text, commit=text)
    raise UsageError(
        f"`{clean(text, limit=200)}` is no place to get aperio from; nothing was made",
        why="a workflow that can sign installs what is pinned only: this version by its hash, or a"
        f" commit by its id\nexpected {DEFAULT}#sha256=HEX, https://…/{_WHEEL_NAME}#sha256=HEX,"
        "\n         or git+https://…@ with the 40 characters of a commit",
        next=["leave `--aperio-from` out, and add the hash to the project's lock later"],
    )


def lock_text(origin: Origin, sdk: Wheel) -> str:
    """Return the lock of a project's workflows.

    Args:
        origin: where aperio comes from.
        sdk: the SDK's wheel, which stands beside the lock.

    Raises:
        OSError: this installation's own locks cannot be read.
    """
    parts = [_HEADER, APERIO_LOCK.read_text()]
    if origin.commit:
        parts.append(BUILD_LOCK.read_text())
    parts.append(f"./{FOLDER}/{sdk.file_name} \\\n    --hash={sdk.digest}\n")
    if not origin.is_locked:
        parts.append(_WITHOUT_HASH)
    if origin.requirement:
        parts.append(f"{origin.requirement}\n")
    return "".join(parts)


_HEADER = """\
# aperio for the workflows beside it, and everything that it needs: one version each, with the
# hashes of the wheels for CPython 3.11 to 3.14 on Linux (glibc), amd64 and arm64. In the project's
# folder: python -m pip install --require-hashes --only-binary :all: -r .github/aperio/aperio.lock
"""
_WITHOUT_HASH = f"""\
# The hash is missing, and pip installs nothing of this file without it. Add, behind the version,
# --hash=sha256:HEX with the hash that the release of aperio states for {_WHEEL_NAME}.
"""
