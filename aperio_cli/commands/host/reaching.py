"""How commands reach the host that runs: by its control API, and by nothing else."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aperio_cli.errors.controlling import HostNotRunning
from aperio_cli.host.control.client import connect
from aperio_cli.serving.single import get_host, not_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aperio_cli.context import Context
    from aperio_cli.host.control.client import HostClient


@contextlib.asynccontextmanager
async def reached(context: Context, *steps: str) -> AsyncIterator[HostClient]:
    """Give a client of the host that runs on this home.

    Args:
        context: of the call.
        steps: what can be done without one.

    Raises:
        HostNotRunning: there is none; says how to start one.
    """
    found = get_host(context.paths, steps)
    try:
        async with connect(found.socket) as client:
            yield client
    except HostNotRunning as error:
        raise not_running(context.paths, found, error.why, steps) from error
