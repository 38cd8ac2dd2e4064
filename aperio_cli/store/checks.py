"""The outcomes of the checks before launches, noted for who looks; nothing depends on them.

checks/<namespace>/<name>.json       {"schema": 1, "checks": {"1.2.0": {"at": …, "ok": true}}}
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aperio_cli import clock
from aperio_cli.errors import AperioError
from aperio_cli.errors.files import RecordNewer
from aperio_cli.files import reading, writing
from aperio_cli.models.newer import is_ours, refuse_newer
from aperio_cli.models.reading import Bounds, Unreadable, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.receipt import Receipt
    from aperio_cli.paths import Paths

_SCHEMA: Final = 1
_BOUNDS: Final = Bounds(256 * 1024)


@dataclass(frozen=True, slots=True)
class LaunchCheck:
    """The outcome of the check before the last launch of a version.

    Attributes:
        at: when that was, RFC 3339 in UTC.
        ok: whether it was passed.
    """

    at: str
    ok: bool

    def to_json(self) -> dict[str, object]:
        """Return the check as its file and reports carry it."""
        return {"at": self.at, "ok": self.ok}


def read_checks(path: Path) -> dict[str, LaunchCheck]:
    """Return the noted checks of a plugin by version, without those that cannot be read.

    Raises:
        RecordNewer: a newer aperio noted them.
    """
    try:
        document = read_json(reading.read_capped(path, _BOUNDS.size_bytes), _BOUNDS)
    except (OSError, AperioError, Unreadable):
        return {}
    noted = document if isinstance(document, dict) else {}
    schema = noted.get("schema", _SCHEMA)
    refuse_newer(path, schema, _SCHEMA)
    if not is_ours(schema, _SCHEMA):
        return {}
    # 0.1.0 noted the checks themselves, by version.
    found = noted.get("checks") if "schema" in noted else noted
    return {
        version: LaunchCheck(check["at"], check["ok"])
        for version, check in (found.items() if isinstance(found, dict) else ())
        if isinstance(check, dict)
        and isinstance(check.get("at"), str)
        and isinstance(check.get("ok"), bool)
    }


class LaunchChecks:
    """The noted checks of one home's plugins.

    Args:
        paths: gives the home.
        warn: is told that notes of a newer aperio are left alone.
    """

    def __init__(self, paths: Paths, warn: Callable[[str], object]) -> None:
        self._paths = paths
        self._warn = warn

    def note(self, receipt: Receipt, *, passed: bool) -> None:
        """Note the outcome of the check before a launch, for `plugin list`; decide nothing.

        A home that cannot be written loses the note, not the launch; so do notes of a newer aperio.
        """
        known, check = self._known(receipt.id), LaunchCheck(clock.timestamp(), ok=passed)
        if known is not None and known.get(receipt.version) != check:  # of several in one second
            known[receipt.version] = check
            self._write(receipt.id, known)

    def last(self, receipt: Receipt) -> LaunchCheck | None:
        """Return the outcome of the check before the last launch of a version; None for none."""
        return (self._known(receipt.id) or {}).get(receipt.version)

    def forget(self, plugin: PluginId, version: str) -> None:
        """Drop the note of a check of files that are not there any more."""
        known = self._known(plugin)
        if known and version in known:
            del known[version]
            self._write(plugin, known)

    def drop(self, plugin: PluginId) -> None:
        """Drop all notes of a plugin, unless a newer aperio made them."""
        if self._known(plugin) is not None:
            self._paths.checks(plugin).unlink(missing_ok=True)

    def _known(self, plugin: PluginId) -> dict[str, LaunchCheck] | None:
        """Return the noted checks of a plugin; None, and say so, when a newer aperio noted them."""
        try:
            return read_checks(self._paths.checks(plugin))
        except RecordNewer as newer:
            self._warn(newer.what)
            return None

    def _write(self, plugin: PluginId, known: Mapping[str, LaunchCheck]) -> None:
        path = self._paths.checks(plugin)
        checks = {version: check.to_json() for version, check in known.items()}
        document = {"schema": _SCHEMA, "checks": checks}
        with contextlib.suppress(OSError, AperioError):
            path.parent.mkdir(parents=True, exist_ok=True)
            writing.write_atomic(path, json.dumps(document, sort_keys=True).encode() + b"\n")
