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
def changed(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables while the block runs; afterwards all are as they were.

    Changes `os.environ`, because sigstore's public interface takes no HTTP client; one thread of
    the process at a time.
    """
    with _lock:
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
