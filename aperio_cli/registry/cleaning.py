"""Keeps what was read of registries within a bound, without what offline use rests on.

What that is nobody lists: each installed version is looked up as `--offline` looks it up, from the
newest root that was accepted down to the proof, and whatever is read on that way counts as used.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from aperio_cli.errors import AperioError
from aperio_cli.files.trimming import Bound, is_within, trim
from aperio_cli.models.registry.documents import ADVISORIES_FILE, CATALOGUE_FILE, PUBLISHERS_FILE
from aperio_cli.registry.rooted import RootedRegistry
from aperio_cli.registry.unsigned import UnsignedRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from aperio_cli.models.platform import Platform
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.registry import Registry
    from aperio_cli.registry.reader import RegistryReader

_MIB: Final = 1024 * 1024
_DAY_S: Final = 24 * 60 * 60.0
ANSWERS_BOUND: Final = Bound(512 * _MIB, 90 * _DAY_S)
"""Several registries of a hundred thousand plugins, with all that is searched."""

_COARSE_S: Final = 1.0  # file systems tell times less exactly than the clock
_ABOUT_ALL: Final = (CATALOGUE_FILE, PUBLISHERS_FILE, ADVISORIES_FILE)


def clean_answers(
    folder: Path,
    now_s: Callable[[], float],
    registries: Callable[[], Iterable[tuple[Registry, Iterable[tuple[PluginId, str, Platform]]]]],
    bound: Bound = ANSWERS_BOUND,
) -> None:
    """Bring the answers of registries within their bound; do nothing while they are.

    Args:
        folder: where they are kept.
        now_s: gives the current moment, seconds since 1970.
        registries: gives those that something was installed from, offline, each with the versions
            that were; asked only when something has to go.
        bound: what may be kept.
    """
    if is_within(folder, bound, now_s()):
        return
    began_s = now_s()
    for registry, installed in registries():
        for ruled in registry.ruled:
            _use(ruled.reader, installed)
    trim(folder, bound, now_s(), lambda _, used_s: used_s >= began_s - _COARSE_S)


def _use(reader: RegistryReader, installed: Iterable[tuple[PluginId, str, Platform]]) -> None:
    """Read what offline use of versions reads, as far as it is there."""
    for plugin, version, platform in installed:
        with contextlib.suppress(AperioError):  # one alone is never asked for its namespaces
            reader.states(plugin.namespace)
        with contextlib.suppress(AperioError):
            listing = reader.find(plugin)
            if listing and any(
                each.version == version and platform in each.platforms
                for each in listing.candidates
            ):
                reader.offer(listing, version, platform)
    with contextlib.suppress(AperioError):
        chosen = reader.chosen() if isinstance(reader, UnsignedRegistry) else reader
        if isinstance(chosen, RootedRegistry):
            for path in _ABOUT_ALL:
                with contextlib.suppress(AperioError):
                    chosen.fixed_file(path)
