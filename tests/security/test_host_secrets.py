"""Secrets in the host's own environment, and a plugin that looks for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 30

# A host that starts a plugin, and a plugin that reads the environment its host was started with.
HOST = """
import asyncio, os, sys
from pathlib import Path
from aperio_cli.host.process.spawning import PipeReader, spawn
from aperio_cli.host.sandbox.interface import Command, Confinement
from aperio_cli.host.sandbox.unconfined import Unconfined

PLUGIN = (
    "import os\\n"
    "try:\\n"
    "    found = b'hunter2' in open(f'/proc/{os.getppid()}/environ', 'rb').read()\\n"
    "except PermissionError:\\n"
    "    found = 'refused'\\n"
    "print(found, flush=True)\\n"
)

async def main():
    command = Command((sys.executable, "-I", "-c", PLUGIN), {}, Path("/"), 64)
    process = await spawn(command, Unconfined(), Confinement())
    said = bytearray()
    reader = PipeReader(said.extend, lambda: None)
    await process.read({"stdout": reader})
    await process.exited
    await process.drain(5)
    await process.end_group()
    process.close()
    print(said.decode())

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc and prctl(2) are Linux's")
def test_a_plugin_cannot_read_the_environment_of_its_host() -> None:
    path = f"{ROOT}{os.pathsep}{ROOT / 'sdk/python'}"
    # Root may read everything; without its capabilities it is a user like any other.
    ordinary = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]

    done = subprocess.run(
        [*(ordinary if os.geteuid() == 0 else ()), sys.executable, "-B", "-c", HOST],
        env={"PYTHONPATH": path, "BOX_CLIENT_SECRET": "hunter2"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout.strip() == "refused"
