"""A plugin's settings on the command line: `--set KEY=VALUE` and `--plugin-config FILE`.

A value may be taken from elsewhere, so that no secret stands in a shell's history: `env:NAME`,
`file:PATH`, `keyring:NAME`. No message shows a value.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from aperio_cli.errors import AperioError
from aperio_cli.errors.running import PluginConfigInvalid
from aperio_cli.errors.usage import UsageError
from aperio_cli.files import reading
from aperio_cli.files.naming import as_path
from aperio_cli.host.process.masking import Referenced
from aperio_cli.models.reading import Bounds, Unreadable, read_json, read_toml
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_BOUNDS = Bounds(1024 * 1024)
_READERS: Mapping[str, Callable[[bytes, Bounds], Any]] = {".json": read_json, ".toml": read_toml}
_MAX_SECRET_BYTES = 64 * 1024
_KEYRING_SERVICE = "aperio"
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
        UsageError: a pair has no `=`, or the file is neither.
        PluginConfigInvalid: the file or a referenced value cannot be read.
    """
    settings = _read_file(as_path(config_file), option) if config_file else {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UsageError(
                f"`{option} {clean(key, limit=40) or '=...'}` was not understood; nothing was run",
                why="expected KEY=VALUE",
            )
        settings[key] = value
    return {
        key: _resolve(key, value, option) if isinstance(value, str) else value
        for key, value in settings.items()
    }


def _read_file(path: Path, option: str) -> dict[str, Any]:
    read = _READERS.get(path.suffix)
    if read is None:
        raise UsageError(
            f"`{_FILE_OPTIONS[option]} {path}` was not read; nothing was run",
            why="expected a name that ends in .toml or .json",
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
    return error.place if isinstance(error, Unreadable) else "it is not UTF-8 text"


def _unreadable(what: str, why: str) -> PluginConfigInvalid:
    return PluginConfigInvalid(
        f"`{what}` was not read; nothing was run",
        why=why,
        next=['write one value a key: `key = "value"` in .toml, `{"key": "value"}` in .json'],
    )


def _resolve(key: str, value: str, option: str) -> str:
    scheme, separator, name = value.partition(":")
    if not separator or scheme not in {"env", "file", "keyring"}:
        return value
    read: dict[str, Callable[[str], str | None]] = {
        "env": _from_environment,
        "file": _from_file,
        "keyring": _from_keyring,
    }
    try:
        found = read[scheme](name)
    except (OSError, UnicodeDecodeError, AperioError) as error:
        why = str(error) if isinstance(error, AperioError) else _reason(error)
        raise _unresolved(key, value, why, option) from error
    if found is None:
        place = "environment" if scheme == "env" else "keyring"
        raise _unresolved(key, value, f"the {place} has no {clean(name, limit=80)}", option)
    return Referenced(found)


def _from_environment(name: str) -> str | None:
    value = os.environ.get(name)
    return None if value is None else _without_line_end(value)


def _from_file(name: str) -> str:
    data = reading.read_capped(as_path(name), _MAX_SECRET_BYTES)
    return _without_line_end(data.decode())


def _without_line_end(text: str) -> str:
    """Return a text without one line end at its end, as editors and `$(…)` leave or drop it."""
    return text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")


def _from_keyring(name: str) -> str | None:
    try:
        import keyring  # type: ignore[import-not-found] # an extra, see pyproject.toml
    except ImportError as error:
        raise PluginConfigInvalid(
            "the keyring cannot be read: install aperio-cli[keyring]"
        ) from error
    try:
        found: str | None = keyring.get_password(_KEYRING_SERVICE, name)
    except Exception as error:  # each keyring backend has errors of its own
        raise PluginConfigInvalid(f"the keyring cannot be read: {type(error).__name__}") from error
    return found


def _unresolved(key: str, reference: str, why: str, option: str) -> PluginConfigInvalid:
    return PluginConfigInvalid(
        f"`{clean(key, limit=80)}` was not set, nothing was run:"
        f" `{clean(reference, limit=200)}` cannot be read",
        why=why,
        next=[f"`{option} {clean(key, limit=80)}=env:NAME`, file:PATH or keyring:NAME"],
    )
