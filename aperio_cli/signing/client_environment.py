"""The environment that sigstore's HTTP client reads, changed for a moment."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# sigstore's client takes passwords from ~/.netrc, and there a `default` entry would replace the
# identity token.
NO_STORED_PASSWORDS = {"NETRC": os.devnull}
_lock = threading.RLock()


@contextlib.contextmanager
def of_clients() -> Iterator[None]:
    """Have sigstore's HTTP client trust what this system trusts, and take no stored password.

    Raises:
        CertificatesUnusable: what names the certificates that count cannot be read.
    """
    from aperio_cli.net import certificates

    with (
        certificates.for_every_library() as variables,
        changed({**NO_STORED_PASSWORDS, **variables}),
    ):
        yield


@contextlib.contextmanager
def changed(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Set environment variables, or unset those of None, while the block runs; then undo it.

    Changes `os.environ`, because sigstore's public interface takes no HTTP client; one thread of
    the process at a time.
    """
    with _lock:
        before = {name: os.environ.get(name) for name in variables}
        _set(variables)
        try:
            yield
        finally:
            _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
