"""Takes every connection to its socket, and answers byte by byte, without ever saying a thing.

What it sends are frames of HTTP/2 that mean nothing (RFC 9113, section 4.1): one of an unknown
type, which everybody has to read to its end.
"""

import os
import socket
import threading

import bare

FRAME = b"\x00\x40\x00\xfa\x00\x00\x00\x00\x00" + b"\x00" * 0x4000
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def drip(made: socket.socket) -> None:
    with made:
        try:
            made.sendall(SETTINGS)
            for number in FRAME * 100:
                made.sendall(bytes((number,)))
                threading.Event().wait(0.02)
        except OSError:
            return


listener = socket.socket(socket.AF_UNIX)
listener.bind(bare.socket_path())
listener.listen(16)
bare.announce(bare.socket_path())
while True:
    connection, _ = listener.accept()
    threading.Thread(target=drip, args=(connection,), daemon=True).start()
    os.sched_yield()
