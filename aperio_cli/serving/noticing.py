"""Noticing: has anything changed by which plugins are started? Cheap enough for every other second.

What is looked at is what `store.verdicts` looks at: stat(2) of files, never their contents.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aperio_cli import clock
from aperio_cli.models.artifact import BUNDLE_SUFFIX
from aperio_cli.store.current import FILE_NAME as CURRENT_FILE_NAME
from aperio_cli.store.listing import config_files
from aperio_cli.store.verdicts import state_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aperio_cli.paths import Paths
    from aperio_cli.running import Collaborators

    Noticed = tuple[object, ...]


def notice(collaborators: Collaborators) -> Noticed:
    """Return what differs from what was returned before once anything has changed. Blocks.

    Args:
        collaborators: of the operator, with the configuration that was last read.
    """
    paths = collaborators.paths
    files = {
        *config_files(collaborators.environment, str(paths.home)),
        str(paths.config_file),
        str(paths.managed_file),
        str(paths.known_versions),
        *_named(collaborators),
        *_entries(str(paths.trust / "roots")),
        str(paths.local_root),
        *_current(paths),
    }
    if paths.system:
        files |= {str(paths.system.known_versions), *_current(paths.system)}
    states = tuple((file, str(state_of(file))) for file in sorted(files))
    return (clock.now().date(), states)


def _named(collaborators: Collaborators) -> Iterator[str]:
    """Give the files that the configuration names."""
    config = collaborators.config()
    for file in config.publisher_files:
        yield str(file.path)
        yield f"{file.path}{BUNDLE_SUFFIX}"
    for domain in config.domains:
        yield from (str(path) for path in (domain.file, domain.tuf_root) if path)


def _current(paths: Paths) -> Iterator[str]:
    """Give the files that say which version of each plugin is the current one."""
    for namespace in _entries(str(paths.plugins)):
        for plugin in _entries(namespace):
            yield f"{plugin}/{CURRENT_FILE_NAME}"


def _entries(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as found:
            return [entry.path for entry in found]
    except OSError:
        return []
