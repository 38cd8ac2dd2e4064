"""What is paused, on disk: it rests after the host was started again, too."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, Any, Final

from aperio_cli.host.supervising.instances import InstanceKey, Pause
from aperio_cli.models.plugin_id import PluginId
from aperio_cli.serving.remembering import Records

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from aperio_cli.models.reading import Table

_MOST_TEXT: Final = 1000


class Pauses:
    """The pauses of one home. Its methods block.

    Args:
        path: the file.
        say: is told what an operator has to know.
    """

    def __init__(self, path: Path, say: Callable[[str, str], object]) -> None:
        self._records = Records(path, "what is paused", say)

    def read(self) -> dict[InstanceKey, Pause]:
        """Return what is paused."""
        return dict(self._records.read(_from_record))

    def write(self, pauses: Mapping[InstanceKey, Pause]) -> None:
        """Keep what is paused; where that cannot be done it is said."""
        self._records.write(lambda: [_to_json(*each) for each in dict(pauses).items()])

    def retry(self) -> None:
        """Keep what could not be kept."""
        self._records.retry()


def user_name() -> str:
    """Return whose host it is, for people."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"


def _to_json(key: InstanceKey, pause: Pause) -> dict[str, Any]:
    return {
        "plugin": str(key.plugin),
        "organization": key.organization,
        "integration": key.integration,
        **pause.to_json(),
    }


def _from_record(table: Table) -> tuple[InstanceKey, Pause]:
    key = InstanceKey(
        table.converted("plugin", PluginId.parse),
        table.recorded("organization"),
        table.recorded("integration"),
    )
    texts = (table.display(name, limit=_MOST_TEXT) for name in ("by", "reason"))
    by, reason = texts
    return key, Pause(by, table.moment("at"), reason)
