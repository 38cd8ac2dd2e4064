"""A bare grpc.aio server, to hold the control API against: `python bare_server.py SOCKET`.

It answers one method with as many bytes as a host answers GetHost with, until its stdin ends.
"""

import asyncio
import sys

import grpc.aio

ANSWER = b"x" * 64


async def main() -> None:
    """Serve."""

    async def answer(_request: bytes, _context: object) -> bytes:
        return ANSWER

    handler = grpc.method_handlers_generic_handler(
        "bare.Bare", {"Call": grpc.unary_unary_rpc_method_handler(answer)}
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"unix:{sys.argv[1]}")
    await server.start()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
