"""What one run of a plugin holds open, and how all of it is let go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from aperio_plugin.wire import mtls
    from grpc.aio import Channel

    from aperio_cli.host.egress import Door
    from aperio_cli.host.process.spawning import Process
    from aperio_cli.host.process.surroundings import PrivateFolder
    from aperio_cli.host.services.keyvalue import KeyValueServer
    from aperio_cli.host.wire.channel import Pinned
    from aperio_cli.host.wire.mtls import SecureConnection


@dataclass(slots=True)
class Held:
    """The parts of a run, each None until it was made and after it was let go.

    Attributes:
        folder: the private folder, with the plugin's and the host's sockets.
        process: the child; stays when its descriptors are closed, for its exit status.
        pinned: the socket that is dialled, by descriptor.
        pair: the host's key for mutual TLS.
        secure: the secure connection over the socket.
        channel: gRPC to the plugin.
        server: the plugin's key-value store.
        stdio: reads go-plugin's stream of what the plugin prints.
        door: the way out of the plugin's network.
    """

    folder: PrivateFolder | None = None
    process: Process | None = None
    pinned: Pinned | None = None
    pair: mtls.KeyPair | None = None
    secure: SecureConnection | None = None
    channel: Channel | None = None
    server: KeyValueServer | None = None
    stdio: asyncio.Task[None] | None = None
    door: Door | None = None

    async def close_grpc(self) -> None:
        """Close what speaks gRPC; harmless when repeated."""
        if self.channel:
            await self.channel.close()
        if self.secure:
            await self.secure.close()
        if self.server:
            await self.server.stop()
        self.channel = self.secure = self.server = None
        if self.door:
            await self.door.close()

    def release(self) -> None:
        """Close every descriptor and remove the folder, without waiting; harmless when repeated."""
        if self.process:
            self.process.close()
        if self.door:
            self.door.abandon()
        if self.pinned:
            self.pinned.close()
            self.pinned = None
        if self.folder:
            self.folder.remove()
            self.folder = None

    async def abandon(self) -> None:
        """Leave nothing behind, waiting for nobody but for the end of what is killed."""
        if self.stdio:
            self.stdio.cancel()
        try:
            if self.process:
                await self.process.end_group()
        finally:
            self.release()
