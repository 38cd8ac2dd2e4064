"""What long commands say on a terminal, from the outside."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.lifecycle.cli import ROOT, SDK

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
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": f"{ROOT}{os.pathsep}{SDK}"}
    done = subprocess.run(
        [sys.executable, "-m", "aperio_cli", *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave, timeout=60,
        cwd=aperio.folder, env=environment, check=False,
    )  # fmt: skip
    os.close(slave)
    reader.join(10)
    os.close(master)
    return done.returncode, done.stdout, bytes(seen)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_installation_says_what_it_does(
    aperio: Aperio, workshop: Workshop, options: list[str]
) -> None:
    [artifact] = (workshop.hello / "dist").glob("*.tar.gz")
    status, out, seen = on_a_terminal(aperio, "plugin", "install", str(artifact), "--yes", *options)

    assert status == 0, seen
    assert b"\x1b" not in out
    assert (b"verifying `" in seen, b"installing `acme/hello-connector`" in seen) == (
        (not options, not options)
    )
    if not options:
        assert b"asks for\r\n" in seen
