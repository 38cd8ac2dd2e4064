"""What a plugin declares about itself, the same for all kinds: fields, auth, provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aperio_cli.errors import clean

if TYPE_CHECKING:
    from aperio_plugin._generated.aperio.plugin.v1.capabilities_pb2 import CapabilitiesResponse
    from aperio_plugin._generated.aperio.plugin.v1.common_pb2 import InvocationContext

    from aperio_cli.host.channel import Calls

CAPABILITIES_TIMEOUT_S: Final = 30.0


async def capabilities(
    calls: Calls, service: str, context: InvocationContext, provider: str
) -> CapabilitiesResponse:
    """The Capabilities of a remediation or a destination.

    Args:
        calls: to the plugin.
        service: `/package.Service/`.
        context: on whose behalf.
        provider: what the manifest says it speaks for.

    Raises:
        PluginContractBroken: it speaks for another provider than its manifest.
        PluginFault: as `Calls.unary`.
    """
    from aperio_plugin._generated.aperio.plugin.v1 import capabilities_pb2

    response: CapabilitiesResponse = await calls.unary(
        service + "Capabilities",
        capabilities_pb2.CapabilitiesRequest(context=context),
        capabilities_pb2.CapabilitiesResponse,
        timeout_s=CAPABILITIES_TIMEOUT_S,
    )
    require_provider(calls, "Capabilities", expected=provider, received=response.provider)
    return response


def require_provider(calls: Calls, method: str, *, expected: str, received: str) -> None:
    """Nothing, when a plugin declares the provider that its manifest names.

    Raises:
        PluginContractBroken: another one.
    """
    if received != expected:
        shown = clean(received, limit=80)
        raise calls.broken(method, f"provider\nexpected {expected}\nreceived {shown}")
