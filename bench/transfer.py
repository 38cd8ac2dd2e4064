"""One end of a transfer: a server that sends so many bytes to whoever asks, or who asks.

python bench/transfer.py serve BYTES          prints its port, then serves until stdin ends
python bench/transfer.py fetch BYTES PORT [PROXY_PORT TARGET]    prints seconds
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time

PIECE = bytes(256 * 1024)


def serve(size: int) -> None:
    """Send to each connection, after its first byte."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=_accept, args=(listener, size), daemon=True).start()
    sys.stdin.read()


def _accept(listener: socket.socket, size: int) -> None:
    while True:
        made, _ = listener.accept()
        with made, contextlib.suppress(OSError):
            made.recv(1)
            for _ in range(size // len(PIECE)):
                made.sendall(PIECE)


def fetch(size: int, port: int, proxy: tuple[str, ...]) -> float:
    """Seconds from the first byte asked to the last one received."""
    made = socket.create_connection(("127.0.0.1", int(proxy[0]) if proxy else port))
    if proxy:
        made.sendall(f"CONNECT {proxy[1]} HTTP/1.1\r\nHost: {proxy[1]}\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += made.recv(1)
        if b" 200 " not in answer:
            raise RuntimeError(answer)
    taken = bytearray(len(PIECE))
    began_s = time.perf_counter()
    made.sendall(b".")
    received = 0
    while count := made.recv_into(taken):
        received += count
    if received != size:
        raise RuntimeError(f"{received} bytes")
    return time.perf_counter() - began_s


if __name__ == "__main__":
    kind, number, *rest = sys.argv[1:]
    if kind == "serve":
        serve(int(number))
    else:
        print(fetch(int(number), int(rest[0]), tuple(rest[1:])))
