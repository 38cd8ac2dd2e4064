"""How commands change what a host runs: it lets go of a plugin meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeVar

from aperio_cli.errors import AperioError
from aperio_cli.errors.installing import PluginInUse

if TYPE_CHECKING:
    from collections.abc import Callable

    from aperio_cli.context import Context
    from aperio_cli.models.plugin_id import PluginRef

_Result = TypeVar("_Result")


def done_despite_host(context: Context, ref: PluginRef, do: Callable[[], _Result]) -> _Result:
    """Do something that a running version is in the way of, and return what came of it.

    Where it is in use, and a host runs on this home, that ends it in good order, and starts nothing
    of it until this is done. Whoever else runs it, a Go server say, keeps it from being done, and
    the host goes on with it, undisturbed where the kernel says who that is.

    Args:
        context: gives the home.
        ref: what of a plugin is changed.
        do: what is to be done; called again, in another thread, once the host has let go.

    Raises:
        PluginInUse: somebody else runs it.
        AperioError, OSError: as `do`.
    """
    try:
        return do()
    except PluginInUse as problem:
        from aperio_cli.commands.loop import on_loop
        from aperio_cli.serving.single import find_host

        host = find_host(context.paths)
        if host is None or _others_hold(context, ref, host.pid):
            raise
        return on_loop(_released(context, ref, do, problem))


def _others_hold(context: Context, ref: PluginRef, host: int) -> bool:
    """Return whether it is known that anybody but the host runs it, so that asking is of no use."""
    store = context.store
    versions = [ref.version] if ref.version else store.versions(ref.id)
    return any(store.holders(ref.id, version) - {host, 0} for version in versions)


async def _released(
    context: Context, ref: PluginRef, do: Callable[[], _Result], problem: PluginInUse
) -> _Result:
    """Do it while the host lets go of the plugin.

    Raises:
        PluginInUse: as it was, when the host cannot be asked, or could not end it.
    """
    from aperio_cli.commands.host.reaching import reached

    async with contextlib.AsyncExitStack() as held:
        try:
            with context.output.working(f"the host ends `{ref}`"):
                client = await held.enter_async_context(reached(context))
                release = client.release(ref.id, ref.version or "")
                ended = await held.enter_async_context(release)
        except (AperioError, TimeoutError) as error:
            raise problem from error
        for key in ended:
            context.output.note(
                f"the host ended `{key.plugin}` for {key.organization} {key.integration}"
            )
        return await asyncio.to_thread(do)
