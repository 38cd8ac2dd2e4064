"""References: settings whose value is taken from elsewhere, so that no secret stands in a file.

`env:NAME`, `file:PATH` and `keyring:NAME` are read when a plugin is about to be started. What they
gave goes to the plugin and is kept nowhere. No message shows a value.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aperio_cli.errors import AperioError
from aperio_cli.errors.running import PluginConfigInvalid
from aperio_cli.files import reading
from aperio_cli.files.naming import as_path
from aperio_cli.host.process.masking import Referenced
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aperio_cli.config import RunRule

    Example = Callable[[str], str]

_MAX_SECRET_BYTES = 64 * 1024
_KEYRING_SERVICE = "aperio"


def resolve(settings: Mapping[str, object], example: Example) -> dict[str, object]:
    """Return the settings with what their references stand for.

    Args:
        settings: values by key.
        example: gives, for a key, how a reference of it is written there, for messages.

    Raises:
        PluginConfigInvalid: what a reference names cannot be read; names key and reference.
    """
    return {
        key: _resolved(key, value, example) if isinstance(value, str) else value
        for key, value in settings.items()
    }


def resolve_run(rule: RunRule) -> dict[str, object]:
    """Return the settings of a `[[run]]` entry as they are at this moment.

    Raises:
        PluginConfigInvalid: as `resolve`; names the plugin, and where the entry stands.
    """

    def example(key: str) -> str:
        return f'in {rule.stated_in}: `{key} = "env:NAME"`, "file:PATH" or "keyring:NAME"'

    try:
        return resolve(rule.settings, example)
    except PluginConfigInvalid as error:
        whose = f"`{rule.plugin}` was not started for {rule.organization} {rule.integration}"
        what = f"{whose}, as {rule.stated_in} states: {error.what}"
        raise PluginConfigInvalid(what, why=error.why, next=error.next) from error


def _resolved(key: str, value: str, example: Example) -> str:
    scheme, separator, name = value.partition(":")
    if not separator or scheme not in {"env", "file", "keyring"}:
        return value
    read: dict[str, Callable[[str], str | None]] = {
        "env": _from_environment,
        "file": _from_file,
        "keyring": _from_keyring,
    }
    if not name:
        raise _unresolved(key, value, f"nothing follows `{scheme}:`", example)
    try:
        found = read[scheme](name)
    except (OSError, ValueError, AperioError) as error:
        steps = error.next if isinstance(error, AperioError) else ()
        raise _unresolved(key, value, _reason(error), example, steps) from error
    if found is None:
        place = "environment" if scheme == "env" else "keyring"
        why = f"the {place} has no {clean(name, limit=80)}"
        raise _unresolved(key, value, why, example)
    return Referenced(found)


def _reason(error: Exception) -> str:
    """Say why without the contents: a decoder's message may quote them."""
    if isinstance(error, OSError):
        return os.strerror(error.errno or 0)
    if isinstance(error, AperioError):
        return str(error)
    return "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else "it names no file"


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
            "the keyring cannot be read: it takes a library that is not installed",
            next=["install it beside aperio: `pip install 'aperio-cli[keyring]'`"],
        ) from error
    try:
        found: str | None = keyring.get_password(_KEYRING_SERVICE, name)
    except Exception as error:  # each keyring backend has errors of its own
        raise PluginConfigInvalid(
            f"the keyring cannot be read: {type(error).__name__}",
            next=["unlock it, or name the value with `env:NAME` or `file:PATH`"],
        ) from error
    return found


def _unresolved(
    key: str, reference: str, why: str, example: Example, steps: Sequence[str] = ()
) -> PluginConfigInvalid:
    shown = clean(key, limit=80)
    return PluginConfigInvalid(
        f"`{shown}` was not set, nothing was run: `{clean(reference, limit=200)}` cannot be read",
        why=why,
        next=[*steps, example(shown)],
    )
