"""How a plugin is launched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aperio_cli.host.lifecycle import Patience
from aperio_cli.host.process.floods import ALONE, Chatter
from aperio_cli.host.sandbox.choosing import default_sandbox
from aperio_cli.host.way_out import Egress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aperio_cli.data.state import StateDatabase
    from aperio_cli.host.process.checks import SharedChecks
    from aperio_cli.host.sandbox.interface import Counters, Doorway, Sandbox
    from aperio_cli.store.installed import Store


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """How to launch.

    Attributes:
        runtime_base: where the private folder is made (`paths.runtime_base`).
        store: where an installed version is; a folder under development needs none.
        state: the open database: of values for plugins whose manifest says `state: true`, of what
            remediations were asked for; None: nothing is kept.
        patience: how long each step may take.
        chatter: how many lines it may print.
        log_level: what the SDK of a plugin need not log below: `debug` or `info`.
        mtls: demand AutoMTLS; otherwise plaintext in a private folder, as most plugins speak.
        sandbox: what the plugin is started in.
        writable: folders of the machine that it may write to.
        egress: on what terms it connects to others, beside what it is granted.
        count: takes what was counted of its sandbox, once it has ended; None: nobody asks.
        checks: with which other starts the check of the files is shared; None: with none.
        door: another way out of its network, in place of the one that the host serves by that.
    """

    runtime_base: Path
    store: Store | None = None
    state: StateDatabase | None = None
    patience: Patience = field(default_factory=Patience)
    chatter: Chatter = ALONE
    log_level: str = "info"
    mtls: bool = False
    sandbox: Sandbox = field(default_factory=default_sandbox)
    writable: tuple[Path, ...] = ()
    egress: Egress = field(default_factory=Egress)
    count: Callable[[Counters], None] | None = None
    checks: SharedChecks | None = None
    door: Doorway | None = None
