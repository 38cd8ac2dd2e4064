"""What long commands say on a terminal, from the outside."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from tests.lifecycle.cli import DEADLINE_S

if TYPE_CHECKING:
    from tests.lifecycle.cli import Aperio
    from tests.lifecycle.conftest import Workshop


def on_a_terminal(aperio: Aperio, *words: str) -> tuple[int, bytes, bytes]:
    """Run a command whose stderr is a terminal; return status, stdout and what the terminal got."""
    master, slave = os.openpty()
    seen = bytearray()

    def read() -> None:
        while True:
            try:
                seen.extend(os.read(master, 65536))
            except OSError:
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    process = aperio.start(*words, stderr=slave)
    os.close(slave)
    out, _ = process.communicate(timeout=DEADLINE_S)
    reader.join(10)
    os.close(master)
    return process.returncode, out, bytes(seen)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_installation_says_what_it_does(
    aperio: Aperio, workshop: Workshop, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    [artifact] = (workshop.hello / "dist").glob("*.tar.gz")
    status, out, seen = on_a_terminal(aperio, "plugin", "install", str(artifact), *options)

    assert status == 0, seen
    assert b"\x1b" not in out
    assert (b"verifying `" in seen, b"installing `acme/hello-connector`" in seen) == (
        (not options, not options)
    )
    if not options:
        assert b"asks for\r\n" in seen
