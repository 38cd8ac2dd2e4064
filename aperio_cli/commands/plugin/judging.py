"""Which installed versions may be started, judged now, and kept for the next quick list."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aperio_cli.config import site_config_file
from aperio_cli.errors import AperioError
from aperio_cli.files import writing
from aperio_cli.store import verdicts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aperio_cli.context import Context
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.store.verdicts import Codes, Kept, Question


def judged(context: Context) -> tuple[Codes, Mapping[str, Any]]:
    """Return what keeps each installed version from being started, by id and version.

    And in what it would be started, as `listing.add_containment` takes it.
    """
    from aperio_cli.running.judging import judge

    asked = verdicts.question(os.environ, str(context.paths.home))
    paths = context.paths
    # Before anything is read: what changes meanwhile must not pass for what was judged.
    configured = _states([*asked.watched, *map(str, (paths.config_file, paths.managed_file))])
    configured |= _states([str(site_config_file())])
    receipts = {
        (str(plugin), version): verdicts.state_of(
            verdicts.receipt_path(asked.home, str(plugin), version)
        )
        for plugin, version in context.store.installed()
    }
    installed, codes = _read(context)
    try:
        depends = _states(_dependencies(context, installed)) | configured
        kept = verdicts.Kept(depends, receipts, _until(context))
    except AperioError:  # of the configuration, or of a publisher file: judged, and not kept
        return codes | judge(context.collaborators, installed), _contained(context)
    codes |= judge(context.collaborators, installed)
    kept = verdicts.Kept(kept.depends, kept.receipts, kept.until, _contained(context))
    _keep(context, asked, codes, kept)
    return codes, kept.contained


def _contained(context: Context) -> Mapping[str, Any]:
    """Return in what plugins are started here; empty where a configuration cannot be read."""
    from aperio_cli.running.containing import containment

    try:
        return containment(context.collaborators)
    except AperioError:
        return {}


def _read(context: Context) -> tuple[list[Receipt], Codes]:
    """Return the receipts, and the codes of those that cannot be read."""
    from aperio_cli.models.plugin_id import PluginRef

    receipts: list[Receipt] = []
    codes: Codes = {}
    for plugin, version in context.store.installed():
        try:
            receipt = context.store.find(PluginRef(plugin, version))
        except AperioError as error:
            codes[str(plugin), version] = error.code
            continue
        receipts += [receipt] if receipt else []  # else it was removed meanwhile
    return receipts, codes


def _dependencies(context: Context, installed: Sequence[Receipt]) -> Iterable[str]:
    from aperio_cli.running.judging import depends_on

    return depends_on(context.paths, context.config, installed)


def _states(paths: Iterable[str]) -> dict[str, list[int] | None]:
    return {path: verdicts.state_of(path) for path in paths}


def _until(context: Context) -> str:
    """Return when the first publisher file ends; empty when there is none."""
    files = context.config.publisher_files
    return min((context.publishers_of(file).stated.expires for file in files), default="")


def _keep(context: Context, asked: Question, codes: Codes, kept: Kept) -> None:
    """Keep verdicts where the quick list looks for them; it knows of no options."""
    if context.settings.home or context.settings.config:
        return
    path = Path(verdicts.path_of(asked.home))
    with contextlib.suppress(AperioError, OSError):  # a home for reading only, say
        path.parent.mkdir(mode=0o700, exist_ok=True)
        writing.write_atomic(path, verdicts.document(asked, codes, kept), mode=0o600)
