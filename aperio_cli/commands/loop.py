"""The event loop of a command that waits for a plugin."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any, TypeVar

from aperio_cli.commands.common import Exit

if TYPE_CHECKING:
    from collections.abc import Coroutine

_Result = TypeVar("_Result")
_SIGTERM_STATUS = 128 + signal.SIGTERM


def on_loop(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run on a loop; SIGTERM cancels, so that the plugin is stopped as for Ctrl-C.

    Raises:
        Exit: SIGTERM came.
    """

    async def main() -> _Result:
        task = asyncio.current_task()
        assert task  # noqa: S101 - a coroutine on a loop has one
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(main())
    except asyncio.CancelledError as error:
        raise Exit(_SIGTERM_STATUS) from error
