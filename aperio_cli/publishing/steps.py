"""What maintainers are told to type next, so that it works as it is printed."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from aperio_cli.errors import AperioError
from aperio_cli.files.beneath import Beneath
from aperio_cli.files.naming import as_path
from aperio_cli.models.artifact import BUNDLE_SUFFIX, MAX_BUNDLE_BYTES
from aperio_cli.models.publisher import PUBLIC_DOMAIN
from aperio_cli.proving.issuing import probable_domain
from aperio_cli.publishing.output import ROOT_BUNDLE
from aperio_cli.publishing.source import ARTIFACTS, is_source, typed
from aperio_cli.registry import BUILT_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from aperio_cli.proving.trusted_root import TrustedRootSource


def sign_step(
    directory: Path, roots: Callable[[], Sequence[TrustedRootSource]], out: str = ""
) -> str:
    """Return the command that signs what was built of a source, as it is typed.

    It names the trust domain of whoever signed the edition before; in front of the first edition
    that of its artifacts, which nobody outside of a domain of one's own can verify.

    Args:
        directory: the source, as it was named.
        roots: gives the trusted roots of this machine.
        out: where it was built; empty for `public` in the source.
    """
    bundle = _bundle(directory, out)
    domain = probable_domain(bundle, roots()) if bundle else ""
    words = "sign" + (f" --out {shlex.quote(out)}" if out else "")
    if domain not in {"", PUBLIC_DOMAIN}:
        words += f" --trust {shlex.quote(domain)}"
    return typed(words, directory)


def renewal_step(directory: Path, roots: Callable[[], Sequence[TrustedRootSource]]) -> str:
    """Return what makes a new edition of a registry that is about to end, or has ended."""
    if not is_source(directory):
        return "whoever maintains it makes a new edition, with `registry build --renew`"
    made = f"{typed('build --renew', directory)} and {sign_step(directory, roots)}"
    return f"{made} make a new edition"


def _bundle(directory: Path, out: str) -> bytes:
    """Return a bundle that was made as the next one will be; empty: there is none to be read."""
    try:
        if out and (found := _read(as_path(out), ROOT_BUNDLE)):
            return found
        if found := _read(directory, BUILT_FOLDER, ROOT_BUNDLE):
            return found
        with Beneath(directory) as root:
            files = root.walk(ARTIFACTS) if root.mode(ARTIFACTS) is not None else ()
            parts = next((each for each, _ in files if each[-1].endswith(BUNDLE_SUFFIX)), None)
            return root.read(*parts, limit_bytes=MAX_BUNDLE_BYTES) if parts else b""
    except (AperioError, OSError):
        return b""


def _read(folder: Path, *parts: str) -> bytes:
    try:
        with Beneath(folder) as root:
            return root.read(*parts, limit_bytes=MAX_BUNDLE_BYTES)
    except (AperioError, OSError):
        return b""
