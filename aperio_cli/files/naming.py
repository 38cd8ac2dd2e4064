"""What a word of a command line names: a path, or a plugin's id."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from aperio_cli.errors.usage import PluginIdInvalid, UsageError
from aperio_cli.models.artifact import SUFFIX
from aperio_cli.models.plugin_id import EXPECTED_ID, PluginRef, meant_id, reads_as_id
from aperio_cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_cli.models.plugin_id import PluginId

_FILE_URL = "file://"


def as_path(text: str) -> Path:
    """Return the path that a word names; `~` is the home, and of no user a part of the name."""
    if text.lower().startswith(_FILE_URL):
        text = unquote(text[len(_FILE_URL) :].removeprefix("localhost"))
    return Path(os.path.expanduser(text))  # noqa: PTH111 - pathlib fails where no such user is


def is_path(text: str) -> bool:
    """Return whether a word names a path and not an id.

    It looks like one, or something of that name is there. What reads as an id is an id all the
    same: what a folder holds must not decide which plugin a command is about.
    """
    if text.startswith((".", "/", "~")) or text.endswith(SUFFIX):
        return True
    if text.lower().startswith(_FILE_URL):
        return True
    return bool(text) and not reads_as_id(text) and os.path.lexists(text)


def names_path(text: str, is_installed: Callable[[PluginId], bool]) -> bool:
    """Return whether a word names a path for a command that takes both, as `is_path`.

    What reads as an id and is here as well, such as `dist/box`, is the path: but for a plugin that
    is installed, whose name nothing that lies in a folder takes over.

    Args:
        text: the word.
        is_installed: whether any version of a plugin is.
    """
    if is_path(text) or not reads_as_id(text) or not os.path.lexists(text):
        return is_path(text)
    return not is_installed(PluginRef.parse(text).id)


def require_plain(text: str, is_installed: Callable[[PluginId], bool], undone: str) -> None:
    """Refuse a file whose name reads as an id, where it would decide what is trusted or installed.

    Args:
        text: a word.
        is_installed: whether any version of a plugin is.
        undone: what a refusal comes to: `nothing was installed`.

    Raises:
        UsageError: it is one, and no plugin of that id is installed.
    """
    if not is_path(text) and names_path(text, is_installed) and not Path(text).is_dir():
        raise UsageError(
            f"`{text}` reads as a plugin's id, and is a file here; {undone}",
            why="a folder's contents do not decide which plugin a command is about",
            next=[f"for the file: `./{text}`", f"for the plugin: `{text}@VERSION`"],
        )


def parse_ref(text: str) -> PluginRef:
    """Return the reference that a word names where a path could stand as well.

    Raises:
        PluginIdInvalid: it is neither an id nor a path that is there.
        VersionInvalid: the part after `@` is not a version.
    """
    if reads_as_id(text):
        return PluginRef.parse(text)
    raise PluginIdInvalid(
        f"`{clean(text, limit=120)}` is neither a plugin id nor a path",
        why=f"{EXPECTED_ID}\nnothing of that name is here",
        next=[*meant_id(text), "check the path for a typing error"],
    )


def step_for_path(reference: PluginRef) -> list[str]:
    """Return how to name what stands here under the name of a plugin that was not found, if any."""
    text = str(reference)
    return [f"for what is here under that name: `./{text}`"] if os.path.lexists(text) else []
