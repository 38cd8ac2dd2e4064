"""The bounds of the cache, seen to at the end of what installs and of what builds."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.files import owning
from aperio_cli.files.trimming import (
    Bound,
    note_use,
    remove_whole,
    size_of,
    trim,
    trim_below,
    trim_trees,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from aperio_cli.context import Context
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.registry import Registry


_DAY_S: Final = 24 * 60 * 60.0
_SWEPT: Final = ".swept"
BUILDS_BOUND: Final = Bound(4 * 1024**3, 90 * _DAY_S)
"""What is kept of each: downloads of pip, Go's modules, projects under development, registries."""


def clean_cache(context: Context) -> None:
    """Bring artifacts and answers that are kept within their bounds.

    What installed versions need to be looked up and installed again offline stays. It has no say
    in whether the command has succeeded: what cannot be cleaned is tried again the next time.
    """
    from aperio_cli.registry.cleaning import clean_answers
    from aperio_cli.verifying import KeptArtifacts

    with contextlib.suppress(AperioError, OSError):
        receipts = context.store.receipts()
        digests = {receipt.artifact_digest for receipt in receipts}
        lock_file = context.store.lock_file.read()
        locked = lock_file.entries if lock_file else ()
        digests |= {build.digest for each in locked for build in each.builds}
        KeptArtifacts(context.paths.artifacts).clean(_now_s(), digests)
        clean_builds(context)
        clean_answers(
            context.paths.cache / "registries", _now_s, lambda: _registries(context, receipts)
        )


def clean_builds(context: Context, *, language: str = "") -> None:
    """Bring what builds keep within its bounds: at most once a day, for it takes a walk.

    What was used today stays, whatever there is. What Go has compiled is Go's own to bound: it
    drops what nothing has used for five days.

    Args:
        context: gives the cache.
        language: of what was built just now, whose downloads were used by it; empty for none.
    """
    from aperio_cli.building.go import MODULE_CACHE

    cache, now_s = context.paths.cache, _now_s()
    modules = cache / "downloads" / MODULE_CACHE
    with contextlib.suppress(AperioError, OSError):
        if language == "go":
            note_use(modules)
        trim(cache / "registry-builds", BUILDS_BOUND, now_s, _is_of_today(now_s))
        swept = cache / _SWEPT
        if swept.exists() and now_s - swept.stat().st_mtime < _DAY_S:
            return
        if not cache.is_dir():
            return
        owning.require_own(cache)
        swept.touch(mode=0o600)
        trim_trees(cache / "development", BUILDS_BOUND, now_s, _is_of_today(now_s))
        for place in _places_of_pip(modules):
            trim_below(place, BUILDS_BOUND, now_s)
        _trim_modules(modules, now_s)


def _places_of_pip(modules: Path) -> list[Path]:
    """Return the folders of pip's own cache, which stand beside Go's modules."""
    if not modules.parent.is_dir():
        return []
    return [path for path in modules.parent.iterdir() if path.is_dir() and path != modules]


def _trim_modules(modules: Path, now_s: float) -> None:
    """Drop the modules all together: of a part of one Go would not see that it is a part."""
    if not modules.is_dir():
        return
    is_old = modules.stat().st_mtime < now_s - BUILDS_BOUND.age_s
    if is_old or size_of(modules) > BUILDS_BOUND.size_bytes:
        remove_whole(modules)


def _is_of_today(now_s: float) -> Callable[[str, float], bool]:
    return lambda _, used_s: used_s > now_s - _DAY_S


def _now_s() -> float:
    return clock.now().timestamp()


def _registries(
    context: Context, receipts: Sequence[Receipt]
) -> Iterator[tuple[Registry, list[tuple[PluginId, str, Platform]]]]:
    """Yield the registries that versions were installed from, offline, with those versions."""
    from aperio_cli.models.origin import REGISTRY
    from aperio_cli.models.platform import Platform
    from aperio_cli.registry import Trust, open_registry

    trust = Trust(lambda: context.trusted_roots, context.paths.signed_documents)
    there = [each for each in receipts if each.origin and each.origin.kind == REGISTRY]
    for place in dict.fromkeys(each.origin.place for each in there if each.origin):
        with contextlib.suppress(AperioError, OSError):
            registry = open_registry(
                place, context.config, context.paths, offline=True, trust=trust
            )
            yield (
                registry,
                [
                    (each.id, each.version, Platform.parse(each.platform))
                    for each in there
                    if each.origin and each.origin.place == place
                ],
            )
