"""What running works with, given by whoever asks for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from aperio_cli.host.calls.tally import Tally
from aperio_cli.host.egress import Verdict
from aperio_cli.host.process.floods import ALONE, Chatter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aperio_cli.config import Config
    from aperio_cli.host.calls.sync import Note
    from aperio_cli.host.egress import Decision
    from aperio_cli.host.process.checks import SharedChecks
    from aperio_cli.host.process.logs import LogRecord
    from aperio_cli.host.sandbox.interface import Counters, Sandbox
    from aperio_cli.models.platform import Platform
    from aperio_cli.models.policy import Policy
    from aperio_cli.paths import Paths
    from aperio_cli.running.delivering import Deliveries, DeliveryRepeated
    from aperio_cli.running.forwarding import Forwarding
    from aperio_cli.running.keeping import CursorKept
    from aperio_cli.running.learning import Learned
    from aperio_cli.running.streams import StreamNotTaken
    from aperio_cli.store.installed import Store

    Heard: TypeAlias = (
        Note | DeliveryRepeated | Deliveries | Forwarding | StreamNotTaken | CursorKept
    )
    """What an operation says beside its result."""


@dataclass(frozen=True, slots=True)
class Collaborators:
    """What belongs to one operator on one machine.

    Attributes:
        store: what is installed.
        paths: the places of the operator.
        config: gives the configuration; called whenever it is needed, so that whoever runs for
            long can give it as it is then.
        policy: gives the operator's rules, in the same way.
        platform: the platform of this machine.
        environment: for tools that make a folder runnable, and to find the runtime folder.
        sandbox: gives what plugins are started in, for whoever starts many; None: it is chosen anew
            whenever it is asked for.
        checks: shares the check of a version's files, likewise; None: each start has its own.
    """

    store: Store
    paths: Paths
    config: Callable[[], Config]
    policy: Callable[[], Policy]
    platform: Platform
    environment: Mapping[str, str] = field(repr=False)
    sandbox: Callable[[], Sandbox] | None = None
    checks: SharedChecks | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears what happens meanwhile; neither may block.

    Attributes:
        log: takes every record that a plugin, or the host about it, has to say.
        observe: hears the notes of a sync, the repeats of a delivery, and what a destination does
            not take; and, when a delivery breaks off, what became of the envelopes before.
        chatter: how many lines a plugin may print.
        log_level: what a plugin need not log below: `debug` or `info`.
        learned: takes what a plugin is seen to need, which is then let through to public hosts;
            None: its rules are kept.
        tally: counts what becomes of the run, for its receipt.
    """

    log: Callable[[LogRecord], None]
    observe: Callable[[Heard], None] = lambda _note: None
    chatter: Chatter = ALONE
    log_level: str = "info"
    learned: Learned | None = None
    tally: Tally = field(default_factory=Tally)

    def record(self, decision: Decision) -> None:
        """Take what was decided about a connection of the plugin."""
        if decision.verdict is Verdict.REFUSED:
            self.tally.egress_refused += 1
        if self.learned:
            self.learned.record(decision)

    def count(self, counters: Counters) -> None:
        """Take what was counted of the plugin's processes, once they have ended."""
        self.tally.peak_memory_bytes = counters.memory_peak_bytes
        if self.learned:
            self.learned.count(counters)
