"""Libraries that only some hosts need, loaded when one is switched on."""

from __future__ import annotations

import importlib
from typing import Any

from aperio_cli.errors.usage import ExtraMissing


def require(module: str, *, extra: str) -> Any:
    """Return a module of an optional library.

    Args:
        module: its name.
        extra: of aperio's, by which the library is installed.

    Raises:
        ExtraMissing: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ExtraMissing(
            f"`[host] {extra}` of config.toml cannot be done: a library is missing",
            why=f"{module.partition('.')[0]} is not installed",
            next=[f"`pip install 'aperio-cli[{extra}]'`, or leave `{extra}` out of config.toml"],
        ) from error
