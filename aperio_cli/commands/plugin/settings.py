"""A plugin's settings on the command line: `--set KEY=VALUE` and `--plugin-config FILE`.

A value may be taken from elsewhere, so that no secret stands in a shell's history: `env:NAME`,
`file:PATH`, `keyring:NAME`. No message shows a value.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from aperio_cli.errors.running import PluginConfigInvalid
from aperio_cli.errors.usage import UsageError
from aperio_cli.files import reading
from aperio_cli.files.naming import as_path
from aperio_cli.models.reading import Bounds, Unreadable, read_json, read_toml
from aperio_cli.running.references import resolve
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_BOUNDS = Bounds(1024 * 1024)
_READERS: Mapping[str, Callable[[bytes, Bounds], Any]] = {".json": read_json, ".toml": read_toml}
_FILE_OPTIONS = {"--set": "--plugin-config", "--to-set": "--to-config"}


def read_settings(
    pairs: Sequence[str], config_file: str, *, option: str = "--set"
) -> dict[str, object]:
    """Return the settings by key: those of the file, then those of the command line over them.

    Args:
        pairs: `KEY=VALUE`.
        config_file: a .toml or .json file with one value a key; empty: none.
        option: how the pairs are given, for messages.

    Raises:
        UsageError: a pair has no `=`, a key is there twice, or the file is neither.
        PluginConfigInvalid: the file or a referenced value cannot be read.
    """
    settings = _read_file(as_path(config_file), option) if config_file else {}
    settings.update(_read_pairs(pairs, option))
    return resolve(settings, lambda key: f"`{option} {key}=env:NAME`, file:PATH or keyring:NAME")


def _read_pairs(pairs: Sequence[str], option: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UsageError(
                f"`{option} {clean(key, limit=40) or '=...'}` was not understood; nothing was run",
                why="expected KEY=VALUE",
                next=[f"name the setting and its value, such as `{option} folder=/srv/events`"],
            )
        if key in given:
            raise UsageError(
                f"`{option} {clean(key, limit=40)}=...` is there twice; nothing was run",
                why="expected each key once: which of the two is meant cannot be told",
                next=["take one of the two away"],
            )
        given[key] = value
    return given


def _read_file(path: Path, option: str) -> dict[str, Any]:
    read = _READERS.get(path.suffix)
    if read is None:
        raise UsageError(
            f"`{_FILE_OPTIONS[option]} {path}` was not read; nothing was run",
            why="expected a name that ends in .toml or .json",
            next=["name it after what is in it, with one value for each setting"],
        )
    try:
        document = read(reading.read_capped(path, _BOUNDS.size_bytes), _BOUNDS)
    except (OSError, Unreadable) as error:
        raise _unreadable(str(path), _reason(error)) from error
    if not isinstance(document, dict):
        raise _unreadable(str(path), "expected one value for each key")
    return document


def _reason(error: Exception) -> str:
    """Say why without the contents: a parser's message may quote them."""
    if isinstance(error, OSError):
        return os.strerror(error.errno or 0)
    assert isinstance(error, Unreadable)  # noqa: S101 - nothing else is caught
    return error.place


def _unreadable(what: str, why: str) -> PluginConfigInvalid:
    return PluginConfigInvalid(
        f"`{what}` was not read; nothing was run",
        why=why,
        next=['write one value a key: `key = "value"` in .toml, `{"key": "value"}` in .json'],
    )
