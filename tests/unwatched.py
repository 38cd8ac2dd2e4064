"""A host whose plugins nobody looks at but the test: `watching._watcher` is replaced by this."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aperio_cli.host.sandbox.watching import Watched


class Nobody:
    """In the place of the thread that looks at all plugins, as on a machine too busy for it."""

    def add(self, watched: Watched) -> None:
        """Take one more, for nothing."""

    remove = add
