"""Prints 1 MiB without a line feed before its handshake."""

import os

import bare

for _ in range(16):
    os.write(1, b"x" * 65536)
bare.serve()
