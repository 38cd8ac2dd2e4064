"""The gate in front of a socket, in each Python that is here: their event loops differ."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.conftest import LIBRARY

DEBIAN_PYTHON = "/usr/bin/python3.11"
PYTHONS = [sys.executable, *([DEBIAN_PYTHON] if Path(DEBIAN_PYTHON).exists() else [])]
ROOT = Path(__file__).resolve().parents[2]
ROUND = """
import asyncio, socket, sys
from pathlib import Path
from aperio_cli.host.control.gate import Gate

folder = Path(sys.argv[1])
front, behind = folder / "front", folder / "behind"

async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()

async def speaks_first(number):
    caller = socket.socket(socket.AF_UNIX)
    caller.connect(str(front))
    said = b"%d" % number * 1000
    caller.sendall(said)  # before the gate has accepted
    caller.setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=caller)
    heard = await reader.readexactly(len(said))
    writer.close()
    return heard == said

async def main():
    server = await asyncio.start_unix_server(echo, str(behind))
    async with server, Gate(front, behind, print):
        print(sum(await asyncio.gather(*(speaks_first(number) for number in range(10)))))

asyncio.run(asyncio.wait_for(main(), 20))
"""


@pytest.mark.parametrize("python", PYTHONS)
def test_what_a_caller_says_before_it_is_let_in_arrives(python: str, tmp_path: Path) -> None:
    paths = [str(ROOT), str(LIBRARY)]
    done = subprocess.run(
        [python, "-I", "-c", f"import sys; sys.path[:0] = {paths!r}\n{ROUND}", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("10\n", "")
