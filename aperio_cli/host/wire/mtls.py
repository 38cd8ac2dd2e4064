"""AutoMTLS on the host's side: a gRPC channel to a plugin, both proving who they are.

Certificates, and why there is a relay, are in the SDK's `mtls`. A plugin whose certificate gRPC can
verify (P-256, P-384, RSA) is dialled by gRPC itself; a stock Go plugin (P-521) through a relay in
this process, whose plain end is a socket in the run's private folder.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aperio_cli.host.wire.channel import grpc_options
from aperio_cli.host.wire.handshake import malformed

if TYPE_CHECKING:
    from pathlib import Path

    from aperio_plugin.wire import mtls
    from grpc.aio import Channel

    from aperio_cli.host.wire.channel import Pinned


def new_pairs() -> tuple[mtls.KeyPair, mtls.KeyPair]:
    """Return keys and certificates for one start; imports `cryptography`, some 80 ms.

    Returns:
        The host's, and one for a plugin that does not want to make its own: what makes them is as
        large as everything else that a small plugin carries.
    """
    from aperio_plugin.wire import mtls

    return mtls.new_pair(), mtls.new_pair()


class SecureConnection:
    """A channel to a plugin that has answered with a certificate; close it before the socket.

    Args:
        pair: the host's.
        certificate: the plugin's, DER.
        subject: what to call the plugin in messages.

    Raises:
        HandshakeMalformed: what the plugin sent is no certificate.
    """

    def __init__(self, pair: mtls.KeyPair, certificate: bytes, subject: str) -> None:
        from aperio_plugin.wire import mtls

        self._pair = pair
        self._relay: mtls.Relay | None = None
        try:
            self._peer = mtls.to_pem(certificate)
            self._is_native = mtls.grpc_can_verify(self._peer)
        except ValueError as error:
            raise malformed(subject, f"error parsing server cert: {error}") from error

    async def open(self, pinned: Pinned, relay_socket: Path) -> Channel:
        """Return a channel; its first call proves that the other end has the certificate's key.

        Args:
            pinned: the plugin's socket.
            relay_socket: where the relay may listen, in a folder that is the host's alone.

        Raises:
            OSError: the relay cannot listen.
        """
        import grpc
        from aperio_plugin.wire import mtls

        if not self._is_native:
            await self._start_relay(pinned, relay_socket)
            return grpc.aio.insecure_channel(f"unix:{relay_socket}", options=grpc_options())
        credentials = grpc.ssl_channel_credentials(
            self._peer, self._pair.key, self._pair.certificate
        )
        options = [*grpc_options(), ("grpc.ssl_target_name_override", mtls.SERVER_NAME)]
        return grpc.aio.secure_channel(pinned.target, credentials, options=options)

    async def close(self) -> None:
        """End the relay, if there is one."""
        if self._relay:
            await self._relay.close()

    async def _start_relay(self, pinned: Pinned, relay_socket: Path) -> None:
        from aperio_plugin.wire import mtls

        context = mtls.tls_context(self._pair, self._peer, server_side=False)
        address = pinned.target.removeprefix("unix:")
        self._relay = mtls.Relay(
            lambda: asyncio.open_unix_connection(
                address, ssl=context, server_hostname=mtls.SERVER_NAME
            )
        )
        await self._relay.listen(mtls.bound_socket(str(relay_socket)))
