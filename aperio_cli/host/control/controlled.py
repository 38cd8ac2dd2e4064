"""What the control API is served over: a host that keeps plugins running, as far as callers see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from pathlib import Path

    from aperio_cli.host.launch import RunningPlugin
    from aperio_cli.host.process.logs import LogRecord
    from aperio_cli.host.supervising.instances import InstanceKey, Status
    from aperio_cli.models.plugin_id import PluginId
    from aperio_cli.models.run_receipt import RunReceipt


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a host says of itself.

    Attributes:
        home: whose plugins it runs.
        started_at: since when, aware.
        registries_heard_at: when it last read all registries, RFC 3339; empty: not since it runs.
        registries_problem: why it could not since; empty: nothing is wrong.
    """

    home: Path
    started_at: datetime
    registries_heard_at: str = ""
    registries_problem: str = ""


@dataclass(frozen=True, slots=True)
class InstalledPlugin:
    """An installed plugin, in its current version.

    Attributes:
        id: its id.
        version: the current one.
        kind: connector, remediation or destination.
        provider: upper-case name of the service.
        badge: how far its publisher is known; empty: it cannot be judged.
        signer: who signed it; empty: nobody.
        refusal: code of what keeps it from being started; empty: nothing does.
        exceptions: rules that are lifted for it, in words.
    """

    id: PluginId
    version: str
    kind: str
    provider: str
    badge: str = ""
    signer: str = ""
    refusal: str = ""
    exceptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A record of a plugin's log, and where and when it was said.

    Attributes:
        key: which instance said it, or is spoken of.
        at: when, aware.
        record: what was said.
    """

    key: InstanceKey
    at: datetime
    record: LogRecord


class Controlled(Protocol):
    """A host, to its control API. All but `installed` and `receipts` must not block."""

    @property
    def facts(self) -> HostFacts:
        """What it says of itself."""

    def installed(self) -> Sequence[InstalledPlugin]:
        """Return what is installed, by id. Called in a thread."""

    def statuses(self) -> Sequence[Status]:
        """Return how each instance is."""

    def watch(self) -> AsyncGenerator[Status, None]:
        """Give how each instance is, then each change; to a slow reader the newest of each."""

    def configured(self, key: InstanceKey) -> Mapping[str, object] | None:
        """Return the settings that the host's own configuration has for an instance, or None."""

    def left(self, plugin: PluginId) -> str:
        """Return the version that was left for the last healthy one; empty: none was."""

    def use(
        self, key: InstanceKey, settings: Mapping[str, object]
    ) -> AbstractAsyncContextManager[RunningPlugin]:
        """Give the running plugin for a call in flight; it is started where it does not run.

        Raises:
            AperioError: it may not run, is paused, not ready, or ended meanwhile.
        """

    async def pause(self, key: InstanceKey, by: str, reason: str) -> None:
        """Have an instance rest until it is resumed, however often the host is started.

        Args:
            key: which.
            by: who wants that; empty: the user whose host it is.
            reason: why.

        Raises:
            NotFound: there is no such instance.
        """

    async def resume(self, key: InstanceKey) -> None:
        """Have an instance go on.

        Raises:
            NotFound: there is no such instance.
        """

    def release(
        self, plugin: PluginId, version: str
    ) -> AbstractAsyncContextManager[Sequence[InstanceKey]]:
        """Have nothing of a plugin run for the length of a block; give those that were ended.

        Args:
            plugin: which.
            version: what runs of this one only; empty: of each.
        """

    def keep(self, receipt: RunReceipt) -> None:
        """Keep a receipt, soon; a later one of the same run takes its place. It never fails."""

    def receipts(self, plugin: PluginId | None, most: int) -> Sequence[RunReceipt]:
        """Return the newest receipts, of one plugin or of all, the newest first. In a thread."""

    def logs(
        self, plugin: PluginId | None, last: int, *, follow: bool
    ) -> AsyncGenerator[LogEntry | int, None]:
        """Give log records, the oldest first.

        Where a reader was too slow, the number of those that were left out stands in their place.

        Args:
            plugin: whose; None: of all.
            last: at most so many of those that were written before.
            follow: go on with what is written from then on.
        """
