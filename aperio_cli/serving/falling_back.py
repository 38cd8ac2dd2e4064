"""Which version ran well last, and which was left for it because it did not start; on disk.

`current.json` says which version is used, and going back changes it: the next host, and every
command, uses what works. Where it cannot be changed (the system's store, a home that is read-only)
this host holds to the healthy version by what is remembered here, until another one is used or the
operator has it begin again. A version that is taken into use again is tried again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from aperio_cli import clock
from aperio_cli.host.supervising.instances import Fallback
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.serving.remembering import Records
from aperio_cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aperio_cli.host.supervising.life import Reason
    from aperio_cli.models.reading import Table

_MOST_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is remembered of the versions of one plugin.

    Attributes:
        plugin: which.
        healthy: the version that was up for long enough last.
        fallback: the version that was left for that one; None: none was.
        is_done: whether the store says so, too.
    """

    plugin: PluginId
    healthy: str
    fallback: Fallback | None = None
    is_done: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as the record has it."""
        left = self.fallback.to_json() if self.fallback else None
        return {
            "plugin": str(self.plugin),
            "healthy": self.healthy,
            "left": left,
            "is_done": self.is_done,
        }

    @classmethod
    def from_record(cls, table: Table) -> Remembered:
        """Return what a record states; what is wrong with it is raised by its `fail`."""
        left = table.optional_table("left")
        fallback = left and Fallback(
            left.recorded("version"),
            left.display("code", limit=_MOST_REASON),
            left.display("reason", limit=_MOST_REASON),
            left.moment("at"),
        )
        return cls(
            table.converted("plugin", PluginId.parse),
            table.recorded("healthy"),
            fallback or None,
            table.flag("is_done"),
        )


class Versions:
    """What a host remembers of versions. Its methods block, and may be called in any thread.

    Args:
        path: the file.
        say: is told what an operator has to know.
    """

    def __init__(self, path: Path, say: Callable[[str, str], object]) -> None:
        self._records = Records(path, "which version of each plugin ran well last", say)
        found = self._records.read(Remembered.from_record)
        self._known = {each.plugin: each for each in found}

    def healthy(self, plugin: PluginId) -> str:
        """Return the version that was up for long enough last; empty: none was."""
        known = self._known.get(plugin)
        return known.healthy if known else ""

    def settle(self, plugin: PluginId, version: str) -> None:
        """Remember that a version has been up for long enough."""
        known = self._known.get(plugin)
        if known and known.healthy == version:
            return
        self._put(Remembered(plugin, version))

    def leave(self, plugin: PluginId, version: str, reason: Reason) -> None:
        """Remember that a version was left for the healthy one."""
        text = one_line(reason.text, limit=_MOST_REASON)
        fallback = Fallback(version, reason.code, text, clock.timestamp())
        self._put(replace(self._known[plugin], fallback=fallback, is_done=False))

    def find(self, plugin: PluginId, used: str) -> Remembered | None:
        """Return what was left for what, when that still holds; else it is forgotten.

        Args:
            plugin: which.
            used: the version that the store says is used.
        """
        known = self._known.get(plugin)
        if known is None or known.fallback is None:
            return None
        if used == known.fallback.version and not known.is_done:
            return known
        if used == known.healthy:
            if not known.is_done:
                self._put(known := replace(known, is_done=True))
            return known
        self._put(replace(known, fallback=None, is_done=False))
        return None

    def left(self, plugin: PluginId) -> str:
        """Return the version that was left for the healthy one; empty: none was. Never blocks."""
        known = self._known.get(plugin)
        return known.fallback.version if known and known.fallback else ""

    def try_again(self) -> None:
        """Forget what this host alone holds to: the operator has it begin again."""
        for known in tuple(self._known.values()):
            if known.fallback and not known.is_done:
                self._put(replace(known, fallback=None))

    def retry(self) -> None:
        """Keep what could not be kept."""
        self._records.retry()

    def _put(self, known: Remembered) -> None:
        self._known = {**self._known, known.plugin: known}
        self._records.write(lambda: [each.to_json() for each in self._known.values()])
