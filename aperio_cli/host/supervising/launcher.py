"""How supervision comes to running plugins: what it is given by whoever knows store and policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from aperio_cli.host.launch import RunningPlugin
    from aperio_cli.host.process.logs import LogRecord
    from aperio_cli.host.supervising.instances import Fallback, Wanted
    from aperio_cli.host.supervising.life import Reason
    from aperio_cli.models.manifest import Manifest
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.verifying.clearing import Cleared


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave to start something once, and what it is.

    Attributes:
        cleared: the leave.
        manifest: what it declares, as far as it is granted.
        badge: as the policy gives it.
        signer: who signed it; empty: nobody.
        likeness: of what would be started; whatever else has it need not replace what runs.
        not_enforced: names of the limits that nobody would keep.
        exceptions: those by which it may be started, in words.
        fallback: the version in whose place it is, since that does not start; None: none.
        asked_s: since when the start waits, on the monotonic clock; None: it is not waited for.
    """

    cleared: Cleared
    manifest: Manifest
    badge: str
    signer: str
    likeness: str
    not_enforced: tuple[str, ...] = ()
    exceptions: tuple[str, ...] = ()
    fallback: Fallback | None = None
    asked_s: float | None = None

    @property
    def version(self) -> str:
        """The version of the plugin."""
        return self.manifest.version


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found when somebody looked.

    Attributes:
        wanted: what is to be up now; None: as before.
        is_changed: whether anything has changed by which plugins are cleared.
    """

    wanted: tuple[Wanted, ...] | None = None
    is_changed: bool = False


class Launcher(Protocol):
    """Clears and launches plugins. What blocks is called in a thread."""

    def survey(self) -> Survey:
        """Return what is wanted, and whether it has to be cleared anew. Blocks."""

    def clear(self, wanted: Wanted) -> Leave:
        """Return leave to start an instance, by everything as it is now. Blocks.

        Raises:
            AperioError: it may not be started.
        """

    def settled(self, plugin: PluginId, version: str) -> None:
        """Take in that a version has been healthy for long enough to be gone back to. Blocks."""

    def fall_back(self, wanted: Wanted, failed: Leave, reason: Reason) -> bool:
        """Leave a version that no instance could start for the last healthy one. Blocks.

        Args:
            wanted: an instance that is to be up.
            failed: what was started of it in vain.
            reason: how it ended.

        Returns:
            Whether another version is to be run from now on; False: there is none, or none that
            may be started.
        """

    def launch(
        self, leave: Leave, wanted: Wanted, log: Callable[[LogRecord], None]
    ) -> AbstractAsyncContextManager[RunningPlugin]:
        """Give the running plugin; nothing of it is left afterwards.

        Raises:
            AperioError: it did not start, or its settings do not fit it.
        """
