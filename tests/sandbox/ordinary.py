"""A host that runs as whoever started it: has the hostile plugin do something, and tells."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from aperio_cli.errors import AperioError
from aperio_cli.host.calls.invocation import Invocation
from aperio_cli.host.launch import LaunchOptions, RunningPlugin, launch
from aperio_cli.host.sandbox.choosing import choose_sandbox
from aperio_cli.host.sandbox.interface import Doorway
from tests.clearances import cleared
from tests.sandbox.conftest import PATIENT, Stage
from tests.sandbox.outside import beyond, connecting


async def main(told: dict[str, Any]) -> None:
    """Do the deeds one after the other; the last may be the plugin's end."""
    logs: list[str] = []
    sandbox = choose_sandbox(told.get("mode", "auto"))
    stage, kept = Stage(Path(told["folder"])), list[Any]()
    base = LaunchOptions(Path(told["base"]), patience=PATIENT, sandbox=sandbox)
    with contextlib.ExitStack() as opened:
        if pem := told.get("pem"):
            there = opened.enter_context(beyond(Path(pem)))
            build, options = connecting(stage), replace(base, egress=there.egress)
        else:
            door = Doorway({}, (), (("127.10.0.1", 443),), kept.extend)
            build, options = stage.build(), replace(base, door=door)
        async with launch(cleared(build), options, lambda r: logs.append(r.message)) as plugin:
            done = [await _do(plugin, deed) for deed in told["deeds"]]
    said = next((text for text in logs if text.startswith("contained")), "")
    _tell({"done": done, "said": said})


def _tell(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


async def _do(plugin: RunningPlugin, deed: list[Any]) -> Any:
    if deed == ["wait"]:
        _tell({"pids": _inside(plugin)})
        await asyncio.sleep(60)
    name, *arguments = deed
    asked = Invocation(config_json=json.dumps({"deed": [name, arguments]}).encode())
    try:
        answer = await plugin.connector.test_connection(asked)
    except AperioError as error:
        return f"{error.code}: {error.why}"
    return json.loads(answer.account["found"])


def _inside(plugin: RunningPlugin) -> list[int]:
    """Every process in the plugin's namespace, and bubblewrap outside."""
    if plugin.address.parts[1] != "proc":  # in no sandbox
        return [plugin.pid]
    init = int(plugin.address.parts[2])
    namespace = Path(f"/proc/{init}/ns/pid").readlink()
    found = [plugin.pid]
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and (folder / "ns" / "pid").readlink() == namespace:
                found.append(int(folder.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]
