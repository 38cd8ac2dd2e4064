"""`plugin run … sync --to PLUGIN`, and options of `deliver`: where events go, what is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aperio_cli.commands.common import Exit
from aperio_cli.commands.loop import on_loop
from aperio_cli.commands.plugin.settings import read_settings
from aperio_cli.errors import NOT_DONE
from aperio_cli.errors.usage import UsageError
from aperio_cli.files.naming import as_path
from aperio_cli.running import clear_target, find_target
from aperio_cli.running.forwarding import RETRY_FOR_S, Destined, check_forwarding, run_forwarding

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aperio_cli.context import Context
    from aperio_cli.running.collaborators import Listener
    from aperio_cli.running.forwarding import Forwarding
    from aperio_cli.running.operations import RunRequest
    from aperio_cli.verifying.clearing import Cleared


@dataclass(frozen=True, slots=True)
class Delivery:
    """Options about a delivery, as they were typed.

    Attributes:
        to: the destination of a sync; empty: standard output.
        to_set: its settings, `KEY=VALUE`.
        to_config: more of them in a file.
        retry_for_s: how long to try again; None: it is not said.
        rejects: the file that keeps what is not taken; empty: it is not said.
    """

    to: str = ""
    to_set: Sequence[str] = ()
    to_config: str = ""
    retry_for_s: int | None = None
    rejects: str = ""

    def check(self, operation: str) -> None:
        """Refuse options that would mean nothing.

        Raises:
            UsageError: one of them needs `--to`, or another operation.
        """
        of_to = {"--to-set": self.to_set, "--to-config": self.to_config}
        of_both = {"--retry-for": self.retry_for_s is not None, "--rejects": self.rejects}
        if self.to:
            return
        stray = [name for name, given in of_to.items() if given]
        if operation != "deliver":
            stray += [name for name, given in of_both.items() if given]
        if stray:
            raise UsageError(
                f"nothing was run: `{stray[0]}` is about a delivery",
                why=f"expected `--to PLUGIN`{'' if stray[0] in of_to else ', or `deliver`'}",
                next=[f"name a destination with `--to PLUGIN`, or leave `{stray[0]}` out"],
            )

    def of_deliver(self, request: RunRequest) -> RunRequest:
        """Return a request that has what `deliver` needs of it."""
        return replace(request, retry_for_s=float(self.retry_for_s or 0), rejects=self.rejects_path)

    @property
    def rejects_path(self) -> Path | None:
        """The file that was named."""
        return as_path(self.rejects) if self.rejects else None


def forward(
    context: Context,
    cleared: Cleared,
    request: RunRequest,
    delivery: Delivery,
    listener: Listener,
) -> Forwarding:
    """Sync a connector into the destination that was named.

    Raises:
        AperioError: as `run_forwarding`, or the destination may not be started.
    """
    settings = read_settings(delivery.to_set, delivery.to_config, option="--to-set")
    collaborators, organization = context.collaborators, request.organization
    target = find_target(collaborators, delivery.to, organization=organization)
    check_forwarding(cleared.target, target, request)
    retry_for_s = RETRY_FOR_S if delivery.retry_for_s is None else float(delivery.retry_for_s)
    its_leave = clear_target(collaborators, target, organization)
    destined = Destined(its_leave, settings, retry_for_s, delivery.rejects_path)
    return on_loop(run_forwarding(collaborators, cleared, request, destined, listener))


def require_all_accepted(found: Forwarding) -> None:
    """End with the status of what was not wholly done, unless the destination took everything.

    Raises:
        Exit: it rejected some.
    """
    if found.deliveries.rejected:
        raise Exit(NOT_DONE)
