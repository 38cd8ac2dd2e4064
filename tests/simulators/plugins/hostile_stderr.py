"""Writes to fd 2 what breaks careless readers of logs, then serves."""

import os

import bare

for line in (
    b'{"@message": 5, "@level": {"a": 1}, "@timestamp": []}',
    b'{"@message": "ok", "@level": "info", "n": 12345678901234567890, "nul": "\\u0000"}',
    b'{"@message": ' + b"[" * 20_000,
    b"12345",
    b'["HELLO"]',
    b"\x00\xff\xfe\x1b[2J",
    b"y" * (1024 * 1024),
    b"[WARN] by prefix",
    b"panic: it broke",
    b"goroutine 1 [running]:",
):
    view = memoryview(line + b"\n")
    while view:
        view = view[os.write(2, view) :]
bare.serve()
